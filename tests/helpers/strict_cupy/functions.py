"""The functions of ``cupy``, ``cupy.linalg`` and ``cupy.random``: CuPy's names, NumPy's numbers."""

from __future__ import annotations

import types
from functools import partial

import numpy as np

from helpers.strict_cupy import memory
from helpers.strict_cupy.array import SCALARS, flat, host_of, ndarray, run, to_device
from helpers.strict_cupy.cuda import enqueue
from helpers.strict_cupy.state import state
from helpers.strict_cupy.table import check_of, recorded_table

DTYPES = "?bhilqBHILQefdFD"
"""The codes of the dtypes that a device has."""

FROM_HOST = ("asarray", "asanyarray", "ascontiguousarray", "asfortranarray")
CREATE = (
    *("empty", "zeros", "ones", "full", "arange", "linspace", "logspace", "eye", "identity"),
    "tri",
)
ABOUT_DTYPES = (
    *("isdtype", "issubdtype", "result_type", "promote_types", "can_cast", "min_scalar_type"),
    *("isscalar", "broadcast_shapes", "common_type"),
)
JOIN = ("concatenate", "stack", "vstack", "hstack", "column_stack")
DTYPE_CLASSES = np.dtype, np.finfo, np.iinfo
BY_CUBLAS = ("dot", "vdot", "inner", "outer", "tensordot", "einsum")
READ = ("nonzero", "unique", "argwhere", "flatnonzero", "bincount")
"""The functions with results whose shape depends on numbers, which the host reads."""

DEFAULTS = ("out", "dtype", "axis", "device")
"""Keywords of which ``None`` is the default, also where NumPy has another one."""

MOST_JOINED = 8
"""CuPy passes the addresses of more arrays in a table that it copies to the device."""


# --- CuPy's own functions -------------------------------------------------------------------------


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, ndarray):
        if obj.device.id != state.current.device:
            obj = obj.copy()
        elif not copy and (dtype is None or np.dtype(dtype) == obj.dtype):
            return obj
        return run("array", lambda host: np.array(host, dtype, order=order), (obj,))
    if isinstance(obj, (list, tuple)) and any(isinstance(x, ndarray) for x in flat(obj)):
        return run("array", lambda hosts: np.array(hosts, dtype), (list(obj),))
    host = np.array(obj, dtype=dtype, order="C", ndmin=ndmin)
    if host.dtype.char not in DTYPES:
        raise ValueError(f"Unsupported dtype {host.dtype}")
    state.write("array")
    return to_device(host.astype(host.dtype.newbyteorder("="), copy=False))


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype=dtype, copy=bool(copy))


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a)


def where(condition, x=None, y=None):
    if not isinstance(condition, ndarray):
        raise AttributeError(f"cupy.where: {type(condition)} has no astype for the condition")
    for value in (x, y):
        if not isinstance(value, (ndarray, *SCALARS)):
            raise TypeError(f"cupy.where: Unsupported type {type(value)}")
    return run("where", np.where, (condition, x, y))


def matmul(a, b, /, out=None, **keywords):
    """A product of CuPy's own, which uses a handle that cannot be captured."""
    for x in (a, b):
        if not isinstance(x, ndarray):
            raise TypeError(f"cupy.matmul: Unsupported type {type(x)}")
    forbid_library("cuBLAS")
    left, right = host_of(a, "matmul"), host_of(b, "matmul")
    with np.errstate(all="ignore"):
        result = np.matmul(left, right)
    if out is None:
        state.count("kernel:matmul", ("matmul", left.dtype.char))
        return to_device(result)
    if out.shape != result.shape:
        raise ValueError(f"Output operand 0 has invalid shape {out.shape}, not {result.shape}")
    if not np.can_cast(result.dtype, out.dtype, "same_kind"):
        raise TypeError("cannot cast the product to the type of out")
    target, blocks = host_of(out, "matmul"), [a._mem, b._mem, out._mem]
    kernel = "matmul", left.dtype.char
    enqueue("kernel:matmul", lambda: np.copyto(target, result), blocks, kernel=kernel)
    return out


def forbid_library(name):
    state.forbid(f"calling {name} API during stream capture is currently unsupported")


OWN = {
    **{"array": array, "where": where, "matmul": matmul, "asnumpy": asnumpy, "ndarray": ndarray},
    **dict.fromkeys(FROM_HOST, asarray),
    "get_default_memory_pool": lambda: memory.POOL,
}


# --- functions made from NumPy's ------------------------------------------------------------------


def ufunc(name):
    """An elementwise function: of arrays of the device and of numbers."""
    function = getattr(np, name)

    def call(*arguments, **keywords):
        if unknown := set(keywords) - {"out", "dtype", "casting"}:
            raise TypeError(f"Wrong arguments {unknown} for cupy.{name}")
        for x in arguments:
            if not isinstance(x, (ndarray, *SCALARS)):
                raise TypeError(f"cupy.{name}: Unsupported type {type(x)}")
        given = {key: value for key, value in keywords.items() if value is not None}
        return run(name, function, arguments, given)

    call.__name__ = name
    return call


def function(name, parameters):
    """A function with CuPy's parameters and NumPy's results."""
    check, call = check_of(name, parameters), _caller(name)

    def checked(*arguments, **keywords):
        check(*arguments, **keywords)
        given = {k: v for k, v in keywords.items() if not (v is None and k in DEFAULTS)}
        return call(*arguments, **given)

    checked.__name__ = name
    return checked


def _caller(name):
    numpy = getattr(np, name, None)
    if numpy is None:
        return partial(_absent, name)
    if name in ABOUT_DTYPES:
        return partial(_about_dtypes, numpy)
    if name == "empty":
        return _empty
    if name in CREATE:
        return partial(_create, name, numpy)
    if name in JOIN:
        return partial(_join, name, numpy)
    return partial(_of_array, name, numpy)


def _absent(name, *arguments, **keywords):
    raise NotImplementedError(f"strict_cupy has no cupy.{name} yet")


def _about_dtypes(numpy, *arguments, **keywords):
    return numpy(*(x.dtype if isinstance(x, ndarray) else x for x in arguments), **keywords)


def _empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def _create(name, numpy, *arguments, **keywords):
    if any(isinstance(x, np.ndarray) for x in [*arguments, *keywords.values()]):
        raise TypeError(f"cupy.{name}: Unsupported type numpy.ndarray")
    return run(name, numpy, arguments, keywords)


def _join(name, numpy, arrays, *arguments, **keywords):
    arrays = list(arrays)
    for x in arrays:
        if not isinstance(x, ndarray):
            raise TypeError(f"Only cupy arrays can be concatenated ({type(x)})")
    if len(arrays) > MOST_JOINED:
        state.write("a table of addresses")
    return run(name, numpy, (arrays, *arguments), keywords)


def _of_array(name, numpy, *arguments, **keywords):
    first = arguments[0] if arguments else next(iter(keywords.values()), None)
    if not isinstance(first, (ndarray, str)):
        raise TypeError(f"cupy.{name}: the first argument is a {type(first)}, no cupy.ndarray")
    if name in BY_CUBLAS:
        forbid_library("cuBLAS")
        if name == "dot" and len(arguments) > 2:
            arguments, keywords = arguments[:2], {"out": arguments[2]}
    if name in READ:
        state.read(name)
    if name == "empty_like":
        keywords = {key: value for key, value in keywords.items() if key in ("dtype", "order")}
        return _empty(first.shape, *arguments[1:], **{"dtype": first.dtype} | keywords)
    return run(name, numpy, arguments, keywords)


# --- linear algebra -------------------------------------------------------------------------------


def solver(name, parameters):
    """A function of ``cupy.linalg``, which raises nothing for a matrix without a solution."""
    check, numpy = check_of(name, parameters), getattr(np.linalg, name)

    def call(*arguments, **keywords):
        check(*arguments, **keywords)
        for x in arguments:
            if isinstance(x, np.ndarray) or (x is arguments[0] and not isinstance(x, ndarray)):
                raise TypeError(f"cupy.linalg.{name}: needs cupy.ndarray, not {type(x)}")
        forbid_library("cuSOLVER")
        try:
            return run(f"linalg.{name}", numpy, arguments, keywords)
        except np.linalg.LinAlgError:  # by default CuPy does not look at the status
            a = arguments[0]
            if name == "cholesky":
                return to_device(partial_cholesky(a.get()))
            return to_device(np.full(arguments[-1].shape, np.nan, a.dtype))

    call.__name__ = name
    return call


def partial_cholesky(a):
    """What LAPACK's ``potrf`` leaves where a leading minor is not positive: the rest unchanged."""
    lower, n = np.tril(a), a.shape[0]
    for j in range(n):
        pivot = lower[j, j] - lower[j, :j] @ lower[j, :j]
        if not pivot > 0:
            lower[j, j] = pivot
            break
        lower[j, j] = np.sqrt(pivot)
        rest = lower[j + 1 :, j] - lower[j + 1 :, :j] @ lower[j, :j]
        lower[j + 1 :, j] = rest / lower[j, j]
    return lower


# --- random numbers -------------------------------------------------------------------------------


class Generator:
    """``cupy.random.Generator``, with NumPy's numbers."""

    def __init__(self, seed=None):
        self._rng = np.random.default_rng(seed)

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        assert out is None
        state.count("kernel:standard_normal", ("standard_normal", np.dtype(dtype).char))
        return to_device(np.asarray(self._rng.standard_normal(size, np.dtype(dtype))))


# --- namespaces -----------------------------------------------------------------------------------


def namespace(name, version):
    """A module with the recorded names of CuPy's module, of which some raise an error if used."""
    table, module = recorded_table()[name], types.ModuleType(name)
    for each in table.get("types", "").split():
        thing = getattr(np, each, None)
        is_dtype = isinstance(thing, type) and issubclass(thing, (np.generic, *DTYPE_CLASSES))
        setattr(module, each, thing if is_dtype else partial(_absent, each))
    for each in table.get("constants", "").split():
        number = getattr(np, each, None)
        setattr(module, each, number if isinstance(number, float) else None)
    for each in table.get("ufuncs", "").split():
        setattr(module, each, ufunc(each) if hasattr(np, each) else partial(_absent, each))
    for each, parameters in table["functions"].items():
        setattr(module, each, made(name, each, parameters))
    module.__all__ = [each for each in vars(module) if not each.startswith("_")]
    module.__version__ = version
    return module


def made(module, name, parameters):
    if module == "cupy":
        return function(name, parameters)
    if module == "cupy.linalg" and hasattr(np.linalg, name):
        return solver(name, parameters)
    return partial(_absent, name)
