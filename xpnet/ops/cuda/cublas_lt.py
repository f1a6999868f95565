"""The C library cublasLt through ctypes: matrix products followed by an epilogue.

CuPy does not allow its own cuBLAS handle during a stream capture, although the library does. The
numbers below are those of ``cublasLt.h``; they are the same in CUDA 12 and 13.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections import defaultdict
from functools import cache
from typing import Any, NamedTuple, TypeAlias
from weakref import finalize

import numpy as np

from xpnet.backend import Array
from xpnet.errors import warn_fallback

MAX_WORKSPACE = 32 << 20
"""Bytes of workspace that a product may take; NVIDIA recommends 32 MiB for Hopper and later."""

MAX_PLANS = 1024
"""The number of plans that a thread keeps, of about a kilobyte each."""

DEFAULT, BIAS, RELU_BIAS, BGRADA = 1, 4, 6, 256  # cublasLtEpilogue_t

BIAS_ALIGNMENT = 16
"""The required alignment of a bias in bytes, because kernels may read four elements at once."""

MAX_ALIGNMENT = 256
"""The largest alignment in bytes that is reported to cublasLt; a larger one has no benefit."""

NOT_SUPPORTED = 15
"""The status of a product that cublasLt does not support; nothing was enqueued."""

# cublasLtMatmulDescAttributes_t and cublasLtMatmulPreferenceAttributes_t.
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MAX_WORKSPACE, _MIN_ALIGNMENTS = 1, (5, 6, 7, 8)  # of A, B, C and D

_RESULT = np.dtype(  # cublasLtMatmulHeuristicResult_t, whose first field is the algorithm
    [("algorithm", "u8", 8), ("workspace", "u8"), ("state", "i4"), ("rest", "i4", 5)]
)

_INT, _SIZE, _POINTER = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "cublasLtCreate": (_POINTER,),
    "cublasLtMatmulDescCreate": (_POINTER, _INT, _INT),
    "cublasLtMatmulDescSetAttribute": (_POINTER, _INT, _POINTER, _SIZE),
    "cublasLtMatmulDescDestroy": (_POINTER,),
    "cublasLtMatrixLayoutCreate": (_POINTER, _INT, *(ctypes.c_uint64,) * 2, ctypes.c_int64),
    "cublasLtMatrixLayoutDestroy": (_POINTER,),
    "cublasLtMatmulPreferenceCreate": (_POINTER,),
    "cublasLtMatmulPreferenceSetAttribute": (_POINTER, _INT, _POINTER, _SIZE),
    "cublasLtMatmulPreferenceDestroy": (_POINTER,),
    "cublasLtMatmulAlgoGetHeuristic": (*(_POINTER,) * 7, _INT, *(_POINTER,) * 2),
    "cublasLtMatmul": (*(_POINTER,) * 14, _SIZE, _POINTER),
}


@cache
def load() -> Any:
    """The library, with functions that take addresses as integers and return a status.

    cuda-pathfinder, which CuPy depends on, finds the library that belongs to CuPy, be it in wheels,
    in conda or in the system.
    """
    pathfinder = importlib.import_module("cuda.pathfinder")
    library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path)
    for name, arguments in _ARGUMENTS.items():
        getattr(library, name).argtypes = arguments
    return library


def address(array: Array) -> int:
    """The address of a CuPy array."""
    return int(array.data.ptr)


class MatrixLayout(NamedTuple):
    """A matrix in memory, in column-major order.

    Attributes:
        kind: the ``cudaDataType_t`` of its elements.
        rows: the number of rows.
        columns: the number of columns.
        leading: the number of elements from one column to the next.
        transposed: whether a factor is the transpose of the matrix in memory.
    """

    kind: int
    rows: int
    columns: int
    leading: int
    transposed: bool


class Matrix(NamedTuple):
    """A factor or the result of a product.

    Attributes:
        memory: the array, which must live until the product is enqueued.
        layout: how cublasLt reads it.
    """

    memory: Array
    layout: MatrixLayout


Key: TypeAlias = tuple[tuple[MatrixLayout, ...], tuple[int, ...], int, int]
"""A kind of product: layouts and alignments of A, B and D, ``cublasComputeType_t``, epilogue."""


class Plan:
    """The descriptors of one kind of product, and the algorithm that cublasLt selected for it.

    Args:
        library: the library.
        handle: the handle of the library.
        key: the kind of product.

    Attributes:
        descriptor: the descriptor of the product.
        layouts: the layout descriptors of A, B and D.
        algorithm: the selected algorithm; ``None`` if the product is not supported.
        workspace: the bytes of workspace that it needs.
        one_and_zero: α and β, in the type of D.
    """

    def __init__(self, library: Any, handle: int, key: Key) -> None:
        layouts, alignments, compute, epilogue = key
        kind = layouts[2].kind
        self._library = library
        self.one_and_zero = np.array([1, 0], "float64" if kind == 1 else "float32")
        self.descriptor = self._new("MatmulDesc", compute, kind)
        self.layouts = [self._new("MatrixLayout", *layout[:4]) for layout in layouts]
        for attribute, layout in zip((_TRANSA, _TRANSB), layouts, strict=False):
            self._set("MatmulDesc", self.descriptor, attribute, np.int32(layout.transposed))
        self._set("MatmulDesc", self.descriptor, _EPILOGUE, np.uint32(epilogue))
        if epilogue != DEFAULT:  # the heuristic reads the alignment of the address
            self.set_vector(BIAS_ALIGNMENT)
        self.algorithm, self.workspace = self._select(handle, alignments), 0
        if self.algorithm is not None and self.algorithm["workspace"][0]:
            # Some algorithms use more than they request, to align their part of the workspace.
            self.workspace = int(self.algorithm["workspace"][0]) + MAX_ALIGNMENT

    def set_vector(self, vector: int) -> None:
        """Set the address of the bias, or of its gradient."""
        self._set("MatmulDesc", self.descriptor, _BIAS_POINTER, np.int64(vector))

    def _select(self, handle: int, alignments: tuple[int, ...]) -> Any:
        """The first choice of cublasLt's heuristic, or ``None``.

        An error is only a warning, because nothing has been enqueued.
        """
        preference = self._new("MatmulPreference")
        usable = np.uint64(MAX_WORKSPACE - MAX_ALIGNMENT)
        self._set("MatmulPreference", preference, _MAX_WORKSPACE, usable)
        for attribute, alignment in zip(_MIN_ALIGNMENTS, (*alignments, alignments[2]), strict=True):
            self._set("MatmulPreference", preference, attribute, np.uint32(alignment))
        found, count = np.zeros(1, _RESULT), np.zeros(1, np.int32)
        a, b, out = self.layouts
        status = self._library.cublasLtMatmulAlgoGetHeuristic(
            *(handle, self.descriptor, a, b, out, out, preference),
            *(1, found.ctypes.data, count.ctypes.data),
        )
        if status not in (0, NOT_SUPPORTED):  # which also reports that there is no algorithm
            warn_fallback(f"cublasLt selects no algorithm for a product (status {status}).")
        return found if status == 0 < count[0] and found["state"][0] == 0 else None

    def _new(self, what: str, *arguments: int) -> int:
        """Create a descriptor, which is destroyed together with the plan."""
        made = _created(self._library, f"cublasLt{what}Create", *arguments)
        finalize(self, getattr(self._library, f"cublasLt{what}Destroy"), made).atexit = False
        return made

    def _set(self, what: str, which: int, attribute: int, number: np.generic) -> None:
        """Set an attribute of a descriptor, which the library reads from an address."""
        value, function = np.array([number]), f"cublasLt{what}SetAttribute"
        place, size = value.ctypes.data, value.nbytes
        _check(getattr(self._library, function)(which, attribute, place, size), function)


class Products:
    """The handle and the plans with which one thread multiplies on one device.

    A plan is created at the first product of its kind, so that the warm-up steps create all plans
    of a captured step. The workspace of a product is allocated from CuPy's current memory pool and
    returned to it when the product is enqueued, so that only later work of the same stream can use
    it. In a capture this is the pool that lives as long as the graph.

    Args:
        device: the number of the current device.
    """

    def __init__(self, device: int) -> None:
        import cupy  # noqa: PLC0415

        self._library, idle = load(), _idle_handles[device]
        try:
            self._handle = idle.pop()
        except IndexError:
            self._handle = _created(self._library, "cublasLtCreate")
        finalize(self, idle.append, self._handle).atexit = False
        self._alloc, self._stream = cupy.cuda.alloc, cupy.cuda.get_current_stream
        self._plans: dict[Key, Plan] = {}

    def multiply(
        self, a: Matrix, b: Matrix, out: Matrix, compute: int, epilogue: int, vector: int
    ) -> bool:
        """Fill ``out: (m, n)`` with the product of ``a`` and ``b``, followed by the epilogue.

        Args:
            a: the left factor, ``(m, k)``.
            b: the right factor, ``(k, n)``.
            out: the result; it must not be transposed.
            compute: the ``cublasComputeType_t``.
            epilogue: `DEFAULT` does nothing, `BIAS` adds the vector to each row, `RELU_BIAS` also
                applies ReLU, and `BGRADA` writes the `column_sum` of ``b`` to the vector.
            vector: the address of an array ``(n,)`` of the dtype of ``out``, a multiple of
                `BIAS_ALIGNMENT`; `DEFAULT` ignores it.

        Returns:
            Whether the product is supported; if not, ``out`` and the vector are undefined.

        Raises:
            RuntimeError: if the product fails; the state of the stream and of the device is then
                undefined.
        """
        # outᵀ = bᵀ aᵀ, because cublasLt is column-major. So b is its A, and a bias, which it adds
        # to each column of D = outᵀ, is added to each row of out. BGRADA sums its A = bᵀ along k,
        # which sums the rows of b.
        matrices = b, a, out
        A, B, D = pointers = [address(matrix.memory) for matrix in matrices]
        alignments = tuple(min(pointer & -pointer, MAX_ALIGNMENT) for pointer in pointers)
        plan = self._plan((tuple(x.layout for x in matrices), alignments, compute, epilogue))
        if plan.algorithm is None:
            return False
        if epilogue != DEFAULT:
            plan.set_vector(vector)
        (of_A, of_B, of_D), one = plan.layouts, plan.one_and_zero.ctypes.data
        workspace = self._alloc(plan.workspace) if plan.workspace else None
        place = 0 if workspace is None else int(workspace.ptr)
        status = self._library.cublasLtMatmul(
            *(self._handle, plan.descriptor),
            *(one, A, of_A, B, of_B),
            *(one + plan.one_and_zero.itemsize, D, of_D, D, of_D),
            *(plan.algorithm.ctypes.data, place, plan.workspace, int(self._stream().ptr)),
        )
        if status == NOT_SUPPORTED:
            plan.algorithm = None
            return False
        _check(status, "cublasLtMatmul")
        return True

    def _plan(self, key: Key) -> Plan:
        if key not in self._plans:
            if len(self._plans) == MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = Plan(self._library, self._handle, key)
        return self._plans[key]


class _OfThread(threading.local):
    """The `Products` of the current thread by device, which are freed when the thread ends."""

    def __init__(self) -> None:
        self.products: dict[int, Products] = {}


_of_thread = _OfThread()
_failures: dict[int, str] = {}
_idle_handles: dict[int, list[int]] = defaultdict(list)
"""Handles of ended threads by device, for new threads.

To destroy a handle would synchronize the device, perhaps while another thread captures a step.
"""


def products() -> Products:
    """The `Products` of the current thread on the current device."""
    device, own = _current_device(), _of_thread.products
    if device not in own:
        own[device] = Products(device)
    return own[device]


def why_unavailable() -> str:
    """Why cublasLt cannot be used on the current device; empty if it can.

    A failure is remembered for the device.
    """
    device = -1
    try:
        device = _current_device()
        if device not in _failures:
            products()
    except Exception as error:  # a loader, a driver or a device can raise any exception
        _failures[device] = f"cublasLt cannot be loaded ({' '.join(str(error).split())})"
    return _failures.get(device, "")


def _current_device() -> int:
    import cupy  # noqa: PLC0415

    return int(cupy.cuda.get_device_id())


def _created(library: Any, function: str, *arguments: int) -> int:
    """The object that a function of the library creates."""
    made = np.zeros(1, np.int64)
    _check(getattr(library, function)(made.ctypes.data, *arguments), function)
    return int(made[0])


def _check(status: int, function: str) -> None:
    if status:
        raise RuntimeError(f"{function} failed with status {status}")
