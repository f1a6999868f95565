"""Backends: an array namespace, a device and a floating dtype.

`get_backend` returns the `Backend` of a name. All other differences between array libraries are in
subclasses of `ArrayLibrary`; no other module compares names of libraries. A backend is available if
an operation on it succeeds; that its package can be imported is not enough.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial, wraps
from inspect import signature
from numbers import Integral, Real
from types import ModuleType
from typing import Any, ClassVar, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np

from xpnet import memory
from xpnet.errors import (
    ArgumentError,
    BackendUnavailableError,
    Phrase,
    describe,
    dtype_name,
    require,
    unknown_name,
    warn_fallback,
)

Array: TypeAlias = Any
"""An array of any backend; the array API standard defines no static type of arrays."""

HostArray: TypeAlias = np.ndarray[Any, Any]
"""An array in host memory."""

Namespace: TypeAlias = Any
"""A module of array functions: ``numpy``, ``cupy``, ``torch``, ``array_api_strict``."""

P = ParamSpec("P")
R = TypeVar("R")

BackendName: TypeAlias = Literal["numpy", "cupy", "torch", "array_api_strict", "auto"]
DTYPES = ("float32", "float64")

PLAIN_DTYPES = "fd?bhilqBHILQeUSFD"
"""Codes of the NumPy dtypes that need no conversion on entry."""

KINDS_OF_NUMBERS = ((bool, np.bool), np.bool), (Integral, np.int64), (Real, np.float64)
"""Classes of Python numbers, and the dtype of an array of objects that are all of that class."""


class ArrayLibrary:
    """An array library that follows the array API standard, such as PyTorch.

    This class implements arrays in host memory that NumPy reads without a copy; a subclass
    overrides the methods that differ.

    Attributes:
        name: the name of its package, which is also the name of the backend.
        compat: the name of the module that is its namespace.
        install: the advice on its installation.
        is_host: whether reading a number requires no synchronization with a device.
        records_steps: whether training steps can be recorded as lists of compiled calls.
        is_cuda: whether it runs on CUDA devices, for which xpnet has kernels and captures graphs.
        differentiates: whether `records` may be true.
    """

    name: ClassVar[str]
    compat: ClassVar[str]
    install: ClassVar[str] = ""
    is_host: ClassVar[bool] = True
    records_steps: ClassVar[bool] = False
    is_cuda: ClassVar[bool] = False
    differentiates: ClassVar[bool] = False

    def namespace(self) -> Namespace:
        """The array namespace."""
        return importlib.import_module(self.compat)

    def array_type(self) -> type:
        """The class of its arrays."""
        return type(self.namespace().empty(0))

    def check_device(self, device: Any) -> Any:
        """The argument ``device=`` of its creation functions for the name of a device.

        Raises:
            ArgumentError: if there is no such device.
        """
        return device

    def device_of(self, x: Array) -> Any:
        """The argument ``device=`` for the device of ``x``."""
        return x.device

    def active(self, device: Any) -> AbstractContextManager[Any]:
        """A context in which new arrays are allocated on ``device`` and kernels run there."""
        return nullcontext()

    def is_elsewhere(self, device: Any) -> bool:
        """Whether `active` would change the current device."""
        return False

    def require_device(self, x: Array, argument: str, device: Any = None) -> None:
        """Refuse an array of another device than ``device`` or, if it is ``None``, the current one.

        Raises:
            ArgumentError: in that case; the message names ``argument``.
        """

    def device_name(self, device: Any) -> str:
        """The name of a device for users."""
        return str(device or "default device")

    def free_bytes(self) -> float:
        """The bytes that new arrays may take on a device; infinite in host memory."""
        return math.inf

    def synchronize(self) -> None:
        """Wait for all work queued on the device; on a CPU do nothing."""

    def plain(self, x: Any, argument: str) -> Array:
        """An array of this library that a caller passed, in a form that every function takes.

        Raises:
            ArgumentError: if ``x`` has no such form; the message names ``argument``.
        """
        return x

    def records(self, x: Any) -> bool:
        """Whether the library records what is computed from ``x``, to differentiate it."""
        return False

    def from_host(self, host: HostArray, dtype: Any, device: Any) -> Array:
        """An array with the values of ``host``."""
        return self.namespace().asarray(host, dtype=dtype, device=device)

    def to_host(self, x: Array) -> HostArray:
        """The values of ``x`` as a NumPy array, without a copy if possible."""
        return np.asarray(x)

    def copy_to_host(self, x: Array, host: HostArray) -> None:
        """Copy the values of ``x`` into ``host``."""
        host[...] = self.to_host(x)

    def copy_from_host(self, host: HostArray, x: Array) -> None:
        """Copy the values of ``host`` into ``x``."""
        x[...] = namespace_of(x).asarray(host, device=x.device)


class NumPyLibrary(ArrayLibrary):
    """NumPy, which follows the standard without a wrapper since version 2.1."""

    name = compat = "numpy"
    records_steps = True

    def plain(self, x: Any, argument: str) -> Array:
        """See `ArrayLibrary.plain`; it also converts lists and data frames, by position."""
        if isinstance(x, np.generic):
            return x
        _refuse_masked(x, argument)
        shape = getattr(x, "shape", None)
        if hasattr(x, "toarray"):
            got = Phrase(f"a {type(x).__name__} of shape {shape}")
            require(False, argument, "be a dense array", got, f"Write {argument}.toarray().")
        if hasattr(x, "to_numpy"):
            x = x.to_numpy()
            _refuse_masked(x, argument)
        elif shape is not None and not isinstance(x, np.ndarray):
            return x
        try:
            host = x if isinstance(x, np.ndarray) else np.asarray(x)
        except ValueError:
            rule = "must be a list with rows of equal length"
            raise ArgumentError(f"{argument} {rule}; got {describe(x)}.") from None
        return _plain_host(host)

    def array_type(self) -> type:
        """See `ArrayLibrary.array_type`."""
        return np.ndarray

    def check_device(self, device: Any) -> Any:
        """See `ArrayLibrary.check_device`."""
        require(device in (None, "cpu"), "device", "be 'cpu' for NumPy", device)

    def device_of(self, x: Array) -> Any:
        """See `ArrayLibrary.device_of`."""

    def device_name(self, device: Any) -> str:
        """See `ArrayLibrary.device_name`."""
        return "CPU"


class CuPyLibrary(ArrayLibrary):
    """CuPy, on NVIDIA GPUs. Its creation functions allocate on the current device."""

    name = "cupy"
    compat = "array_api_compat.cupy"
    install = "Install it for your CUDA version: pip install 'xpnet[cuda12]' or 'xpnet[cuda13]'."
    is_host = False
    is_cuda = True

    def namespace(self) -> Namespace:
        """See `ArrayLibrary.namespace`; its `sign` reads nothing on the host."""
        return _without_masks(super().namespace())

    def array_type(self) -> type:
        """See `ArrayLibrary.array_type`."""
        return importlib.import_module("cupy").ndarray  # type: ignore[no-any-return]

    def check_device(self, device: Any) -> int:
        """See `ArrayLibrary.check_device`; ``None`` is the device that is current now."""
        cuda = importlib.import_module("cupy").cuda
        if device is None:
            return int(cuda.get_device_id())
        index = device.id if isinstance(device, cuda.Device) else device
        last = cuda.runtime.getDeviceCount() - 1
        ok = isinstance(index, Integral) and not isinstance(index, bool) and 0 <= int(index) <= last
        rule = f"be the index of a CUDA device, 0{f' to {last}' if last else ''}"
        require(ok, "device", rule, device)
        return int(index)

    def device_of(self, x: Array) -> int:
        """See `ArrayLibrary.device_of`."""
        return int(x.device.id)

    def active(self, device: Any) -> AbstractContextManager[Any]:
        """See `ArrayLibrary.active`."""
        return importlib.import_module("cupy").cuda.Device(device)  # type: ignore[no-any-return]

    def is_elsewhere(self, device: Any) -> bool:
        """See `ArrayLibrary.is_elsewhere`."""
        return bool(importlib.import_module("cupy").cuda.get_device_id() != device)

    def require_device(self, x: Array, argument: str, device: Any = None) -> None:
        """See `ArrayLibrary.require_device`; CuPy computes on arrays of the current device."""
        own = self.device_of(x)
        if device is None:
            device = importlib.import_module("cupy").cuda.get_device_id()
        if own == device:
            return
        rule = f"be on CUDA device {device}, that of the model or the current one"
        name = "x" if " " in argument else argument
        do = f"Write: with cupy.cuda.Device({device}): {name} = cupy.asarray({name})."
        require(False, argument, rule, Phrase(f"an array on CUDA device {own}"), do)

    def plain(self, x: Any, argument: str) -> Array:
        """See `ArrayLibrary.plain`."""
        self.require_device(x, argument)
        return x

    def device_name(self, device: Any) -> str:
        """See `ArrayLibrary.device_name`."""
        runtime = importlib.import_module("cupy").cuda.runtime
        return f"{runtime.getDeviceProperties(device)['name'].decode()}, device {device}"

    def free_bytes(self) -> float:
        """See `ArrayLibrary.free_bytes`; it is that of the current device."""
        import cupy  # noqa: PLC0415

        return float(cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes())

    def synchronize(self) -> None:
        """See `ArrayLibrary.synchronize`."""
        import cupy  # noqa: PLC0415

        cupy.cuda.get_current_stream().synchronize()

    def to_host(self, x: Array) -> HostArray:
        """See `ArrayLibrary.to_host`."""
        return x.get()  # type: ignore[no-any-return]

    def copy_to_host(self, x: Array, host: HostArray) -> None:
        """See `ArrayLibrary.copy_to_host`; it allocates no memory."""
        x.get(out=host)

    def copy_from_host(self, host: HostArray, x: Array) -> None:
        """See `ArrayLibrary.copy_from_host`; it allocates no device memory."""
        import cupy  # noqa: PLC0415

        with x.device:
            stream = cupy.cuda.get_current_stream()
            x.set(np.broadcast_to(host, x.shape), stream)
            stream.synchronize()  # the copy may read host memory until it is done


@cache
def _without_masks(compat: Namespace) -> Namespace:
    """CuPy's namespace with a `sign` that a graph can capture.

    array-api-compat stores NaN at a mask, and the host waits for the number of its elements.
    """
    ours = ModuleType(compat.__name__, compat.__doc__)
    vars(ours).update(vars(compat))
    sign = importlib.import_module("cupy").sign
    # NaN is the number that differs from itself; integers have none.
    ours.sign = lambda x: compat.where(x != x, x, sign(x))  # type: ignore[attr-defined]  # noqa: PLR0124
    return ours


class TorchLibrary(ArrayLibrary):
    """PyTorch tensors. Only `Sequential.forward` and losses keep its automatic differentiation."""

    name = "torch"
    compat = "array_api_compat.torch"
    install = "Install it: pip install torch."
    differentiates = True

    def plain(self, x: Any, argument: str) -> Array:
        """See `ArrayLibrary.plain`; the result is detached from automatic differentiation."""
        dense = str(x.layout) == "torch.strided"
        got = Phrase(f"a tensor of layout {x.layout}")
        require(dense, argument, "be a dense array", got, f"Write {argument}.to_dense().")
        x = x.detach() if x.requires_grad else x
        x = x.resolve_neg() if x.is_neg() else x
        name = dtype_name(x.dtype)
        if name in ("uint16", "uint32", "uint64"):  # PyTorch cannot compare these
            return x.long()
        return x.float() if name == "bfloat16" else x

    def records(self, x: Any) -> bool:
        """See `ArrayLibrary.records`."""
        recorded = getattr(x, "requires_grad", False)
        return bool(recorded and importlib.import_module("torch").is_grad_enabled())

    def array_type(self) -> type:
        """See `ArrayLibrary.array_type`."""
        return importlib.import_module("torch").Tensor  # type: ignore[no-any-return]

    def from_host(self, host: HostArray, dtype: Any, device: Any) -> Array:
        """See `ArrayLibrary.from_host`."""
        steps = [step < 0 or step % host.itemsize for step in host.strides]
        if not host.flags.writeable or any(steps):
            host = host.copy()  # PyTorch warns of read-only memory, and refuses such steps
        return super().from_host(host, dtype, device)

    def to_host(self, x: Array) -> HostArray:
        """See `ArrayLibrary.to_host`."""
        x = x.detach().cpu().resolve_neg()
        x = x.float() if dtype_name(x.dtype) == "bfloat16" else x
        return x.numpy()  # type: ignore[no-any-return]


class StrictLibrary(ArrayLibrary):
    """The strict reference implementation of the array API standard, for tests."""

    name = compat = "array_api_strict"
    install = "Install it: pip install array-api-strict."

    def check_device(self, device: Any) -> Any:
        """See `ArrayLibrary.check_device`."""
        return self.namespace().Device("CPU_DEVICE") if device is None else device

    def to_host(self, x: Array) -> HostArray:
        """See `ArrayLibrary.to_host`."""
        return np.asarray(x.to_device(self.namespace().Device("CPU_DEVICE")))


LIBRARIES: dict[str, ArrayLibrary] = {
    library.name: library
    for library in (NumPyLibrary(), CuPyLibrary(), TorchLibrary(), StrictLibrary())
}
"""The array libraries by the name of their backend."""

NAMES = tuple(LIBRARIES)


def library_of(x: object) -> ArrayLibrary:
    """The library of the array ``x``; NumPy for every other object.

    >>> library_of(np.zeros(2)).name
    'numpy'
    """
    return LIBRARIES.get(type(x).__module__.partition(".")[0], LIBRARIES["numpy"])


@dataclass(frozen=True)
class Backend:
    """The array namespace, the device and the floating dtype of a model.

    `get_backend` creates it. It is immutable and comparable, and holds no array.

    Attributes:
        name: ``"numpy"``, ``"cupy"``, ``"torch"`` or ``"array_api_strict"``.
        xp: the array namespace, as the array API standard defines it.
        device: the argument ``device=`` of the functions of ``xp``; ``None`` for the default. For
            CuPy the index of the CUDA device.
        dtype: the floating dtype of parameters and activations, a dtype of ``xp``.
        dtype_name: the name of the dtype, ``"float32"`` or ``"float64"``.

    >>> backend = get_backend("numpy", dtype="float64")
    >>> backend.zeros(2)
    array([0., 0.])
    >>> backend.name, backend.dtype_name
    ('numpy', 'float64')
    """

    name: str
    xp: Namespace
    device: Any
    dtype: Any
    dtype_name: str

    def asarray(self, x: Any, dtype: Any = None, argument: str = "an array") -> Array:
        """Convert ``x`` to an array of this backend.

        An array of this backend is returned without a copy unless its dtype changes. Arrays of
        another device library are refused, because data are not moved between libraries silently.

        Args:
            x: an array of this backend, a NumPy array, a list or a number.
            dtype: a dtype of ``xp``; ``None`` (default) keeps the dtype of ``x``.
            argument: the name of ``x`` in error messages.

        Returns:
            An array of this backend.

        Raises:
            ArgumentError: if ``x`` belongs to an array library other than NumPy and this one.
        """
        # The first test is all that a step on NumPy pays.
        if (type(x) is np.ndarray and self.xp is np) or self.owns(x):
            if self.device is not None:
                self.library.require_device(x, argument, self.device)
            if dtype is None or x.dtype == dtype:
                return x
            with self.active():
                return self.xp.astype(x, dtype)
        if not _is_host(x):
            rule = f"be a NumPy array or an array of the backend {self.name!r}"
            name = "x" if argument == "an array" else argument
            do = f"It belongs to {type(x).__module__}: move it first, with xpnet.to_numpy({name})."
            require(False, argument, rule, x, do if hasattr(x, "shape") else "")
        return self.library.from_host(np.asarray(x), dtype, self.device)

    def recorded(self, given: Any, checked: Array) -> Array:
        """``given`` in the dtype of the backend if the library records it, else ``checked``.

        A validated array is detached from automatic differentiation; this one is not.
        """
        return self.asarray(given, self.dtype) if self.library.records(given) else checked

    def owns(self, x: object) -> bool:
        """Whether ``x`` is an array of this backend's library."""
        return isinstance(x, self.library.array_type())

    @property
    def library(self) -> ArrayLibrary:
        """The array library."""
        return LIBRARIES[self.name]

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        """An uninitialized array; ``dtype`` defaults to the dtype of the backend."""
        if self.xp is np:
            return memory.empty(shape, dtype or self.dtype)
        with self.active():
            return self.xp.empty(shape, dtype=dtype or self.dtype, device=self.device)

    def zeros(self, *shape: int, dtype: Any = None) -> Array:
        """An array of zeros; ``dtype`` defaults to the dtype of the backend."""
        if self.xp is np:
            return memory.zeros(shape, dtype or self.dtype)
        with self.active():
            return self.xp.zeros(shape, dtype=dtype or self.dtype, device=self.device)

    @property
    def is_host(self) -> bool:
        """Whether arrays are in host memory; elsewhere reading a number waits for queued work."""
        return self.library.is_host

    @property
    def free_bytes(self) -> float:
        """The bytes that new arrays may take on a GPU; infinite for arrays in host memory."""
        with self.active():
            return self.library.free_bytes()

    def synchronize(self) -> None:
        """Wait for all work queued on the device; on a CPU do nothing."""
        with self.active():
            self.library.synchronize()

    def active(self) -> AbstractContextManager[Any]:
        """A context in which the CUDA device of a CuPy backend is the current one.

        CuPy computes on the current device of a thread. Functions of xpnet that take a model enter
        its device and leave it again.
        """
        return self.library.active(self.device)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another CUDA device than that of the backend is the current one."""
        return self.library.is_elsewhere(self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name, because the namespace is a module, which cannot be pickled."""
        return partial(get_backend, self.name, dtype=self.dtype_name, device=self.device), ()

    def __str__(self) -> str:
        return f"{self.name}, {self.library.device_name(self.device)}, {self.dtype_name}"


def get_backend(
    name: BackendName | Backend | str = "numpy", *, dtype: str = "float32", device: Any = None
) -> Backend:
    """The backend called ``name``, tested by an operation on it.

    ``"auto"`` selects CuPy if an operation on a CUDA device succeeds, else NumPy. If ``"cupy"`` is
    unavailable and the environment variable ``XPNET_FALLBACK`` is ``numpy`` (intended for CI), a
    `FallbackWarning` is issued and NumPy is used.

    Args:
        name: ``"numpy"`` (default), ``"cupy"``, ``"torch"``, ``"array_api_strict"`` or ``"auto"``;
            a `Backend` is returned unchanged, and the other arguments are ignored.
        dtype: the dtype of parameters and activations, ``"float32"`` (default) or ``"float64"``.
        device: the device of the library, such as ``"cpu"`` for PyTorch; ``None`` (default) for
            the default device. For CuPy the index of a CUDA device or a `cupy.cuda.Device`;
            ``None`` is the device that is current now. If NumPy is used instead of CuPy, the device
            is ignored.

    Returns:
        The backend.

    Raises:
        ArgumentError: if ``name``, ``dtype`` or ``device`` is unknown. JAX is refused, because its
            arrays are immutable.
        BackendUnavailableError: if the backend does not work here; the message gives the reason.

    >>> get_backend("numpy").dtype_name
    'float32'
    """
    if isinstance(name, Backend):
        return name
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if name == "jax":
        raise ArgumentError(
            "backend must have arrays that can be written through a view, because every parameter "
            "is a view of one flat vector; got 'jax', which has immutable arrays. "
            "Use 'numpy' or 'cupy'."
        )
    if name == "auto":
        if unavailable("cupy", device) is None:
            return _open("cupy", dtype, device)
        return _open("numpy", dtype, None)
    if name not in NAMES:
        raise unknown_name("backend", name, (*NAMES, "auto"))
    reason = unavailable(name, device)
    if reason is None:
        return _open(name, dtype, device)
    if name == "cupy" and os.environ.get("XPNET_FALLBACK") == "numpy":
        message = f"backend 'cupy' is unavailable ({reason}); XPNET_FALLBACK=numpy: using NumPy"
        warn_fallback(message)
        return _open("numpy", dtype, None)
    raise BackendUnavailableError(f"backend {name!r} does not work here: {reason}")


def on_device_of(argument: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that runs a function on the CUDA device of one of its arguments.

    Args:
        argument: the name of the argument: an array, or an object with a `Backend` as ``backend``.
            An argument that is neither is for the function to refuse.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        index = [*signature(function).parameters].index(argument)

        @wraps(function)
        def on_device(*args: P.args, **kwargs: P.kwargs) -> R:
            owner = args[index] if index < len(args) else kwargs.get(argument)
            with _device_of(owner):
                return function(*args, **kwargs)

        return on_device

    return decorate


def _device_of(owner: Any) -> AbstractContextManager[Any]:
    backend = getattr(owner, "backend", None)
    if isinstance(backend, Backend):
        return backend.active()
    library = library_of(owner)
    return library.active(library.device_of(owner)) if library.is_cuda else nullcontext()


def unavailable(name: str, device: Any = None) -> str | None:
    """Why an operation on the backend ``name`` fails here; ``None`` if it succeeds.

    Raises:
        ArgumentError: if the backend has no such device.

    >>> unavailable("numpy") is None
    True
    """
    try:
        library = LIBRARIES[name]
        xp = library.namespace()
        with library.active(library.check_device(device)):
            value = float(xp.sum(xp.ones(2) * 2.0))
    except ArgumentError:
        raise
    except ImportError as error:
        return f"it cannot be imported ({error}). {LIBRARIES[name].install}"
    except Exception as error:  # a driver may raise any exception
        text = f"an operation on its device failed ({type(error).__name__}: {error})."
        return f"{text} Is there a CUDA GPU?" if LIBRARIES[name].is_cuda else text
    return None if value == 4.0 else f"2 + 2 gave {value} on its device."


def as_array(x: Any, argument: str = "an array") -> Array:
    """Return an array, a list or a data frame that a caller passed as a plain array.

    Arrays of every library are returned unchanged, with these exceptions. Subclasses such as
    `numpy.matrix` become arrays, except for `numpy.memmap`; other byte orders, extended precision,
    bfloat16, variable-width strings and objects that are all numbers become plain dtypes; tensors
    are detached from automatic differentiation. Data frames are taken by position.

    Args:
        x: the value.
        argument: its name in error messages.

    Raises:
        ArgumentError: if ``x`` is a masked array, a sparse matrix, or a list with rows of unequal
            length.

    >>> as_array([1, 2])
    array([1, 2])
    >>> as_array(np.ma.masked_equal([1, 2], 2), "y")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: y must not be a masked array, because masked elements are missing \
values; got shape (2,). Drop or replace them first, as y.filled(0) does.
    """
    if type(x) is np.ndarray and x.dtype.char in PLAIN_DTYPES and x.dtype.isnative:
        return x
    return library_of(x).plain(x, argument)


def _refuse_masked(x: Any, argument: str) -> None:
    """Refuse masked arrays, and lists of them, because a mask would be ignored."""
    masked = isinstance(x, np.ma.MaskedArray)
    if isinstance(x, (list, tuple)):
        masked = any(isinstance(item, np.ma.MaskedArray) for item in x)
    rule = "not be a masked array, because masked elements are missing values"
    do = f"Drop or replace them first, as {argument}.filled(0) does."
    require(not masked, argument, rule, Phrase(f"shape {np.shape(x) if masked else ()}"), do)


def _plain_host(x: HostArray) -> HostArray:
    """Return a NumPy array in native byte order and a dtype that every backend knows."""
    kind, name = x.dtype.kind, x.dtype.name
    if isinstance(x, np.memmap) and kind in "biuf":
        return x
    if type(x).__array_function__ is np.ndarray.__array_function__:
        x = np.asarray(x)
    if kind == "f" and x.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # an infinite element is refused later
            return x.astype(np.float64)
    if name == "bfloat16":
        return x.astype(np.float32)
    if kind == "T" and all(isinstance(item, str) for item in x.flat):
        return np.array(x.tolist(), dtype=np.str_).reshape(x.shape)
    if kind == "O" and x.size:
        items = list(x.flat)
        for number, dtype in KINDS_OF_NUMBERS:
            if all(isinstance(item, number) for item in items):
                return _as_numbers(x, dtype)
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _as_numbers(x: HostArray, dtype: Any) -> HostArray:
    """Return an array of objects that are numbers, unless one is too large for ``dtype``."""
    try:
        return x.astype(dtype)
    except OverflowError:
        return x


def namespace_of(array: Array) -> Namespace:
    """The array namespace of ``array``.

    Raises:
        ArgumentError: if ``array`` is not an array of a supported library.

    >>> namespace_of(np.zeros(2)).__name__
    'numpy'
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    library = library_of(array)
    if library.is_cuda:
        library.require_device(array, "an array")
        return library.namespace()
    compat = importlib.import_module("array_api_compat")
    try:
        return compat.array_namespace(array)
    except TypeError:
        raise ArgumentError(
            f"an array must be of one of the libraries {', '.join(NAMES)}; got "
            f"{describe(array)} of type {type(array).__module__}.{type(array).__qualname__}."
        ) from None


def backend_of(array: Array) -> Backend:
    """The backend of a floating-point array, with its device and dtype.

    Raises:
        ArgumentError: if ``array`` is not an array of a supported library in float32 or float64.

    >>> backend_of(np.zeros(2, dtype="float32")).dtype_name
    'float32'
    """
    xp = namespace_of(array)
    name = dtype_name(array.dtype)
    if name not in DTYPES:
        raise unknown_name("the dtype of an array", name, DTYPES)
    library = library_of(array)
    return Backend(library.name, xp, library.device_of(array), array.dtype, name)


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """Convert ``x`` to a NumPy array, with a copy only if ``x`` is in device memory.

    >>> to_numpy([1, 2])
    array([1, 2])
    """
    return library_of(x).to_host(x)


def is_kind(x: Array, kind: str | tuple[str, ...]) -> bool:
    """Return whether the dtype of ``x`` is of a ``kind`` of the array API standard.

    >>> is_kind(np.zeros(2), "real floating"), is_kind(np.zeros(2), ("bool", "integral"))
    (True, False)
    """
    if isinstance(x, np.ndarray) and x.dtype.kind == "V":  # NumPy's isdtype raises a TypeError
        return False
    return bool(namespace_of(x).isdtype(x.dtype, kind))


def is_real(x: Array) -> bool:
    """Return whether ``x`` holds booleans, integers or real floating-point numbers.

    >>> is_real(np.zeros(2, dtype=bool)), is_real(np.zeros(2, dtype=complex))
    (True, False)
    """
    return is_kind(x, ("bool", "integral", "real floating"))


def _open(name: str, dtype: str, device: Any) -> Backend:
    library = LIBRARIES[name]
    xp, device = library.namespace(), library.check_device(device)
    return Backend(name, xp, device, getattr(xp, dtype), dtype)


def zeros_like(x: Array) -> Array:
    """An array of zeros with the shape, dtype and device of ``x``.

    >>> zeros_like(np.ones(2))
    array([0., 0.])
    """
    if type(x) is np.ndarray:
        return memory.zeros(x.shape, x.dtype)
    return namespace_of(x).zeros_like(x)


def copied(x: Array) -> Array:
    """A copy of ``x`` on the same device.

    >>> x = np.zeros(2)
    >>> copied(x) is x
    False
    """
    return namespace_of(x).asarray(x, copy=True)


def write(host: HostArray, target: Array) -> None:
    """Copy an array in host memory into ``target``; on a CUDA device this allocates no memory.

    >>> x = np.zeros(2)
    >>> write(np.ones(2), x)
    >>> x
    array([1., 1.])
    """
    library_of(target).copy_from_host(np.asarray(host, dtype_name(target.dtype)), target)


class Snapshot:
    """Copies of flat arrays in host memory, because device memory is smaller.

    >>> x = np.zeros(2)
    >>> before = Snapshot([x])
    >>> x += 1
    >>> before.restore()
    >>> x
    array([0., 0.])
    """

    def __init__(self, arrays: Iterable[Array]) -> None:
        self._pairs = [(x, np.empty(x.shape, dtype_name(x.dtype))) for x in arrays if x.shape[0]]
        self.take()

    def take(self) -> None:
        """Copy the current values, into the same memory."""
        for array, host in self._pairs:
            library_of(array).copy_to_host(array, host)

    def restore(self) -> None:
        """Write the copies back."""
        for array, host in self._pairs:
            write(host, array)


def in_host_memory(x: Array) -> bool:
    """Return whether reading a number of ``x`` needs no device.

    >>> in_host_memory(np.zeros(2))
    True
    """
    if isinstance(x, np.ndarray):
        return type(x) is np.ndarray  # a subclass may hold the numbers elsewhere
    return library_of(x).is_host and getattr(x.device, "type", "cpu") == "cpu"


def _is_host(x: object) -> bool:
    """Whether ``x`` is in host memory and NumPy can convert it."""
    return isinstance(x, (np.ndarray, np.generic, list, tuple, int, float, bool))
