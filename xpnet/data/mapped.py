"""Files mapped into memory, read so that little of them counts as memory of the process.

A page that was touched stays mapped, and the system may map two megabytes around a row of three
kilobytes: a shuffled epoch over a file would soon hold all of it.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np


def forget_pages(X: Any) -> None:
    """Give up the pages of a `numpy.memmap` that were read.

    They stay in the system's cache and are mapped again when they are asked for, so nothing changes
    but the memory that the process is said to hold. A private mapping (``mode="c"``) is left as it
    is, for it may hold changes of its own; so is any other array.

    >>> forget_pages(np.zeros(3))
    """
    mapping = _mapping(X)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class RowReader:
    """Rows of a `numpy.memmap` of two dimensions, read from its file one by one.

    Where the file cannot be read beside the mapping (a private one, rows that do not lie in one
    piece, another system, a file that was replaced), the mapping is.

    Args:
        X: the mapped array.
    """

    def __init__(self, X: Any) -> None:
        self._X, self._first = X, 0
        self._file: int | None = None
        mapping = _mapping(X)
        whole = X.strides[1:] == (X.itemsize,) and X.strides[0] >= 0 and len(X) > 0
        if mapping is None or not whole or not hasattr(os, "preadv"):
            return
        self._first = _position(X, mapping)
        self._file = os.open(X.filename, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        ends = np.array([0, len(X) - 1])
        if self.take(ends).tobytes() != np.asarray(X[ends]).tobytes():
            self._file = None

    def take(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The rows at the indices given, a new array."""
        out = np.empty((len(rows), self._X.shape[1]), self._X.dtype)
        self.take_into(rows, out)
        return out

    def take_into(self, rows: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        """Write the rows at the indices given into ``out``, which lies in one piece."""
        if self._file is None:
            out[...] = self._X[rows]
        elif out.dtype != self._X.dtype:  # the other order of bytes
            out[...] = self.take(rows)
        else:
            self._read(rows, out)

    def _read(self, rows: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        assert self._file is not None
        X, into = self._X, out.view(np.uint8).reshape(-1)
        size = X.itemsize * X.shape[1]
        starts = (self._first + np.asarray(rows, np.int64) * X.strides[0]).tolist()
        for index, start in enumerate(starts):
            if os.preadv(self._file, [into[index * size : (index + 1) * size].data], start) != size:
                raise OSError(f"{X.filename!r} became shorter while it was read")


def _mapping(X: Any) -> mmap.mmap | None:
    """The shared mapping under an array; ``None`` for a private one and for other arrays."""
    if not isinstance(X, np.memmap) or X.mode == "c" or X.filename is None:
        return None
    base: Any = X
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.base
    return base


def _position(X: Any, mapping: mmap.mmap) -> int:
    """Where in its file the array begins, a slice of another one too."""
    start = X.offset - X.offset % mmap.ALLOCATIONGRANULARITY
    address = np.frombuffer(mapping, np.uint8).ctypes.data
    return int(start + X.ctypes.data - address)
