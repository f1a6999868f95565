"""Full-batch trainings resume at iterations, to the bit, and are interrupted between them."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from helpers.kept_files import keep_files

import xpnet
from xpnet import (
    MLP,
    SGD,
    Adam,
    ArgumentError,
    Averaged,
    CrossEntropy,
    EarlyStopping,
    HalfMSE,
    Tanh,
    TrainingCheckpoint,
)
from xpnet.backend import to_numpy
from xpnet.metrics import accuracy
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    CoordinateDescent,
    FirstOrder,
    GradientDescent,
    Newton,
    NewtonCG,
    NonlinearCG,
    TrustRegion,
)
from xpnet.minimize.conjugate_gradient import hager_zhang

METHODS = [
    LBFGS(m=3),
    BFGS(),
    DFP(),
    Newton(),
    NewtonCG(),
    TrustRegion(),
    NonlinearCG(),
    NonlinearCG(hager_zhang),
    GradientDescent(),
    CoordinateDescent(seed=2),
    FirstOrder(Adam(0.05)),
    FirstOrder(Averaged(SGD(0.1))),
]
EPOCHS = 7


def task():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(40, 3))
    return X, (X[:, 0] > 0).astype("int64")


class Press:
    """Presses Ctrl-C after an iteration, so many times."""

    stateless = True

    def __init__(self, iteration, times=1):
        self.iteration, self.times = iteration, times

    def epoch(self, run):
        if run.epoch == self.iteration:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def train(method, callbacks=(), model=None, backend="numpy", **settings):
    X, y = task()
    settings = {"loss": CrossEntropy(), "epochs": EPOCHS, "l2": 1e-3, "progress": False} | settings
    if model is None:
        model = MLP(3, [3], 2, activation=Tanh(), backend=backend, dtype="float64", rng=1)
    model.fit(X, y, optimizer=method, callbacks=[*callbacks], **settings)
    return model


def columns_of(model):
    columns = {k: v for k, v in model.history.columns.items() if k != "seconds"}
    return repr(columns), model.history.stopped


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_method_resumes_to_the_bit(method, at, tmp_path):
    path = tmp_path / "training"
    settings = {"validation": 0.2, "metrics": [accuracy], "rng": 3}
    expected = train(method, [TrainingCheckpoint(tmp_path / "w", epochs=2)], **settings)
    callbacks = [Press(at), TrainingCheckpoint(path, epochs=99)]
    train(method, callbacks, on_interrupt="return", **settings)
    resumed = train(method, resume=path, **settings)
    np.testing.assert_array_equal(resumed.theta, expected.theta)
    assert columns_of(resumed) == columns_of(expected)
    again = xpnet.resume(path, *task(), callbacks=[], progress=False)
    np.testing.assert_array_equal(again.theta, expected.theta)


@pytest.mark.parametrize("seeded_by", ["model", "seed", "generator"])
def test_random_streams_are_those_of_the_file(seeded_by, tmp_path):
    """They and the generator go on as without an interruption, in a later training."""
    rngs = [{"seed": 4}.get(seeded_by) for _ in range(3)]
    if seeded_by == "generator":
        rngs = [np.random.default_rng(4) for _ in range(3)]
    path, callbacks = tmp_path / "training", [Press(3)]
    expected = train(LBFGS(), validation=0.2, rng=rngs[0])
    callbacks.append(TrainingCheckpoint(path, epochs=99))
    train(LBFGS(), callbacks, on_interrupt="return", validation=0.2, rng=rngs[1])
    other = MLP(3, [3], 2, activation=Tanh(), dtype="float64", rng=9)
    resumed = train(LBFGS(), resume=path, model=other, validation=0.2, rng=rngs[2])
    assert resumed.state.streams.drawn == expected.state.streams.drawn
    if seeded_by == "generator":
        assert rngs[2].bit_generator.state == rngs[0].bit_generator.state
    again = xpnet.resume(path, *task(), callbacks=[], progress=False)
    assert again.state.streams.drawn == expected.state.streams.drawn


def test_each_backend_resumes_to_the_bit(place, tmp_path):
    path = tmp_path / "training"
    expected = train(LBFGS(), backend=place.backend)
    callbacks = [Press(3), TrainingCheckpoint(path, epochs=99)]
    train(LBFGS(), callbacks, backend=place.backend, on_interrupt="return")
    resumed = train(LBFGS(), resume=path, backend=place.backend)
    np.testing.assert_array_equal(to_numpy(resumed.theta), to_numpy(expected.theta))


@pytest.mark.parametrize("interval", [{"epochs": 2}, {"steps": 3}, {"seconds": 1e-9}])
def test_early_stopping_resumes_from_every_file(interval, tmp_path, monkeypatch):
    method = GradientDescent()
    stop = lambda: [EarlyStopping("val_accuracy", 2, maximize=True)]  # noqa: E731
    settings = {"validation": 0.3, "metrics": [accuracy], "rng": 3, "epochs": 12}
    expected = train(method, stop(), **settings)
    paths = keep_files(monkeypatch, tmp_path)
    train(method, [*stop(), TrainingCheckpoint(tmp_path / "training", **interval)], **settings)
    monkeypatch.undo()
    assert len(paths) >= 2
    for path in paths:
        resumed = train(method, stop(), resume=path, **settings)
        np.testing.assert_array_equal(resumed.theta, expected.theta)
        assert columns_of(resumed) == columns_of(expected)


def test_more_iterations_go_on(tmp_path):
    path = tmp_path / "training"
    train(LBFGS(), [TrainingCheckpoint(path, epochs=1)], epochs=3)
    resumed, expected = train(LBFGS(), resume=path, epochs=9), train(LBFGS(), epochs=9)
    np.testing.assert_array_equal(resumed.theta, expected.theta)
    assert columns_of(resumed) == columns_of(expected)


def test_second_ctrl_c_writes_no_file(tmp_path):
    path = tmp_path / "training"
    with pytest.raises(KeyboardInterrupt):
        train(LBFGS(), [Press(3, times=2), TrainingCheckpoint(path, epochs=2)])
    resumed, expected = train(LBFGS(), resume=path), train(LBFGS())
    np.testing.assert_array_equal(resumed.theta, expected.theta)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


MISFITS = {
    "another method": ({"method": BFGS()}, "optimizer must be LBFGS.*; got BFGS"),
    "an optimizer": (
        {"method": Adam()},
        "optimizer must be .*full-batch .*; got one for mini-batch",
    ),
    "another memory": ({"method": LBFGS(m=4)}, "resume must be of the same method"),
    "another loss": ({"loss": HalfMSE()}, "loss must be .* CrossEntropy"),
    "fewer iterations": ({"epochs": 2}, "epochs must be at least the 3"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_misfits_are_refused_by_name(case, tmp_path):
    changed, match = MISFITS[case]
    path = tmp_path / "training"
    train(LBFGS(), [TrainingCheckpoint(path, epochs=1)], epochs=3)
    model = MLP(3, [3], 2, activation=Tanh(), dtype="float64", rng=1)
    before, settings = model.theta.copy(), {"method": LBFGS()} | changed
    with pytest.raises(ArgumentError, match=match):
        train(**settings, resume=path, model=model)
    np.testing.assert_array_equal(model.theta, before)
    assert len(model.history) == 0
