"""Validation of features and lengths; errors name the first invalid row."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, as_array, is_real, to_numpy
from xpnet.data.mapped import release_pages
from xpnet.errors import Phrase, describe, require
from xpnet.finite import are_finite, row_chunks


def check_features(X: Array, n_in: int | None = None, argument: str = "X") -> None:
    """Check that ``X`` holds finite real numbers, shape ``(m, n_in)`` with m ≥ 1.

    Rows are checked in chunks, so a `numpy.memmap` may be larger than memory. A GPU transfers one
    number for each chunk to the host.

    Args:
        X: the features, an array of any backend.
        n_in: the required number of columns; ``None`` (default) accepts any number of at least 1.
        argument: the name of ``X`` in error messages.

    Raises:
        ArgumentError: if ``X`` is not an array of real numbers or booleans, does not have the
            required shape, or contains NaN or infinity; the message names the row and column of
            the first such element, counted from 0.

    >>> check_features(np.zeros((2, 3)), 3)
    >>> check_features(np.array([[0.0, 1.0], [2.0, np.nan]]), 2)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: X must be finite; got nan in row 1, column 1.
    """
    check_table(X, n_in, argument)
    for start, chunk in row_chunks(X):
        if are_finite(chunk):
            release_pages(X)
            continue
        host = to_numpy(chunk)
        row, column = (int(index) for index in np.argwhere(~np.isfinite(host))[0])
        value = describe(float(host[row, column]))
        got = Phrase(f"{value} in row {start + row}, column {column}")
        require(False, argument, "be finite", got)


def check_table(X: Array, n_in: int | None = None, argument: str = "X") -> None:
    """Check the dtype and shape of ``X`` as `check_features` does, but not its elements.

    >>> check_table(np.full((2, 3), np.nan), 3)
    """
    is_float = type(X) is np.ndarray and X.dtype.char in "fd"
    if is_float and X.ndim == 2 and X.shape[1] == n_in and X.shape[0]:
        return  # fast path: a fraction of a microsecond
    require(is_real(X), argument, "hold real numbers", X)
    hint = f"For one sample write {argument}[None, :]." if X.ndim == 1 else ""
    require(X.ndim == 2, argument, "have shape (rows, columns)", X, hint)
    if n_in is None:
        require(X.shape[1] >= 1, argument, "have at least one column", X)
    else:
        rule = f"have {n_in} column{'s' * (n_in != 1)}, as many as the input has"
        require(X.shape[1] == n_in, argument, rule, X)
    require(X.shape[0] >= 1, argument, "have at least one row", X)


def refuse_overflow(
    given: Array, converted: Array, dtype: str, argument: str, first_row: int = 0
) -> None:
    """Raise `ArgumentError` if ``converted``, which is ``given`` in ``dtype``, is not finite.

    Args:
        given: the finite numbers that a caller passed.
        converted: these numbers in the dtype of the model, scaled or not.
        dtype: the name of that dtype.
        argument: the name of ``given`` in error messages.
        first_row: the number of its first row in error messages; default 0.

    Raises:
        ArgumentError: naming the first number that is too large, and its row.

    >>> X = np.array([[1e39]])
    >>> refuse_overflow(X, np.array([[np.inf]]), "float32", "X")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: X must be finite in float32, the dtype of the model; got 1e+39 in \
row 0, column 0. Scale it, or use dtype='float64'.
    """
    if are_finite(converted):
        return
    place = tuple(int(index) for index in np.argwhere(~np.isfinite(to_numpy(converted)))[0])
    value = float(to_numpy(given[place[0], ...])[place[1:]])
    named = zip(("row", "column"), (first_row + place[0], *place[1:]), strict=False)
    got = Phrase(f"{value:g} in " + ", ".join(f"{name} {index}" for name, index in named))
    rule = f"be finite in {dtype}, the dtype of the model"
    do = "Scale it, or use dtype='float64'." if dtype == "float32" else "Scale it."
    require(False, argument, rule, got, do)


def check_same_length(X: Array, y: Array, first: str = "X", second: str = "y") -> None:
    """Check that ``X`` and ``y`` have the same number of rows.

    Args:
        X: an array of at least one dimension.
        y: an array of at least one dimension.
        first: the name of ``X`` in error messages.
        second: the name of ``y`` in error messages.

    Raises:
        ArgumentError: if the lengths differ, or an array is 0-D.

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
    """Return ``values``, a list or an array of any backend, as a non-empty 1-D NumPy array."""
    host = to_numpy(as_array(values, argument))
    require(host.ndim == 1 and host.size >= 1, argument, "be 1-D and not empty", host)
    return host


def as_vector(y: Array) -> Array:
    """Return a single column ``(m, 1)`` as a vector ``(m,)``, and every other array unchanged.

    >>> as_vector(np.array([[1], [2]]))
    array([1, 2])
    """
    is_column = y.ndim == 2 and y.shape[1] == 1
    return y[:, 0] if is_column else y
