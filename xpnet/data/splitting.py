"""Splitting data into a part to train on and a part to test on."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, HostArray, namespace_of, to_numpy
from xpnet.data.checks import check_same_length
from xpnet.errors import Phrase, require, require_number
from xpnet.random import Rng, as_generator


def train_test_split(
    X: Array, y: Array, test_fraction: float = 0.2, rng: Rng = 0, *, stratify: bool = False
) -> tuple[Array, Array, Array, Array]:
    """Divide the rows at random into a training and a test part; every row is in one of them.

    The test part has ``round(m · test_fraction)`` rows, at least 1 and at most m − 1. Stratified,
    each class has its share of it to within one row, by the method of largest remainders.

    Args:
        X: data whose first dimension is rows, of any backend.
        y: targets with as many rows, of any backend; class labels if stratified.
        test_fraction: the share of the test part, above 0 and below 1 (default: 0.2).
        rng: a seed or a numpy Generator (default: 0).
        stratify: whether to keep the shares of the classes in ``y``.

    Returns:
        ``X_train, X_test, y_train, y_test``, copies in random order.

    Raises:
        ArgumentError: if ``X`` and ``y`` differ in length or have less than two rows, or
            ``test_fraction`` is out of its range, or ``stratify`` is asked for with a ``y`` that
            is not 1-D or a class of a single row.

    >>> X, y = np.arange(10.0)[:, None], np.arange(10) % 2
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, 0.4, stratify=True)
    >>> X_train.shape, X_test.shape, sorted(y_test.tolist())
    ((6, 1), (4, 1), [0, 0, 1, 1])
    """
    check_same_length(X, y)
    train, test = split_rows(X.shape[0], test_fraction, rng, to_numpy(y) if stratify else None)
    return _take(X, train), _take(X, test), _take(y, train), _take(y, test)


def split_rows(
    n_rows: int, test_fraction: float, rng: Rng, labels: HostArray | None = None
) -> tuple[HostArray, HostArray]:
    """The rows of the training and of the test part, for `train_test_split`."""
    require_number(test_fraction, "test_fraction", above=0, below=1)
    require(n_rows >= 2, "X", "have at least two rows", Phrase(f"{n_rows}"))
    order = as_generator(rng).permutation(n_rows)
    if labels is None:
        labels = np.zeros(n_rows, dtype=np.int64)
    require(labels.ndim == 1, "y", "be 1-D class labels to be stratified", labels)
    n_test = min(max(round(n_rows * test_fraction), 1), n_rows - 1)
    classes, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    single = Phrase(f"one row of class {classes[np.argmin(counts)]!s}")
    require(counts.min() >= 2, "y", "have two rows or more of every class", single)
    in_test = np.zeros(n_rows, dtype=bool)
    for index, n_of_class in enumerate(_shares(counts, n_test)):
        in_test[order[members[order] == index][:n_of_class]] = True
    return order[~in_test[order]], order[in_test[order]]


def _shares(counts: HostArray, total: int) -> HostArray:
    """``total`` divided in proportion to ``counts``, each to within one of its exact share."""
    exact = counts * (total / counts.sum())
    shares: HostArray = np.floor(exact).astype(np.int64)
    rest = total - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:rest]] += 1
    return shares


def _take(array: Array, rows: HostArray) -> Array:
    xp = namespace_of(array)
    if isinstance(array, np.ndarray):
        return array[rows]
    return xp.take(array, xp.asarray(rows, device=array.device), axis=0)
