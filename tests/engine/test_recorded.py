"""Recorded steps equal eager steps for every optimizer, setting, network and loss."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
import weakref
from functools import partial

import numpy as np
import pytest
from helpers.training_cases import (
    ACTIVATIONS,
    LOSSES,
    NETWORKS,
    OPTIMIZERS,
    SETTINGS,
    targets,
    width_of,
)

import xpnet
from xpnet import MLP, Adam, ArgumentError, ClipByNorm, CrossEntropy, Dense, TrainingStep
from xpnet.engine import recorded_step as recorded
from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(f"nothing is compiled: {why_not_compiled()}", allow_module_level=True)

from llvmlite.binding import ResourceTracker

from xpnet.engine import recorder as program
from xpnet.ops.cpu import product, runner, threads
from xpnet.ops.cpu.jit import code_cache, loop

N_IN = 4
NEAR = {"float64": {"rtol": 1e-11, "atol": 1e-13}, "float32": {"rtol": 1e-4, "atol": 1e-6}}


@pytest.fixture
def task(rng):
    X = rng.normal(size=(50, N_IN))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def train(engine, task, network=None, dtype="float64", n_out=3, **settings):
    """A model trained for three epochs, and its history."""
    arguments = {"loss": CrossEntropy(), "optimizer": Adam(0.01), "epochs": 3}
    arguments |= {"batch_size": 16, "progress": False, "rng": 5, "engine": engine} | settings
    model = MLP(N_IN, [6, 5], n_out, dtype=dtype, **(network or {}))
    return model, model.fit(*task, **arguments)


def assert_same(task, network=None, **settings):
    """Train by both engines and compare; a compiler may round a loop in two ways."""
    eager, expected = train("eager", task, network, **settings)
    model, actual = train("replay", task, network, **settings)
    assert (expected.engine, actual.engine) == ("eager", "replay: a list of compiled calls")
    near = NEAR[settings.get("dtype", "float64")]
    np.testing.assert_allclose(model.theta, eager.theta, **near)
    np.testing.assert_allclose(model.statistics, eager.statistics, **near)
    assert list(actual.columns) == list(expected.columns)
    for name in set(actual.columns) - {"seconds"}:
        np.testing.assert_allclose(actual[name], expected[name], **near)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_replayed_passes_are_counted_as_eager_ones(dropout, task):
    """The count is in the files of the model and of a training, even without random masks."""
    models = [train(engine, task, {"dropout": dropout})[0] for engine in ("eager", "replay")]
    eager, replayed = (model.state.streams.drawn for model in models)
    assert eager == replayed
    assert eager[1:] == (3, 12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_replayed_optimizer_equals_eager(optimizer, task):
    assert_same(task, optimizer=optimizer)


@pytest.mark.parametrize("optimizer", [Adam(0.01), xpnet.RMSProp(0.01, norm=True)], ids=repr)
def test_replayed_float32_equals_eager(optimizer, task):
    assert_same(task, optimizer=optimizer, dtype="float32")


@pytest.mark.parametrize("name", SETTINGS)
def test_replayed_setting_equals_eager(name, task):
    assert_same(task, **SETTINGS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_network_equals_eager(name, task):
    assert_same(task, NETWORKS[name], clip=ClipByNorm(0.05), l2=0.1)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_replayed_activation_equals_eager(activation, task):
    assert_same(task, {"activation": activation}, epochs=1)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
def test_replayed_loss_equals_eager(loss, weighted, rng):
    n_out = width_of(loss, 4)
    y = targets(rng, loss, n_out)
    weight = {"sample_weight": np.linspace(0.1, 2, 30)} if weighted else {}
    task = rng.normal(size=(30, N_IN)), y
    assert_same(task, loss=loss, n_out=n_out, epochs=1, optimizer=xpnet.SGD(0.01), **weight)


@pytest.mark.parametrize("m", [20, 32, 600, 2048])
def test_replayed_tall_products_equal_eager(m, rng):
    """Batch sizes at which a product is divided into parts, and at which it is not."""
    X, y = rng.normal(size=(m, 8)), rng.integers(0, 3, m)
    ends = []
    for engine in ("replay", "eager"):
        model = MLP(8, [64, 96, 64], 3, dtype="float64")
        step = TrainingStep(model, CrossEntropy(), xpnet.SGD(0.1), engine=engine)
        ends.append([float(step(X, y)) for _ in range(3)])
    np.testing.assert_allclose(*ends, **NEAR["float64"])


def recorded_and_plain(function, *arrays):
    """The result of a replay of a function on other numbers, and of the function itself."""
    recorder = program.Recorder()
    memory = [array.copy() for array in arrays]
    traced = [recorder.traced(array) for array in memory]
    done = recorder.record(lambda: function(*traced))
    for array, x in zip(memory, arrays, strict=True):
        array[...] = 3.0 - x
    done.replay()
    return done.result, function(*[3.0 - x for x in arrays])


def accumulated(x, y):
    z = np.zeros_like(x)
    z += x
    z[:, 0] -= y[:, 0]
    return z * 1.0


FUNCTIONS = {
    "a sum over a view that is no view": lambda x, y: np.sum(x[:, :2].reshape(-1) * 2.0),
    "a sum over a transposed array": lambda x, y: np.sum(np.reshape(x.T, (-1,)) * 2.0),
    "in place": accumulated,
    "a mask as a keyword": lambda x, y: np.sum(x, where=y > 1),
    "a product onto itself": lambda x, y: np.matmul(x, y, out=x),
    "a product with a vector": lambda x, y: x @ y[:, 0],
    "a product of stacks": lambda x, y: np.dot(x[None], y[None]) * 1.0,
    "an array to fill by its place": lambda x, y: (np.sum(x, 0, None, y[0]), y * 1.0)[1],
    "where": lambda x, y: np.where(x > y, x, 0.0),
    "a 0-d array": lambda x, y: np.max(x) - np.mean(y),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_functions_are_recorded(name, rng):
    actual, expected = recorded_and_plain(FUNCTIONS[name], *rng.normal(size=(2, 3, 3)))
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


REFUSED = {
    "a plain array to fill": lambda x: np.add(x, 1.0, out=np.zeros((3, 3))),
    "a plain array as the target": lambda x: np.zeros((3, 3)).__iadd__(x),
    "a plain array to write into": lambda x: np.zeros((3, 3)).__setitem__(0, x[0]),
    "a condition alone": np.where,
    "a truth as an index": lambda x: x[True],
    "a mask": lambda x: x[x > 0],
    "a decision": lambda x: 1 if x[0, 0] > 0 else 0,
    "a float": lambda x: float(x[0, 0]),
    "a plain copy": np.asarray,
    "another function": np.sort,
    "a number": lambda x: 1.0,
}


@pytest.mark.parametrize("name", REFUSED)
def test_value_dependent_code_is_refused(name):
    recorder = program.Recorder()
    with pytest.raises((TypeError, ValueError)):
        recorder.record(partial(REFUSED[name], recorder.traced(np.ones((3, 3)))))


def test_failed_self_check_runs_eagerly(monkeypatch, task):
    def fails():
        raise RuntimeError("no code")

    monkeypatch.setattr(program, "check_replay", fails)
    _, history = train(None, task)
    assert history.engine == "eager: recorded steps do not work here (no code)"
    with pytest.raises(ArgumentError, match=r"got 'replay'\. recorded steps do not work here"):
        train("replay", task)


def test_replaced_batch_is_released(rng):
    """The array of the first batch is released when another batch replaces it."""
    step = TrainingStep(MLP(N_IN, [6], 3), CrossEntropy(), Adam())
    X, y = rng.normal(size=(2, 8, N_IN)).astype("float32"), rng.integers(0, 3, 8)
    step(X[0], y)
    (known,) = step._step._passes.values()
    first = weakref.ref(known._inputs[0].now)
    step(X[1], y)
    assert first() is None


@pytest.mark.parametrize("n_out", [1, 2])
def test_replayed_two_classes_equal_eager(n_out, task):
    y = (task[0][:, 0] > 0).astype("int64")
    loss = xpnet.BinaryCrossEntropy() if n_out == 1 else CrossEntropy()
    assert_same((task[0], y), loss=loss, n_out=n_out)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64", "bool"])
def test_replayed_target_dtypes_equal_eager(dtype, task):
    assert_same(
        (task[0], (task[0][:, 0] > 0).astype(dtype)), loss=xpnet.BinaryCrossEntropy(), n_out=1
    )


@pytest.mark.parametrize("blas", [True, False])
def test_replayed_wide_layers_equal_eager(blas, monkeypatch, rng):
    """Widths at which products are divided into parts; with and without the BLAS of NumPy."""
    if not blas:
        monkeypatch.setattr(product, "SYMBOLS", ())
    product.blas_function.cache_clear()
    X, y = rng.normal(size=(64, 48)), rng.integers(0, 3, 64)
    models = [MLP(48, [64, 96], 3, dtype="float64") for _ in range(2)]
    for model, engine in zip(models, ("replay", "eager"), strict=True):
        step = TrainingStep(model, CrossEntropy(), Adam(), engine=engine)
        for start in (0, 32, 16):
            step(X[start : start + 32], y[start : start + 32])
    product.blas_function.cache_clear()
    np.testing.assert_allclose(models[0].theta, models[1].theta, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_replayed_steps_on_one_row_equal_eager(dtype, rng):
    X, y = rng.normal(size=(6, 48)).astype(dtype), rng.integers(0, 3, 6)
    models = [MLP(48, [64, 96], 3, dtype=dtype) for _ in range(2)]
    for model, engine in zip(models, ("replay", "eager"), strict=True):
        step = TrainingStep(model, CrossEntropy(), Adam(), engine=engine)
        for i in range(6):
            step(X[i : i + 1], y[i : i + 1])
    np.testing.assert_array_equal(models[0].theta, models[1].theta)


def test_replayed_loops_on_threads_equal_eager(monkeypatch, task):
    monkeypatch.setattr(runner, "MIN_PARALLEL_SIZE", 20)
    monkeypatch.setattr(threads, "n_threads", lambda: 3)
    threads._pool.cache_clear()
    eager, _ = train("eager", task, dtype="float64")
    model, history = train("replay", task, dtype="float64")
    threads._pool.cache_clear()
    assert history.engine == "replay: a list of compiled calls"
    np.testing.assert_allclose(model.theta, eager.theta, rtol=1e-12, atol=1e-14)


class Looks(Dense):
    """A layer with control flow on array values."""

    def forward(self, p, x, ctx):
        y, saved = super().forward(p, x, ctx)
        return (y * 2.0 if float(x[0, 0]) > 0 else y), saved


class SometimesLooks(Adam):
    """An optimizer with control flow on array values, after it has changed θ."""

    def update(self, theta, grad, state, scalars):
        super().update(theta, grad, state, scalars)
        if grad[0] > 0:
            theta[0] = 0.0


class Masked(Dense):
    """A layer that indexes by a mask, so that a shape depends on array values."""

    def forward(self, p, x, ctx):
        y, saved = super().forward(p, x, ctx)
        return y + x[x > 100].sum(), saved


def built(layer, dtype="float64"):
    layers = [xpnet.Dropout(0.3), layer(5, xpnet.Tanh()), Dense(3)]
    return xpnet.Sequential(layers, N_IN, dtype=dtype)


@pytest.mark.parametrize(
    ("layer", "optimizer"),
    [
        (Looks, Adam(0.01)),
        (Masked, Adam(0.01)),
        (Dense, SometimesLooks(0.01)),
        (Looks, xpnet.Nadam()),
    ],
)
def test_unrecordable_step_runs_eagerly(layer, optimizer, task, monkeypatch):
    """From the first step on, and nothing happens twice: no mask is drawn, no step counted."""
    monkeypatch.setattr(type(optimizer), "__module__", "xpnet.optimizers")
    monkeypatch.setattr(layer, "__module__", "xpnet.layers")  # as if xpnet defined it
    settings = {"loss": CrossEntropy(), "epochs": 3, "batch_size": 16, "progress": False, "rng": 5}
    models = [built(layer) for _ in range(2)]
    histories = [
        model.fit(*task, optimizer=optimizer, engine=engine, **settings)
        for model, engine in zip(models, ("eager", None), strict=True)
    ]
    assert histories[1].engine.startswith("eager: a step could not be recorded: ")
    np.testing.assert_array_equal(models[1].theta, models[0].theta)
    assert histories[1]["loss"] == histories[0]["loss"]
    with pytest.raises(ArgumentError, match=r"here; got 'replay'\. a step could not be recorded"):
        built(layer).fit(*task, optimizer=optimizer, engine="replay", **settings)


class Noisy(Dense):
    """A layer that draws random numbers, which a replay would freeze."""

    def forward(self, p, x, ctx):
        return super().forward(p, x + DRAWS.normal(size=x.shape), ctx)


class Bent(xpnet.Tanh):
    """A user-defined activation."""


class OwnLoss(CrossEntropy):
    """A user-defined loss."""


DRAWS = np.random.default_rng(0)
OWN = {
    "eager: layers.1 contains Noisy, which is user-defined and may hold": {"layer": Noisy},
    "replay: a list": {"layer": lambda n, _: Dense(n, Bent()), "loss": OwnLoss()},
    "eager: a step could not be replayed: the optimizer contains SometimesLooks": {
        "optimizer": xpnet.Averaged(SometimesLooks())
    },
}


@pytest.mark.parametrize("engine", OWN)
def test_engine_of_user_defined_part(engine, task):
    settings = {"layer": Dense, "loss": CrossEntropy(), "optimizer": Adam()} | OWN[engine]
    model = built(settings.pop("layer"))
    history = model.fit(*task, epochs=1, progress=False, **settings)
    assert history.engine.startswith(engine)
    step = TrainingStep(model, settings["loss"], settings["optimizer"])
    step(*task)
    assert step.engine == history.engine


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_step_refuses_to_be_copied(engine, copied, task):
    """The copy would train the model of the original."""
    step = TrainingStep(MLP(N_IN, [6], 3), CrossEntropy(), Adam(), engine=engine)
    step(*task)
    with pytest.raises(TypeError, match="copy the model and make a new"):
        copied(step)


def test_replayed_nan_error_equals_eager_error(task):
    messages = []
    for engine in ("eager", "replay"):
        with pytest.raises(xpnet.NonFiniteError) as caught:
            train(engine, task, optimizer=xpnet.SGD(1e30), dtype="float32")
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_step_equals_value_and_grad_and_update(task):
    """With views, Fortran order, lists, other dtypes and arrays that change in place."""
    X, y = task
    kinds = [
        (X[:16], y[:16]),
        (X[16:32], y[16:32]),
        (np.asfortranarray(X[:16]), y[16:32]),
        (X[:32:2], y[:32:2]),
        (X[:16].astype("float32"), y[:16].astype("int32")),
        (X[:16].tolist(), y[:16].tolist()),
        (X[16:32], y[16:32]),
        (X[:5], y[:5]),
    ]
    models = [MLP(N_IN, [6], 3, dtype="float64") for _ in range(2)]
    step = TrainingStep(models[0], CrossEntropy(), Adam(0.01), clip=ClipByNorm(0.1), l1=0.01)
    state, penalty = Adam(0.01).init(models[1].theta), xpnet.optimizers.Penalty(l1=0.01)
    for lr, (X_b, y_b) in zip((None, 0.02, 0.0, *[0.01] * 5), kinds, strict=True):
        value = step(X_b, y_b, lr=lr)
        expected, grad = models[1].value_and_grad(X_b, y_b, CrossEntropy())
        weights = models[1].layout.weights
        penalty.add_grad(models[1].theta[weights], grad[weights])
        ClipByNorm(0.1).apply(grad)
        Adam(0.01).step(models[1].theta, grad, state, lr)
        np.testing.assert_allclose(value, expected, **NEAR["float64"])
        np.testing.assert_allclose(models[0].theta, models[1].theta, **NEAR["float64"])
    assert (step.engine, step.state.step) == ("replay: a list of compiled calls", 8)
    X[:16] += 1.0
    expected = models[1].value_and_grad(X[:16], y[:16], CrossEntropy())[0]
    np.testing.assert_allclose(step(X[:16], y[:16]), expected, **NEAR["float64"])


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_program_keeps_its_machine_code(kept, task, monkeypatch):
    """A program holds its address only, which the garbage collector does not see."""
    if not kept:
        monkeypatch.setattr(code_cache, "_folder", lambda: None)
        loop._loop_or_reason.cache_clear()
    step = TrainingStep(MLP(N_IN, [7], 3), CrossEntropy(), Adam())
    step(*task)
    (known,) = step._step._passes.values()
    calls = [*known.program._calls, *step._step._update._calls]
    assert len(calls) > 8
    for call in calls:
        owner = call.code.owner
        if kept:
            assert isinstance(owner, ResourceTracker) or owner.overloads
            continue
        (result,) = owner.overloads.values()
        owned = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
        assert call.code.address == owned


def test_number_of_recorded_sizes_is_limited(monkeypatch, task):
    monkeypatch.setattr(recorded, "MAX_RECORDED_KINDS", 3)
    models = [MLP(N_IN, [6], 3, dropout=0.5, dtype="float64") for _ in range(2)]
    steps = [
        TrainingStep(model, CrossEntropy(), Adam(), engine=engine)
        for model, engine in zip(models, ("replay", "eager"), strict=True)
    ]
    for n in (3, 4, 5, 6, 7, 3, 6):
        value, expected = (step(task[0][:n], task[1][:n]) for step in steps)
        np.testing.assert_allclose(value, expected, **NEAR["float64"])
    np.testing.assert_allclose(models[0].theta, models[1].theta, **NEAR["float64"])
    assert len(steps[0]._step._passes) == 3


BAD = [
    ({"y": np.array([0, 1, 3])}, "y must hold class indices of 0 to 2"),
    ({"X": np.zeros((3, 5))}, "X must have"),
    ({"X": np.full((3, 4), np.nan)}, "X must"),
    ({"lr": -1.0}, "lr must be a finite number, at least 0; got -1.0"),
    ({"lr": float("nan")}, "lr must be a finite number"),
    ({"weight": np.ones(2)}, "weight must have the shape"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_batches_are_refused(arguments, message):
    model = MLP(N_IN, [6], 3)
    step = TrainingStep(model, CrossEntropy(), Adam())
    good = {"X": np.zeros((3, 4)), "y": np.array([0, 1, 2])}
    for _ in range(2):
        before = model.theta.copy()
        with pytest.raises(ArgumentError, match=message):
            step(**good | arguments)
        np.testing.assert_array_equal(model.theta, before)
        step(**good)


def test_bad_step_settings_are_refused():
    model = MLP(N_IN, [6], 3)
    with pytest.raises(ArgumentError, match="loss must"):
        TrainingStep(model, CrossEntropy, Adam())
    with pytest.raises(ArgumentError, match="engine must be one of eager, replay; got 'repla'"):
        TrainingStep(model, CrossEntropy(), Adam(), engine="repla")
    strict = MLP(N_IN, [6], 3, backend="array_api_strict")
    with pytest.raises(ArgumentError, match=r"got 'replay'\. CUDA graphs are for"):
        TrainingStep(strict, CrossEntropy(), Adam(), engine="replay")
    assert TrainingStep(strict, CrossEntropy(), Adam()).engine.startswith("eager: CUDA")


def test_replay_allocates_no_arrays(task):
    """The buffers of a step are allocated once."""
    model = MLP(N_IN, [64, 64], 3, batch_norm=True)
    step = TrainingStep(model, CrossEntropy(), Adam())
    X, y = task[0].astype("float32"), task[1]
    for _ in range(3):
        step(X, y)
    tracemalloc.start()
    for _ in range(5):
        step(X, y, check=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 50 * 64
