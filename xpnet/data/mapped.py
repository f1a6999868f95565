"""Reading of memory-mapped files with a small resident set.

A page that has been accessed stays resident, and the system may map 2 MB for a row of 3 kB: one
shuffled epoch would make most of the file resident. So rows are read with ``preadv``, and the
pages of sequential reads are released.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np


def release_pages(X: Any) -> None:
    """Release the resident pages of a `numpy.memmap`.

    The pages stay in the page cache and are mapped again on access: only the resident set size of
    the process changes. A private mapping (``mode="c"``), which may contain modified pages, is left
    unchanged, and so is any other array.

    >>> release_pages(np.zeros(3))
    """
    mapping = _mapping(X)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


class RowReader:
    """Reads rows of a 2-D `numpy.memmap` from its file.

    Rows are read through the mapping instead if it is private, rows are not contiguous, the system
    has no ``preadv``, or the file was replaced after it was mapped.

    Args:
        X: the mapped array.
    """

    def __init__(self, X: Any) -> None:
        self._X, self._offset = X, 0
        self._file: int | None = None
        mapping = _mapping(X)
        contiguous = X.strides[1:] == (X.itemsize,) and X.strides[0] >= 0 and len(X) > 0
        if mapping is None or not contiguous or not hasattr(os, "preadv"):
            return
        self._offset = _file_offset(X, mapping)
        self._file = os.open(X.filename, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        ends = np.array([0, len(X) - 1])
        if self.take(ends).tobytes() != np.asarray(X[ends]).tobytes():
            self._file = None

    def take(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a copy of the rows at the indices ``rows``."""
        out = np.empty((len(rows), self._X.shape[1]), self._X.dtype)
        self.take_into(rows, out)
        return out

    def take_into(self, rows: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        """Copy the rows at the indices ``rows`` into ``out``, a contiguous array."""
        if self._file is None:
            out[...] = self._X[rows]
        elif out.dtype != self._X.dtype:  # the byte orders differ
            out[...] = self.take(rows)
        else:
            self._read(rows, out)

    def _read(self, rows: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        assert self._file is not None
        X, buffer = self._X, out.view(np.uint8).reshape(-1)
        size = X.itemsize * X.shape[1]
        starts = (self._offset + np.asarray(rows, np.int64) * X.strides[0]).tolist()
        for index, start in enumerate(starts):
            row = buffer[index * size : (index + 1) * size].data
            if os.preadv(self._file, [row], start) != size:
                raise OSError(f"{X.filename!r} became shorter while it was read")


def _mapping(X: Any) -> mmap.mmap | None:
    """Return the shared mapping that an array is a view of; ``None`` if there is none."""
    if not isinstance(X, np.memmap) or X.mode == "c" or X.filename is None:
        return None
    base: Any = X
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.base
    return base


def _file_offset(X: Any, mapping: mmap.mmap) -> int:
    """Return the offset in bytes of an array, or of a view of it, in its file."""
    start = X.offset - X.offset % mmap.ALLOCATIONGRANULARITY
    address = np.frombuffer(mapping, np.uint8).ctypes.data
    return int(start + X.ctypes.data - address)
