"""Products with epilogues (bias, ReLU, bias gradient) on a fake cublasLt."""

from __future__ import annotations

import ctypes
import gc
import inspect
import warnings
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from helpers import emulated_cuda
from helpers.cases import warns_here
from helpers.emulated_cuda import cuda_operations
from helpers.fake_cublas import KINDS, ColumnMajor, column, rounded, widened
from helpers.fake_device import DeviceArray, FakeCapture, FakeNamespace, Tape, fake_backend
from helpers.fake_device import launch as taped_launch

import xpnet
from xpnet import MLP, CrossEntropy, Dense, HalfMSE, Sequential
from xpnet.activations import Identity, ReLU
from xpnet.backend import get_backend
from xpnet.engine import select as engines
from xpnet.ops import select
from xpnet.ops.cuda import epilogues, operations, self_check
from xpnet.ops.cuda.epilogues import (
    BGRADA,
    BIAS,
    BIAS_ALIGNMENT,
    NOT_SUPPORTED,
    RELU_BIAS,
    CublasLt,
    Epilogues,
)
from xpnet.ops.cuda.matmul import WORKSPACE, Cublas, Product
from xpnet.ops.cuda.operations import CudaOperations
from xpnet.ops.cuda.self_check import checked_epilogues
from xpnet.ops.explain import explain
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations

REFERENCE = Operations(np)
PRECISIONS = ["float32", "tf32", "bf16", "fp16", "float64"]
NEAR = {"float32": 2e-6, "tf32": 2e-6, "bf16": 2e-6, "fp16": 2e-6, "float64": 1e-14}
precisions = pytest.mark.parametrize("precision", PRECISIONS)
RULES = {"identity": activations.identity, "relu": activations.relu}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
SHAPES = [(8, 16, 12), (5, 7, 3), (1, 7, 3), (5, 1, 3), (5, 7, 1), (2, 1, 1), (33, 10, 17)]
shapes = pytest.mark.parametrize(("m", "k", "n"), SHAPES)

INVALID_VALUE, EXECUTION_FAILED = 7, 13
STATUSES = {"failed": EXECUTION_FAILED, "refused late": NOT_SUPPORTED}

ALGORITHM = np.dtype([("data_", "<u8", (8,))])
RESULT = np.dtype(
    [
        *(("algo", ALGORITHM), ("workspace_size", "<u8"), ("state", "<i4")),
        *(("waves_count", "<f4"), ("reserved", "<i4", (4,))),
    ]
)


class LtError(Exception):
    """As `nvmath.bindings.cublasLt.cuBLASLtError`."""

    def __init__(self, status):
        self.status = status
        super().__init__(f"status {status}")


class LtColumnMajor:
    """`nvmath.bindings.cublasLt` on host memory, column-major, as NVIDIA documents it.

    The parameters have the names of the bindings. Descriptors are numbers, as pointers are;
    destroyed ones are invalid. An unknown argument is an error.
    """

    cuBLASLtError = LtError  # noqa: N815
    matmul_heuristic_result_dtype = RESULT
    DESCRIPTOR: ClassVar = {3: "int32", 4: "int32", 7: "uint32", 8: "int64"}
    PREFERENCE: ClassVar = {1: "uint64", 5: "uint32", 6: "uint32", 7: "uint32", 8: "uint32"}

    def __init__(self):
        self.alive, self.calls, self.asked, self.trouble = {}, [], [], None
        self.memory = np.zeros(WORKSPACE // 4096, "uint8")
        self.relu, self.ended = np.maximum, []  # the epilogues of its products

    def create(self):
        return 11

    def _new(self, call, content):
        self.calls.append(call)
        number = 1000 + len(self.calls)
        self.alive[number] = content
        return number

    def matmul_desc_create(self, compute_type, scale_type):
        return self._new("descriptor", {"compute": compute_type, "scale": scale_type})

    def matmul_desc_destroy(self, matmul_desc):
        del self.alive[matmul_desc]

    def get_matmul_desc_attribute_dtype(self, attr):
        return np.dtype(self.DESCRIPTOR[attr]).type

    def matmul_desc_set_attribute(self, matmul_desc, attr, buf, size_in_bytes):
        self._set(matmul_desc, attr, buf, size_in_bytes, self.DESCRIPTOR)

    def matrix_layout_create(self, type, rows, cols, ld):  # noqa: A002
        assert ld >= rows >= 1 <= cols
        return self._new("layout", (type, rows, cols, ld))

    def matrix_layout_destroy(self, mat_layout):
        del self.alive[mat_layout]

    def matmul_preference_create(self):
        return self._new("preference", {})

    def matmul_preference_destroy(self, pref):
        del self.alive[pref]

    def get_matmul_preference_attribute_dtype(self, attr):
        return np.dtype(self.PREFERENCE[attr]).type

    def matmul_preference_set_attribute(self, pref, attr, buf, size_in_bytes):
        self._set(pref, attr, buf, size_in_bytes, self.PREFERENCE)

    def _set(self, which, attribute, address, size, types):
        dtype = np.dtype(types[attribute])
        assert size == dtype.itemsize
        self.calls.append("attribute")
        number = np.frombuffer((ctypes.c_char * size).from_address(address), dtype)[0]
        self.alive[which][attribute] = int(number)

    def matmul_algo_get_heuristic(
        self,
        light_handle,
        operation_desc,
        adesc,
        bdesc,
        cdesc,
        ddesc,
        preference,
        requested_algo_count,
        heuristic_results_array,
        return_algo_count,
    ):
        assert (light_handle, requested_algo_count) == (11, 1)
        self.calls.append("heuristic")
        wanted = self.alive[operation_desc], self.alive[preference]
        self.asked.append(wanted)
        assert 0 < wanted[0][8] % 256 == BIAS_ALIGNMENT  # at most the alignment of every vector
        assert wanted[1][1] < WORKSPACE
        if self.trouble == "refused":
            raise LtError(NOT_SUPPORTED)
        if self.trouble == "asked badly":
            raise LtError(INVALID_VALUE)
        size = ctypes.c_char * RESULT.itemsize
        result = np.frombuffer(size.from_address(heuristic_results_array), RESULT)
        token = operation_desc, adesc, bdesc, cdesc, ddesc, *(wanted[1][a] for a in (5, 6, 8))
        result["algo"]["data_"][0] = token
        result["state"] = 15 if self.trouble == "a bad state" else 0
        count = np.frombuffer((ctypes.c_char * 4).from_address(return_algo_count), "int32")
        count[0] = 0 if self.trouble == "none" else 1

    def matmul(
        self,
        light_handle,
        compute_desc,
        alpha,
        a,
        adesc,
        b,
        bdesc,
        beta,
        c,
        cdesc,
        d,
        ddesc,
        algo,
        workspace,
        workspace_size_in_bytes,
        stream,
    ):
        if self.trouble in STATUSES:
            raise LtError(STATUSES[self.trouble])
        assert (light_handle, stream, workspace_size_in_bytes) == (11, 5, WORKSPACE)
        assert workspace == self.place
        token = np.frombuffer((ctypes.c_char * 64).from_address(algo), "uint64")
        assert tuple(token[:5]) == (compute_desc, adesc, bdesc, cdesc, ddesc)
        assert not any(p % int(need) for p, need in zip((a, b, d), token[5:], strict=True))
        assert (c, cdesc) == (d, ddesc)
        self.calls.append("matmul")
        # The arguments of the kernel are read now; the descriptor may change before it runs.
        how = dict(self.alive[compute_desc])
        sides = [(p, *self.alive[desc]) for p, desc in ((a, adesc), (b, bdesc), (d, ddesc))]
        self.run(how, alpha, beta, *sides)
        Tape.add(self.run, how, alpha, beta, *sides)

    def run(self, how, alpha, beta, a, b, d):
        """The kernel, on memory that has the layouts of its descriptors."""
        kind, out_kind = a[1], d[1]
        assert kind == b[1]
        assert out_kind == {1: 1}.get(kind, 0)  # 16 bits are summed in float32
        assert how["scale"] == out_kind
        assert how["compute"] in {0: (68, 77), 1: (70,)}.get(kind, (68,))
        dtype = KINDS[out_kind]
        left, right = (
            widened(column(at, r, c, ld, KINDS[kind]), dtype) for at, kind, r, c, ld in (a, b)
        )
        left, right = (x.T if how[t] else x for x, t in ((left, 3), (right, 4)))
        assert left.shape[1] == right.shape[0]
        one, zero = (column(p, 1, 1, 1, dtype)[0, 0] for p in (alpha, beta))
        out = column(d[0], *d[2:], dtype)
        assert out.shape == (left.shape[0], right.shape[1])
        z = one * (left @ right) + zero
        assert how[8] % BIAS_ALIGNMENT == 0, "misaligned address"

        def vector(size):
            return column(how[8], size, 1, size, dtype)

        self.ended.append(how[7])
        if how[7] in (4, 6):
            z = z + vector(out.shape[0])
        if how[7] == 6:
            z = self.relu(z, dtype_of(z)(0))
        if how[7] == 256:
            assert not how[3], "BGRADA is documented for A as it lies"
            vector(out.shape[0])[:, 0] = left.sum(axis=1)
        elif how[7] == 512:
            vector(out.shape[1])[:, 0] = right.sum(axis=0)
        else:
            assert how[7] in (4, 6)
        out[...] = z

    @property
    def place(self):
        return self.memory.ctypes.data & -256


def dtype_of(x):
    return x.dtype.type


class Taped(ColumnMajor):
    """Products that a capture records."""

    def gemm_ex(self, *arguments):
        super().gemm_ex(*arguments)
        Tape.add(super().gemm_ex, *arguments)


def product_of(lt, precision="float32"):
    """Products by the fake libraries, in the workspace of the fake cublasLt."""
    memory = SimpleNamespace(ptr=lt.place)
    cublas = Cublas(Taped(), lambda: 5, memory, lambda array: array.ctypes.data)
    in_bits = precision if precision != "float64" else "float32"
    return Product(in_bits, lambda: cublas, lambda n: np.full(n, 7, "uint16"), taped_launch)


def beside(lt):
    """A function that returns the one handle of the fake cublasLt."""
    made = []

    def handle(cublas):
        made.extend([] if made else [CublasLt(lt, cublas)])
        return made[0]

    return handle


def epilogues_at(precision="float32"):
    lt = LtColumnMajor()
    return lt, Epilogues(product_of(lt, precision), beside(lt))


def aligned(size, dtype, value=9, offset=0):
    """Numbers at an address that is a multiple of 256 plus an offset in bytes."""
    memory = np.zeros(size * np.dtype(dtype).itemsize + 512, "uint8")
    start = -memory.ctypes.data % 256 + offset
    array = memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)
    array[...] = value
    return array


def dtype_at(precision):
    return "float64" if precision == "float64" else "float32"


def in_bits(x, precision):
    return rounded(x.copy(), precision) if precision in ("bf16", "fp16") else x


def factors(rng, rows, columns, dtype):
    """Matrices: contiguous, transposed and with gaps, at aligned and odd addresses."""
    for extra, turned in ((0, False), (0, True), (2, False), (1, True)):
        shape = (columns, rows + extra) if turned else (rows, columns + extra)
        whole = aligned(shape[0] * shape[1] + 3, dtype, 0)[extra : extra + shape[0] * shape[1]]
        whole[...] = rng.normal(size=whole.size)
        matrix = whole.reshape(shape)
        yield matrix[:, :rows].T if turned else matrix[:, :columns]


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.slow
@precisions
@rules
@shapes
def test_affine_with_bias_and_rule_agrees(m, k, n, rule, precision):
    emulated_cuda.cuda_operations()  # which rounds to 16 bits
    rng, dtype = np.random.default_rng(0), dtype_at(precision)
    lt, ours = epilogues_at(precision)
    for x in factors(rng, m, k, dtype):
        for weight in factors(rng, k, n, dtype):
            bias, memory = aligned(n, dtype), aligned(m * n + 4, dtype)
            bias[...] = rng.normal(size=n)
            out = memory[2:-2].reshape(m, n)
            assert ours.affine(rule, x, weight, bias, out)
            exact = in_bits(x, precision).astype("float64") @ in_bits(weight, precision)
            near = NEAR[precision]
            np.testing.assert_allclose(out, rule(np, exact + bias), rtol=near, atol=4 * near)
            assert (memory[[0, 1, -2, -1]] == 9).all()
    assert lt.calls.count("matmul") == 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@shapes
def test_bias_gradient_with_weight_gradient_agrees(m, k, n, dtype):
    rng, (lt, ours) = np.random.default_rng(0), epilogues_at()
    for x in factors(rng, m, k, dtype):
        dz = aligned(m * n, dtype).reshape(m, n)
        dz[...] = rng.normal(size=(m, n))
        memory, sums = aligned(k * n + 4, dtype), aligned(n + 4, dtype)
        out = memory[2:-2].reshape(k, n)
        done = ours.gradients(x.T, dz, out, sums[:n])
        assert done == (m > 1)  # for one row it is the row, which older versions do not support
        if done:
            near = {"rtol": NEAR[dtype], "atol": 10 * NEAR[dtype]}
            np.testing.assert_allclose(out, x.T @ dz, **near)
            np.testing.assert_allclose(sums[:n], dz.sum(axis=0), **near)
            assert (memory[[0, 1, -2, -1]] == 9).all()
            assert (sums[n:] == 9).all()
    assert lt.calls.count("matmul") == (4 if m > 1 else 0)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_bias_gradient_is_never_of_rounded_numbers(precision):
    """The sums are always of float32 numbers."""
    lt, ours = epilogues_at(precision)
    x, dz, out, sums = (np.ones(shape, "f") for shape in ((4, 3), (4, 4), (3, 4), 4))
    assert not ours.gradients(x.T, dz, out, sums)
    assert lt.calls == []


def test_plan_serves_layers_with_other_biases():
    """Two layers of one shape have one plan and two biases."""
    lt, ours = epilogues_at()
    x, weight, out = (np.ones((4, 4), "f") for _ in range(3))
    for value in (1, 2, 3):
        bias = aligned(4, "f", value)
        assert ours.affine(activations.identity, x, weight, bias, out)
        np.testing.assert_array_equal(out, 4 + value)
    assert lt.calls.count("heuristic") == lt.calls.count("descriptor") == 1


# --- plans ----------------------------------------------------------------------------------------


def affine(ours, x=None, weight=None, bias=None, out=None, rule=activations.identity):
    """A supported product, unless an argument is replaced."""
    x = aligned(32, "f", 1).reshape(4, 8) if x is None else x
    weight = aligned(40, "f", 1).reshape(8, 5) if weight is None else weight
    bias = aligned(5, "f", 2) if bias is None else bias
    out = aligned(20, "f").reshape(4, 5) if out is None else out
    return ours.affine(rule, x, weight, bias, out)


def test_repeated_product_creates_nothing():
    lt, ours = epilogues_at()
    assert affine(ours)
    lt.calls.clear()
    assert affine(ours)
    assert lt.calls == ["attribute", "matmul"]


def test_plan_states_the_alignment_of_addresses():
    lt, ours = epilogues_at()
    for offset in (0, 4, 8, 16, 128):
        x, weight = (aligned(n, "f", 1, offset) for n in (32, 40))
        out = aligned(20, "f", 1, 2 * offset).reshape(4, 5)
        assert affine(ours, x.reshape(4, 8), weight.reshape(8, 5), out=out)
        _, told = lt.asked[-1]
        alignment = offset or 256
        assert [told[name] for name in (5, 6)] == [alignment] * 2
        assert [told[name] for name in (7, 8)] == [min(2 * alignment, 256)] * 2
    assert len(lt.asked) == 5
    x, weight = aligned(32, "f", 1, 4).reshape(4, 8), aligned(40, "f", 1, 128).reshape(8, 5)
    assert affine(ours, x, weight)
    assert [lt.asked[-1][1][name] for name in (5, 6)] == [128, 4]  # the weight is its A


@pytest.mark.parametrize("offset", [4, 8, 12])
def test_misaligned_bias_is_left_to_a_kernel(offset):
    """No preference states its address, and a kernel that reads four numbers at once would fail."""
    lt, ours = epilogues_at("bf16")
    assert not affine(ours, bias=aligned(5, "f", 2, offset))
    assert lt.calls == []
    assert affine(epilogues_at()[1], bias=aligned(5, "f", 2, 16))


TROUBLES = ["refused", "none", "a bad state", "refused late"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_unsupported_product_is_asked_for_once(trouble):
    lt, ours = epilogues_at()
    lt.trouble = trouble
    assert not affine(ours)
    lt.trouble, asked = None, len(lt.calls)
    assert not affine(ours)
    assert len(lt.calls) == asked
    assert affine(ours, rule=activations.relu)  # another kind of product is a new query
    assert not any(isinstance(content, dict) and 1 in content for content in lt.alive.values())


def test_failed_product_raises_and_keeps_its_plan():
    """The state of the device, or of a captured stream, is unknown after a failure."""
    lt, ours = epilogues_at()
    lt.trouble = "failed"
    with pytest.raises(LtError, match="status 13"):
        affine(ours)
    lt.trouble = None
    assert affine(ours)


def test_failed_heuristic_warns_once():
    lt, ours = epilogues_at()
    lt.trouble = "asked badly"
    with warns_here(r"gives no algorithm \(status 7\)"):
        assert not affine(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not affine(ours)


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
    with warns_here("could not be captured: status 13"):
        history = model.fit(X, y, **how)
    assert history.engine == "eager: a step could not be captured: status 13"
    assert np.isfinite(history["loss"]).all()


def test_discarded_plans_are_destroyed(monkeypatch):
    monkeypatch.setattr(epilogues, "MAX_PLANS", 2)
    lt, ours = epilogues_at()
    for m in range(1, 6):
        x, out = np.ones((m, 8), "f"), np.ones((m, 5), "f")
        assert affine(ours, x, out=out)
    gc.collect()
    assert len(lt.alive) == 2 * 4  # a descriptor and three layouts each


MISFITS = {
    "a rule that is no ending": {"rule": activations.tanh},
    "factors of two sizes": {"x": np.ones((4, 7), "f")},
    "factors of two types": {"x": np.ones((4, 8))},
    "no matrix": {"x": np.ones(8, "f")},
    "no rows": {"x": np.ones((0, 8), "f"), "out": np.ones((0, 5), "f")},
    "a short bias": {"bias": np.ones(4, "f")},
    "a bias with gaps": {"bias": np.ones(10, "f")[::2]},
    "a bias of another type": {"bias": np.ones(5)},
    "an out of another product": {"out": np.ones((5, 4), "f")},
    "an out with gaps": {"out": np.ones((4, 10), "f")[:, ::2]},
    "a factor with gaps": {"x": np.ones((4, 16), "f")[:, ::2]},
    "half numbers": {name: np.ones(s, "e") for name, s in {"x": (4, 8), "weight": (8, 5)}.items()},
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_arguments_do_not_reach_cublaslt(name):
    lt, ours = epilogues_at()
    assert not affine(ours, **MISFITS[name])
    assert lt.calls == []


@pytest.mark.parametrize("dz", [np.ones((5, 4), "f").T, np.ones(4, "f"), np.ones((1, 5), "f")])
def test_unsupported_gradients_are_left_to_a_kernel(dz):
    lt, ours = epilogues_at()
    x = np.ones((dz.shape[0], 3), "f")
    assert not ours.gradients(x.T, dz, np.ones((3, 5), "f"), np.ones(5, "f"))
    assert lt.calls == []


# --- as operations --------------------------------------------------------------------------------


def never(*arguments):
    raise AssertionError("a kernel was started")


@rules
def test_layer_is_one_product(rule):
    _, ours = epilogues_at()
    ops = CudaOperations(np, never, never, ours)
    x, weight, bias = np.ones((4, 8), "f"), np.ones((8, 4), "f"), aligned(4, "f", -9)
    expected = REFERENCE.affine_and_apply(rule, x, weight, bias)
    np.testing.assert_array_equal(ops.affine_and_apply(rule, x, weight, bias), expected)
    out, sums = np.empty((4, 4), "f"), aligned(4, "f")
    assert ops.affine_and_apply(rule, x, weight, bias, out) is out
    np.testing.assert_array_equal(out, expected)
    assert ops.matmul_and_sum(x.T, x, np.empty((8, 8), "f"), aligned(8, "f")).shape == (8, 8)
    assert ops.matmul_and_sum(x[:, :4].T, x[:, 4:], out, sums) is out
    np.testing.assert_array_equal(sums, 4)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_algorithm_a_kernel_adds_the_bias(trouble):
    lt, ours = epilogues_at()
    lt.trouble = trouble
    ops = replace(cuda_operations(), product=ours.product, epilogues=ours)
    x, weight, bias = (
        np.random.default_rng(0).normal(size=s).astype("f") for s in ((4, 8), (8, 5), 5)
    )
    expected = REFERENCE.affine_and_apply(activations.relu, x, weight, bias)
    actual = ops.affine_and_apply(activations.relu, x, weight, bias, np.empty((4, 5), "f"))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    sums, out = np.empty(5, "f"), np.empty((8, 5), "f")
    ops.matmul_and_sum(x.T, actual, out, sums)
    np.testing.assert_allclose(out, x.T @ actual, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums, actual.sum(axis=0), rtol=1e-6)
    assert "matmul" not in lt.calls


@pytest.mark.slow
def test_explain_names_cublaslt(device):
    told = [explain("affine_and_apply", b) for b in (fake_backend("float32"), get_backend("numpy"))]
    assert ": one fused product by cublasLt if possible, else a product and" in told[0]
    assert "cublasLt" not in told[1]


@pytest.fixture
def device(monkeypatch):
    """The fake cublasLt of the fake device, which has kernels and epilogues."""
    cuda_operations()
    lt, ours = epilogues_at()
    ops = CudaOperations(FakeNamespace(), taped_launch, ours.product, ours)
    monkeypatch.setitem(select._chosen, DeviceArray, ops)
    monkeypatch.setattr(CudaOperations, "at_precision", lambda self, precision: self)
    monkeypatch.setattr(engines, "why_not_captured", lambda backend: "")
    monkeypatch.setattr(engines, "CudaCapture", FakeCapture)
    return lt


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
    assert set(device.ended) == ({BIAS, RELU_BIAS, BGRADA} if widths == [8, 8] else {BIAS, BGRADA})


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


# --- the trial ------------------------------------------------------------------------------------


@pytest.fixture
def lt(monkeypatch):
    """The fake cublasLt, which the self-check uses."""
    checked_epilogues.cache_clear()
    lt = LtColumnMajor()
    monkeypatch.setattr(self_check, "Epilogues", lambda product: Epilogues(product, beside(lt)))
    yield lt
    checked_epilogues.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16", "fp16"])
def test_working_epilogues_are_used(precision, lt):
    cuda_operations()
    product = product_of(lt, precision)
    ours = checked_epilogues(product, np)
    assert ours.usable == {BIAS, RELU_BIAS, BGRADA}
    tried = {how[7] for how, _ in lt.asked}
    assert tried == ({4, 6, 256} if precision == "float32" else {4, 6} | {256})
    assert checked_epilogues(product, np) is ours


def test_relu_that_loses_nan_is_left_to_a_kernel(lt):
    lt.relu = np.fmax
    ours = checked_epilogues(product_of(lt), np)
    assert ours.usable == {BIAS, BGRADA}
    calls = len(lt.calls)
    assert not affine(ours, rule=activations.relu)
    assert len(lt.calls) == calls
    assert affine(ours)


@pytest.mark.parametrize("wrong", ["identity", "relu", "weight", "bias"])
def test_wrong_epilogue_warns_and_is_not_used(wrong, lt, monkeypatch):
    right = lt.run

    def run(how, *given):
        right(how, *given)
        address, _, rows, columns, leading = given[-1]
        dtype = KINDS[given[-1][1]]
        out = column(address, rows, columns, leading, dtype)
        epilogue = {"identity": 4, "relu": 6}.get(wrong, 256)
        if how[7] == epilogue:
            target = column(how[8], rows, 1, rows, dtype) if wrong == "bias" else out
            target[-1, -1] += 1

    monkeypatch.setattr(lt, "run", run)
    with warns_here(r"does not work here \(.* differs from"):
        assert checked_epilogues(product_of(lt), np) is None


def test_failed_trial_warns(lt):
    lt.trouble = "failed"
    with warns_here(r"cublasLt does not work here \(status 13\)"):
        assert checked_epilogues(product_of(lt), np) is None


def test_missing_cublaslt_warns(lt, monkeypatch):
    def failing(*arguments):
        raise OSError("no libcublasLt")

    monkeypatch.setattr(lt, "create", failing)
    with warns_here(r"cublasLt does not work here \(no libcublasLt\)"):
        assert checked_epilogues(product_of(lt), np) is None


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trial_without_algorithms_does_not_warn(trouble, lt):
    lt.trouble = trouble
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked_epilogues(product_of(lt), np) is not None


@pytest.mark.parametrize("product", [None, never])
def test_without_cublas_there_are_no_epilogues(product):
    assert checked_epilogues(product, np) is None


@pytest.mark.slow
def test_device_operations_use_working_epilogues(lt, devices, monkeypatch):
    cuda_operations()
    products = {p: product_of(lt, p) for p in ("float32", "bf16")}
    monkeypatch.setattr(operations, "cublas_product", lambda p="float32": products[p])
    monkeypatch.setattr(CudaOperations, "launch", staticmethod(emulated_cuda.launch))
    monkeypatch.setattr(operations, "check_kernels", lambda ops, xp: None)
    ops = select._cuda(np)
    assert ops.epilogues.product is ops.product is products["float32"]
    in_bits = ops.at_precision("bf16")
    assert in_bits.epilogues.product is in_bits.product is products["bf16"]


# --- the bindings ---------------------------------------------------------------------------------


def bindings():
    return pytest.importorskip("nvmath.bindings.cublasLt", reason="no nvmath-python")


def test_constants_equal_those_of_the_bindings():
    lt = bindings()
    kind = lt.Epilogue
    assert (kind.BIAS, kind.RELU_BIAS, kind.BGRADA, kind.BGRADB) == (BIAS, RELU_BIAS, BGRADA, 512)
    names = "TRANSA", "TRANSB", "EPILOGUE", "BIAS_POINTER"
    numbers = (getattr(epilogues, f"_{name}") for name in names)
    assert [getattr(lt.MatmulDescAttribute, name) for name in names] == list(numbers)
    kind = lt.MatmulPreferenceAttribute
    assert kind.MAX_WORKSPACE_BYTES == epilogues._MAX_WORKSPACE_BYTES
    aligned = tuple(kind[f"MIN_ALIGNMENT_{side}_BYTES"] for side in "ABCD")
    assert aligned == epilogues._MIN_ALIGNMENT_BYTES
    assert lt.PointerMode.HOST == 0  # the default, by which one and zero are read


def test_attribute_types_equal_the_bindings():
    lt, ours = bindings(), LtColumnMajor
    for attribute, dtype in ours.DESCRIPTOR.items():
        assert lt.get_matmul_desc_attribute_dtype(attribute) == np.dtype(dtype).type
    for attribute, dtype in ours.PREFERENCE.items():
        assert lt.get_matmul_preference_attribute_dtype(attribute) == np.dtype(dtype).type
    assert np.dtype(lt.matmul_heuristic_result_dtype) == RESULT
    assert issubclass(lt.cuBLASLtError, Exception)
    assert lt.cuBLASLtError.__reduce__(SimpleNamespace(status=7))[1] == (7,)
    cublas = pytest.importorskip("nvmath.bindings.cublas", reason="no nvmath-python")
    kind = cublas.Status
    numbers = kind.NOT_SUPPORTED, kind.INVALID_VALUE, kind.EXECUTION_FAILED
    assert numbers == (NOT_SUPPORTED, INVALID_VALUE, EXECUTION_FAILED)


FUNCTIONS = [n for n, f in vars(LtColumnMajor).items() if inspect.isfunction(f) and n[0] != "_"]


@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - {"run"}))
def test_fake_cublaslt_has_the_bindings_signatures(name):
    first, *_ = getattr(bindings(), name).__doc__.splitlines()
    written = first[first.index("(") + 1 : first.rindex(")")]
    theirs = [parameter.split()[-1] for parameter in written.split(",") if parameter.strip()]
    ours = list(inspect.signature(getattr(LtColumnMajor, name)).parameters)[1:]
    assert ours == theirs
