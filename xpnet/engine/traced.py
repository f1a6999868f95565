"""Arrays that record the operations applied to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from xpnet.backend import HostArray
from xpnet.ops.operations import Operations

RECORDED = frozenset(
    {
        *(
            np.argmax,
            np.argmin,
            np.astype,
            np.broadcast_to,
            np.clip,
            np.concatenate,
            np.dot,
            np.empty_like,
        ),
        *(np.max, np.mean, np.min, np.ones_like, np.prod, np.reshape, np.stack, np.sum, np.take),
        *(np.var, np.where, np.zeros_like),
    }
)
"""Recordable NumPy functions other than ufuncs: the shape of the result depends on no value."""

VIEWS = frozenset({np.astype, np.broadcast_to, np.reshape})
"""The functions that may return a view of their first argument."""

PRODUCTS = frozenset({np.dot, np.matmul.__call__})
"""The functions that are a matrix product if both arguments are matrices."""


class OperationRecorder(Protocol):
    """The recorder of a traced array."""

    operations: Operations
    """The operations on traced arrays."""

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a function on plain arrays, now and at every replay."""
        ...

    def product(self, a: Any, b: Any, out: Any) -> None:
        """``out ← a b``, now and at every replay."""
        ...


class Traced(NDArrayOperatorsMixin):
    """An array on which NumPy functions are executed and recorded.

    A replay repeats them for other values. Control flow on array values, such as ``float(x)``,
    ``if x`` or a mask as an index, therefore raises TypeError.

    Args:
        memory: the array.
        recorder: the recorder of the operations.
    """

    __slots__ = ("memory", "recorder")

    def __init__(self, memory: HostArray, recorder: OperationRecorder) -> None:
        self.memory, self.recorder = memory, recorder

    @property
    def operations(self) -> Operations:
        """The recording operations, which `operations_for` returns for this array."""
        return self.recorder.operations

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return np

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._recorded(getattr(ufunc, method), args, kwargs)

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        if function not in RECORDED:
            raise TypeError(f"numpy.{function.__name__} cannot be recorded")
        return self._recorded(function, args, kwargs)

    def _recorded(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Traced:
        out = kwargs.pop("out", None)
        target = out[0] if isinstance(out, tuple) else out
        if not (target is None or isinstance(target, Traced)):
            raise TypeError("out must be a recorded array, because the function is recorded")
        if function is np.where and len(args) + len(kwargs) == 1:
            raise TypeError("numpy.where of a condition alone cannot be recorded")
        args, recorder = memory_of(args), self.recorder
        kwargs = {name: memory_of(value) for name, value in kwargs.items()}
        if target is None:
            result = np.array(function(*args, **kwargs), copy=None)
            if function in VIEWS and np.may_share_memory(args[0], result):
                return Traced(result, recorder)  # a view of a recorded array
            target = Traced(result, recorder)
            if function is np.empty_like:
                return target
        into = memory_of(target)
        if function in PRODUCTS and not kwargs and all(getattr(x, "ndim", 0) == 2 for x in args):
            left, right = args
            recorder.product(left, right, into)
        else:
            recorder.do(fill, into, function, args, kwargs)
        return target

    def __getitem__(self, key: Any) -> Traced:
        view = self.memory[_index(key)]
        return Traced(view if isinstance(view, np.ndarray) else np.asarray(view), self.recorder)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.recorder.do(np.copyto, self.memory[_index(key)], memory_of(value))

    def __len__(self) -> int:
        return len(self.memory)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise TypeError("a recorded array cannot be converted to a NumPy array")

    def __bool__(self) -> bool:
        raise TypeError("control flow on array values cannot be recorded")

    __float__ = __int__ = __complex__ = __bool__

    def astype(self, dtype: Any) -> Traced:
        """A copy in another dtype."""
        return self._recorded(np.astype, (self, dtype), {})

    def sum(self, *args: Any, **kwargs: Any) -> Traced:
        """See `numpy.sum`."""
        return self._recorded(np.sum, (self, *args), kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Traced:
        """See `numpy.mean`."""
        return self._recorded(np.mean, (self, *args), kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Traced:
        """See `numpy.max`."""
        return self._recorded(np.max, (self, *args), kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Traced:
        """See `numpy.min`."""
        return self._recorded(np.min, (self, *args), kwargs)

    def reshape(self, *shape: Any) -> Traced:
        """A view in another shape."""
        view: Traced = self._recorded(
            np.reshape, (self, shape[0] if len(shape) == 1 else shape), {}
        )
        return view

    T = property(lambda self: Traced(self.memory.T, self.recorder))
    shape = property(lambda self: self.memory.shape)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)
    dtype = property(lambda self: self.memory.dtype)
    device = property(lambda self: self.memory.device)
    flags = property(lambda self: self.memory.flags)


def memory_of(x: Any) -> Any:
    """The memory of a traced array, or of each in a tuple or list; other values unchanged."""
    if isinstance(x, Traced):
        return x.memory
    return type(x)(map(memory_of, x)) if isinstance(x, (tuple, list)) else x


def fill(out: HostArray, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """``out ← function(…)``, without a temporary array if the function is a ufunc."""
    if isinstance(getattr(function, "__self__", None), np.ufunc):
        function(*args, out=out, **kwargs)
        return
    result = function(*args, **kwargs)
    if result is not out:
        out[...] = result


def _index(key: Any) -> Any:
    """Refuse an index with arrays, and add ``...``, so that the result of indexing is a view.

    Raises:
        TypeError: if the index holds an array or a boolean.
    """
    parts = key if isinstance(key, tuple) else (key,)
    if not all(part is None or part is ... or _is_fixed(part) for part in parts):
        raise TypeError("an index that is an array cannot be recorded")
    return parts if ... in parts else (*parts, ...)


def _is_fixed(part: Any) -> bool:
    return isinstance(part, (int, slice)) and not isinstance(part, bool)
