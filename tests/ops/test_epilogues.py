"""Products by cublasLt, alone and with epilogues, on a fake of its C functions."""

from __future__ import annotations

import gc
import threading
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers import emulated_cuda
from helpers.cases import warns_here
from helpers.emulated_cuda import cuda_operations
from helpers.fake_cublas import KINDS, CublasLt, Devices, column, rounded
from helpers.fake_device import DeviceArray, FakeCapture, FakeNamespace, fake_backend
from helpers.fake_device import launch as taped_launch

import xpnet
from xpnet import MLP, CrossEntropy, Dense, HalfMSE, Sequential
from xpnet.activations import Identity, ReLU
from xpnet.backend import get_backend
from xpnet.engine import select as engines
from xpnet.errors import ArgumentError
from xpnet.ops import select
from xpnet.ops.cuda import cublas_lt
from xpnet.ops.cuda import launch as launching
from xpnet.ops.cuda.cublas_lt import BGRADA, BIAS, DEFAULT, RELU_BIAS
from xpnet.ops.cuda.matmul import Product, cublas_product
from xpnet.ops.cuda.operations import CudaOperations
from xpnet.ops.explain import explain
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations
from xpnet.ops.rules.activations import identity, relu

REFERENCE = Operations(np)
NEAR = {"float32": 2e-6, "tf32": 2e-6, "bf16": 2e-6, "fp16": 2e-6, "float64": 1e-14}
rules = pytest.mark.parametrize("rule", [identity, relu])
SHAPES = [(8, 16, 12), (5, 7, 3), (1, 7, 3), (5, 1, 3), (5, 7, 1), (2, 1, 1), (33, 10, 17)]
shapes = pytest.mark.parametrize(("m", "k", "n"), SHAPES)
UNSUPPORTED = ["refused", "none", "a bad state", "refused late"]


def product(precision="float32"):
    """float64 is multiplied alike in every precision."""
    return Product("float32" if precision == "float64" else precision, taped_launch)


def aligned(shape, dtype="f", value=9, offset=0):
    """Numbers at an address that is a multiple of 256 plus an offset in bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 512, "uint8")
    start = -memory.ctypes.data % 256 + offset
    array = memory[start : start + size].view(dtype).reshape(shape)
    array[...] = value
    return array


def matrices(rng, rows, columns, dtype):
    """Matrices: contiguous, transposed and with gaps, at aligned and odd addresses."""
    for extra, turned in ((0, False), (0, True), (2, False), (1, True)):
        shape = (columns, rows + extra) if turned else (rows, columns + extra)
        matrix = aligned(shape, dtype, 0, np.dtype(dtype).itemsize * extra)
        matrix[...] = rng.normal(size=shape)
        yield matrix[:, :rows].T if turned else matrix[:, :columns]


def affine(product, rule=identity, **replaced):
    """A supported product of 4 × 8 and 8 × 5, unless an argument is replaced."""
    given = {"x": aligned((4, 8), value=1), "weight": aligned((8, 5), value=1)}
    given |= {"bias": aligned(5, value=2), "out": aligned((4, 5))}
    return product.affine(rule, **given | replaced)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("precision", NEAR)
@rules
@shapes
def test_affine_with_bias_and_rule_agrees(m, k, n, rule, precision, devices):
    cuda_operations()  # which rounds to 16 bits
    rng, near = np.random.default_rng(0), NEAR[precision]
    dtype = "float64" if precision == "float64" else "float32"
    for x in matrices(rng, m, k, dtype):
        for weight in matrices(rng, k, n, dtype):
            bias, memory = aligned(n, dtype), aligned(m * n + 4, dtype)
            bias[...] = rng.normal(size=n)
            out = memory[2:-2].reshape(m, n)
            assert product(precision).affine(rule, x, weight, bias, out)
            in_bits = precision in ("bf16", "fp16")
            left, right = (rounded(f.copy(), precision) if in_bits else f for f in (x, weight))
            expected = rule(np, left.astype("float64") @ right + bias)
            np.testing.assert_allclose(out, expected, rtol=near, atol=4 * near)
            assert (memory[[0, 1, -2, -1]] == 9).all()
    assert devices.calls.count("Matmul") == 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@shapes
def test_bias_gradient_with_weight_gradient_agrees(m, k, n, dtype, devices):
    rng, near = np.random.default_rng(0), {"rtol": NEAR[dtype], "atol": 10 * NEAR[dtype]}
    for x in matrices(rng, m, k, dtype):
        dz, memory, sums = (aligned(s, dtype) for s in ((m, n), k * n + 4, n + 4))
        dz[...] = rng.normal(size=(m, n))
        out = memory[2:-2].reshape(k, n)
        done = product().gradients(x.T, dz, out, sums[:n])
        assert done == (m > 1)  # for one row it is the row, which older versions do not support
        if done:
            np.testing.assert_allclose(out, x.T @ dz, **near)
            np.testing.assert_allclose(sums[:n], dz.sum(axis=0), **near)
            assert (memory[[0, 1, -2, -1]] == 9).all()
            assert (sums[n:] == 9).all()
    assert devices.calls.count("Matmul") == (4 if m > 1 else 0)


@rules
def test_layer_is_one_product(rule, devices):
    def never(*arguments):
        raise AssertionError("a kernel was started")

    ops = CudaOperations(np, never, Product(launch=never))
    x, weight, bias = np.ones((4, 8), "f"), np.ones((8, 4), "f"), aligned(4, value=-9)
    expected = REFERENCE.affine_and_apply(rule, x, weight, bias)
    np.testing.assert_array_equal(ops.affine_and_apply(rule, x, weight, bias), expected)
    out, sums = np.empty((4, 4), "f"), aligned(4)
    assert ops.affine_and_apply(rule, x, weight, bias, out) is out
    np.testing.assert_array_equal(out, expected)
    assert ops.matmul_and_sum(x[:, :4].T, x[:, 4:], out, sums) is out
    np.testing.assert_array_equal(sums, 4)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", UNSUPPORTED)
def test_unsupported_product_is_left_to_kernels(trouble, devices):
    devices.lt.trouble, ops = trouble, replace(cuda_operations(), product=product())
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s).astype("f") for s in ((4, 8), (8, 5), 5))
    expected = REFERENCE.affine_and_apply(relu, x, weight, bias)
    actual = ops.affine_and_apply(relu, x, weight, bias, np.empty((4, 5), "f"))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    sums, out = np.empty(5, "f"), np.empty((8, 5), "f")
    ops.matmul_and_sum(x.T, actual, out, sums)
    np.testing.assert_allclose(out, x.T @ actual, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums, actual.sum(axis=0), rtol=1e-6)
    assert devices.products == []


# --- arguments ------------------------------------------------------------------------------------


MISFITS = {
    "a rule that is no epilogue": {"rule": activations.tanh},
    "factors of two sizes": {"x": np.ones((4, 7), "f")},
    "factors of two types": {"x": np.ones((4, 8))},
    "no matrix": {"x": np.ones(8, "f")},
    "no rows": {"x": np.ones((0, 8), "f"), "out": np.ones((0, 5), "f")},
    "a short bias": {"bias": np.ones(4, "f")},
    "a bias with gaps": {"bias": np.ones(10, "f")[::2]},
    "a bias of another type": {"bias": np.ones(5)},
    "a bias at 4": {"bias": aligned(5, offset=4)},  # kernels may read four numbers at once
    "a bias at 8": {"bias": aligned(5, offset=8)},
    "a bias at 12": {"bias": aligned(5, offset=12)},
    "an out of another product": {"out": np.ones((5, 4), "f")},
    "an out with gaps": {"out": np.ones((4, 10), "f")[:, ::2]},
    "a factor with gaps": {"x": np.ones((4, 16), "f")[:, ::2]},
    "half numbers": {name: np.ones(s, "e") for name, s in {"x": (4, 8), "weight": (8, 5)}.items()},
}
GRADIENTS = {  # precision and ∂z; the sums are always of float32 numbers
    "tf32": ("tf32", np.ones((4, 5), "f")),
    "bf16": ("bf16", np.ones((4, 5), "f")),
    "fp16": ("fp16", np.ones((4, 5), "f")),
    "a transposed dz": ("float32", np.ones((5, 4), "f").T),
    "no matrix": ("float32", np.ones(4, "f")),
    "one row": ("float32", np.ones((1, 5), "f")),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_arguments_do_not_reach_cublaslt(name, devices):
    assert not affine(product(), **MISFITS[name])
    assert devices.calls == []


@pytest.mark.parametrize("name", GRADIENTS)
def test_unsupported_gradients_are_left_to_a_kernel(name, devices):
    precision, dz = GRADIENTS[name]
    x, out, sums = (aligned(shape) for shape in ((dz.shape[0], 3), (3, 5), 5))
    assert not product(precision).gradients(x.T, dz, out, sums)
    assert devices.calls == []


def test_bias_aligned_to_16_bytes_is_fused(devices):
    assert affine(product(), bias=aligned(5, offset=16))


# --- plans ----------------------------------------------------------------------------------------


def test_repeated_product_creates_nothing(devices):
    assert affine(product())
    devices.calls.clear()
    assert affine(product())
    assert devices.calls == ["MatmulDescSetAttribute", "Matmul"]
    a, out = np.ones((3, 3), "f"), np.ones((3, 3), "f")
    product()(a, a, out)
    devices.calls.clear()
    product()(a, a, out)
    assert devices.calls == ["Matmul"]


def test_plan_serves_layers_with_other_biases(devices):
    """Two layers of one shape have one plan and two biases."""
    for value in (1, 2, 3):
        out = aligned((4, 5))
        assert affine(product(), bias=aligned(5, value=value), out=out)
        np.testing.assert_array_equal(out, 8 + value)
    assert devices.calls.count("MatmulAlgoGetHeuristic") == 1


def test_plan_states_the_alignment_of_addresses(devices):
    """A is the weight, B is x, C and D are the result."""
    for x, weight, out in ((0, 4, 8), (4, 8, 16), (16, 128, 0), (4, 128, 128)):
        given = {"x": aligned((4, 8), offset=x), "weight": aligned((8, 5), offset=weight)}
        assert affine(product(), out=aligned((4, 5), offset=out), **given)
        limits = devices.lt.asked[-1][1]
        expected = [offset or 256 for offset in (weight, x, out, out)]
        assert [limits[name] for name in (5, 6, 7, 8)] == expected


@pytest.mark.parametrize("trouble", UNSUPPORTED)
def test_unsupported_product_is_asked_for_once(trouble, devices):
    devices.lt.trouble = trouble
    assert not affine(product())
    devices.lt.trouble, asked = None, len(devices.calls)
    assert not affine(product())
    assert len(devices.calls) == asked
    assert affine(product(), rule=relu)  # another kind of product is a new query


def test_failed_heuristic_warns_once(devices):
    devices.lt.trouble = "asked badly"
    with warns_here(r"selects no algorithm for a product \(status 7\)"):
        assert not affine(product())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not affine(product())


def test_failed_product_raises_and_keeps_its_plan(devices):
    """The state of the device, or of a captured stream, is unknown after a failure."""
    devices.lt.trouble = "failed"
    with pytest.raises(RuntimeError, match="cublasLtMatmul failed with status 13"):
        affine(product())
    devices.lt.trouble = None
    assert affine(product())


def test_discarded_plans_are_destroyed(devices, monkeypatch):
    monkeypatch.setattr(cublas_lt, "MAX_PLANS", 2)
    for m in range(1, 6):
        assert affine(product(), x=np.ones((m, 8), "f"), out=np.ones((m, 5), "f"))
    gc.collect()
    assert len(devices.lt.alive) == 1 + 2 * 5  # a handle; descriptor, layouts and preference


# --- threads and devices --------------------------------------------------------------------------


def in_threads(*works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_no_handle(devices):
    """A shared one would send products of one thread to the stream of the other."""
    barrier, a = threading.Barrier(2, timeout=60), np.ones((3, 3), "f")

    def work():
        devices.stream[threading.get_ident()] = 1000 + barrier.wait()
        for _ in range(50):
            product()(a, a, np.empty_like(a))
        barrier.wait()

    in_threads(work, work)
    assert len(devices.products) == 100
    assert len(set(devices.products)) == 2  # (thread, handle, stream)
    for of_threads in zip(*set(devices.products), strict=True):
        assert len(set(of_threads)) == 2
    gc.collect()
    handles = [number for _, number in devices.lt.handles]
    assert sorted(devices.lt.alive) == sorted(handles)  # all plans ended with their threads


def test_new_thread_takes_the_handle_of_an_ended_one(devices):
    for _ in range(3):
        in_threads(lambda: affine(product()))
    assert len(devices.lt.handles) == 1


def test_each_device_has_a_handle_of_its_own(devices):
    """A product made on one device multiplies on the current one, in every precision."""
    multiply = [cublas_product(precision) for precision in ("float32", "tf32")]
    for devices.current in (0, 1, 0):
        assert all(affine(each) for each in multiply)
    assert [device for device, _ in devices.lt.handles] == [0, 1]
    handles = [handle for _, handle, _ in devices.products]
    assert handles == [devices.lt.handles[device][1] for device in (0, 0, 1, 1, 0, 0)]


@pytest.mark.parametrize(
    ("wanted", "given"), [(0, []), (1000, [1256]), (1 << 20, [(1 << 20) + 256])]
)
def test_product_takes_the_workspace_it_needs(wanted, given, devices):
    """From the current memory pool, so that streams, threads and graphs share none."""
    devices.lt.workspace = wanted
    for _ in range(2):
        assert affine(product())
    assert list(devices.workspaces.values()) == [(0, size) for size in 2 * given]


# --- the self check -------------------------------------------------------------------------------


class Moved:
    """A namespace that moves arrays and allocates memory: CuPy compiles no kernel for these."""

    asarray, empty, empty_like = map(staticmethod, (np.asarray, np.empty, np.empty_like))


@pytest.fixture
def launched(devices, monkeypatch):
    """The names of the kernels that the library launches, on the CPU."""
    names = []

    def compiled(kernel):
        names.append(kernel.name)
        return lambda grid, block, given: emulated_cuda.launch(kernel, grid, block, given)

    cuda_operations()
    monkeypatch.setattr(launching, "compiled", compiled)
    return names


@pytest.mark.slow
def test_first_array_compiles_one_kernel(launched, devices):
    ops = select._cuda(Moved, 0)
    assert launched == ["rule_relu_of_sum"]
    assert ops.product.epilogues == {BIAS, RELU_BIAS, BGRADA} == {*devices.lt.ended} - {DEFAULT}
    assert ops.why_not_captured == ""
    devices.calls.clear()
    assert ops.at_precision("float32").product is ops.product
    assert devices.calls == []


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_precision_is_checked_once(precision, launched, devices):
    ops = select._cuda(Moved, 0).at_precision(precision)
    assert ops.product.precision == precision
    assert set(launched) == {"rule_relu_of_sum"} | ({"to_16_bits"} if ops.product.rounds else set())
    devices.calls.clear()
    assert ops.at_precision(precision).product is ops.product
    assert devices.calls == []


@pytest.mark.slow
@pytest.mark.parametrize("trouble", UNSUPPORTED)
def test_unsupported_products_do_not_warn(trouble, launched, devices):
    devices.lt.trouble = trouble
    assert isinstance(select._cuda(Moved, 0).product, Product)


def spoil(monkeypatch, epilogue, in_vector=False):
    """Let products with an epilogue give a wrong number."""
    right = CublasLt.run

    def run(self, how, *given):
        right(self, how, *given)
        place, kind, rows, columns, leading = given[-1]
        if how[7] == epilogue and in_vector:
            column(how[8], rows, 1, rows, KINDS[kind])[-1] += 1
        elif how[7] == epilogue:
            column(place, rows, columns, leading, KINDS[kind])[-1, -1] += 1

    monkeypatch.setattr(CublasLt, "run", run)


WRONG = {
    "a product": (DEFAULT,),
    "identity of a fused product": (BIAS,),
    "relu of a fused product": (RELU_BIAS,),
    "the gradient of a weight beside that of a bias": (BGRADA,),
    "the gradient of a bias": (BGRADA, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_wrong_product_falls_back_to_cupy(name, launched, monkeypatch):
    spoil(monkeypatch, *WRONG[name])
    with warns_here(rf"kernels do not work here \({name} differs from that of NumPy\); CuPy"):
        ops = select._cuda(Moved, 0)
    assert type(ops) is Operations
    assert ops.why_not_captured == "CuPy's own matrix products cannot be captured"


@pytest.mark.slow
def test_failed_product_falls_back_to_cupy(launched, devices):
    devices.lt.trouble = "failed"
    with warns_here(r"kernels do not work here \(cublasLtMatmul failed with status 13\); CuPy"):
        assert type(select._cuda(Moved, 0)) is Operations


@pytest.mark.slow
@pytest.mark.parametrize("how", ["does nothing", "no compiler"])
def test_failed_kernel_falls_back_to_cupy(how, launched, monkeypatch):
    def compiled(kernel):
        if how == "no compiler":
            raise OSError(how)
        return lambda *arguments: None

    monkeypatch.setattr(launching, "compiled", compiled)
    reason = {"does nothing": "the result of a kernel differs from that of NumPy"}.get(how, how)
    with warns_here(rf"kernels do not work here \({reason}\); CuPy"):
        assert type(select._cuda(Moved, 0)) is Operations


@pytest.mark.slow
def test_relu_that_loses_nan_is_left_to_a_kernel(launched, devices):
    devices.lt.relu = np.fmax
    ours = select._cuda(Moved, 0).product
    assert ours.epilogues == {BIAS, BGRADA}
    devices.calls.clear()
    assert not affine(ours, rule=relu)
    assert devices.calls == []
    assert affine(ours)


@pytest.mark.slow
def test_precision_with_failing_products_is_refused(launched, monkeypatch):
    ops = select._cuda(Moved, 0)
    spoil(monkeypatch, DEFAULT)
    for precision in ("tf32", "bf16", "fp16"):
        with pytest.raises(ArgumentError, match=r"be 'float32' here; got '.*'\. Its products fail"):
            ops.at_precision(precision)


# --- a missing library ----------------------------------------------------------------------------


class OnDevice:
    """A backend on which steps are captured."""

    class library:  # noqa: N801
        is_cuda = True

    empty = staticmethod(np.empty)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [("broken", "no libcublasLt"), ("no device", "cublasLtCreate failed with status 1")],
)
def test_missing_library_is_a_reason(trouble, reason, launched, devices, monkeypatch):
    """It is loaded once, without a warning."""
    devices.broken, devices.lt.trouble = trouble == "broken", trouble
    ops = select._cuda(Moved, 0)
    assert (ops.product, launched) == (None, ["rule_relu_of_sum"])
    monkeypatch.setitem(select._chosen, np.ndarray, ops)
    reason = f"cublasLt cannot be loaded ({reason})"
    for _ in range(3):
        assert engines.why_not_captured(OnDevice) == reason
        assert ops.at_precision("float32").product is None
        with pytest.raises(ArgumentError, match=r"precision must be 'float32'.* cannot be loaded"):
            ops.at_precision("bf16")
    assert devices.loaded == 1


@pytest.mark.slow
def test_fit_without_library_is_eager_without_warning(device, devices, rng, monkeypatch):
    devices.broken = True
    ops = replace(select._chosen[DeviceArray], product=cublas_product())
    monkeypatch.setitem(select._chosen, DeviceArray, ops)
    monkeypatch.setattr(engines, "why_not_captured", lambda backend: ops.why_not_captured)
    model = MLP(8, [8], 3, backend=fake_backend("float32"))
    how = {"loss": CrossEntropy(), "optimizer": xpnet.SGD(0.1), "progress": False, "epochs": 1}
    for _ in range(2):
        history = model.fit(rng.normal(size=(16, 8)), rng.integers(0, 3, 16), **how)
        assert history.engine == "eager: cublasLt cannot be loaded (no libcublasLt)"


# --- training -------------------------------------------------------------------------------------


@pytest.fixture
def device(devices: Devices, monkeypatch):
    """The fake device, with kernels and the products of the fake cublasLt."""
    cuda_operations()
    ops = CudaOperations(FakeNamespace(), taped_launch, product())
    monkeypatch.setitem(select._chosen, DeviceArray, ops)
    monkeypatch.setattr(CudaOperations, "at_precision", lambda self, precision: self)
    monkeypatch.setattr(engines, "why_not_captured", lambda backend: "")
    monkeypatch.setattr(engines, "CudaCapture", FakeCapture)
    return devices.lt


@pytest.mark.slow
def test_explain_names_cublaslt(device):
    told = [explain("affine_and_apply", b) for b in (fake_backend("float32"), get_backend("numpy"))]
    assert ": one fused product by cublasLt if possible, else a product and" in told[0]
    assert "cublasLt" not in told[1]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [[8, 8], [6, 5]], ids=["even", "odd"])
def test_captured_step_equals_numpy(widths, dtype, device, rng):
    """A replay uses the biases of each layer, although layers of one shape share a plan."""
    X, y = rng.normal(size=(50, 8)), rng.integers(0, 3, 50)
    thetas, how = [], {"loss": CrossEntropy(), "optimizer": xpnet.SGD(0.1), "progress": False}
    for backend, engine in (
        (get_backend("numpy", dtype=dtype), "eager"),
        (fake_backend(dtype), "eager"),
        (fake_backend(dtype), "replay"),
    ):
        model = MLP(8, widths, 3, activation=ReLU(), backend=backend)
        history = model.fit(X, y, epochs=3, batch_size=16, rng=5, engine=engine, **how)
        assert history.engine.partition(":")[0] == engine
        thetas.append(np.asarray(model.theta))
    near = {"float32": 1e-5, "float64": 1e-13}[dtype]
    for theta in thetas[1:]:
        np.testing.assert_allclose(theta, thetas[0], rtol=near, atol=near)
    # A misaligned bias in θ is left to a kernel.
    fused = {BIAS, RELU_BIAS, BGRADA} if widths == [8, 8] else {BIAS, BGRADA}
    assert set(device.ended) == fused | {DEFAULT}


@pytest.mark.slow
def test_failed_product_ends_the_capture(device, rng, monkeypatch):
    """Training continues without graphs and warns; no graph lacks a product."""
    X, y, capture = rng.normal(size=(16, 8)), rng.integers(0, 3, 16), FakeCapture.capture

    def failing(self, step):
        def failing_step():
            device.trouble = "failed"
            try:
                step()
            finally:
                device.trouble = None

        return capture(self, failing_step)

    monkeypatch.setattr(FakeCapture, "capture", failing)
    how = {"loss": CrossEntropy(), "optimizer": xpnet.SGD(0.1), "progress": False, "epochs": 1}
    model = MLP(8, [8], 3, backend=fake_backend("float32"))
    reason = "a step could not be captured: cublasLtMatmul failed with status 13"
    with warns_here(reason):
        history = model.fit(X, y, **how)
    assert history.engine == f"eager: {reason}"
    assert np.isfinite(history["loss"]).all()


@dataclass(frozen=True)
class Flip(Identity):
    """``φ(z) = z`` reversed in each row."""

    def shifted(self, ops, z, bias, out=None):
        y = (z + bias)[:, ::-1]
        return y, y

    def backward_and_sum(self, ops, saved, dy, sums, out=None):
        dz = dy[:, ::-1]
        sums[...] = ops.xp.sum(dz, axis=0)
        return dz


@dataclass(frozen=True)
class Doubled(ReLU):
    """``φ(z) = 2 max(0, z)``."""

    def shifted(self, ops, z, bias, out=None):
        y = 2 * np.maximum(z + bias, 0)
        return y, y


def test_activation_subclass_is_not_fused(rng):
    """User-defined subclasses of activations that can be fused, with other formulas."""
    X, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    for activation in (Flip(), Doubled()):
        model = Sequential([Dense(3, activation)], 4, dtype="float64")
        model.theta[12:] = 0.5
        z = X @ model.theta[:12].reshape(4, 3) + 0.5
        expected = z[:, ::-1] if isinstance(activation, Flip) else 2 * np.maximum(z, 0)
        np.testing.assert_allclose(model.predict(X), expected, rtol=1e-13)
        model.value_and_grad(X, y, HalfMSE())
        dy = (expected - y) / 6
        dz = dy[:, ::-1] if isinstance(activation, Flip) else dy * (z > 0)
        np.testing.assert_allclose(model.grad[:12].reshape(4, 3), X.T @ dz, rtol=1e-12)
        np.testing.assert_allclose(model.grad[12:], dz.sum(axis=0), rtol=1e-12)


# --- the real library -----------------------------------------------------------------------------


@pytest.fixture
def real():
    """cublasLt as installed; its descriptors need no device."""
    pytest.importorskip("cuda.pathfinder", reason="cuda-pathfinder is not installed")
    try:
        return cublas_lt.load()
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no cublasLt: {error}")


def test_fake_and_real_attributes_have_the_same_sizes(real):
    for what, types in CublasLt.ATTRIBUTES.items():
        arguments = (68, 0) if what == "MatmulDesc" else ()
        which = cublas_lt._created(real, f"cublasLt{what}Create", *arguments)
        for attribute, dtype in types.items():
            for size in (1, 2, 4, 8, 16):
                value = np.full(2, 1, "int64")
                set_attribute = getattr(real, f"cublasLt{what}SetAttribute")
                status = set_attribute(which, attribute, value.ctypes.data, size)
                assert status == (0 if size == np.dtype(dtype).itemsize else 7)
        assert getattr(real, f"cublasLt{what}Destroy")(which) == 0
