"""Arrays that move, change or are replaced between recorded steps: replay does what eager does."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from xpnet import MLP, SGD, Adam, CrossEntropy, TrainingStep
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.optimizers import Nadam

pytestmark = pytest.mark.skipif(bool(why_not_recorded()), reason="steps are not recorded here")


def batches(rng, n=3, rows=64):
    """Feature and label batches of one shape."""
    X = rng.standard_normal((n, rows, 6)).astype("float32")
    return X, rng.integers(0, 3, (n, rows))


def steps(engine, optimizer=None, dropout=0.0):
    """A model and its steps."""
    model = MLP(6, [8], 3, rng=1, dropout=dropout)
    optimizer = Adam(1e-2) if optimizer is None else optimizer
    return model, TrainingStep(model, CrossEntropy(), optimizer, engine=engine)


def moved(array):
    """Move the numbers of an array object to other memory; the old memory is overwritten."""
    n, values = array.shape, array.copy()
    array.resize((300_000,), refcheck=False)
    keep = [np.full(n, 1e9, array.dtype) for _ in range(99)]
    array.resize(n, refcheck=False)
    array[...] = values
    return keep


def change_dtype(step):
    step.state.slots = tuple(slot.astype("float64") for slot in step.state.slots)


def change_dtype_in_place(step):
    step.state.slots = [slot.astype("float64") for slot in step.state.slots]


def shorten(step):
    step.state.slots = tuple(slot[:-1].copy() for slot in step.state.slots)


def shrink_in_place(step):
    step.state.slots[1].resize(3, refcheck=False)


def drop_a_slot(step):
    step.state.slots = step.state.slots[:1]


def list_of_copies(step):
    step.state.slots = [slot.copy() for slot in step.state.slots]


def replace_in_list(step):
    step.state.slots[0] = np.full_like(step.state.slots[0], 5)


def move_slots(step):
    step.keep = [moved(slot) for slot in step.state.slots]


CHANGES = {
    "dtype": (change_dtype,),
    "dtype in a list": (change_dtype_in_place,),
    "length": (shorten,),
    "shrunk in place": (shrink_in_place,),
    "number": (drop_a_slot,),
    "list": (list_of_copies,),
    "list changed in place": (list_of_copies, replace_in_list),
    "moved": (move_slots,),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("optimizer", [Adam(1e-2), Nadam(1e-2)], ids=repr)
def test_changed_slots_are_treated_as_by_eager(rng, case, optimizer):
    X, y = batches(rng)
    found = []
    for engine in ("replay", "eager"):
        model, step = steps(engine, optimizer, dropout=0.2)
        error = ""
        try:
            for change in (None, *CHANGES[case]):
                if change is not None:
                    change(step)
                for batch in zip(X, y, strict=True):
                    step(*batch)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        found.append((model.theta.copy(), error, step.state.step, step.state.scalars))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert found[0][1:] == found[1][1:]
    refused = case in ("dtype", "dtype in a list", "length", "shrunk in place", "number")
    assert found[0][1].startswith("ArgumentError: state must be" if refused else "")
    assert bool(found[0][1]) == refused


def test_read_only_theta_is_refused(rng):
    X, y = batches(rng)
    for engine in ("replay", "eager"):
        model, step = steps(engine)
        step(X[0], y[0])
        step(X[0], y[0])
        before = model.theta.copy()
        model.theta.flags.writeable = False
        for _ in range(2):
            with pytest.raises(ValueError, match="read-only"):
                step(X[0], y[0])
        np.testing.assert_array_equal(model.theta, before)
        model.theta.flags.writeable = True
        step(X[0], y[0])
        assert (model.theta != before).any()


def test_restored_model_is_trained(rng):
    X, y = batches(rng)
    thetas = []
    for engine in ("replay", "eager"):
        model, step = steps(engine)
        step(X[0], y[0])
        model.__setstate__(copy.deepcopy(model).__getstate__())
        before = model.theta.copy()
        for batch in zip(X, y, strict=True):
            step(*batch)
        assert (model.theta != before).any()
        thetas.append(model.theta.copy())
    np.testing.assert_allclose(*thetas, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("moves", ["features", "labels", "weights", "all", "none"])
def test_moved_batches_are_read_where_they_are(rng, moves):
    data, labels = batches(rng, n=6)
    weights = rng.random((6, 64)).astype("float32")
    losses = []
    for engine in ("replay", "eager"):
        _, step = steps(engine, SGD(0.1))
        batch, keep = [np.array(a[0]) for a in (data, labels, weights)], []
        for values in zip(data, labels, weights, strict=True):
            for name, array, value in zip(
                ("features", "labels", "weights"), batch, values, strict=True
            ):
                if moves in (name, "all"):
                    keep.append(moved(array))
                array[...] = value
            X, y, weight = batch
            losses.append(float(step(X, y, weight=weight)))
    np.testing.assert_allclose(losses[:6], losses[6:], rtol=1e-5)


def test_strided_batch_after_another_is_read(rng):
    """A batch of another layout is copied to the memory that the recorded step reads."""
    data, labels = batches(rng)
    losses = []
    for engine in ("replay", "eager"):
        _, step = steps(engine, SGD(0.1))
        X = np.zeros((64, 6), "float32")
        for values, y in zip(data, labels, strict=True):
            X[...] = values
            losses.append(float(step(X, y)))
        X = np.zeros((6, 64), "float32").T
        X[...] = data[0]
        losses.append(float(step(X, labels[0])))
    np.testing.assert_allclose(losses[:4], losses[4:], rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 40])
def test_moved_rows_are_predicted(rng, rows):
    model = MLP(700, [8], 3)  # 40 rows take more than MAX_COPIED_BYTES
    X = np.zeros((rows, 700), "float32")
    keep = []
    for _ in range(30):
        keep = [*keep[-3:], moved(X)]
        X[...] = rng.standard_normal(X.shape)
        expected = model.forward(X.copy()[:, ::-1][:, ::-1])
        np.testing.assert_allclose(model.forward(X), expected, rtol=1e-4, atol=1e-5)
