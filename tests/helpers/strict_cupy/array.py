"""``cupy.ndarray``: an array in device memory, with CuPy's refusals and NumPy's numbers."""

from __future__ import annotations

import operator
from functools import partial
from math import prod

import numpy as np

from helpers.strict_cupy import memory
from helpers.strict_cupy.cuda import Device, enqueue
from helpers.strict_cupy.memory import MemoryPointer
from helpers.strict_cupy.state import state
from helpers.strict_cupy.table import recorded_table

NAMES = set(recorded_table()["cupy.ndarray"].split())

SCALARS = (bool, int, float, complex, np.generic)


class ndarray:  # noqa: N801  CuPy's name
    """An array in device memory.

    It is no subclass of `numpy.ndarray`, so that no function of NumPy takes it by accident.
    """

    __module__ = "cupy"
    __array_priority__ = 100
    __slots__ = ("__weakref__", "_address", "_host", "_mem")
    __hash__ = None

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        assert strides is None
        dtype = np.dtype(dtype)
        shape = (shape,) if np.isscalar(shape) else tuple(shape)
        if memptr is None:
            memptr = memory.alloc(prod(shape) * dtype.itemsize)
        self = object.__new__(cls)
        self._mem, self._address = memptr.mem, memptr.ptr
        start = self._address - self._mem.ptr
        self._host = np.ndarray(shape, dtype, self._mem.bytes, start, order=order or "C")
        return self

    # --- refused ----------------------------------------------------------------------------------

    def __array__(self, *arguments, **keywords):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __getattr__(self, name):
        if name in NAMES:
            raise NotImplementedError(f"strict_cupy has no ndarray.{name} yet")
        raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")

    # --- what it is -------------------------------------------------------------------------------

    shape = property(
        lambda self: self._host.shape, lambda self, shape: setattr(self._host, "shape", shape)
    )
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: view(self._host.T, self))
    mT = property(lambda self: view(self._host.mT, self))  # noqa: N815  its name
    real = property(lambda self: view(self._host.real, self))
    device = property(lambda self: Device(self._mem.device_id))

    @property
    def data(self):
        return MemoryPointer(self._mem, self.address() - self._mem.ptr)

    def address(self):
        """The address of its first element."""
        if self._address is None:
            self._address = self._host.ctypes.data if self._host.size else self._mem.ptr
        return self._address

    @property
    def base(self):
        return None if self._host.nbytes == self._mem.size else self

    @property
    def __cuda_array_interface__(self):
        described = {"shape": self.shape, "typestr": self.dtype.str, "strides": self.strides}
        return described | {"version": 3, "data": (self.address(), False), "stream": 1}

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    # --- to and from the host ---------------------------------------------------------------------

    def get(self, stream=None, order="C", out=None, blocking=True):
        state.read("get", stream)
        if out is None:
            return np.array(self._host, order=order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected: {self.shape}, actual: {out.shape}")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        state.write("set", stream)
        self._host[...] = arr

    def __index__(self):
        if self.dtype.kind not in "biu" or self.size != 1:
            raise TypeError("only integer scalar arrays can be converted to a scalar index")
        return reader("index", operator.index)(self)

    def __format__(self, spec):
        def formatted(host):
            return format(host if host.ndim else host[()], spec) if spec else str(host)

        return reader("format", formatted)(self)

    def __reduce__(self):
        import cupy  # noqa: PLC0415  this stand-in

        return cupy.array, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # --- indexing ---------------------------------------------------------------------------------

    def __getitem__(self, key):
        parts, advanced = plain_key(key, self._host)
        if not advanced:
            return view(self._host[with_ellipsis(parts)], self)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in parts):
            state.read("boolean mask")
        return run("getitem", lambda host: host[parts], (self,))

    def __setitem__(self, key, value):
        parts, advanced = plain_key(key, self._host)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in parts):
            state.read("boolean mask in setitem")
        blocks = [self._mem]
        if isinstance(value, ndarray):
            blocks.append(value._mem)
            value = host_of(value, "setitem")
        elif isinstance(value, (np.ndarray, list, tuple)):
            if not advanced and np.shape(value) != ():
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            value = np.asarray(value, dtype=self.dtype)
        elif not np.isscalar(value):
            raise TypeError(f"Unsupported type {type(value)}")
        if advanced and not isinstance(value, np.ndarray):
            state.write("setitem")
            value = np.asarray(value, dtype=self.dtype)
        host, parts = host_of(self, "setitem"), parts if advanced else with_ellipsis(parts)
        if state.tape is not None:  # raise errors of shapes now
            np.broadcast_to(value, host[parts].shape)
        store = partial(quietly, host.__setitem__, (parts, value), {})
        kernel = "setitem", self.dtype.char, getattr(value, "dtype", np.dtype("V")).char, advanced
        enqueue("kernel:setitem", store, blocks, kernel=kernel)

    # --- methods ----------------------------------------------------------------------------------

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        dtype = np.dtype(dtype)
        if not copy and dtype == self.dtype:
            return self
        order = "C" if order == "C" else "K"
        return run("astype", lambda host: np.array(host, dtype, order=order), (self,))

    def copy(self, order="C"):
        """A copy on the current device, which may be another one."""
        with self.device:
            made = run("copy", lambda host: np.array(host, order=order), (self,))
        return made if self._mem.device_id == state.current.device else moved(made)

    def fill(self, value):
        self[...] = value

    def view(self, dtype=None):
        return view(self._host.view() if dtype is None else self._host.view(dtype), self)

    def reshape(self, *shape, order="C"):
        return run("reshape", lambda host: host.reshape(*shape, order=order), (self,))

    def dot(self, b, out=None):
        import cupy  # noqa: PLC0415  this stand-in

        return cupy.dot(self, b, out)

    def __matmul__(self, other):
        import cupy  # noqa: PLC0415

        return cupy.matmul(self, other)

    def __rmatmul__(self, other):
        import cupy  # noqa: PLC0415

        return cupy.matmul(other, self)

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        import cupy  # noqa: PLC0415

        function = getattr(cupy, ufunc.__name__, None)
        if function is None or method != "__call__":
            return NotImplemented
        return function(*inputs, **keywords)

    def __array_function__(self, function, types, arguments, keywords):
        import cupy  # noqa: PLC0415

        try:
            own = operator.attrgetter(".".join([*_path(function), function.__name__]))(cupy)
        except AttributeError:
            return NotImplemented
        if own is function or not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented
        return own(*arguments, **keywords)


def _path(function):
    return function.__module__.split(".")[1:]


# --- work on arrays -------------------------------------------------------------------------------


def view(host, array):
    """A view of an array's memory."""
    made = object.__new__(ndarray)
    made._host, made._mem, made._address = host, array._mem, None
    return made


def new_like(host):
    """A new array on the device with the shape, dtype and order of a host array."""
    order = "F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C"
    return ndarray(host.shape, host.dtype, order=order)


def to_device(host):
    """A new array with the values of a host array."""
    made = new_like(host)
    made._host[...] = host
    return made


def moved(array):
    """A copy on the current device of an array on another one."""
    made, host = new_like(array._host), array._host
    target = made._host

    def copy():
        target[...] = host

    enqueue("kernel:copy between devices", copy, [made._mem, array._mem])
    return made


def host_of(x, name):
    """A device array as the host array of its memory, lists of them likewise."""
    if isinstance(x, ndarray):
        if x._mem.device_id != state.current.device and x.size:
            raise ValueError(
                f"{name}: The device where the array resides ({x._mem.device_id}) is different "
                f"from the current device ({state.current.device}). Peer access is unavailable "
                "between these devices."
            )
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError(f"{name}: Unsupported type {type(x)} (a host array of shape {x.shape})")
    if isinstance(x, (tuple, list)):
        return type(x)(host_of(each, name) for each in x)
    return x


def flat(items):
    """The arguments and what the lists among them hold."""
    found = []
    for item in items:
        if isinstance(item, (tuple, list)):
            found += flat(item)
        else:
            found.append(item)
    return found


def run(name, function, arguments, keywords=None):
    """Call a function of NumPy on device arrays.

    Returns:
        What it returns: views of the arguments, or new arrays.
    """
    keywords = keywords or {}
    given = [host_of(x, name) for x in arguments]
    named = {key: host_of(x, name) for key, x in keywords.items()}
    arrays = [x for x in flat([*arguments, *keywords.values()]) if isinstance(x, ndarray)]
    if keywords.get("out") is not None:
        return _run_into(name, function, given, named, arrays, keywords["out"])
    again = partial(quietly, function, given, named)
    result = again()
    if isinstance(result, (tuple, list)):
        made = [
            _finished(name, value, arrays, given, lambda i=i: again()[i])
            for i, value in enumerate(result)
        ]
        return type(result)(*made) if hasattr(result, "_fields") else type(result)(made)
    return _finished(name, result, arrays, given, again)


def quietly(function, given, named):
    """Call a function without NumPy's warnings, which a device does not give."""
    with np.errstate(all="ignore"):
        return function(*given, **named)


def _kernel(name, given, dtype):
    if not state.counters:
        return None
    kinds = (x.dtype.char if isinstance(x, np.ndarray) else type(x).__name__ for x in given)
    return (name, *kinds, dtype.char)


def _run_into(name, function, given, named, arrays, out):
    if isinstance(out, tuple):
        (out,) = out
        named["out"] = out._host
    if not isinstance(out, ndarray):
        raise TypeError(f"{name}: out must be a cupy.ndarray, not {type(out)}")
    work = partial(quietly, function, given, named)
    if state.tape is not None:  # raise errors of shapes now
        quietly(function, given, named | {"out": np.empty_like(out._host)})

    blocks = [out._mem, *(array._mem for array in arrays)]
    enqueue(f"kernel:{name}", work, blocks, kernel=_kernel(name, given, out.dtype))
    return out


def _finished(name, value, arrays, given, again):
    """The result of `run` as a device array."""
    if isinstance(value, np.generic) or (isinstance(value, (bool, int, float)) and arrays):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    for array in arrays:
        if value is array._host:
            return array
        if value.base is not None and value.base is array._mem.room:
            return view(value, array)
    made = new_like(value)
    target, ready = made._host, value if state.tape is None else None

    def work():
        target[...] = again() if ready is None else ready

    blocks = [made._mem, *(array._mem for array in arrays)]
    enqueue(f"kernel:{name}", work, blocks, kernel=_kernel(name, given, value.dtype))
    return made


# --- indices --------------------------------------------------------------------------------------


def with_ellipsis(parts):
    """So that the result is a view also where all axes are indexed."""
    return parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis)


def plain_key(key, host):
    """A key as NumPy takes it, and whether it is an advanced one; indices wrap around."""
    parts, axis = [], 0
    for part in key if isinstance(key, tuple) else (key,):
        parts.append(plain_part(part, host.shape[axis] if axis < host.ndim else 0))
        axis += part is not None
    return tuple(parts), any(isinstance(part, np.ndarray) for part in parts)


def plain_part(part, size):
    """A part of a key, for an axis of a size."""
    if isinstance(part, ndarray):
        index = host_of(part, "getitem")
    elif isinstance(part, (list, np.ndarray, bool, np.bool_)):
        state.write("index")
        index = np.asarray(part)
        index = index.astype(np.int32) if index.size == 0 else index
    elif part is None or part is Ellipsis or isinstance(part, slice) or np.isscalar(part):
        return part
    else:
        raise IndexError("only integers, slices, ellipsis, None and arrays are valid indices")
    if index.dtype.kind not in "biu":
        raise IndexError("arrays used as indices must be of integer or boolean type")
    return index % size if index.dtype.kind in "iu" and size else index


# --- methods of one pattern -----------------------------------------------------------------------


def reader(name, function):
    """A method that reads the numbers on the host."""

    def method(self):
        state.read(name)
        return function(self._host)

    return method


READERS = {
    **{"item": np.ndarray.item, "tolist": np.ndarray.tolist, "tobytes": np.ndarray.tobytes},
    **{"__bool__": bool, "__int__": int, "__float__": float, "__complex__": complex},
    **{"__repr__": repr, "__str__": str},
}

METHODS = {
    **dict.fromkeys(("sum", "prod", "mean"), "axis dtype out keepdims"),
    **dict.fromkeys(("max", "min", "any", "all"), "axis out keepdims"),
    **dict.fromkeys(("argmax", "argmin"), "axis out dtype keepdims"),
    **dict.fromkeys(("std", "var"), "axis dtype out ddof keepdims"),
    **dict.fromkeys(("cumsum", "cumprod"), "axis dtype out"),
    **{"round": "decimals out", "clip": "min max out", "take": "indices axis out"},
    **{"ravel": "order", "flatten": "order", "squeeze": "axis", "swapaxes": "axis1 axis2"},
    **{"transpose": "", "diagonal": "offset axis1 axis2", "repeat": "repeats axis", "conj": ""},
    **{"trace": "offset axis1 axis2 dtype out", "nonzero": ""},
    "argsort": "axis kind",
}
"""The keywords that each method has."""

BINARY = {
    **{"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide},
    **{"floordiv": np.floor_divide, "mod": np.remainder, "pow": np.power},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor},
    **{"lshift": np.left_shift, "rshift": np.right_shift},
}

COMPARE = {
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal},
    **{"gt": np.greater, "ge": np.greater_equal},
}

UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.abs, "invert": np.invert}


def method(name, keywords):
    def call(self, *arguments, **named):
        if unknown := set(named) - set(keywords.split()):
            raise TypeError(f"ndarray.{name}() got an unexpected keyword argument {unknown}")
        if name == "nonzero":
            state.read("nonzero")
        return run(name, getattr(np.ndarray, name), (self, *arguments), named)

    return call


def binary(ufunc, swap=False, in_place=False):
    def call(self, other):
        if isinstance(other, np.ndarray):
            raise TypeError(f"Unsupported type {type(other)} beside a cupy.ndarray")
        if not isinstance(other, (ndarray, *SCALARS)):
            return NotImplemented
        pair = (other, self) if swap else (self, other)
        return run(ufunc.__name__, ufunc, pair, {"out": self} if in_place else None)

    return call


def unary(ufunc):
    return lambda self: run(ufunc.__name__, ufunc, (self,))


for _name, _keywords in METHODS.items():
    setattr(ndarray, _name, method(_name, _keywords))
for _name, _function in READERS.items():
    setattr(ndarray, _name, reader(_name.strip("_"), _function))
for _name, _ufunc in BINARY.items():
    setattr(ndarray, f"__{_name}__", binary(_ufunc))
    setattr(ndarray, f"__r{_name}__", binary(_ufunc, swap=True))
    setattr(ndarray, f"__i{_name}__", binary(_ufunc, in_place=True))
for _name, _ufunc in COMPARE.items():
    setattr(ndarray, f"__{_name}__", binary(_ufunc))
for _name, _ufunc in UNARY.items():
    setattr(ndarray, f"__{_name}__", unary(_ufunc))
