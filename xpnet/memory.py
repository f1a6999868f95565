"""Host memory in large pages, where numbers are found faster than in the usual ones of 4 KiB.

A processor keeps the places of a few thousand pages at hand. A training step passes through its
vectors in turn, and in small pages each has pushed out the places of the others.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 1 << 21
"""The bytes of a large page of the usual processors."""

ASKED_FOR = 1 << 22
"""From how many bytes on NumPy asks Linux for large pages."""

LARGE_BYTES = 1 << 19
"""From how many bytes on an array has pages of its own: it may waste almost one."""

BLOCK, PART = 1 << 23, 1 << 16
"""How many bytes an arena takes at a time, and from how many on an array lies in it."""


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """`numpy.empty`, in large pages from `LARGE_BYTES` bytes on.

    >>> empty((3, 2), "float32").shape
    (3, 2)
    """
    dtype = np.dtype(dtype)
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes < LARGE_BYTES:
        return np.empty(shape, dtype)
    memory = np.empty(max(n_bytes + PAGE, ASKED_FOR), np.uint8)  # what is not used takes none
    start = -memory.ctypes.data % PAGE
    array: NDArray[Any] = memory[start : start + n_bytes].view(dtype).reshape(shape)
    return array


def zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """`numpy.zeros`, likewise.

    >>> zeros((2,), "float64")
    array([0., 0.])
    """
    if prod(shape) * np.dtype(dtype).itemsize < LARGE_BYTES:
        return np.zeros(shape, dtype)
    array = empty(shape, dtype)
    array[...] = 0
    return array


class Arena:
    """Arrays that live equally long, one after another in large pages.

    >>> Arena().empty(3, "float32").shape
    (3,)
    """

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)

    def empty(self, size: int, dtype: Any) -> NDArray[Any]:
        """A new flat array of ``size`` numbers, whatever they are."""
        n_bytes = size * np.dtype(dtype).itemsize
        if n_bytes < PART:
            return np.empty(size, dtype)
        if len(self._block) < n_bytes:
            self._block = empty((max(n_bytes, BLOCK),), np.uint8)
        array: NDArray[Any] = self._block[:n_bytes].view(dtype)
        self._block = self._block[-(-n_bytes // 64) * 64 :]
        return array
