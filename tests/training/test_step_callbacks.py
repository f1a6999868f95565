"""Callbacks that are called after steps, on every engine, and what a checkpoint asks of them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device

import xpnet
from xpnet import MLP, ArgumentError, CrossEntropy, Momentum, Nadam, TrainingCheckpoint

N, BATCH, STEPS = 43, 4, 11  # the last batch has three rows
QUIET = {"loss": CrossEntropy(), "batch_size": BATCH, "progress": False, "epochs": 3, "rng": 2}
ENGINES = ["captured", "replay", "eager"]


@pytest.fixture(params=ENGINES)
def train(request, monkeypatch):
    """A function that trains on an engine; the captured steps are on a fake device."""
    backend = "numpy"
    if request.param == "captured":
        use_fake_device(monkeypatch)
        backend = fake_backend("float64")
    elif request.param == "replay":
        pytest.importorskip("numba", reason="replay on a CPU needs Numba")
    engine = "eager" if request.param == "eager" else "replay"

    def fit(callbacks, **settings):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(N, 3)), rng.integers(0, 2, N)
        model = MLP(3, [6], 2, dropout=0.2, backend=backend, dtype="float64")
        optimizer = Nadam(0.01)  # its state has scalars
        arguments = {"optimizer": optimizer, "engine": engine} | QUIET | settings
        model.fit(X, y, callbacks=callbacks, **arguments)
        return model

    return fit


class Seen:
    """Notes what a callback sees after steps."""

    stateless = True

    def __init__(self, every=1):
        self.every, self.seen = every, []

    def step(self, run):
        state = run.state
        theta = np.array(run.model.theta)
        entry = run.epoch, run.step, run.n_steps, state.step, state.scalars, run.loss, theta.sum()
        self.seen.append(entry)


def test_steps_are_called_at_every_multiple(train):
    for every in (1, 2, 5, 8, 50):
        seen = Seen(every)
        train([seen])
        numbers = [(epoch - 1) * STEPS + step for epoch, step, *_ in seen.seen]
        assert numbers == list(range(every, 3 * STEPS + 1, every))
        assert [entry[3] for entry in seen.seen] == numbers
        assert {entry[2] for entry in seen.seen} <= {STEPS}


def test_several_intervals_are_kept_apart(train):
    callbacks = [Seen(10), Seen(7)]
    model = train(callbacks)
    assert [len(c.seen) for c in callbacks] == [3 * STEPS // 10, 3 * STEPS // 7]
    np.testing.assert_array_equal(model.theta, train([]).theta)


def test_captured_steps_wait_only_for_due_callbacks(monkeypatch):
    device = use_fake_device(monkeypatch)
    X, y = np.random.default_rng(0).normal(size=(N, 3)), np.arange(N) % 2
    settings = QUIET | {"optimizer": Momentum(0.01), "engine": "replay"}
    launched = []
    for callbacks in ([], [Seen(10), Seen(7)]):
        before = device.replayed
        model = MLP(3, [6], 2, backend=fake_backend("float64"), dtype="float64")
        history = model.fit(X, y, callbacks=callbacks, **settings)
        launched.append(device.replayed - before)
    # Ten steps of four rows and one of three: 8 + 1 + 1, 1. Cut at 7, 10, 14, 20, 21, 28, 30:
    # 7, 3, 1 | 3, 6, 1, 1 | 7, 2, 1, 1, of which none is of eight steps.
    assert launched == [3 * 4, 3 * 11]
    assert history.engine.endswith("the host waits after every 10 and 7 steps, for callbacks")


def test_engines_show_the_same_numbers(monkeypatch):
    use_fake_device(monkeypatch)
    X, y = np.random.default_rng(0).normal(size=(N, 3)), np.arange(N) % 2
    seen = []
    for backend, engine in ((fake_backend("float64"), "replay"), ("numpy", "eager")):
        seen.append(Seen())
        model = MLP(3, [6], 2, dropout=0.2, backend=backend, dtype="float64")
        settings = QUIET | {"optimizer": Nadam(0.01), "engine": engine}
        model.fit(X, y, callbacks=[seen[-1]], **settings)
    captured, eager = (np.array([[*e[:4], *e[4], *e[5:]] for e in s.seen]) for s in seen)
    np.testing.assert_allclose(captured, eager, rtol=1e-9)


@pytest.mark.parametrize("at", [1, 4, 8, 10, 11])
def test_step_that_returns_true_stops(train, at):
    class Stop(Seen):
        def step(self, run):
            super().step(run)
            return (run.epoch, run.step) == (2, at)

    stop = Stop()
    model = train([stop])
    assert len(stop.seen) == STEPS + at
    assert model.history.stopped == f"a callback stopped training in epoch 2, step {at}"
    assert len(model.history) == 1


@pytest.mark.parametrize("at", [1, 7, 8, 10, 11])
@pytest.mark.parametrize("steps", [3, 8])
def test_captured_steps_resume_within_a_graph(train, at, steps, tmp_path):
    class Stop:
        stateless = True

        def step(self, run):
            if (run.epoch, run.step) == (2, at):
                run.interrupt()

    path, seen, others = tmp_path / "training", Seen(steps), Seen(steps)
    expected = train([seen])
    callbacks = [Stop(), TrainingCheckpoint(path, steps=steps)]
    train([others, *callbacks], on_interrupt="return")
    resumed = train([others], resume=path)
    np.testing.assert_array_equal(resumed.theta, expected.theta)
    assert resumed.history["loss"] == expected.history["loss"]
    assert [e[:6] for e in others.seen] == [e[:6] for e in seen.seen]


class Stateful:
    """A callback whose attributes a checkpoint would lose."""

    def __init__(self):
        self.best = 1.0

    def epoch(self, run):
        self.best = 0.0

    def method(self, run):
        self.best = 0.5


class Slotted:
    """A callback with its attributes in slots."""

    __slots__ = ("best",)

    def __init__(self):
        self.best = 1.0

    def epoch(self, run):
        self.best = 0.0


class Stateless(Stateful):
    stateless = True


class Saved(Stateful):
    def state_dict(self):
        return {"best": self.best}

    def load_state_dict(self, state):
        self.best = state["best"]


class HalfSaved(Stateful):
    def state_dict(self):
        return {"best": self.best}


class Empty:
    def epoch(self, run):
        """Hold no attributes."""


def function(run, factor=1):
    """A function counts as stateless."""


def small(callbacks, **settings):
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    model = MLP(4, [], 2)
    model.fit(X, y, callbacks=callbacks, **QUIET | {"optimizer": Momentum()} | settings)
    return model


REFUSED = [Stateful(), Stateful().method, HalfSaved(), Slotted()]
ACCEPTED = [Stateless(), Saved(), Empty(), function, functools.partial(function, factor=2), print]


@pytest.mark.parametrize("callback", REFUSED, ids=["object", "method", "half", "slots"])
def test_callback_that_would_lose_its_state_is_refused(callback, tmp_path):
    path = tmp_path / "training"
    rule = "must have the methods state_dict and load_state_dict .* stateless = True in its class"
    with pytest.raises(ArgumentError, match=f"callbacks {rule}"):
        small([callback, TrainingCheckpoint(path, epochs=1)])
    assert not list(tmp_path.iterdir())
    small([callback])
    small([TrainingCheckpoint(path, epochs=1)])
    with pytest.raises(ArgumentError, match=rule):
        small([callback], resume=path)


@pytest.mark.parametrize(
    "callback", ACCEPTED, ids=["stateless", "saved", "empty", "function", "partial", "builtin"]
)
def test_callback_without_a_lost_state_is_accepted(callback, tmp_path):
    small([callback, TrainingCheckpoint(tmp_path / "training", epochs=1)])
    small([callback], resume=tmp_path / "training", epochs=4)


def test_states_are_matched_by_type_and_order(tmp_path):
    path = tmp_path / "training"
    small([Saved(), xpnet.StochasticWeightAveraging(1), TrainingCheckpoint(path, epochs=1)])
    for callbacks, got in (([Saved()], r"got \[Saved\]"), ([], r"got \[\]")):
        with pytest.raises(ArgumentError, match=rf"\[Saved, Stoch.*\], in this order; {got}"):
            small(callbacks, resume=path)
    small([function, Saved(), xpnet.StochasticWeightAveraging(1)], resume=path)


INTERVALS = {
    "none": ({}, "exactly one of epochs, steps and seconds; got none"),
    "two": ({"epochs": 1, "steps": 2}, "exactly one .*; got epochs and steps"),
    "zero": ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
    "real": ({"steps": 2.5}, "steps must be an integer of at least 1; got 2.5"),
    "no time": ({"seconds": 0}, "seconds must be .*; got 0"),
}


@pytest.mark.parametrize("case", INTERVALS)
def test_checkpoint_needs_one_valid_interval(case):
    arguments, match = INTERVALS[case]
    with pytest.raises(ArgumentError, match=match):
        TrainingCheckpoint("path", **arguments)


def test_checkpoint_refuses_paths(tmp_path):
    one = TrainingCheckpoint(tmp_path / "a", epochs=1)
    for other in (
        TrainingCheckpoint(tmp_path / "a", epochs=1),
        xpnet.Checkpoint(tmp_path / "a", "loss"),
    ):
        with pytest.raises(ArgumentError, match="different paths; got two with"):
            small([one, other])
    with pytest.raises(ArgumentError, match="path must be a file"):
        small([TrainingCheckpoint(tmp_path, epochs=1)])
    with pytest.raises(FileNotFoundError, match="existing folder"):
        small([TrainingCheckpoint(tmp_path / "none" / "a", epochs=1)])
    assert not list(tmp_path.iterdir())


def test_first_file_is_written_before_a_step(tmp_path):
    path, found = tmp_path / "training", []

    class Look:
        stateless = True

        def step(self, run):
            found.append(xpnet.load(path).theta.tolist() == start)

    start = MLP(4, [], 2).theta.tolist()
    small([Look(), TrainingCheckpoint(path, epochs=99)], epochs=1)
    assert found == [True]
    before = path.read_bytes()

    class Stop:
        stateless = True

        def begin(self, run):
            found.append(path.read_bytes() == before)

    small([Stop(), TrainingCheckpoint(path, epochs=99)])
    assert found[-1]


class Unsaved(Saved):
    def state_dict(self):
        return {"best": object()}


def test_state_that_no_file_holds_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"state_dict\(\) must hold arrays .* at 'callbacks.0"):
        small([Unsaved(), TrainingCheckpoint(tmp_path / "training", epochs=1)])
    assert not list(tmp_path.iterdir())


class Overflows:
    """Makes a parameter infinite after a step, as an overflow does."""

    stateless = True

    def __init__(self, step):
        self.at = step

    def step(self, run):
        if (run.epoch, run.step) == (2, self.at):
            run.model.theta[0] = np.inf


def test_file_of_a_finite_step_remains(train, tmp_path):
    path = tmp_path / "training"
    with np.errstate(all="ignore"), pytest.raises(xpnet.NonFiniteError):
        train([Overflows(9), TrainingCheckpoint(path, steps=1)])
    resumed, expected = train([], resume=path), train([])
    np.testing.assert_array_equal(resumed.theta, expected.theta)
