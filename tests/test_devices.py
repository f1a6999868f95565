"""A model on CUDA device 1 while device 0 is current: every function computes on device 1."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import re
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import ArgumentError, CrossEntropy, get_backend, to_numpy
from xpnet import derivatives as d
from xpnet.backend import backend_of
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.losses import MSE
from xpnet.minimize import BFGS, LBFGS, compare, minimize
from xpnet.ops import operations_for, select
from xpnet.ops.cuda import operations
from xpnet.optimizers import ClipByNorm

pytestmark = pytest.mark.gpu

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = np.arange(12) % 2
V = np.linspace(-1, 1, 3 * 4 + 4 * 2 + 2 + 2 * 4).astype("float32")


@pytest.fixture
def cupy(cuda):
    module = pytest.importorskip("cupy")
    if module.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two CUDA devices")
    return module


def model_on(device, **settings):
    given = {"batch_norm": True, "loss": CrossEntropy(), "dtype": "float32"} | settings
    return xpnet.MLP(3, [4], 2, backend="cupy", device=device, **given)


def trained_statistics(model):
    xpnet.recompute_statistics(model, X)
    return model


def fitted(model, X, y, **settings):
    given = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(), "epochs": 2, "progress": False}
    model.fit(X, y, **given | settings)
    return model.theta


def steps(model, X, y):
    step = xpnet.TrainingStep(model, CrossEntropy(), xpnet.Adam(), clip=ClipByNorm(0.1))
    return [step(X, y) for _ in range(2)]


def minimized(model, X, y):
    objective = trained_statistics(model).objective(X, y, CrossEntropy())
    return minimize(objective, model.theta, LBFGS(), max_iter=3).x


def assigned(model, X, y):
    model.theta = np.arange(model.layout.size) / 100
    return model.predict_proba(X)


def copies(model, X, y):
    both = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    assert [each.backend for each in both] == [model.backend] * 2
    return [each.forward(X) for each in both]


def range_tested(model, X, y):
    settings = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(), "n_steps": 10, "batch_size": 6}
    return [np.asarray(xpnet.learning_rate_range(model, X, y, **settings).losses)]


def inspected(model, X, y):
    return [layer.output.mean for layer in xpnet.inspect_layers(model, X, y).layers]


def copied_layers(model, X, y):
    target = xpnet.MLP(3, [4], 2, batch_norm=True, backend=model.backend, rng=1)
    xpnet.copy_layers(model, target, [0, 1])
    return target.forward(X)


def pretrained(model, X, y):
    settings = {"optimizer": xpnet.Adam(), "epochs": 1, "progress": False}
    xpnet.pretrain_layers(model, X, y, loss=CrossEntropy(), **settings)
    return model.theta


def compared(model, X, y):
    objective = trained_statistics(model).objective(X, y, CrossEntropy())
    return [each.x for each in compare(objective, [LBFGS(), BFGS()], model.theta, max_iter=2)]


def numerical(model, X, y):
    model.forward(X)
    by_steps = (d.numerical_gradient, d.complex_step_gradient)
    return [gradient(lambda theta: (theta * theta).sum(), model.theta) for gradient in by_steps]


def first_two(model, X, y):
    return xpnet.first_layers(model, 2).forward(X)


def saved(model, X, y, path="model.safetensors"):
    model.save(path)
    return xpnet.load(path, backend="cupy", device=model.backend.device).forward(X)


def plotted(model, X, y):
    plots = pytest.importorskip("xpnet.plots")
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    plots.weight_images(model, (1, 3))
    for function, width in ((plots.decision_regions, 2), (plots.predictive_curve, 1)):
        narrow = xpnet.MLP(width, [4], 2, backend=model.backend, loss=CrossEntropy())
        function(narrow, X[:, :width], y, points=5, ax=axes)
    return model.forward(X)


def hints(model, X, y):
    student = xpnet.MLP(3, [4], 2, backend=model.backend, rng=1)
    settings = {"optimizer": xpnet.Adam(), "epochs": 1, "progress": False}
    xpnet.fit_hints(student, model, X, student_layer=0, teacher_layer=0, **settings)
    return student.theta


FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "predict": lambda model, X, y: model.predict(X),
    "predict_proba": lambda model, X, y: model.predict_proba(X),
    "forward": lambda model, X, y: model.forward(X, theta=model.theta),
    "forward in training": lambda model, X, y: model.forward(X, training=True),
    "value_and_grad": lambda model, X, y: model.value_and_grad(X, y, CrossEntropy()),
    "evaluate": lambda model, X, y: [
        *model.evaluate(X, y, metrics=[xpnet.metrics.accuracy]).values()
    ],
    "fit eagerly": lambda model, X, y: fitted(model, X, y, engine="eager", validation=0.25),
    "fit": lambda model, X, y: fitted(model, X, y, batch_size=5, l1=1e-3, sample_weight=y + 1.0),
    "fit by a method": lambda model, X, y: fitted(
        trained_statistics(model), X, y, optimizer=LBFGS(), epochs=2
    ),
    "TrainingStep": steps,
    "objective": minimized,
    "theta": assigned,
    "copies": copies,
    "recompute_statistics": lambda model, X, y: (
        xpnet.recompute_statistics(model, X),
        model.statistics,
    )[1],
    "learning_rate_range": range_tested,
    "inspect_layers": inspected,
    "gradient": lambda model, X, y: d.gradient(model, X, y, CrossEntropy()),
    "jvp": lambda model, X, y: d.jvp(model, X, dtheta=V),
    "vjp": lambda model, X, y: d.vjp(model, X, np.ones((12, 2))),
    "hvp": lambda model, X, y: d.hvp(model, X, y, CrossEntropy(), V),
    "hessian": lambda model, X, y: d.hessian(model, X, y, CrossEntropy()),
    "input_jacobian": lambda model, X, y: d.input_jacobian(model, X),
    "parameter_jacobian": lambda model, X, y: d.parameter_jacobian(model, X),
    "gauss_newton_vp": lambda model, X, y: d.gauss_newton_vp(model, X, y, CrossEntropy(), V),
    "fisher_vp": lambda model, X, y: d.fisher_vp(model, X, CrossEntropy(), V),
    "empirical_fisher_vp": lambda model, X, y: d.empirical_fisher_vp(
        model, X, y, CrossEntropy(), V
    ),
    "check_gradients": lambda model, X, y: (
        d.check_gradients(model, X, y, CrossEntropy(), tolerance=1.0).ok
    ),
    "first_layers": first_two,
    "fit_hints": hints,
    "distillation_targets": xpnet.distillation_targets,
    "save and load": saved,
    "weight_images, decision_regions, predictive_curve": plotted,
    "copy_layers": copied_layers,
    "pretrain_layers": pretrained,
    "compare": compared,
    "numerical_gradient, complex_step_gradient": numerical,
}


def test_every_function_of_a_model_is_tested():
    packages = d, xpnet.inspection, xpnet.plots, xpnet.training, xpnet.transfer
    functions = {name: getattr(package, name) for package in packages for name in package.__all__}
    takes = "model", "student", "teacher", "source", "subject"
    of_models = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and set(takes) & set(inspect.signature(function).parameters)
    }
    assert of_models <= {name for names in FUNCTIONS for name in names.split(", ")}


def on_host(result):
    values = result if isinstance(result, list | tuple) else [result]
    return [to_numpy(value) for value in values if value is not None]


@contextmanager
def allocating_only_on(cupy, device):
    """Refuse memory of other devices."""
    malloc = cupy.get_default_memory_pool().malloc

    def allocate(size):
        assert size == 0 or cupy.cuda.get_device_id() == device, "memory of another device"
        return malloc(size)

    with cupy.cuda.using_allocator(allocate):
        yield


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_enter_the_device_of_a_model(name, cupy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function, expected = FUNCTIONS[name], FUNCTIONS[name](model_on(0), X, Y)
    with allocating_only_on(cupy, 1):
        model = model_on(1)
        actual = function(model, X, Y)
        with pytest.raises(ArgumentError, match=r"^X must have 3 columns"):
            function(model, X[:, :2], Y)
    assert cupy.cuda.get_device_id() == 0
    assert model.theta.device.id == model.backend.device == 1
    for ours, theirs in zip(on_host(actual), on_host(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def refused(argument, device):
    """The message for an array on the other device."""
    name = "x" if " " in argument else argument
    return "^" + re.escape(
        f"{argument} must be on CUDA device {device}, that of the model or the current one; "
        f"got an array on CUDA device {1 - device}. "
        f"Write: with cupy.cuda.Device({device}): {name} = cupy.asarray({name})."
    )


def array_on(cupy, device, x):
    with cupy.cuda.Device(device):
        return cupy.asarray(x)


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_features_of_another_device_are_refused(name, cupy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign, own = array_on(cupy, 0, X), array_on(cupy, 1, X)
    with pytest.raises(ArgumentError, match=refused("X", 1)):
        FUNCTIONS[name](model_on(1), foreign, Y)
    assert cupy.cuda.get_device_id() == 0
    FUNCTIONS[name](model_on(1), own, Y)


ARGUMENTS = {
    "y": lambda model, x: model.fit(X, x(Y), loss=CrossEntropy(), optimizer=xpnet.SGD(0.1)),
    "y of a step": lambda model, x: xpnet.TrainingStep(model, CrossEntropy(), xpnet.SGD(0.1))(
        X, x(Y)
    ),
    "weight": lambda model, x: model.value_and_grad(X, Y, CrossEntropy(), weight=x(Y + 1.0)),
    "sample_weight": lambda model, x: model.evaluate(X, Y, sample_weight=x(Y + 1.0)),
    "theta": lambda model, x: model.forward(X, theta=x(np.zeros(model.layout.size))),
    "theta of an objective": lambda model, x: (
        trained_statistics(model)
        .objective(X, Y, CrossEntropy())
        .value(x(np.zeros(model.layout.size, "float32")))
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_of_another_device_are_refused(name, cupy):
    with pytest.raises(ArgumentError, match=refused(name.split()[0], 1)):
        ARGUMENTS[name](model_on(1), lambda x: array_on(cupy, 0, x))
    assert cupy.cuda.get_device_id() == 0
    ARGUMENTS[name](model_on(1), lambda x: array_on(cupy, 1, x))


RAW = {
    "an array": lambda x, other: operations_for(x(X)),
    "predicted": lambda x, other: xpnet.metrics.accuracy(x(Y), other(Y)),
    "target": lambda x, other: xpnet.metrics.accuracy(other(Y), x(Y)),
    "an array to compare": lambda x, other: MSE().value(x(X), other(X)),
    "target of a loss": lambda x, other: MSE().value(other(X), x(X)),
    "target of indices": lambda x, other: CrossEntropy().value_and_grad(other(X), x(Y)),
    "weight of rows": lambda x, other: MSE().value(other(X), other(X), x(X[:, 0])),
    "an array to train": lambda x, other: xpnet.SGD(0.1).init(x(X[0])),
    "grad of a step": lambda x, other: xpnet.SGD(0.1).step(
        other(X[0]), x(X[0]), xpnet.SGD(0.1).init(other(X[0]))
    ),
    "an array to clip": lambda x, other: ClipByNorm(0.1).apply(x(X[0])),
}


@pytest.mark.parametrize("name", RAW)
def test_arrays_are_to_be_on_the_current_device(name, cupy):
    """Functions of bare arrays follow CuPy's rule."""
    argument = name.partition(" of ")[0].partition(" to ")[0]
    with pytest.raises(ArgumentError, match=refused(argument, 0)):
        RAW[name](lambda x: array_on(cupy, 1, x), lambda x: array_on(cupy, 0, x))
    with cupy.cuda.Device(1):
        RAW[name](cupy.asarray, cupy.asarray)


@pytest.mark.parametrize("device", [True, -1, 2, 1.0, "1", "cpu", "cuda:1", np.bool(True)])
def test_unknown_device_is_refused(device, cupy):
    with pytest.raises(
        ArgumentError, match=r"^device must be the index of a CUDA device, 0 to 1; got"
    ):
        get_backend("cupy", device=device)


def test_device_is_fixed_when_a_backend_is_made(cupy):
    """Also if it is the current one by default."""
    with cupy.cuda.Device(1):
        default = get_backend("cupy")
    named = [get_backend("cupy", device=one) for one in (1, np.int64(1), cupy.cuda.Device(1))]
    assert [*named, default] == [default] * 4
    assert default.device == 1
    assert type(named[1].device) is int
    assert default != get_backend("cupy")
    assert "device 1" in str(default)
    theta = model_on(1).theta
    with cupy.cuda.Device(1):
        assert backend_of(theta) == default
    assert default.zeros(2).device.id == default.asarray([1.0]).device.id == 1
    assert pickle.loads(pickle.dumps(default)) == default


def test_kernels_are_checked_once_a_device(cupy, monkeypatch):
    checked = []

    def check(ops):
        checked.append((ops.device, cupy.cuda.get_device_id()))

    monkeypatch.setattr(operations, "check_kernels", check)
    monkeypatch.setattr(select, "_chosen", {})
    for device in (0, 1, 0, 1):
        with cupy.cuda.Device(device):
            operations_for(cupy.zeros(1))
    assert checked == [(0, 0), (1, 1)]


def test_rows_are_streamed_to_the_device_of_a_model(cupy, tmp_path):
    """By a thread, whose current device is its own."""
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", "float32", "r", shape=X.shape)
    expected = fitted(model_on(0), mapped, Y, batch_size=4)
    with allocating_only_on(cupy, 1):
        actual = fitted(model_on(1), mapped, Y, batch_size=4)
    np.testing.assert_array_equal(to_numpy(actual), to_numpy(expected))


def test_callbacks_run_on_the_device_of_the_model(cupy):
    seen, model = [], model_on(1)

    def look(run):
        seen.append((cupy.cuda.get_device_id(), model.predict(X).device.id))

    fitted(model, X, Y, callbacks=[look])
    assert seen == [(1, 1)] * 2


def test_graphs_of_another_device_are_freed(cupy):
    with cupy.cuda.Device(1):
        capture = CudaCapture()
        with capture.capturing():
            replay = capture.capture(lambda: cupy.zeros(1000) + 1.0)
    pool = capture.pool
    del capture, replay
    gc.collect()
    with cupy.cuda.Device(1):
        assert pool.n_free_blocks() == 0
