"""Arrays that move, change or are replaced between recorded steps: replay does what eager does."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device

from xpnet import MLP, SGD, Adam, ArgumentError, CrossEntropy, TrainingStep
from xpnet.engine.prediction import CALLS_BEFORE_RECORDING, Prediction
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.optimizers import AdamW, Nadam

if why_not_recorded():
    pytest.skip(f"steps are not recorded: {why_not_recorded()}", allow_module_level=True)

from xpnet.engine import recorder


def batches(rng, n=3, rows=64):
    """Feature and label batches of one shape."""
    X = rng.standard_normal((n, rows, 6)).astype("float32")
    return X, rng.integers(0, 3, (n, rows))


def steps(engine, optimizer=None):
    """A model and its steps."""
    model = MLP(6, [8], 3, rng=1, dropout=0.2, batch_norm=True)
    return model, TrainingStep(model, CrossEntropy(), optimizer or Adam(1e-2), engine=engine)


def moved(array):
    """Move the numbers of an array object to other memory; the old memory is overwritten."""
    n, values = array.shape, array.copy()
    array.resize((300_000,), refcheck=False)
    keep = [np.full(n, 1e9, array.dtype) for _ in range(99)]
    array.resize(n, refcheck=False)
    array[...] = values
    return keep


def slots_as(convert, kind=tuple):
    """A change that replaces the slots."""

    def change(model, step):
        step.state.slots = kind(convert(slot) for slot in step.state.slots)

    return change


def shrink_in_place(model, step):
    step.state.slots[1].resize(3, refcheck=False)


def move_slots(model, step):
    step.keep = [moved(slot) for slot in step.state.slots]


def replace_in_list(model, step):
    step.state.slots[0] = np.full_like(step.state.slots[0], 5)


def append_to_list(model, step):
    step.state.slots.append(step.state.slots[0].copy())


def drop_a_slot(model, step):
    step.state.slots = step.state.slots[:1]


def freeze_slot(model, step):
    step.state.slots[1].flags.writeable = False


def add_a_scalar(model, step):
    step.state.scalars = (*step.state.scalars, 0.5)


def drop_scalars(model, step):
    step.state.scalars = step.state.scalars[:-1] if step.state.scalars else (1.0, 1.0)


def other_bytes(slot):
    return slot.astype(slot.dtype.newbyteorder())


def strided(slot):
    return np.repeat(slot, 2)[::2]


def thinned(slot):
    return np.repeat(slot, 3)[::3]


def change_strides(model, step):
    slot = step.state.slots[0]
    slot.strides = (2 * slot.itemsize,)


def backwards(slot):
    return slot[::-1].copy()[::-1]


def of_the_model(name, change):
    """A change of a vector of the model."""
    return lambda model, step: change(getattr(model, name))


def freeze(array):
    array.flags.writeable = False


def as_column(array):
    array.shape = (-1, 1)


def as_integers(array):
    array.dtype = "int32"


def unpickle(model, step):
    model.__setstate__(copy.deepcopy(model).__getstate__())


def replace_state(name):
    def change(model, step):
        other = np.full_like(getattr(model, name), 0.5)
        model._set_state(replace(model.state, **{name: other}))

    return change


listed = slots_as(np.copy, list)
FOLLOWED = {
    "copies of slots": [slots_as(np.copy)],
    "list of slots": [listed],
    "slot of a list": [listed, replace_in_list],
    "moved slots": [move_slots],
    "strided slots": [slots_as(strided)],
    "strides in place": [slots_as(thinned), change_strides],
    "slots of negative stride": [slots_as(backwards)],
    "slots in a file": [slots_as(lambda slot: slot.view(np.memmap))],
    "unpickled model": [unpickle],
    "other theta": [replace_state("theta")],
    "other grad": [replace_state("grad")],
    "other statistics": [replace_state("statistics")],
}
REFUSED = {
    "dtype": [slots_as(lambda slot: slot.astype("float64"))],
    "dtype in a list": [slots_as(lambda slot: slot.astype("float64"), list)],
    "dtype in place": [lambda model, step: as_integers(step.state.slots[0])],
    "byte order": [slots_as(other_bytes)],
    "shorter": [slots_as(lambda slot: slot[:-1].copy())],
    "longer": [slots_as(lambda slot: np.append(slot, slot[:1]))],
    "shrunk in place": [shrink_in_place],
    "one slot": [drop_a_slot],
    "three slots": [listed, append_to_list],
    "column": [slots_as(lambda slot: slot[:, None].copy())],
    "column in place": [lambda model, step: as_column(step.state.slots[0])],
    "read-only slot": [freeze_slot],
    "scalars": [add_a_scalar],
    "no scalars": [drop_scalars],
    **{
        f"{name} {change.__name__}": [of_the_model(name, change)]
        for name in ("theta", "grad", "statistics")
        for change in (freeze, as_column, as_integers)
    },
}


def outcomes(rng, changes, optimizer):
    """What recorded and eager steps do before, between and after changes."""
    X, y = batches(rng)
    for engine in ("replay", "eager"):
        model, step = steps(engine, optimizer)
        error = ""
        try:
            for change in (None, *changes):
                if change is not None:
                    change(model, step)
                before = model.theta.copy()
                for batch in zip(X, y, strict=True):
                    step(*batch)
                assert (model.theta != before).any()
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
            np.testing.assert_array_equal(model.theta, before)
        theta, statistics = model.theta.copy().ravel(), model.statistics.copy().ravel()
        yield theta, statistics, (error, step.state.step, step.state.scalars)


@pytest.mark.parametrize("case", [*FOLLOWED, *REFUSED])
@pytest.mark.parametrize("optimizer", [Adam(1e-2), Nadam(1e-2), AdamW(1e-2)], ids=repr)
@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_changed_arrays_are_treated_as_by_eager(rng, case, optimizer):
    replayed, eager = outcomes(rng, (FOLLOWED | REFUSED)[case], optimizer)
    for actual, expected in zip(replayed[:2], eager[:2], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    assert replayed[2] == eager[2]
    assert replayed[2][0].startswith("" if case in FOLLOWED else "ArgumentError: ")
    assert bool(replayed[2][0]) == (case in REFUSED)


@pytest.mark.parametrize("name", ["theta", "grad", "statistics"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("copied", [False, True])
def test_vectors_of_a_model_cannot_be_resized(name, dtype, copied):
    """The layers keep views of them, which do not keep memory that `ndarray.resize` frees."""
    for width in (8, 600):
        model = MLP(300, [width], 3, batch_norm=True, dtype=dtype)
        vector = getattr(copy.deepcopy(model) if copied else model, name)
        for size in (vector.size + 7, vector.size - 1, 0):
            with pytest.raises(ValueError, match="cannot resize"):
                vector.resize(size, refcheck=False)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_unchanged_arrays_are_not_recorded_again(rng, monkeypatch, batch_norm):
    X, y = batches(rng)
    recorded, record = [], recorder.Recorder.record

    def count(self, *arguments, **settings):
        recorded.append(1)
        return record(self, *arguments, **settings)

    monkeypatch.setattr(recorder.Recorder, "record", count)
    model = MLP(6, [8], 3, rng=1, batch_norm=batch_norm)
    step = TrainingStep(model, CrossEntropy(), Adam())
    for i in range(20):
        step.state.slots = tuple(step.state.slots) if i % 2 else list(step.state.slots)
        step(X[i % 3], y[i % 3])
        assert len(recorded) == 2  # the pass and the update
    step.state.slots = [slot.copy() for slot in step.state.slots]
    step(X[0], y[0])
    assert len(recorded) == 3
    move_slots(model, step)
    step(X[0], y[0])  # eagerly
    assert len(recorded) == 3
    step(X[0], y[0])
    step(X[0], y[0])
    assert len(recorded) == 5


@pytest.mark.parametrize("engine", ["replay", "eager"])
@pytest.mark.parametrize("name", ["theta", "grad", "statistics"])
def test_read_only_vector_is_refused_until_writeable(rng, engine, name):
    X, y = batches(rng)
    model, step = steps(engine)
    step(X[0], y[0])
    step(X[0], y[0])
    vectors, before = (model.theta, model.grad, model.statistics), model.state
    copies = [vector.copy() for vector in vectors]
    getattr(model, name).flags.writeable = False
    for _ in range(2):
        with pytest.raises(ArgumentError, match=f"{name} must be .*got a read-only array"):
            step(X[0], y[0])
    for vector, expected in zip(vectors, copies, strict=True):
        np.testing.assert_array_equal(vector, expected)
    assert step.state.step == 2
    getattr(model, name).flags.writeable = True
    step(X[0], y[0])
    assert (model.theta != copies[0]).any()
    assert step.engine.startswith(engine)
    assert model.state is before


@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_state_of_another_network_is_refused(rng, engine):
    X, y = batches(rng)
    model, step = steps(engine)
    step(X[0], y[0])
    model.__setstate__(MLP(6, [9], 3).__getstate__())
    before = model.theta.copy()
    for _ in range(2):
        with pytest.raises(ArgumentError, match=r"state must be what Adam\.init makes"):
            step(X[0], y[0])
    np.testing.assert_array_equal(model.theta, before)


@pytest.mark.parametrize("engine", ["replay", "eager"])
@pytest.mark.parametrize("name", ["theta", "grad", "statistics"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_fit_refuses_read_only_vectors(rng, engine, name, epoch):
    """Before the first step, or after an epoch in which a callback made one read-only."""
    X, y = batches(rng)
    model, _ = steps(engine)
    before = model.theta.copy()

    def change(run):
        freeze(getattr(model, name))
        before[...] = model.theta

    if epoch == 0:
        change(None)
    settings = {"callbacks": [change], "epochs": 3, "engine": engine, "progress": False}
    with pytest.raises(ArgumentError, match=f"{name} must be .*got a read-only array"):
        model.fit(X[0], y[0], loss=CrossEntropy(), optimizer=Adam(), **settings)
    np.testing.assert_array_equal(model.theta, before)
    assert len(model.history) == epoch


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_fit_refuses_what_a_step_refuses(rng, case):
    """A callback makes the changes after an epoch; the copies of `fit` may fail first."""
    X, y = batches(rng)
    found = []
    for engine in ("replay", "eager"):
        model, _ = steps(engine)

        def change(run):
            for each in REFUSED[case]:
                each(run.model, run)

        settings = {"callbacks": [change], "epochs": 3, "engine": engine, "progress": False}
        with pytest.raises(ValueError, match=r"must be|broadcast") as caught:
            model.fit(X[0], y[0], loss=CrossEntropy(), optimizer=Adam(), **settings)
        found.append((model.theta.copy().ravel(), str(caught.value)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("moves", ["features", "labels", "weights", "all", "none"])
def test_moved_batches_are_read_where_they_are(rng, moves):
    data, labels = batches(rng, n=6)
    weights = rng.random((6, 64)).astype("float32")
    losses = []
    for engine in ("replay", "eager"):
        step = TrainingStep(MLP(6, [8], 3, rng=1), CrossEntropy(), SGD(0.1), engine=engine)
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


@pytest.mark.parametrize("check", [True, False])
def test_resized_batches_of_two_sizes(rng, check):
    """`ndarray.resize` gives one object the sizes of the batches, as in a last batch."""
    data, labels = batches(rng, n=6, rows=96)
    losses = []
    for engine in ("replay", "eager"):
        step = TrainingStep(MLP(6, [8], 3, rng=1), CrossEntropy(), SGD(0.1), engine=engine)
        X, y, keep = np.empty((96, 6), "float32"), np.empty(96, "int64"), []
        for i, rows in enumerate([96, 96, 11, 96, 11, 96]):
            X.resize((rows, 6), refcheck=False)
            y.resize(rows, refcheck=False)
            keep.append(np.full((96, 6), 1e9, "float32"))
            X[...], y[...] = data[i, :rows], labels[i, :rows]
            losses.append(float(step(X, y, check=check)))
    np.testing.assert_allclose(losses[:6], losses[6:], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_transposed_object_is_read_by_its_strides(rng):
    """The object of the last batch gets other strides, without another address or shape."""
    losses = []
    for engine in ("replay", "eager"):
        step = TrainingStep(MLP(6, [8], 3, rng=1), CrossEntropy(), SGD(0.1), engine=engine)
        X = np.linspace(-1, 1, 36, dtype="float32").reshape(6, 6)
        y = np.arange(6) % 3
        losses += [float(step(X, y)) for _ in range(3)]
        X.strides = X.strides[::-1]
        losses += [float(step(X, y)) for _ in range(3)]
    np.testing.assert_allclose(losses[:6], losses[6:], rtol=1e-5)


def unaligned(array):
    """A copy of an array that begins at an odd address."""
    copied = np.empty(array.nbytes + 1, "uint8")[1:].view(array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


LAYOUTS = {
    "reversed rows": lambda a: a[::-1],
    "reversed": lambda a: a[::-1, ::-1] if a.ndim == 2 else a[::-1],
    "Fortran": np.asfortranarray,
    "byte order": other_bytes,
    "zero strides": lambda a: np.broadcast_to(a[:1], a.shape),
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "unaligned": unaligned,
    "memmap": lambda a: a.view(np.memmap),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("check", [True, False])
def test_batch_of_any_layout_equals_eager(rng, layout, check):
    (X, *_), (y, *_) = batches(rng)
    weight = rng.random(64).astype("float32")
    convert, losses = LAYOUTS[layout], []
    for engine in ("replay", "eager"):
        step = TrainingStep(MLP(6, [8], 3, rng=1), CrossEntropy(), Adam(1e-2), engine=engine)
        for changed in (False, False, True, True, False):
            batch = [convert(a) if changed else a for a in (X, y, weight)]
            losses.append(float(step(*batch[:2], weight=batch[2], check=check)))
    np.testing.assert_allclose(losses[:5], losses[5:], rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("features", [6, 700])  # copied, and read in place
def test_rows_of_any_layout_are_predicted(rng, layout, features):
    model = MLP(features, [8], 3)
    X = rng.standard_normal((40, features)).astype("float32")
    for _ in range(CALLS_BEFORE_RECORDING + 2):
        model.forward(X)
    expected = Prediction(model.state)(LAYOUTS[layout](X), model.input_spec.network_inputs)
    np.testing.assert_allclose(model.forward(LAYOUTS[layout](X)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 40])
def test_moved_rows_are_predicted(rng, rows):
    model = MLP(700, [8], 3)  # 40 rows are read in place
    X = np.zeros((rows, 700), "float32")
    keep = []
    for _ in range(30):
        keep = [*keep[-3:], moved(X)]
        X[...] = rng.standard_normal(X.shape)
        expected = Prediction(model.state)(X.copy(), model.input_spec.network_inputs)
        np.testing.assert_allclose(model.forward(X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [freeze, as_column, as_integers], ids=lambda f: f.__name__)
@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_prediction_with_changed_vectors(rng, change):
    """The layers keep views of θ and of the statistics, to which this does nothing."""
    model = MLP(6, [8], 3, batch_norm=True)
    X = rng.standard_normal((4, 6)).astype("float32")
    expected = model.forward(X)
    for _ in range(CALLS_BEFORE_RECORDING + 2):
        model.forward(X)
    for vector in (model.theta, model.statistics):
        change(vector)
        for _ in range(CALLS_BEFORE_RECORDING + 4):
            np.testing.assert_allclose(model.forward(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["copies", "dtype"])
def test_captured_steps_follow_replaced_slots(rng, monkeypatch, case):
    use_fake_device(monkeypatch)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    found = []
    for backend, engine in ((fake_backend("float64"), "replay"), ("numpy", "eager")):

        def change(run):
            xp = run.model.backend.xp
            dtype = xp.float32 if case == "dtype" else xp.float64
            slots = run.state.slots
            run.state.slots = tuple(xp.astype(slot, dtype) * 2 for slot in slots)

        model = MLP(4, [6], 3, backend=backend, dtype="float64")
        settings = {"epochs": 3, "batch_size": 16, "callbacks": [change], "engine": engine}
        error = ""
        try:
            model.fit(X, y, loss=CrossEntropy(), optimizer=Adam(), progress=False, **settings)
        except ArgumentError as raised:
            error = str(raised)
        found.append((np.asarray(model.theta), error))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    assert found[0][1] == found[1][1]
    assert bool(found[0][1]) == (case == "dtype")
