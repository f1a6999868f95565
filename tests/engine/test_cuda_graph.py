"""Captured steps equal eager steps for every optimizer, setting and network."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
from helpers.cases import warns_here
from helpers.fake_device import (
    DeviceArray,
    FakeBackend,
    FakeCapture,
    Tape,
    fake_backend,
    fake_operations,
    plain,
    use_fake_device,
)
from helpers.training_cases import NETWORKS, OPTIMIZERS, SETTINGS

import xpnet
from xpnet import MLP, ArgumentError, ClipByNorm, CrossEntropy
from xpnet.engine import captured_epochs, value_and_grad
from xpnet.engine import select as engines
from xpnet.engine.user_defined import user_defined
from xpnet.ops import select
from xpnet.ops.cuda import operations
from xpnet.ops.cuda.matmul import Product
from xpnet.optimizers import OptimizerState
from xpnet.training import progress_bar


@pytest.fixture
def device(monkeypatch):
    """The fake device with the plain operations."""
    return use_fake_device(monkeypatch)


@pytest.fixture
def task(rng):
    X = rng.normal(size=(50, 4))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def train(backend, task, network=None, **settings):
    """A model trained for three epochs, and its history."""
    arguments = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(0.01), "epochs": 3}
    arguments |= {"batch_size": 16, "progress": False, "rng": 5} | settings
    model = MLP(4, [6, 5], 3, backend=backend, **(network or {}))
    return model, model.fit(*task, **arguments)


def assert_same(task, network=None, **settings):
    """Train by eager and by captured steps, and compare θ, statistics and history."""
    backend = xpnet.get_backend("numpy", dtype="float64")
    eager, expected = train(backend, task, network, engine="eager", **settings)
    captured, actual = train(fake_backend("float64"), task, network, engine="replay", **settings)
    assert (expected.engine, actual.engine) == ("eager", "replay: a CUDA graph")
    near = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(np.asarray(captured.theta), eager.theta, **near)
    np.testing.assert_allclose(np.asarray(captured.statistics), eager.statistics, **near)
    assert list(actual.columns) == list(expected.columns)
    for name in set(actual.columns) - {"seconds"}:
        np.testing.assert_allclose(actual[name], expected[name], **near)
    return captured


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_captured_optimizer_equals_eager(optimizer, task, device):
    assert_same(task, optimizer=optimizer)
    assert (device.captured, device.replayed) == (2, 12)  # batches of 16 and of 2 rows


@pytest.mark.parametrize("name", SETTINGS)
def test_captured_setting_equals_eager(name, task, device):
    assert_same(task, **SETTINGS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_captured_network_equals_eager(name, task, device):
    assert_same(task, NETWORKS[name])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [xpnet.AdamW(0.01), xpnet.RMSProp(0.01, norm=True)], ids=repr)
def test_captured_kernels_equal_eager(optimizer, task, device, monkeypatch):
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=True))
    assert_same(
        task,
        {"batch_norm": True, "dropout": 0.2},
        optimizer=optimizer,
        l2=0.1,
        clip=ClipByNorm(0.05),
        sample_weight=np.linspace(0.1, 2, 50),
    )


@pytest.mark.parametrize("kernels", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scaling", ["none", "min-max", "standardize", "one limit"])
@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_uint8_rows_stay_uint8_on_the_device(engine, scaling, kernels, device, monkeypatch, rng):
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels))
    X, y = rng.integers(0, 5, (50, 4)).astype("uint8"), rng.integers(0, 3, 50)
    X[:, 3] = 2  # a constant column
    preprocessing = {
        "none": None,
        "min-max": xpnet.MinMax.fit(X, to=(-1, 1)),
        "standardize": xpnet.Standardize.fit(X),
        "one limit": xpnet.MinMax(0, 255),
    }[scaling]
    kept = []
    begin = type(fake_operations(kernels).for_graphs).begin_step

    def spy(ops, tables, X, *others):
        kept.append(X.source.dtype.name)
        begin(ops, tables, X, *others)

    monkeypatch.setattr(type(fake_operations(kernels).for_graphs), "begin_step", spy)
    thetas = []
    for backend, how in ((fake_backend("float32"), engine), ("numpy", "eager")):
        model = MLP(4, [6], 3, backend=backend, preprocessing=preprocessing)
        history = model.fit(
            *(X, y),
            loss=CrossEntropy(),
            optimizer=xpnet.SGD(0.1),
            validation=0.2,
            epochs=2,
            progress=False,
            engine=how,
        )
        thetas.append([*np.asarray(model.theta), *history["val_loss"]])
    np.testing.assert_allclose(*thetas, rtol=2e-4, atol=1e-6)
    assert ("uint8" in kept) == (engine == "replay")


def test_captured_frozen_and_resumed_equal_eager(task, device, monkeypatch):
    layout = MLP(4, [6, 5], 3).layout
    assert_same(task, optimizer=xpnet.Frozen(xpnet.AdamW(0.01), layout, (0,)))
    state = xpnet.Adam().init(np.zeros(layout.size))
    state.step, state.slots[1][...] = 7, 0.1
    here = xpnet.get_backend("numpy", dtype="float64")
    eager, _ = train(here, task, optimizer=xpnet.Resumed(xpnet.Adam(0.01), state), engine="eager")
    there = fake_backend("float64")

    def copy(state):  # asarray converts the arrays of the fake device
        slots = tuple(there.asarray(np.array(slot)) for slot in state.slots)
        return OptimizerState(slots, state.step, state.scalars)

    monkeypatch.setattr(OptimizerState, "copy", copy)
    model, history = train(there, task, optimizer=xpnet.Resumed(xpnet.Adam(0.01), state.copy()))
    assert history.engine == "replay: a CUDA graph"
    np.testing.assert_allclose(np.asarray(model.theta), eager.theta, rtol=1e-12, atol=1e-13)


class InHalf(Product):
    """Products of factors rounded to 16 bits, as in matrix units."""

    def __call__(self, a, b, out):
        a, b, out = (plain(x) for x in (a, b, out))

        def multiply():
            left, right = (x.astype("float16").astype(x.dtype) for x in (a, b))
            out[...] = left @ right

        with np.errstate(over="ignore", invalid="ignore"):
            multiply()
        Tape.add(multiply)
        return out.view(DeviceArray)


IN_HALF = InHalf(epilogues=frozenset())


@pytest.mark.slow
@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_fp16_keeps_tiny_gradients(engine, n_parts, task, device, monkeypatch):
    """The gradient would be 0 in 16 bits, because the targets are nearly the outputs."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=True))
    monkeypatch.setattr(operations, "checked_product", lambda *given: IN_HALF)
    X, moved = np.abs(task[0]), []
    fp16 = {"precision": "fp16", "engine": engine, "accumulate": n_parts}
    for backend, how in (("numpy", {"engine": "eager"}), (fake_backend("float32"), fp16)):
        model = MLP(4, [], 1, backend=backend)
        model.theta = np.zeros(5)
        optimizer = xpnet.SGD(1.0)
        arguments = {"loss": xpnet.HalfMSE(), "optimizer": optimizer, "epochs": 1}
        model.fit(X, np.full(50, 1e-6), batch_size=50, progress=False, **arguments | how)
        moved.append(np.asarray(model.theta))
    np.testing.assert_allclose(moved[1], moved[0], rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_precision_applies_to_its_fit_only(fails, task, device, monkeypatch):
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=True))
    products = {"fp16": IN_HALF, "float32": None}
    monkeypatch.setattr(
        operations, "checked_product", lambda xp, precision, device: products[precision]
    )
    (X, y), model, loss = task, MLP(4, [], 3, backend=fake_backend("float32")), CrossEntropy()

    def callback(run):
        if fails:
            raise KeyboardInterrupt

    how = {"precision": "fp16", "engine": "eager", "epochs": 1, "callbacks": [callback]}
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext():
        model.fit(X, y, loss=loss, optimizer=xpnet.SGD(0.1), progress=False, **how)
    on_host = MLP(4, [], 3)
    on_host.theta = np.asarray(model.theta)
    expected = on_host.value_and_grad(X, y, loss)[1]
    np.testing.assert_allclose(np.asarray(model.value_and_grad(X, y, loss)[1]), expected, atol=1e-6)


def fit_in_half(X, t, engine, monkeypatch, epochs, batch_size=50):
    """Train with products in 16 bits; the model, and θ and the loss scale after every epoch."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=True))
    monkeypatch.setattr(operations, "checked_product", lambda *given: IN_HALF)
    model = MLP(4, [], 1, backend=fake_backend("float32"))
    thetas, scales, made = [np.array(model.theta)], [], []

    class Noted(value_and_grad.LossScaling):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(value_and_grad, "LossScaling", Noted)

    def note(run):
        thetas.append(np.array(model.theta))
        scales.append(float(np.asarray(made[-1].state)[0]))

    settings = {"precision": "fp16", "engine": engine, "epochs": epochs, "callbacks": [note]}
    settings |= {"loss": xpnet.HalfMSE(), "optimizer": xpnet.Adam(0.1), "progress": False}
    with np.errstate(all="ignore"):
        history = model.fit(X, np.full(len(X), t), batch_size=batch_size, **settings)
    assert history.engine.partition(":")[0] == engine
    return model, thetas, scales


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_fp16_skips_steps_that_overflow(engine, task, device, monkeypatch):
    """The gradient at the output is 1500/50 = 30, which overflows in 16 bits above 2¹¹."""
    with pytest.warns(UserWarning, match="far from the scale"):
        _, thetas, scales = fit_in_half(np.abs(task[0]), 1500.0, engine, monkeypatch, 8)
    assert scales == [2.0**14, 2.0**13, 2.0**12, *[2.0**11] * 5]
    moved = [(a != b).any() for a, b in pairwise(thetas)]
    assert moved == [False] * 4 + [True] * 4
    assert np.isfinite(thetas[-1]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the targets are far from the scale")
def test_fp16_skips_steps_inside_a_graph(task, device, monkeypatch):
    """Some of four steps in one launch are skipped, with the bits of single launches."""
    found = []
    for steps in (1, 4):
        monkeypatch.setattr(captured_epochs, "STEPS_PER_GRAPH", steps)
        _, *numbers = fit_in_half(np.abs(task[0]), 1500.0, "replay", monkeypatch, 3, batch_size=10)
        found.append(numbers)
    (thetas, scales), (of_one, scales_of_one) = found
    assert scales == scales_of_one
    np.testing.assert_array_equal(thetas, of_one)
    assert scales[0] > scales[1] == scales[2]  # the second epoch skips steps and takes others
    assert (thetas[1] != thetas[2]).any()


class Interrupt:
    """Interrupts the training after a step of an epoch."""

    stateless = True

    def __init__(self, epoch, step):
        self.at = epoch, step

    def step(self, run):
        if (run.epoch, run.step) == self.at:
            run.interrupt()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the targets are far from the scale")
@pytest.mark.parametrize("engine", ["replay", "eager"])
@pytest.mark.parametrize("at", [(1, 2), (2, 3)])
def test_fp16_resumes_with_its_scale(engine, at, task, device, monkeypatch, tmp_path):
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=True))
    monkeypatch.setattr(operations, "checked_product", lambda *given: IN_HALF)
    X, t, path = np.abs(task[0]), np.full(len(task[0]), 1500.0), tmp_path / "training"
    settings = {"precision": "fp16", "engine": engine, "epochs": 3, "batch_size": 10, "rng": 2}
    settings |= {"loss": xpnet.HalfMSE(), "optimizer": xpnet.Adam(0.1), "progress": False}
    whole, stopped, resumed = (MLP(4, [], 1, backend=fake_backend("float32")) for _ in range(3))
    whole.fit(X, t, **settings)
    callbacks = [Interrupt(*at), xpnet.TrainingCheckpoint(path, epochs=1)]
    with np.errstate(all="ignore"):
        stopped.fit(X, t, callbacks=callbacks, on_interrupt="return", **settings)
        resumed.fit(X, t, resume=path, **settings)
    np.testing.assert_array_equal(np.array(resumed.theta), np.array(whole.theta))
    with pytest.raises(xpnet.ArgumentError, match="precision must be that of the training"):
        resumed.fit(X, t, resume=path, **settings | {"precision": "bf16"})


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["replay", "eager"])
def test_fp16_overflow_at_every_scale_is_an_error(engine, task, device, monkeypatch):
    warns = pytest.warns(UserWarning, match="far from the scale")
    says = r"epoch 16, .* the parameter layers\.0"
    with warns, pytest.raises(xpnet.NonFiniteError, match=says):
        fit_in_half(np.abs(task[0]), 1e15, engine, monkeypatch, 20)


def test_unknown_precision_is_refused(task):
    with pytest.raises(ArgumentError, match="precision must be 'float32' here; got 'tf32'"):
        train("numpy", task, precision="tf32")
    with pytest.raises(ArgumentError, match="Did you mean 'bf16'"):
        train("numpy", task, precision="bf61")


def test_largest_batch_is_captured_first(task, device, monkeypatch):
    """Buffers that grow later would leave a graph with freed memory."""
    sizes, capture = [], FakeCapture.capture
    monkeypatch.setattr(
        FakeCapture, "capture", lambda one, step: (sizes.append(step.args), capture(one, step))[1]
    )
    train(fake_backend("float64"), task)
    assert sizes == [(16, 1), (2, 1)]


def test_arrays_that_outlive_graphs_use_other_memory(task, device, monkeypatch):
    where, empty = [], FakeBackend.empty
    monkeypatch.setattr(
        FakeBackend,
        "empty",
        lambda *given, **how: (where.append(device.memory_of_graphs), empty(*given, **how))[1],
    )
    train(fake_backend("float64"), task, engine="replay")
    assert len(where) > 5
    assert not any(where)


def test_larger_batch_between_steps_moves_no_buffer(task, device, monkeypatch):
    """Graphs hold addresses, so nothing else may replace the buffers that they were captured on."""
    steps, blocks = [], []

    def kept(*arguments):
        steps.append(captured_epochs.CapturedEpochs(*arguments))
        return steps[-1]

    def between(run):
        before = steps[0].value_and_grad.blocks
        run.model.value_and_grad(*task, CrossEntropy())
        after = steps[0].value_and_grad.blocks
        blocks.append([x is y for x, y in zip(before, after, strict=True)])

    monkeypatch.setattr(engines, "CapturedEpochs", kept)
    train(fake_backend("float64"), task, engine="replay", epochs=2, callbacks=[between])
    assert len(blocks) == 2
    assert all(map(all, blocks))
    assert blocks[0]


def test_second_fit_continues_the_mask_stream(task, device):
    """A second fit draws the same masks as after an eager fit."""
    models = []
    for backend, engine in (("numpy", "eager"), (fake_backend("float64"), "replay")):
        model = MLP(4, [6], 3, dropout=0.5, backend=backend, dtype="float64")
        stream = np.random.default_rng(0)
        for batch_size in (16, 25):
            model.fit(
                *task,
                loss=CrossEntropy(),
                optimizer=xpnet.Adam(0.01),
                epochs=2,
                batch_size=batch_size,
                progress=False,
                engine=engine,
                rng=stream,
            )
        models.append(np.asarray(model.theta))
    np.testing.assert_allclose(models[1], models[0], rtol=1e-12, atol=1e-13)


def test_captured_nan_loss_is_an_error(task, device):
    with pytest.raises(xpnet.NonFiniteError, match="epoch 1, step"), np.errstate(all="ignore"):
        train(fake_backend("float64"), task, engine="replay", optimizer=xpnet.SGD(1e200))


def test_device_reads_do_not_grow_with_steps(task, device, monkeypatch):
    reads, read = [], DeviceArray.read
    monkeypatch.setattr(DeviceArray, "read", lambda x, name: (reads.append(name), read(x, name))[1])
    counts = []
    for batch_size in (2, 25):
        how = {"engine": "eager", "batch_size": batch_size, "sample_weight": np.ones(50)}
        train(fake_backend("float64"), task, **how)
        counts.append(len(reads))
        reads.clear()
    assert counts[0] == counts[1]


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_bar_reads_nothing_from_the_device(engine, task, device, monkeypatch):
    pytest.importorskip("rich", reason="rich is not installed")
    reads, read = [], DeviceArray.read
    monkeypatch.setattr(DeviceArray, "read", lambda x, name: (reads.append(name), read(x, name))[1])
    monkeypatch.setattr(progress_bar, "INTERVAL", 0.0)
    monkeypatch.setattr(progress_bar, "REST", 0.0)
    counts = []
    for progress in (False, "bar"):
        train(fake_backend("float64"), task, engine=engine, progress=progress)
        counts.append(len(reads))
        reads.clear()
    assert counts[0] == counts[1] > 0


def test_host_read_cannot_be_captured(task, device):
    class Reads(xpnet.SGD):
        def update(self, theta, grad, state, scalars):
            if float(theta[0]) > -1e9:
                super().update(theta, grad, state, scalars)

    with pytest.raises(ArgumentError, match="reads a number on the host"):
        train(fake_backend("float64"), task, engine="replay", optimizer=Reads(0.1))


class Counts(CrossEntropy):
    """A loss that counts on the host; a graph would repeat its value at the capture."""

    def value_and_grad(self, output, target, weight=None, **more):
        self.calls.append(len(self.calls))
        loss, grad = super().value_and_grad(output, target, weight, **more)
        return loss * len(self.calls), grad * len(self.calls)


def counting():
    loss = Counts()
    object.__setattr__(loss, "calls", [])
    return loss


class Bent(xpnet.Tanh):
    """A user-defined activation."""


class Slower(xpnet.SGD):
    """A user-defined optimizer."""


STRANGE = {
    "the loss contains Counts": ({}, lambda: {"loss": counting()}),
    "layers.0 contains Bent": ({"activation": Bent()}, dict),
    "the optimizer contains Slower": ({}, lambda: {"optimizer": Slower(0.1)}),
    "clip contains Harder": ({}, lambda: {"clip": type("Harder", (ClipByNorm,), {})(0.5)}),
}


@pytest.mark.parametrize("reason", STRANGE)
def test_user_defined_part_is_captured_on_request(reason, task, device):
    network, settings = STRANGE[reason]
    model, history = train(fake_backend("float64"), task, network, **settings())
    assert device.captured == 0
    assert history.engine.startswith(f"eager: {reason}, which is user-defined: a CUDA graph")
    eager, expected = train("numpy", task, network | {"dtype": "float64"}, **settings())
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(model.theta), eager.theta, rtol=1e-12, atol=1e-13)
    how = settings() | {"engine": "replay"}
    assert train(fake_backend("float64"), task, network, **how)[1].engine == "replay: a CUDA graph"
    assert device.captured > 0


def test_vouched_part_is_captured(task, device):
    bent = type("Vouched", (xpnet.Tanh,), {"replayable": True})()
    _, history = train(fake_backend("float64"), task, {"activation": bent})
    assert history.engine == "replay: a CUDA graph"
    bent = type("Forbidden", (xpnet.Tanh,), {"replayable": False})()
    with pytest.raises(xpnet.ArgumentError, match=r"contains Forbidden.* replayable = False"):
        train(fake_backend("float64"), task, {"activation": bent}, engine="replay")
    assert (
        "replayable = False" in train(fake_backend("float64"), task, {"activation": bent})[1].engine
    )


def test_device_arrays_are_not_user_defined():
    """A resumed state holds device arrays."""
    array = type("ndarray", (), {"__module__": "cupy"})()
    state = OptimizerState((array,))
    assert user_defined(xpnet.Resumed(xpnet.Momentum(0.1), state)) == []


class Failing(FakeCapture):
    def capture(self, step):
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")


def test_failed_capture_warns_and_runs_eagerly(task, device, monkeypatch):
    monkeypatch.setattr(engines, "CudaCapture", Failing)
    with warns_here("could not be captured: cudaError"):
        model, history = train(fake_backend("float64"), task, network={"dropout": 0.3})
    assert history.engine.startswith("eager: a step could not be captured")
    backend = xpnet.get_backend("numpy", dtype="float64")
    eager, _ = train(backend, task, network={"dropout": 0.3}, engine="eager")
    np.testing.assert_allclose(np.asarray(model.theta), eager.theta, rtol=1e-12, atol=1e-13)
    with pytest.raises(ArgumentError, match=r"here; got 'replay'\. a step could"):
        train(fake_backend("float64"), task, engine="replay")


def test_history_names_engine_and_reason(task):
    _, history = train("array_api_strict", task)
    reason = "CUDA graphs are for the backend 'cupy', and this is 'array_api_strict'"
    assert history.engine == f"eager: {reason}"
    with pytest.raises(ArgumentError, match=r"engine must be 'eager' here; got 'replay'\. CUDA"):
        train("array_api_strict", task, engine="replay")
    with pytest.raises(ArgumentError, match="Did you mean 'replay'"):
        train("numpy", task, engine="repla")
