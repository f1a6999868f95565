"""The door checks of data: what a model needs of X, told by the first row that breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, is_real, to_numpy
from xpnet.data.mapped import forget_pages
from xpnet.errors import Phrase, describe, require
from xpnet.finite import are_finite, row_chunks


def check_features(X: Array, n_in: int | None = None, argument: str = "X") -> None:
    """Refuse ``X`` unless it is (m, n_in) finite real numbers with m ≥ 1.

    It is looked at in chunks of rows, so a `numpy.memmap` may be larger than memory, and little
    memory of a device is taken; of a chunk on a device one number is read to the host.

    Args:
        X: the features, an array of any backend.
        n_in: how many columns there must be; ``None`` takes any number of at least one.
        argument: what to call ``X`` in a message.

    Raises:
        ArgumentError: if ``X`` is not an array of real numbers or booleans, not 2-D, of another
            width, without rows, or if a value is NaN or infinite: then the message names the first
            such row and column, counted from 0.

    >>> check_features(np.zeros((2, 3)), 3)
    >>> check_features(np.array([[0.0, 1.0], [2.0, np.nan]]), 2)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: X must be finite; got nan in row 1, column 1.
    """
    check_table(X, n_in, argument)
    for start, chunk in row_chunks(X):
        if are_finite(chunk):
            forget_pages(X)
            continue
        host = to_numpy(chunk)
        row, column = (int(index) for index in np.argwhere(~np.isfinite(host))[0])
        value = describe(float(host[row, column]))
        place = Phrase(f"{value} in row {start + row}, column {column}")
        require(False, argument, "be finite", place)


def check_table(X: Array, n_in: int | None = None, argument: str = "X") -> None:
    """What `check_features` checks, but for the numbers: they are not looked at.

    >>> check_table(np.full((2, 3), np.nan), 3)
    """
    plain = type(X) is np.ndarray and X.dtype.char in "fd"
    if plain and X.ndim == 2 and X.shape[1] == n_in and X.shape[0]:
        return  # told in a fraction of a microsecond
    require(is_real(X), argument, "hold real numbers", X)
    hint = f"For one sample write {argument}[None, :]." if X.ndim == 1 else ""
    require(X.ndim == 2, argument, "have shape (rows, columns)", X, hint)
    if n_in is None:
        require(X.shape[1] >= 1, argument, "have at least one column", X)
    else:
        words = f"have {n_in} column{'s' * (n_in != 1)}, as many as the input has"
        require(X.shape[1] == n_in, argument, words, X)
    require(X.shape[0] >= 1, argument, "have at least one row", X)


def check_same_length(X: Array, y: Array, first: str = "X", second: str = "y") -> None:
    """Refuse ``X`` and ``y`` unless they have the same number of rows.

    Args:
        X: an array of at least one dimension.
        y: another.
        first: what to call ``X`` in a message.
        second: what to call ``y``.

    Raises:
        ArgumentError: if their first lengths differ, or one has no dimension.

    >>> check_same_length(np.zeros((3, 2)), np.zeros(4))
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: y must have one row for each of the 3 rows of X; got 4 rows.
    """
    require(X.ndim >= 1, first, "have rows", X)
    require(y.ndim >= 1, second, "have rows", y)
    rows = Phrase(f"{y.shape[0]} row{'s' * (y.shape[0] != 1)}")
    rule = f"have one row for each of the {X.shape[0]} rows of {first}"
    require(X.shape[0] == y.shape[0], second, rule, rows)


def as_host_vector(values: Any, argument: str) -> np.ndarray[Any, Any]:
    """``values``, a list or an array of any backend, as a 1-D NumPy array of at least one value."""
    host = to_numpy(values)
    require(host.ndim == 1 and host.size >= 1, argument, "be 1-D and not empty", host)
    return host
