# ruff: noqa
"""The bindings ``nvmath.bindings`` of cuBLAS and cublasLt, until products need them no more."""

from __future__ import annotations

import types
from importlib.machinery import ModuleSpec

import numpy as np

from helpers.strict_cupy import cublas_lt
from helpers.strict_cupy.cuda import Stream, enqueue
from helpers.strict_cupy.cublas_lt import matrix_at, widened
from helpers.strict_cupy.memory import host_bytes, memory_at


class Cublas:
    def create(self):
        return 7

    def set_stream(self, handle, stream):
        self.stream = Stream.at(stream)

    def set_workspace(self, handle, workspace, size):
        memory_at(workspace, size)

    def gemm_ex(
        self,
        handle,
        ta,
        tb,
        m,
        n,
        k,
        alpha,
        a,
        at,
        lda,
        b,
        bt,
        ldb,
        beta,
        c,
        ct,
        ldc,
        compute,
        algo,
    ):
        dtype = np.dtype(cublas_lt.DTYPES[ct])
        one, zero = (host_bytes(x, dtype.itemsize).view(dtype)[0] for x in (alpha, beta))
        assert (one, zero) == (1, 0)
        assert compute in cublas_lt.COMPUTE[at]
        left, of_a = matrix_at(a, at, *((k, m) if ta else (m, k)), lda)
        right, of_b = matrix_at(b, bt, *((n, k) if tb else (k, n)), ldb)
        out, of_c = matrix_at(c, ct, m, n, ldc)

        def work():
            x, y = widened(left, at, dtype), widened(right, bt, dtype)
            with np.errstate(all="ignore"):
                out[...] = (x.T if ta else x) @ (y.T if tb else y)

        enqueue("lt", work, [of_a, of_b, of_c], self.stream)


class CublasLtError(Exception):
    status = 0


class Bindings:
    """``nvmath.bindings.cublasLt``."""

    cuBLASLtError = CublasLtError
    matmul_heuristic_result_dtype = np.dtype(
        [("algo", "u8", 8), ("w", "u8"), ("state", "i4"), ("f", "f4"), ("r", "i4", 4)]
    )
    get_matmul_desc_attribute_dtype = staticmethod(cublas_lt.DESCRIPTOR.get)
    get_matmul_preference_attribute_dtype = staticmethod(cublas_lt.PREFERENCE.get)

    def __init__(self):
        self.library = lt = cublas_lt.CublasLt()
        self.create = self.new(lt.cublasLtCreate)
        self.matmul_desc_create = self.new(lt.cublasLtMatmulDescCreate)
        self.matrix_layout_create = self.new(lt.cublasLtMatrixLayoutCreate)
        self.matmul_preference_create = self.new(lt.cublasLtMatmulPreferenceCreate)
        self.matmul_desc_destroy = self.matrix_layout_destroy = lt.cublasLtDestroy
        self.matmul_preference_destroy = lt.cublasLtDestroy
        self.matmul_desc_set_attribute = lt.cublasLtMatmulDescSetAttribute
        self.matmul_preference_set_attribute = lt.cublasLtMatmulPreferenceSetAttribute
        self.matmul_algo_get_heuristic = lt.cublasLtMatmulAlgoGetHeuristic
        self.matmul = lt.cublasLtMatmul

    def new(self, create):
        def call(*arguments):
            place = np.zeros(1, np.int64)
            assert create(place.ctypes.data, *arguments) == 0
            return int(place[0])

        return call


def modules():
    found = {
        "nvmath": types.ModuleType("nvmath"),
        "nvmath.bindings": types.ModuleType("nvmath.bindings"),
    }
    for name, module in found.items():
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
    return found | {"nvmath.bindings.cublas": Cublas(), "nvmath.bindings.cublasLt": Bindings()}
