"""A batch that is computed in parts gives the step of the whole batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import looped
from helpers.fake_device import fake_backend, use_fake_device
from helpers.training_cases import ENGINES, LOSSES, OPTIMIZERS, SETTINGS, targets, width_of

import xpnet
from xpnet import (
    MLP,
    Adam,
    ArgumentError,
    CrossEntropy,
    Dense,
    Dropout,
    HalfMSE,
    Sequential,
    Tanh,
    TrainingCheckpoint,
    TrainingStep,
)
from xpnet.data.preprocessing import InputSpec
from xpnet.engine.accumulated_step import PartSum
from xpnet.engine.loss_scaling import LossScaling
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.random import stream_key
from xpnet.training.resuming import read_training

NEAR = {"rtol": 1e-12, "atol": 1e-14}
N = 50


def task(rows=N):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(rows, 4))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def train(k, backend="numpy", data=None, network=None, **settings):
    """A model trained for three epochs: batches of 16 rows and one of 2."""
    network = {"dropout": 0.4, "activation": Tanh()} | (network or {})
    model = MLP(4, [6, 5], 3, backend=backend, dtype="float64", rng=1, **network)
    arguments = {"loss": CrossEntropy(), "optimizer": Adam(0.01), "epochs": 3, "batch_size": 16}
    arguments |= {"progress": False, "rng": 5} | settings
    X, y = data or task()
    model.fit(X, y, accumulate=k, **arguments)
    return model


def numbers(model):
    history = model.history
    columns = [history[name] for name in history.columns if name != "seconds"]
    return [xpnet.to_numpy(model.theta), *columns]


def assert_near(model, expected):
    for actual, wanted in zip(numbers(model), numbers(expected), strict=True):
        np.testing.assert_allclose(actual, wanted, **NEAR)
    assert model.state.streams.drawn == expected.state.streams.drawn


def parts(n):
    """What the engine of a training says about parts."""
    return f"; each batch in {n} parts"


# --- fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@looped(k=[2, 3, 5, 16])
def test_fit_in_parts_is_that_of_whole_batches(k, engine):
    """Parts of 6, 6 and 4 rows for k = 3; the last batch has two rows."""
    model = train(k, engine=engine)
    assert_near(model, train(1, engine=engine))
    assert model.history.engine.startswith(engine)
    assert model.history.engine.endswith(parts(k))


@pytest.mark.parametrize("engine", ENGINES)
@looped(name=SETTINGS)
def test_settings_count_once_per_batch(name, engine):
    settings = SETTINGS[name]
    assert_near(train(3, engine=engine, **settings), train(1, engine=engine, **settings))


@looped(optimizer=[optimizer for optimizer in OPTIMIZERS if not optimizer.ascent])  # not SAM
def test_optimizers_take_one_step_per_batch(optimizer):
    one, other = (train(k, optimizer=optimizer, epochs=2) for k in (3, 1))
    # AdaGrad and others divide by roots of small gradients, which amplifies rounding.
    np.testing.assert_allclose(one.theta, other.theta, rtol=1e-9, atol=1e-10)


@looped(loss=LOSSES)
def test_losses_are_means_over_the_whole_batch(loss, rng):
    n_out = width_of(loss, 4)
    X, y = rng.normal(size=(30, 4)), targets(rng, loss, n_out)
    weight, found = rng.random(30), []
    for k in (1, 4):
        model = MLP(4, [5], n_out, activation=Tanh(), dtype="float64")
        step = TrainingStep(model, loss, xpnet.SGD(0.1), accumulate=k)
        value = float(step(X, y, weight=weight))
        found.append([value, *model.grad.copy(), *model.theta])
    np.testing.assert_allclose(found[1], found[0], **NEAR)


def test_backends_train_in_parts(place):
    backend = place.backend
    data = [place.array(array) for array in task()]
    weight = place.array(np.linspace(0.1, 2, N))
    models = [train(k, backend, data, sample_weight=weight, l2=0.01) for k in (3, 1)]
    assert_near(*models)
    assert models[0].history.engine == models[1].history.engine + parts(3)


@pytest.mark.parametrize("kernels", [False, True])
def test_captured_steps_train_in_parts(kernels, monkeypatch):
    device = use_fake_device(monkeypatch, kernels)
    settings = {"sample_weight": np.linspace(0.1, 2, N), "clip": xpnet.ClipByNorm(0.05)}
    model = train(3, fake_backend("float64"), **settings)
    assert model.history.engine == "replay: a CUDA graph" + parts(3)
    assert device.replayed > 0
    assert_near(model, train(1, engine="eager", **settings))


@pytest.mark.parametrize("kernels", [False, True])
def test_captured_single_steps_are_in_parts(kernels, monkeypatch):
    device, found = use_fake_device(monkeypatch, kernels), []
    for backend, engine, k in ((fake_backend("float64"), "replay", 3), ("numpy", "eager", 1)):
        model = MLP(4, [6], 3, dropout=0.3, backend=backend, dtype="float64")
        step = TrainingStep(model, CrossEntropy(), Adam(0.01), engine=engine, accumulate=k)
        losses = [float(step(*task(rows))) for rows in (20, 20, 13, 20)]
        found.append([*losses, *xpnet.to_numpy(model.theta)])
        assert step.engine.endswith(parts(3)) == (k == 3)
    assert device.replayed == 4
    np.testing.assert_allclose(found[1], found[0], **NEAR)


def test_parts_without_weight_do_not_count():
    """The first part of each batch, and the whole last batch, have no weight."""
    weight = np.ones(N)
    for start in (0, 16, 32):
        weight[start : start + 6] = 0
    weight[48:] = 0
    how = {"sample_weight": weight, "shuffle": False}
    assert_near(train(3, **how), train(1, **how))


@dataclass(frozen=True)
class Parts(HalfMSE):
    """Notes the number of rows of each gradient."""

    replayable = False

    def value_and_grad(self, output, target, weight=None, *, out=None):
        seen.append(output.shape[0])
        return super().value_and_grad(output, target, weight, out=out)


seen: list[int] = []


def test_batches_are_cut_into_equal_parts(tmp_path):
    """The rows of a memory-mapped file are read part by part."""
    X = np.memmap(tmp_path / "X", "float64", "w+", shape=(N, 4))
    X[...] = task()[0]
    read, convert = [], InputSpec.network_inputs
    seen.clear()

    def network_inputs(spec, rows):
        read.append(len(rows))
        return convert(spec, rows)

    model = MLP(4, [3], 1, dtype="float64")
    how = {"loss": Parts(), "optimizer": Adam(), "batch_size": 20, "accumulate": 3, "epochs": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InputSpec, "network_inputs", network_inputs)
        model.fit(X, X[:, 0], progress=False, **how)
    assert seen == [7, 7, 6, 7, 7, 6, 4, 4, 2]
    assert read[: len(seen)] == seen


def test_memory_of_the_layers_falls():
    sizes = []
    for k in (1, 4):
        model = MLP(30, [40, 40], 3)
        step = TrainingStep(model, CrossEntropy(), Adam(), engine="eager", accumulate=k)
        step(np.zeros((128, 30)), np.zeros(128, np.int64))
        sizes.append(sum(block.size for block in step._step.value_and_grad.blocks))
    assert 0.2 * sizes[0] < sizes[1] < 0.3 * sizes[0]


def test_loss_of_the_history_is_that_of_the_batch():
    """Without an update it is the mean over all rows, in evaluation mode as in training."""
    X, y = task()
    for k in (1, 3):
        model = train(k, network={"dropout": 0.0}, optimizer=xpnet.SGD(1e-300), epochs=1)
        expected = model.evaluate(X, y)["loss"]
        np.testing.assert_allclose(model.history["loss"], [expected], rtol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
def test_overflow_in_a_later_part_names_the_step(engine):
    X = np.array(task()[0])
    X[16 + 8] = 1e200  # in the second batch, the second part
    model = Sequential([Dense(1)], 4, dtype="float64")
    how = {"loss": HalfMSE(), "optimizer": xpnet.SGD(1e-3), "batch_size": 16, "shuffle": False}
    with pytest.raises(xpnet.NonFiniteError) as caught:
        model.fit(X, np.zeros(N), accumulate=3, engine=engine, progress=False, **how)
    assert (caught.value.epoch, caught.value.step) == (1, 2)


# --- TrainingStep ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@looped(k=[1, 2, 3, 7, 100], weighted=[False, True])
def test_training_step_in_parts(k, weighted, engine):
    """With 100 parts every part is one row."""
    found = []
    for accumulate in (1, k):
        model = MLP(4, [6], 3, dropout=0.3, dtype="float64")
        step = TrainingStep(
            model, CrossEntropy(), Adam(0.01), l1=0.01, engine=engine, accumulate=accumulate
        )
        losses = []
        for rows in (20, 20, 13, 20):
            X, y = task(rows)
            losses.append(float(step(X, y, weight=np.arange(rows) % 3 if weighted else None)))
        found.append([*losses, *model.theta, *model.grad])
        assert (step.state.step, model.state.masks.step) == (4, 4)
        assert step.engine.startswith(engine)
    np.testing.assert_allclose(found[1], found[0], **NEAR)


@pytest.mark.skipif(bool(why_not_recorded()), reason=f"no replay: {why_not_recorded()}")
def test_parts_of_one_shape_share_a_recording():
    model = MLP(4, [6], 3, dropout=0.3)
    step = TrainingStep(model, CrossEntropy(), Adam(), accumulate=6)
    for _ in range(3):
        step(*task(20))  # five parts of four rows
        step(*task(23))  # five parts of four rows and one of three
    assert len(step._step._step._passes) == 2


def test_step_inside_a_step_is_in_parts_too():
    """A signal handler that interrupts a step takes one of its own."""
    results = []
    for k, expected in ((1, [20]), (3, [7, 7, 6])):
        model, X = MLP(4, [6], 4, dropout=0.3, dtype="float64"), task(20)[0]
        step = TrainingStep(model, Parts(), Adam(0.01), accumulate=k)
        step(X, X)
        seen.clear()
        step._lock.busy = True  # as during a step
        step(X, X)
        step._lock.busy = False
        assert seen == expected
        results.append(model.theta.copy())
    np.testing.assert_allclose(results[1], results[0], **NEAR)


def test_interrupted_part_leaves_the_masks_of_rows():
    """The next step begins with row 0 again."""
    model = MLP(4, [6], 3, dropout=0.3, dtype="float64")

    @dataclass(frozen=True)
    class Fails(CrossEntropy):
        def value_and_grad(self, output, target, weight=None, *, out=None):
            if model.state.masks.first_row:
                raise KeyboardInterrupt
            return super().value_and_grad(output, target, weight, out=out)

    step = TrainingStep(model, Fails(), Adam(), engine="eager", accumulate=2)
    with pytest.raises(KeyboardInterrupt):
        step(*task(20))
    assert model.state.masks.first_row == 0


# --- the scale of the loss ------------------------------------------------------------------------

SCALES = {
    "finite": ([1.0, 2.0, 3.0], 8.0, 2.0),
    "overflow in the first part": ([np.inf, 2.0, 3.0], 4.0, np.inf),
    "overflow in the last part": ([1.0, 2.0, np.nan], 4.0, np.nan),
}


@looped(name=SCALES)
def test_scale_of_the_loss_is_divided_once(name, place):
    grads, expected_scale, mean = SCALES[name]
    model = MLP(1, [], 1, backend=place.backend)
    scaling, rest = LossScaling(model.grad, 8.0, interval=9), iter(grads)

    def gradient(X, y, weight):
        model.grad[...] = 8.0 * next(rest)
        return place.xp.sum(X)

    X, y = place.array(np.ones((2, 1))), place.array(np.zeros(2))
    with np.errstate(all="ignore"):
        PartSum(model.state).gradient([(X, y, None)] * 3, gradient, scaling)
    assert float(scaling.state[0]) == expected_scale
    assert float(scaling.state[1]) == (1.0 if np.isfinite(mean) else 0.0)  # one step was counted
    np.testing.assert_array_equal(place.host(model.grad), [mean] * 2)


# --- random layers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noisy:
    """A user-defined layer with two masks, by the rows of the batch."""

    stochastic = masks_by_row = True

    def specs(self, n_in):
        return xpnet.layers.base.LayerSpec(n_in)

    def forward(self, p, x, ctx):
        ctx.claim()
        key, row = ctx.key, ctx.first_row
        masks = [ctx.ops.keep_mask(x, stream_key(key, i), 0.3, first_row=row) for i in range(2)]
        mask = masks[0] * masks[1]
        return x * mask, mask

    def backward(self, p, g, saved, dy, ctx):
        return dy * saved


@dataclass(frozen=True)
class Undeclared(Noisy):
    """As a subclass it may draw other numbers."""


@dataclass(frozen=True)
class Container:
    """A layer that contains another one, in a child context."""

    layer: object

    @property
    def stochastic(self):
        return self.layer.stochastic

    def specs(self, n_in):
        return xpnet.layers.base.nested_specs([self.layer], n_in)

    def forward(self, p, x, ctx):
        return self.layer.forward({}, x, ctx.child(0))

    def backward(self, p, g, saved, dy, ctx):
        return self.layer.backward({}, {}, saved, dy, ctx.child(0))


@pytest.mark.parametrize("engine", ["eager", None])
@looped(layer=[Noisy(), Container(Noisy()), Container(Dropout(0.4))])
def test_own_random_layers_have_the_masks_of_rows(layer, engine):
    found = []
    for k in (1, 3):
        model = Sequential([Dense(6, Tanh()), layer, Dense(3)], 4, dtype="float64")
        step = TrainingStep(model, CrossEntropy(), Adam(0.01), engine=engine, accumulate=k)
        losses = [float(step(*task(20))) for _ in range(4)]
        found.append([*losses, *model.theta])
    np.testing.assert_allclose(found[1], found[0], **NEAR)


def test_masks_of_parts_differ():
    """They would be equal if each part began at row 0."""
    x = np.zeros((4, 9), "float32")
    ops = xpnet.ops.operations_for(x)
    one, other = (ops.keep_mask(x, 7, 0.5, first_row=row) for row in (0, 4))
    assert (one != other).any()
    whole = ops.keep_mask(np.zeros((8, 9), "float32"), 7, 0.5)
    np.testing.assert_array_equal(np.concatenate([one, other]), whole)


# --- what is refused ------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoMean(HalfMSE):
    row_mean = False


def refused(accumulate=2, layers=(), loss=None, **fit):
    model = Sequential([Dense(3), *layers, Dense(3)], 4)
    before = model.theta.copy()
    X, y = task()
    loss = CrossEntropy() if loss is None else loss
    y = np.zeros((N, 3)) if isinstance(loss, HalfMSE) else y
    arguments = {"optimizer": Adam(), "batch_size": 16, "progress": False} | fit
    try:
        model.fit(X, y, loss=loss, accumulate=accumulate, **arguments)
    finally:
        np.testing.assert_array_equal(model.theta, before)


REFUSED = {
    "no parts": ({"accumulate": 0}, "accumulate must be an integer of at least 1; got 0"),
    "half a part": ({"accumulate": 1.5}, "accumulate must be an integer"),
    "more parts than rows": (
        {"accumulate": 17},
        "accumulate must be at most batch_size, 16: a part has at least one row; got 17.",
    ),
    "batch norm": (
        {"layers": [xpnet.BatchNorm()]},
        "accumulate must be 1 with BatchNorm() in layer 1, which normalizes by the whole batch; "
        "got 2.",
    ),
    "a loss that is no mean": (
        {"loss": NoMean()},
        "accumulate must be 1 for NoMean(), which is not a mean over rows and needs the whole "
        "batch; got 2.",
    ),
    "undeclared masks": (
        {"layers": [Container(Undeclared())]},
        "accumulate must be 1 with Undeclared in layer 1, whose random numbers are not known to be "
        "those of the rows of the whole batch; got 2. Pass first_row=ctx.first_row to "
        "ops.keep_mask and set masks_by_row = True.",
    ),
    "a method": (
        {"optimizer": xpnet.minimize.LBFGS(), "batch_size": None},
        "accumulate must be left out for LBFGS, which sees all rows in every iteration; got 2.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_fit(name):
    case, message = REFUSED[name]
    with pytest.raises(ArgumentError) as caught:
        refused(**case)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["no parts", "batch norm", "a loss that is no mean"])
def test_refused_by_training_step(name):
    case, message = REFUSED[name]
    model = Sequential([Dense(3), *case.get("layers", ()), Dense(3)], 4)
    loss, k = case.get("loss", CrossEntropy()), case.get("accumulate", 2)
    with pytest.raises(ArgumentError) as caught:
        TrainingStep(model, loss, Adam(), accumulate=k)
    assert str(caught.value).startswith(message)


def test_one_part_refuses_nothing():
    model = Sequential([Dense(3), xpnet.BatchNorm(), Undeclared(), Dense(3)], 4)
    TrainingStep(model, CrossEntropy(), Adam(), accumulate=1)(*task())


# --- resuming -------------------------------------------------------------------------------------


class Interrupt:
    """Interrupts a training after the second step of its second epoch, as Ctrl-C does."""

    stateless = True

    def step(self, run):
        if (run.epoch, run.step) == (2, 2):
            run.interrupt()


def interrupted(path):
    callbacks = [Interrupt(), TrainingCheckpoint(path, steps=2)]
    train(3, callbacks=callbacks, on_interrupt="return")


def test_resumed_training_keeps_its_parts(tmp_path):
    interrupted(tmp_path / "run")
    X, y = task()
    resumed = xpnet.resume(tmp_path / "run", X, y, callbacks=[], progress=False)
    assert resumed.history.engine.endswith(parts(3))
    for actual, expected in zip(numbers(resumed), numbers(train(3)), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_parts_may_change_when_resumed(tmp_path):
    """As the engine may: the numbers are equal to rounding, and a warning says so."""
    interrupted(tmp_path / "run")
    with pytest.warns(UserWarning, match="each batch in 3 parts"):
        resumed = train(1, resume=tmp_path / "run")
    for actual, expected in zip(numbers(resumed), numbers(train(1)), strict=True):
        np.testing.assert_allclose(actual, expected, **NEAR)


EARLIER = Path(__file__).parent / "data" / "checkpoints" / "format3.safetensors"


def test_earlier_checkpoint_has_whole_batches():
    saved = read_training(EARLIER)
    assert "accumulate" not in saved.settings
    given = {"callbacks": [], "metrics": [], "epochs": None, "validation": ()}
    assert saved.arguments(**given)["accumulate"] == 1
    record = {**saved.record, "settings": {**saved.settings, "accumulate": 4}}
    assert replace(saved, record=record).arguments(**given)["accumulate"] == 4
