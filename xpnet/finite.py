"""Checks for NaN and infinity that need little memory, whatever the size of the array."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from xpnet.backend import Array, in_host_memory, is_kind, namespace_of

CHUNK = 1 << 22
"""Maximum number of elements that are checked at a time: 32 MiB of float64."""

MAX_FLOAT32 = 2.0**128 - 2.0**104
"""The largest number of float32."""


def row_chunks(X: Array) -> Iterator[tuple[int, Array]]:
    """Yield ``(first row, rows)`` for consecutive views of ``X`` of about `CHUNK` elements."""
    step = max(1, CHUNK // max(1, math.prod(X.shape[1:])))
    for start in range(0, X.shape[0], step):
        yield start, X[start : min(start + step, X.shape[0]), ...]


def are_finite(X: Array) -> bool:
    """Return whether all elements of ``X`` are finite, without a temporary array of its size.

    >>> are_finite(np.ones((2, 2))), are_finite(np.array([[1.0, np.inf]]))
    (True, False)
    """
    plain = type(X) is np.ndarray and X.dtype.char in "fd" and X.flags.c_contiguous
    # A finite sum of squares, which takes a microsecond, proves that all elements are finite.
    # Unlike np.dot, np.vdot does not warn if the sum overflows.
    if plain and math.isfinite(np.vdot(X, X)):
        return True
    if not is_kind(X, "real floating"):
        return True
    xp = namespace_of(X)
    return bool(xp.isfinite(xp.max(X)) & xp.isfinite(xp.min(X)))


def all_are_finite(arrays: Iterable[Array]) -> bool:
    """Return whether all elements of several arrays are finite, reading one number of a device.

    >>> all_are_finite([np.ones(2), np.zeros(0)]), all_are_finite([np.ones(2), np.array([np.nan])])
    (True, False)
    """
    arrays = [x for x in arrays if x.shape[0] > 0]
    if all(map(in_host_memory, arrays)):
        return all(map(are_finite, arrays))
    products = []  # 0·x is 0 for a finite x only
    for x in arrays:
        xp = namespace_of(x)
        products += [xp.max(x) * 0.0, xp.min(x) * 0.0]
    return not math.isnan(float(sum(products)))


def fit_float32(X: Array) -> bool:
    """Return whether all elements of a float64 array are finite in float32.

    >>> fit_float32(np.array([[1e38]])), fit_float32(np.array([[1e39]]))
    (True, False)
    """
    if type(X) is np.ndarray and X.flags.c_contiguous and np.vdot(X, X) <= MAX_FLOAT32**2:
        return True
    xp = namespace_of(X)
    return bool((xp.max(X) <= MAX_FLOAT32) & (xp.min(X) >= -MAX_FLOAT32))


def first_not_finite(x: Array) -> int | None:
    """Return the index of the first NaN or infinity in a 1-D array, or ``None``.

    >>> first_not_finite(np.array([1.0, np.nan])), first_not_finite(np.ones(2))
    (1, None)
    """
    xp = namespace_of(x)
    for start, part in row_chunks(x):
        if not are_finite(part):
            return start + int(xp.argmin(xp.astype(xp.isfinite(part), xp.int64)))
    return None
