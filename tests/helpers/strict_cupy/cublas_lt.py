"""The C library cublasLt on the memory of the stand-in, with NumPy's products.

Functions have the arguments of the C library, in its order, as integers: handles, enumerations,
sizes and addresses. What the library reads or writes, it reads or writes at an address. Arguments
that the documentation forbids are errors of the test, not a status.
"""

# ruff: noqa: N802, N815  the names of the library

from __future__ import annotations

import itertools

import numpy as np

from helpers.strict_cupy.cuda import Stream, enqueue
from helpers.strict_cupy.memory import host_bytes, memory_at
from helpers.strict_cupy.state import state

SUCCESS = 0

DTYPES = {0: np.float32, 1: np.float64, 2: np.float16, 14: np.uint16}
"""``cudaDataType_t``; NumPy has no bfloat16."""

BFLOAT16 = 14

COMPUTE = {0: (68, 77), 1: (70,), 2: (68,), 14: (68,)}
"""The ``cublasComputeType_t`` for factors of a type."""

DEFAULT, BIAS, RELU_BIAS, BGRADA = 1, 4, 6, 256
EPILOGUES = {DEFAULT: "", BIAS: "bias", RELU_BIAS: "relu bias", BGRADA: "sums of A"}

TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8
DESCRIPTOR = {TRANSA: np.int32, TRANSB: np.int32, EPILOGUE: np.uint32, BIAS_POINTER: np.uint64}
PREFERENCE = {1: np.uint64, **dict.fromkeys((5, 6, 7, 8), np.uint32)}
"""The attributes that may be set, by number, and their types."""

RESULT = np.dtype(
    {
        "names": ["algo", "workspace", "state", "waves", "reserved"],
        "formats": [("u8", 8), "u8", "i4", "f4", ("i4", 4)],
    }
)
"""``cublasLtMatmulHeuristicResult_t``."""


class CublasLt:
    """The library; handles and descriptors are numbers, of which destroyed ones are no use."""

    def __init__(self):
        self._alive, self._numbers = {}, itertools.count(0x5000, 8)

    # --- handles and descriptors ------------------------------------------------------------------

    def _create(self, address, content):
        number = next(self._numbers)
        self._alive[number] = content
        host_bytes(address, 8).view(np.int64)[0] = number
        return SUCCESS

    def _destroy(self, number):
        del self._alive[number]
        return SUCCESS

    def cublasLtCreate(self, handle):
        return self._create(handle, {"device": state.current.device})

    def cublasLtMatmulDescCreate(self, descriptor, compute, scale):
        return self._create(descriptor, {"compute": compute, "scale": scale, EPILOGUE: DEFAULT})

    def cublasLtMatrixLayoutCreate(self, layout, kind, rows, columns, leading):
        assert kind in DTYPES
        assert leading >= rows >= 1 <= columns
        return self._create(layout, (kind, rows, columns, leading))

    def cublasLtMatmulPreferenceCreate(self, preference):
        return self._create(preference, {})

    cublasLtDestroy = cublasLtMatmulDescDestroy = _destroy
    cublasLtMatrixLayoutDestroy = cublasLtMatmulPreferenceDestroy = _destroy

    def _set(self, number, attribute, address, size, dtypes):
        dtype = np.dtype(dtypes[attribute])
        assert size == dtype.itemsize, f"attribute {attribute} has {dtype.itemsize} bytes"
        self._alive[number][attribute] = int(host_bytes(address, size).view(dtype)[0])
        return SUCCESS

    def cublasLtMatmulDescSetAttribute(self, descriptor, attribute, address, size):
        return self._set(descriptor, attribute, address, size, DESCRIPTOR)

    def cublasLtMatmulPreferenceSetAttribute(self, preference, attribute, address, size):
        return self._set(preference, attribute, address, size, PREFERENCE)

    # --- products ---------------------------------------------------------------------------------

    def cublasLtMatmulAlgoGetHeuristic(
        self, handle, descriptor, a, b, c, d, preference, requested, results, count
    ):
        state.forbid("a heuristic, which belongs to the steps before")
        self._require_handle(handle)
        assert set(PREFERENCE) >= set(self._alive[preference])
        assert requested == 1
        self._sizes(self._alive[descriptor], *(self._alive[x] for x in (a, b, d)))
        found = host_bytes(results, RESULT.itemsize).view(RESULT)
        found["algo"][0, :5] = descriptor, a, b, c, d
        found["workspace"], found["state"] = self._workspace(self._alive[d]), 0
        host_bytes(count, 4).view(np.int32)[0] = 1
        return SUCCESS

    def cublasLtMatmul(
        self, handle, descriptor, alpha, a, a_layout, b, b_layout, beta, c, c_layout, *rest
    ):
        d, d_layout, algo, workspace, workspace_size, stream = rest
        self._require_handle(handle)
        layouts = a_layout, b_layout, c_layout, d_layout
        selected = host_bytes(algo, 64).view(np.uint64)
        assert tuple(selected[:5]) == (descriptor, *layouts), "an algorithm of another product"
        assert c == d
        assert workspace_size >= self._workspace(self._alive[d_layout])
        how = dict(self._alive[descriptor])
        matrices = [self._alive[layout] for layout in (a_layout, b_layout, d_layout)]
        self._sizes(how, *matrices)
        dtype = DTYPES[how["scale"]]
        numbers = [host_bytes(x, np.dtype(dtype).itemsize).view(dtype)[0] for x in (alpha, beta)]
        assert numbers == [1, 0]
        found = [matrix_at(x, *layout) for x, layout in zip((a, b, d), matrices, strict=True)]
        (left, right, out), blocks = ([pair[i] for pair in found] for i in (0, 1))
        vector = None
        if how[EPILOGUE] != DEFAULT:
            assert how[BIAS_POINTER] % 16 == 0
            rows, kind = matrices[2][1], matrices[2][0]
            vector, block = matrix_at(how[BIAS_POINTER], kind, rows, 1, rows)
            blocks.append(block)
        product = Product(how, left, right, out, vector, [x[0] for x in matrices])
        if workspace_size:
            assert workspace % 256 == 0
            block, start = memory_at(workspace, workspace_size)
            block.bytes[start : start + workspace_size] = 0xFF
            blocks.append(block)
        name = f"lt:{EPILOGUES[how[EPILOGUE]]}".rstrip(":")
        enqueue(name, product, blocks, Stream.at(stream))
        return SUCCESS

    def _workspace(self, layout):
        """The bytes that an algorithm takes: for a result of an even number of rows, one copy."""
        kind, rows, columns, _ = layout
        return 0 if rows % 2 else rows * columns * np.dtype(DTYPES[kind]).itemsize

    def _require_handle(self, handle):
        assert self._alive[handle]["device"] == state.current.device, "a handle of another device"

    def _sizes(self, how, a, b, d):
        """Require that the layouts fit."""
        kinds = {a[0], b[0]}
        assert len(kinds) == 1
        assert how["compute"] in COMPUTE[a[0]]
        assert how["scale"] == d[0] == (1 if a[0] == 1 else 0)
        assert how[EPILOGUE] in EPILOGUES
        assert how[EPILOGUE] != BGRADA or not how.get(TRANSA), "BGRADA sums A as it is in memory"
        (m, k), (k2, n) = (
            x[2:0:-1] if how.get(side) else x[1:3] for x, side in ((a, TRANSA), (b, TRANSB))
        )
        assert (k, m, n) == (k2, d[1], d[2])


class Product:
    """D ← epilogue(A B), which may be repeated."""

    def __init__(self, how, left, right, out, vector, kinds):
        self._arguments = how, left, right, out, vector, kinds

    def __call__(self):
        how, left, right, out, vector, (kind_a, kind_b, _) = self._arguments
        left, right = widened(left, kind_a, out.dtype), widened(right, kind_b, out.dtype)
        left, right = left.T if how.get(TRANSA) else left, right.T if how.get(TRANSB) else right
        with np.errstate(all="ignore"):
            z = left @ right
            if how[EPILOGUE] in (BIAS, RELU_BIAS):
                z = z + vector
            if how[EPILOGUE] == RELU_BIAS:
                z = np.maximum(z, 0)
            if how[EPILOGUE] == BGRADA:
                vector[:, 0] = left.sum(axis=1)
        out[...] = z


def matrix_at(address, kind, rows, columns, leading):
    """The column-major matrix at an address, and the block of memory that holds it."""
    dtype = np.dtype(DTYPES[kind])
    size = dtype.itemsize
    assert address % size == 0, "a misaligned address"
    block, start = memory_at(address, ((columns - 1) * leading + rows) * size)
    strides = size, leading * size
    return np.ndarray((rows, columns), dtype, block.bytes, start, strides), block


def widened(x, kind, dtype):
    if kind == BFLOAT16:
        return (x.astype(np.uint32) << 16).view(np.float32)
    return x.astype(dtype)
