"""Huge-page-aligned host allocations, which reduce TLB misses.

The TLB of a processor holds the addresses of a few thousand pages. A training step passes over
several vectors in turn; in pages of 4 KiB each vector evicts the addresses of the others. Linux
backs an aligned allocation with huge pages if it is large enough; other systems ignore alignment.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE = 1 << 21
"""The size of a huge page on common processors, in bytes."""

MIN_ALLOCATION = 1 << 22
"""The size from which NumPy requests huge pages from Linux, in bytes."""

MIN_ALIGNED = 1 << 19
"""The size from which an array is aligned, in bytes: alignment wastes up to one huge page."""

BLOCK, MIN_IN_ARENA = 1 << 23, 1 << 16
"""The size of an arena's allocations and the size from which an array is placed in them, in
bytes."""


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """`numpy.empty`, in huge pages if it has `MIN_ALIGNED` bytes or more.

    >>> empty((3, 2), "float32").shape
    (3, 2)
    """
    dtype = np.dtype(dtype)
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes < MIN_ALIGNED:
        return np.empty(shape, dtype)
    # The system provides no memory for pages that are never written.
    memory = np.empty(max(n_bytes + HUGE_PAGE, MIN_ALLOCATION), np.uint8)
    start = -memory.ctypes.data % HUGE_PAGE
    array: NDArray[Any] = memory[start : start + n_bytes].view(dtype).reshape(shape)
    return array


def zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """`numpy.zeros`, in huge pages if it has `MIN_ALIGNED` bytes or more.

    >>> zeros((2,), "float64")
    array([0., 0.])
    """
    if prod(shape) * np.dtype(dtype).itemsize < MIN_ALIGNED:
        return np.zeros(shape, dtype)
    array = empty(shape, dtype)
    array[...] = 0
    return array


class Arena:
    """Allocates consecutive arrays with the same lifetime in huge pages.

    >>> Arena().empty(3, "float32").shape
    (3,)
    """

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)

    def empty(self, size: int, dtype: Any) -> NDArray[Any]:
        """A new uninitialized array of shape ``(size,)``."""
        n_bytes = size * np.dtype(dtype).itemsize
        if n_bytes < MIN_IN_ARENA:
            return np.empty(size, dtype)
        if len(self._block) < n_bytes:
            self._block = empty((max(n_bytes, BLOCK),), np.uint8)
        array: NDArray[Any] = self._block[:n_bytes].view(dtype)
        self._block = self._block[-(-n_bytes // 64) * 64 :]
        return array
