"""The stand-in for CuPy refuses what CuPy refuses, and shows what a device hides."""

from __future__ import annotations

import gc
import importlib.util
import sys
from functools import partial

import numpy as np
import pytest
from helpers import backends, strict_cupy
from helpers.cases import looped
from helpers.strict_cupy import counted, table
from helpers.strict_cupy.cublas_lt import BIAS_POINTER, CublasLt
from helpers.strict_cupy.memory import memory_at

from xpnet.backend import get_backend, namespace_of, unavailable
from xpnet.ops import operations_for

if not backends.uses_stand_in():
    pytest.skip("there is a CUDA device", allow_module_level=True)
if strict_cupy.why_not():
    pytest.skip(strict_cupy.why_not(), allow_module_level=True)


@pytest.fixture
def cupy():
    """The stand-in."""
    with strict_cupy.installed():
        import cupy  # noqa: PLC0415

        yield cupy


@pytest.fixture
def stream(cupy):
    """A stream that is the current one."""
    with cupy.cuda.Stream(non_blocking=True) as stream:
        yield stream


def captured(stream, work):
    stream.begin_capture()
    work()
    return stream.end_capture()


# --- the table ------------------------------------------------------------------------------------


def test_table_is_that_of_the_installed_cupy():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    installed, recorded = table.table_of_installed(), table.recorded_table()
    if installed["version"] != recorded["version"]:
        pytest.skip(f"the table is of CuPy {recorded['version']}, not {installed['version']}")
    assert installed == recorded


def test_parameters_are_recorded_without_defaults():
    def function(a, /, b: int = 3, *, out=None) -> int: ...

    text = table.parameters(function)
    assert text == "a, /, b=0, *, out=0"
    check = table.check_of("function", text)
    check(1, 2, out=None)
    with pytest.raises(TypeError, match="axis"):
        check(1, axis=0)


# --- what is refused ------------------------------------------------------------------------------

HOST = np.ones(3)
REFUSED = {
    "implicit conversion": (lambda xp, a: np.asarray(a), TypeError),
    "a host array in an operator": (lambda xp, a: a + HOST, TypeError),
    "a host array in an operator on the right": (lambda xp, a: HOST + a, TypeError),
    "a host array in a ufunc": (lambda xp, a: xp.maximum(a, HOST), TypeError),
    "a host array in a function": (lambda xp, a: xp.sum(HOST), TypeError),
    "a host array in a solver": (lambda xp, a: xp.linalg.cholesky(np.eye(2)), TypeError),
    "a host array in setitem": (lambda xp, a: a.__setitem__(slice(None), HOST), ValueError),
    "a list of host arrays": (lambda xp, a: xp.concatenate([HOST]), TypeError),
    "a condition on the host": (lambda xp, a: xp.where(True, a, a), AttributeError),
    "an unknown function": (lambda xp, a: xp.vecmat_of_numpy, AttributeError),
    "an unknown keyword": (lambda xp, a: xp.sum(a, where=a), TypeError),
    "an unknown keyword of a ufunc": (lambda xp, a: xp.add(a, a, where=a), TypeError),
    "an unknown keyword of a method": (lambda xp, a: a.sum(where=a), TypeError),
    "an unknown method": (lambda xp, a: a.to_device, AttributeError),
    "strings": (lambda xp, a: xp.asarray(["a"]), ValueError),
    "set of another dtype": (lambda xp, a: a.set(np.ones(3, "float32")), TypeError),
    "get into another shape": (lambda xp, a: a.get(out=np.ones(2)), ValueError),
    "set of a strided array": (lambda xp, a: xp.ones(6)[::2].set(HOST), RuntimeError),
    "matmul into another shape": (lambda xp, a: xp.matmul(a, a, out=xp.ones(2)), ValueError),
    "a device that is not there": (lambda xp, a: xp.cuda.Device(2).use(), RuntimeError),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_is_refused(what, cupy):
    work, error = REFUSED[what]
    with pytest.raises(error):
        work(cupy, cupy.ones(3))


def test_indefinite_matrix_leaves_partial_factor(cupy):
    factor = cupy.linalg.cholesky(cupy.asarray([[1.0, 2.0], [2.0, 1.0]]))
    np.testing.assert_array_equal(factor.get(), [[1, 0], [2, -3]])
    singular = cupy.linalg.solve(cupy.zeros((2, 2)), cupy.ones(2))
    assert np.isnan(singular.get()).all()


def test_indices_wrap_around_and_zero_sizes_are_views(cupy):
    a = cupy.arange(3)
    assert a[cupy.asarray([-1, 4])].get().tolist() == [2, 1]
    a[0][...] = 7
    assert a.get().tolist() == [7, 1, 2]


# --- memory ---------------------------------------------------------------------------------------


@looped(dtype=["float16", "float32", "float64"])
def test_new_memory_is_poisoned_and_aligned(dtype, cupy):
    a = cupy.empty(5, dtype)
    assert np.isnan(a.get()).all()
    assert a.data.ptr % 512 == 0


def test_freed_memory_is_poisoned_and_reused(cupy):
    a = cupy.zeros(3)
    place, rest = a.data.ptr, a[1:]
    del a
    assert rest.get().tolist() == [0, 0]  # a view keeps it
    del rest
    b = cupy.empty(4)
    assert b.data.ptr == place
    assert np.isnan(b.get()).all()
    with cupy.cuda.Stream():  # which reuses its own memory only
        del b
        assert cupy.empty(4).data.ptr != place


def test_pools_return_free_blocks_to_the_device(cupy):
    pool = cupy.cuda.MemoryPool()
    before = cupy.cuda.Device().mem_info[0]
    with cupy.cuda.using_allocator(pool.malloc):
        a = cupy.zeros(1 << 20)
    assert cupy.cuda.Device().mem_info[0] == before - (8 << 20)
    del a
    assert pool.free_bytes() == 8 << 20
    pool.free_all_blocks()
    assert cupy.cuda.Device().mem_info[0] == before
    assert pool.free_bytes() == 0


# --- captures -------------------------------------------------------------------------------------


def test_captured_work_waits_for_the_launch(cupy, stream):
    x, y = cupy.ones(3), cupy.zeros(3)

    def work():
        y[...] = x * 2
        cupy.add(y, 1, out=y)

    graph = captured(stream, work)
    assert graph.nodes == ("kernel:multiply", "kernel:setitem", "kernel:add")
    assert y.get().tolist() == [0, 0, 0]
    for value in (1, 5):
        x.fill(value)
        graph.launch(stream)
        assert y.get().tolist() == [2 * value + 1] * 3


def test_only_the_captured_stream_records(cupy, stream):
    other, x = cupy.cuda.Stream(), cupy.zeros(1)
    stream.begin_capture()
    with other:
        x += 1
        assert float(x[0]) == 1.0
    assert stream.end_capture().nodes == ()


HOST_WORK = {
    "get": lambda xp, a: a.get(),
    "float": lambda xp, a: float(a[0]),
    "bool": lambda xp, a: bool(a[0] > 0),
    "a mask": lambda xp, a: a[a > 0],
    "nonzero": lambda xp, a: xp.nonzero(a),
    "a copy from the host": lambda xp, a: xp.asarray([1.0]),
    "set": lambda xp, a: a.set(np.ones(3)),
    "an index from the host": lambda xp, a: a[[0, 1]],
    "many arrays": lambda xp, a: xp.concatenate([a] * 9),
    "a product by CuPy": lambda xp, a: a @ a,
    "a solver": lambda xp, a: xp.linalg.solve(xp.eye(3), a),
    "synchronize": lambda xp, a: xp.cuda.get_current_stream().synchronize(),
    "an event": lambda xp, a: xp.cuda.Event().record(),
}


@pytest.mark.parametrize("what", HOST_WORK)
def test_work_of_the_host_is_refused_in_a_capture(what, cupy, stream):
    a = cupy.ones(3)
    HOST_WORK[what](cupy, a)
    stream.begin_capture()
    with pytest.raises(RuntimeError):
        HOST_WORK[what](cupy, a)
    stream.end_capture()


def test_graph_of_freed_memory_is_refused(cupy, stream):
    x, y = cupy.ones(3), cupy.zeros(3)
    graph = captured(stream, partial(cupy.add, x, 1, out=y))
    graph.launch()
    del x
    gc.collect()
    with pytest.raises(RuntimeError, match="uses memory that was freed"):
        graph.launch()


def test_graph_that_writes_to_a_newer_array_is_refused(cupy, stream):
    """Without a separate pool the memory of a capture is given to other arrays."""
    x, y = cupy.ones(3), cupy.zeros(3)
    graph = captured(stream, lambda: cupy.add(x * 2, 1, out=y))
    graph.launch()
    newer = cupy.ones(3)
    with pytest.raises(RuntimeError, match="memory that an array holds"):
        graph.launch()
    del newer
    graph.launch()
    cupy.get_default_memory_pool().free_all_blocks()
    with pytest.raises(RuntimeError, match="uses memory that was freed"):
        graph.launch()


# --- counts ---------------------------------------------------------------------------------------


def test_work_is_counted_by_name(cupy, stream):
    with counted() as outer:
        x = cupy.asarray([1.0, 2.0])
        with counted() as counts:
            x += x * x
            x.sum().get()
    assert counts == {"kernel:multiply": 1, "kernel:add": 1, "kernel:sum": 1, "sync:get": 1}
    assert (counts.launches, counts.reads, len(counts.kernels)) == (3, 1, 3)
    assert outer["h2d:array"] == 1
    x += x
    assert outer["kernel:add"] == 1


# --- devices --------------------------------------------------------------------------------------


def test_arrays_stay_on_their_device(cupy):
    first, second = map(cupy.cuda.Device, (0, 1))
    a = cupy.ones(3)
    with second:
        b = cupy.ones(3)
        assert (a.device, b.device, cupy.cuda.get_device_id()) == (first, second, 1)
        assert a.get().tolist() == b.get().tolist()
        for work in (lambda: a + 1, lambda: cupy.sum(a), lambda: b.__setitem__(0, a[0])):
            with pytest.raises(ValueError, match="different from the current device"):
                work()
        assert cupy.asarray(a).device == second
        assert a.copy().get().tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="different from the current device"):
        cupy.add(a, b)
    xp = namespace_of(a)
    assert xp.asarray(HOST, device=second).device == second
    assert cupy.cuda.runtime.getDeviceCount() == 2


def test_streams_and_memory_belong_to_a_device(cupy):
    free = [cupy.cuda.Device(i).mem_info[0] for i in (0, 1)]
    with cupy.cuda.Device(1), cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        stream, a = cupy.cuda.Stream(), cupy.ones(1 << 20)
    now = [cupy.cuda.Device(i).mem_info[0] for i in (0, 1)]
    assert [old - new for old, new in zip(free, now, strict=True)] == [0, a.nbytes]
    with pytest.raises(RuntimeError, match="does not match"), stream:
        pass
    assert cupy.cuda.get_current_stream().ptr == 0


# --- kernels and products -------------------------------------------------------------------------

SOURCE = """
typedef float T;
extern "C" __global__ void twice(const T* x, T* y, long long n) {
    for (long long i = threadIdx.x; i < n; i += blockDim.x) y[i] = 2 * x[i];
}
"""
SIZE = np.int64(3)
MISUSED = {
    "an argument too few": (lambda x, y: (x, y), (1,), TypeError),
    "a number of another width": (lambda x, y: (x, y, np.int32(3)), (1,), AssertionError),
    "a number of Python": (lambda x, y: (x, y, 3), (1,), TypeError),
    "an array of another dtype": (lambda x, y: (x.astype("f8"), y, SIZE), (1,), AssertionError),
    "a strided array": (lambda x, y: (x[::2], y, SIZE), (1,), AssertionError),
    "an array for a number": (lambda x, y: (x, y, y), (1,), AssertionError),
    "a number for an array": (lambda x, y: (x, np.int64(8), SIZE), (1,), AssertionError),
    "too many threads": (lambda x, y: (x, y, SIZE), (1024,), AssertionError),
}


def test_kernel_runs_as_cpp(cupy):
    kernel = cupy.RawKernel(SOURCE, "twice")
    x, y = cupy.arange(3, dtype="float32"), cupy.empty(3, "float32")
    kernel((1,), (32,), (x, y, SIZE))
    assert y.get().tolist() == [0, 2, 4]


@pytest.mark.parametrize("what", MISUSED)
def test_wrong_arguments_of_a_kernel_are_refused(what, cupy):
    arguments, block, error = MISUSED[what]
    x, y = cupy.ones(3, "float32"), cupy.empty(3, "float32")
    with pytest.raises(error):
        cupy.RawKernel(SOURCE, "twice")((1,), block, arguments(x, y))


def test_kernel_refuses_memory_of_another_device(cupy):
    x, y = cupy.ones(3, "float32"), cupy.empty(3, "float32")
    with cupy.cuda.Device(1), pytest.raises(RuntimeError, match="IllegalAddress"):
        cupy.RawKernel(SOURCE, "twice")((1,), (32,), (x, y, SIZE))


class Calls:
    """Calls of the fake cublasLt, which read and write at addresses."""

    def __init__(self):
        self.library = CublasLt()

    def new(self, name, *arguments):
        made = np.zeros(1, np.int64)
        assert getattr(self.library, f"cublasLt{name}Create")(made.ctypes.data, *arguments) == 0
        return int(made[0])

    def set(self, what, number, attribute, value):
        place = np.array([value])
        setter = getattr(self.library, f"cublasLt{what}SetAttribute")
        return setter(number, attribute, place.ctypes.data, place.nbytes)


def test_misused_descriptors_are_refused(cupy):
    calls = Calls()
    product = calls.new("MatmulDesc", 68, 0)
    assert calls.set("MatmulDesc", product, BIAS_POINTER, np.uint64(64)) == 0
    with pytest.raises(AssertionError, match="has 8 bytes"):
        calls.set("MatmulDesc", product, BIAS_POINTER, np.int32(64))
    with pytest.raises(AssertionError, match="address of a device"):
        calls.library.cublasLtCreate(cupy.zeros(1).data.ptr)
    calls.library.cublasLtMatmulDescDestroy(product)
    with pytest.raises(KeyError):
        calls.set("MatmulDesc", product, BIAS_POINTER, np.uint64(64))


def test_products_refuse_free_memory(cupy):
    x = get_backend("cupy").zeros(4, 4)
    ops, place = operations_for(x), x.data.ptr
    calls, kind = Calls(), 0
    handle, layout = calls.new(""), calls.new("MatrixLayout", kind, 4, 4, 4)
    product, preference = calls.new("MatmulDesc", 68, kind), calls.new("MatmulPreference")
    found, count = np.zeros(12, np.uint64), np.zeros(1, np.int32)
    layouts = [layout] * 4
    asked = handle, product, *layouts, preference, 1, found.ctypes.data, count.ctypes.data
    assert calls.library.cublasLtMatmulAlgoGetHeuristic(*asked) == 0
    numbers, workspace = np.array([1, 0], "float32"), cupy.cuda.alloc(512)
    one = numbers.ctypes.data
    given = handle, product, one, place, layout, place, layout, one + 4, *(place, layout) * 2
    given += found.ctypes.data, workspace.ptr, 512, 0
    assert calls.library.cublasLtMatmul(*given) == 0
    assert type(ops).__name__ == "CudaOperations"
    del x
    with pytest.raises(RuntimeError, match="free memory of a pool"):
        calls.library.cublasLtMatmul(*given)


# --- the installation -----------------------------------------------------------------------------


def test_nothing_is_left_of_the_stand_in():
    names = "cupy", "cupy.cuda", "array_api_compat.cupy"
    before, reason = [sys.modules.get(name) for name in names], unavailable("cupy")
    with strict_cupy.installed():
        assert unavailable("cupy") is None
        assert get_backend("auto").name == "cupy"
        with pytest.raises(RuntimeError), strict_cupy.installed():
            raise RuntimeError
        assert unavailable("cupy") is None
    assert [sys.modules.get(name) for name in names] == before
    assert unavailable("cupy") == reason
    assert get_backend("auto").name == "numpy"


@pytest.mark.gpu
def test_marked_tests_run_on_the_stand_in(cuda):
    import cupy  # noqa: PLC0415

    assert cupy.ndarray is strict_cupy.array.ndarray


def test_memory_of_a_reference_cycle_is_not_reused():
    """A collection of live objects puts an allocation behind its block, which then ends first."""
    with strict_cupy.installed():
        import cupy  # noqa: PLC0415

        cycle = [cupy.ones(12345)]
        cycle.append(cycle)
        gc.collect()
        del cycle
        gc.collect()
        again = cupy.ones(12345)
        assert memory_at(again.data.ptr, again.nbytes)[1] == 0
