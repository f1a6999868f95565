"""Where arrays live and computing happens: one namespace, one device, one float dtype.

`get_backend` turns a name into a `Backend` once; nothing below asks again. Whether a backend is
available is found out by doing an operation on it, not by importing its package.
"""

from __future__ import annotations

import importlib
import math
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from xpnet import memory
from xpnet.errors import (
    ArgumentError,
    BackendUnavailableError,
    FallbackWarning,
    describe,
    dtype_name,
    require,
    unknown_name,
)

Array: TypeAlias = Any
"""An array of any backend. The array API standard has no type of its own yet."""

HostArray: TypeAlias = np.ndarray[Any, Any]
"""An array in host memory."""

Namespace: TypeAlias = Any
"""A module of array functions: ``numpy``, ``cupy``, ``torch``, ``array_api_strict``."""

BackendName: TypeAlias = Literal["numpy", "cupy", "torch", "array_api_strict", "auto"]
NAMES = ("numpy", "cupy", "torch", "array_api_strict")
DTYPES = ("float32", "float64")

_INSTALL = {
    "cupy": "Install it for your CUDA version: pip install 'xpnet[cuda12]' or 'xpnet[cuda13]'.",
    "torch": "Install it: pip install torch.",
    "array_api_strict": "Install it: pip install array-api-strict.",
}


@dataclass(frozen=True)
class Backend:
    """A place to compute: the array namespace, its device and the float dtype of parameters.

    Made by `get_backend`. Frozen and comparable; it holds no array.

    Attributes:
        name: ``"numpy"``, ``"cupy"``, ``"torch"`` or ``"array_api_strict"``.
        xp: the array namespace, as the array API standard defines it.
        device: what ``xp`` takes as ``device=``; ``None`` for the default.
        dtype: the floating dtype of parameters and activations, an ``xp`` dtype.
        dtype_name: the same as text, ``"float32"`` or ``"float64"``.

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

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """``x`` on this backend's device, as ``dtype`` (default: kept); host data is moved once.

        An array that is here already is returned without a copy. An array of *another* device
        library is refused: moving data between libraries is never done silently.

        Args:
            x: an array of this backend, a NumPy array, a list or a number.
            dtype: an ``xp`` dtype, or ``None`` to keep the one of ``x``.

        Returns:
            An array of this backend.

        Raises:
            ArgumentError: if ``x`` belongs to a different array library than NumPy or this one.
        """
        if self.owns(x):
            if dtype is None or x.dtype == dtype:
                return x
            return self.xp.astype(x, dtype)
        require(
            _is_host(x),
            "an array",
            f"be a NumPy array or an array of the backend {self.name!r}",
            x,
            f"It belongs to {type(x).__module__}: move it first, with xpnet.to_numpy(x)."
            if hasattr(x, "shape")
            else "",
        )
        host = np.asarray(x)
        if not host.flags.writeable and self.name == "torch":
            host = host.copy()  # PyTorch warns of undefined behaviour on read-only memory.
        return self.xp.asarray(host, dtype=dtype, device=self.device)

    def owns(self, x: object) -> bool:
        """Whether ``x`` is an array of this backend's library."""
        return isinstance(x, _array_type(self.name))

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        """An uninitialized array of ``shape``, in the backend's float dtype unless said."""
        if self.xp is np:
            return memory.empty(shape, dtype or self.dtype)
        return self.xp.empty(shape, dtype=dtype or self.dtype, device=self.device)

    def zeros(self, *shape: int, dtype: Any = None) -> Array:
        """An array of zeros of ``shape``, in the backend's float dtype unless said."""
        if self.xp is np:
            return memory.zeros(shape, dtype or self.dtype)
        return self.xp.zeros(shape, dtype=dtype or self.dtype, device=self.device)

    @property
    def is_host(self) -> bool:
        """Whether reading a number costs nothing: on a GPU it waits for all queued work."""
        return self.name != "cupy"

    @property
    def free_bytes(self) -> float:
        """The bytes that new arrays may take on a GPU; infinite for arrays in host memory."""
        if self.name != "cupy":
            return math.inf
        import cupy  # noqa: PLC0415

        return float(cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes())

    def synchronize(self) -> None:
        """Wait until the device has done all the work queued on it; at once on a CPU."""
        if self.name == "cupy":
            self.xp.cuda.get_current_stream().synchronize()

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process it goes by its name: a module is no value."""
        return partial(get_backend, self.name, dtype=self.dtype_name, device=self.device), ()

    def __str__(self) -> str:
        place = "CPU" if self.name == "numpy" else str(self.device or "default device")
        if self.name == "cupy":
            import cupy  # noqa: PLC0415

            index = cupy.cuda.Device().id
            place = cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
        return f"{self.name}, {place}, {self.dtype_name}"


def get_backend(
    name: BackendName | Backend | str = "numpy", *, dtype: str = "float32", device: Any = None
) -> Backend:
    """The backend called ``name``, after an operation on it has worked.

    ``"auto"`` takes CuPy if an operation on a CUDA device works, else NumPy. If ``"cupy"`` is not
    usable and the environment variable ``XPNET_FALLBACK`` is ``numpy`` (meant for CI), it warns
    with `FallbackWarning` and NumPy is taken.

    Args:
        name: ``"numpy"``, ``"cupy"``, ``"torch"``, ``"array_api_strict"`` or ``"auto"``; a
            `Backend` is returned as it is.
        dtype: ``"float32"`` or ``"float64"``, the dtype of parameters and activations.
        device: what the library takes as ``device=``, such as ``"cpu"`` for PyTorch; ``None`` is
            its default.

    Returns:
        The backend, a value.

    Raises:
        ArgumentError: if ``name`` or ``dtype`` is unknown; ``"jax"`` with the reason.
        BackendUnavailableError: if the backend does not work here, saying what failed.

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
            "is a view of one flat vector; got 'jax', whose arrays are immutable. "
            "Use 'numpy' or 'cupy'."
        )
    if name == "auto":
        return _open("cupy" if unavailable("cupy") is None else "numpy", dtype, device)
    if name not in NAMES:
        raise unknown_name("backend", name, (*NAMES, "auto"))
    reason = unavailable(name)
    if reason is None:
        return _open(name, dtype, device)
    if name == "cupy" and os.environ.get("XPNET_FALLBACK") == "numpy":
        message = f"backend 'cupy' is unavailable ({reason}); XPNET_FALLBACK=numpy: using NumPy"
        warnings.warn(message, FallbackWarning, stacklevel=2)
        return _open("numpy", dtype, None)
    raise BackendUnavailableError(f"backend {name!r} does not work here: {reason}")


def unavailable(name: str) -> str | None:
    """Why the backend ``name`` does not work here, found by trying an operation; None if it does.

    >>> unavailable("numpy") is None
    True
    """
    try:
        xp = _namespace(name)
        value = float(xp.sum(xp.ones(2) * 2.0))
    except ImportError as error:
        return f"it cannot be imported ({error}). {_INSTALL[name]}"
    except Exception as error:  # a driver can fail in any way; the reason is what is asked for
        kind = type(error).__name__
        return f"an operation on its device failed ({kind}: {error}). Is there a CUDA GPU?"
    return None if value == 4.0 else f"2 + 2 gave {value} on its device."


def as_array(x: Any) -> Array:
    """``x`` itself if it is an array of any library, else a NumPy array of it.

    >>> as_array([1, 2])
    array([1, 2])
    """
    if hasattr(x, "shape"):
        return x
    try:
        return np.asarray(x)
    except ValueError:
        rule = "an array must be a list whose rows are equally long"
        raise ArgumentError(f"{rule}; got {describe(x)}.") from None


def namespace_of(array: Array) -> Namespace:
    """The namespace that ``array`` belongs to: arrays handed in keep theirs.

    >>> namespace_of(np.zeros(2)).__name__
    'numpy'
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    compat = importlib.import_module("array_api_compat")
    try:
        return compat.array_namespace(array)
    except TypeError:
        raise ArgumentError(
            f"an array must come from NumPy, CuPy, PyTorch or array-api-strict; got "
            f"{describe(array)} of type {type(array).__module__}.{type(array).__qualname__}."
        ) from None


def backend_of(array: Array) -> Backend:
    """The backend that a floating ``array`` lives on, with its device and dtype.

    >>> backend_of(np.zeros(2, dtype="float32")).dtype_name
    'float32'
    """
    xp = namespace_of(array)
    library = type(array).__module__.partition(".")[0]
    name = dtype_name(array.dtype)
    if name not in DTYPES:
        raise unknown_name("the dtype of an array", name, DTYPES)
    device = None if library in ("numpy", "cupy") else array.device
    return Backend(library, xp, device, array.dtype, name)


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """``x`` as a NumPy array on the host; a copy only where ``x`` lives on a device.

    >>> to_numpy([1, 2])
    array([1, 2])
    """
    library = type(x).__module__.partition(".")[0]
    if library == "cupy":
        return x.get()  # type: ignore[no-any-return]
    if library == "torch":
        return x.detach().cpu().numpy()  # type: ignore[no-any-return]
    if library == "array_api_strict":
        return np.asarray(x.to_device(_namespace(library).Device("CPU_DEVICE")))
    return np.asarray(x)


def _namespace(name: str) -> Namespace:
    """Import the namespace of a backend; NumPy's own follows the standard since 2.1."""
    if name == "numpy":
        return np
    compat = {"cupy": "array_api_compat.cupy", "torch": "array_api_compat.torch"}
    return importlib.import_module(compat.get(name, name))


def _open(name: str, dtype: str, device: Any) -> Backend:
    xp = _namespace(name)
    if name in ("numpy", "cupy"):
        require(device in (None, "cpu") or name == "cupy", "device", "be 'cpu' for NumPy", device)
        device = None  # array-api-compat's CuPy creates on the current device
    elif name == "array_api_strict" and device is None:
        device = xp.Device("CPU_DEVICE")
    return Backend(name, xp, device, getattr(xp, dtype), dtype)


def _array_type(name: str) -> type:
    if name == "numpy":
        return np.ndarray
    if name == "torch":
        return importlib.import_module("torch").Tensor  # type: ignore[no-any-return]
    if name == "cupy":
        return importlib.import_module("cupy").ndarray  # type: ignore[no-any-return]
    return type(importlib.import_module(name).empty(0))


def zeros_like(x: Array) -> Array:
    """Zeros in an array like ``x``.

    >>> zeros_like(np.ones(2))
    array([0., 0.])
    """
    if type(x) is np.ndarray:
        return memory.zeros(x.shape, x.dtype)
    return namespace_of(x).zeros_like(x)


def copied(x: Array) -> Array:
    """An array of its own with the numbers of ``x``, where ``x`` lies.

    >>> x = np.zeros(2)
    >>> copied(x) is x
    False
    """
    return namespace_of(x).asarray(x, copy=True)


def write(host: HostArray, target: Array) -> None:
    """Copy numbers of the host into an array; on a CUDA device they take no other memory.

    >>> x = np.zeros(2)
    >>> write(np.ones(2), x)
    >>> x
    array([1., 1.])
    """
    host = np.asarray(host, dtype_name(target.dtype))
    if _is_cupy(target):
        import cupy  # noqa: PLC0415

        stream = cupy.cuda.get_current_stream()
        target.set(np.broadcast_to(host, target.shape), stream)
        stream.synchronize()  # until then the copy may read the host's memory
    else:
        target[...] = namespace_of(target).asarray(host, device=target.device)


class Snapshot:
    """Copies of flat arrays in host memory, which is larger than a device's.

    >>> x = np.zeros(2)
    >>> saved = Snapshot([x])
    >>> x += 1
    >>> saved.restore()
    >>> x
    array([0., 0.])
    """

    def __init__(self, arrays: Iterable[Array]) -> None:
        self._pairs = [(x, np.empty(x.shape, dtype_name(x.dtype))) for x in arrays if x.shape[0]]
        self.take()

    def take(self) -> None:
        """Copy them as they are now, into the same memory."""
        for array, host in self._pairs:
            if _is_cupy(array):
                array.get(out=host)
            else:
                host[...] = to_numpy(array)

    def restore(self) -> None:
        """Write them back."""
        for array, host in self._pairs:
            write(host, array)


def _is_cupy(x: Array) -> bool:
    return type(x).__module__.partition(".")[0] == "cupy"


def _is_host(x: object) -> bool:
    """Whether ``x`` is data in host memory that NumPy can read without help."""
    return isinstance(x, (np.ndarray, np.generic, list, tuple, int, float, bool))
