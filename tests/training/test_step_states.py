"""The states of training steps: loops are resumed to the bit, and bad states are refused."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import MLP, SGD, Adam, Averaged, ClipByNorm, CrossEntropy, FileFormatError, TrainingStep
from xpnet.backend import to_numpy
from xpnet.optimizers import Nadam, RMSProp

OPTIMIZERS = [SGD(0.1), Adam(0.05), Nadam(0.05), RMSProp(0.01), Averaged(Adam(0.05))]
N, BATCH = 48, 16


def task():
    rng = np.random.default_rng(3)
    return rng.normal(size=(N, 5)).astype("float32"), rng.integers(0, 3, N)


def new_step(optimizer, engine=None, backend="numpy"):
    model = MLP(5, [8], 3, batch_norm=True, dropout=0.2, rng=1, backend=backend)
    clip = ClipByNorm(1.0)
    return model, TrainingStep(model, CrossEntropy(), optimizer, clip=clip, l2=1e-3, engine=engine)


def take(step, first, last):
    X, y = task()
    for number in range(first, last):
        start = number * BATCH % N
        step(X[start : start + BATCH], y[start : start + BATCH], lr=0.1 / (1 + number))


def vectors(model, step):
    return [to_numpy(a) for a in (model.theta, model.statistics, *step.state.slots)]


@pytest.mark.parametrize("engine", ["replay", "eager"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_loop_from_a_file_has_the_same_bits(optimizer, engine, tmp_path):
    if engine == "replay":
        pytest.importorskip("numba", reason="replay on a CPU needs Numba")
    model, step = new_step(optimizer, engine)
    take(step, 0, 9)
    _, interrupted = new_step(optimizer, engine)
    take(interrupted, 0, 4)
    xpnet.save_state_dict({"step": interrupted.state_dict()}, tmp_path / "loop")
    resumed = new_step(optimizer, engine)
    resumed[1].load_state_dict(xpnet.load_state_dict(tmp_path / "loop")["step"])
    take(resumed[1], 4, 9)
    for actual, expected in zip(vectors(*resumed), vectors(model, step), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert resumed[1].state.step == 9


def test_state_of_each_backend_is_loaded_in_place(place32):
    model, step = new_step(Adam(0.1), backend=place32.backend)
    before, slots = step.state_dict(), step.state.slots
    X, y = (place32.backend.asarray(a) for a in task())
    step(X, y)
    step.load_state_dict(before)
    assert [*map(id, slots)] == [*map(id, step.state.slots)]
    np.testing.assert_array_equal(to_numpy(model.theta), to_numpy(before["theta"]))
    assert step.state.step == 0


def without(key):
    return lambda state: state.pop(key)


def changed(key, value):
    return lambda state: state.update({key: value})


BAD = {
    "no theta": (without("theta"), "TrainingStep must be a dictionary with the entries theta"),
    "theta of another size": (changed("theta", np.zeros(3, "f4")), "theta of TrainingStep must be"),
    "theta of another dtype": (changed("theta", np.zeros(99)), "theta of TrainingStep must be"),
    "a list": (changed("statistics", [0.0]), "statistics of TrainingStep must be"),
    "no streams": (without("streams"), "with the entries theta, statistics, type, opt"),
    "a negative seed": (changed("streams", [-1, 0, 0]), "seed must be"),
    "a real count": (changed("streams", [0, 0.5, 0]), "count of a random stream"),
    "no optimizer": (without("optimizer"), "with the entries theta, statistics, type, opt"),
    "no slots": (
        lambda state: state["optimizer"].pop("slots"),
        "with the entries slots, step, scalars",
    ),
    "a slot less": (lambda state: state["optimizer"]["slots"].pop(), "be a list of 2 items"),
    "no step": (
        lambda state: state["optimizer"].pop("step"),
        "with the entries slots, step, scalars",
    ),
    "a scalar more": (
        lambda state: state["optimizer"]["scalars"].append(1.0),
        "be a list of 0 items",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_states_change_nothing(case):
    change, match = BAD[case]
    model, step = new_step(Adam(0.1))
    take(step, 0, 2)
    before, state = step.state_dict(), step.state_dict()
    take(step, 2, 3)
    now = vectors(model, step)
    change(state)
    with pytest.raises(FileFormatError, match=match):
        step.load_state_dict(state)
    for actual, expected in zip(vectors(model, step), now, strict=True):
        np.testing.assert_array_equal(actual, expected)
    step.load_state_dict(before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_not_finite_are_refused(bad):
    _, step = new_step(Adam(0.1))
    for name in ("theta", "statistics"):
        state = step.state_dict()
        state[name][1] = bad
        with pytest.raises(FileFormatError, match="must be finite"):
            step.load_state_dict(state)
