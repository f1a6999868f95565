"""Random splits into training and test rows."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, HostArray, as_array, namespace_of, to_numpy
from xpnet.data.checks import as_vector, check_same_length
from xpnet.errors import Phrase, require, require_number
from xpnet.random import Rng, as_generator


def train_test_split(
    X: Array, y: Array, test_fraction: float = 0.2, rng: Rng = 0, *, stratify: bool = False
) -> tuple[Array, Array, Array, Array]:
    """Split rows at random into a training part and a test part.

    The test part has ``round(m · test_fraction)`` rows, at least 1 and at most m − 1. In a
    stratified split, the number of test rows of each class is within 1 of its exact share, by the
    method of largest remainders.

    Args:
        X: features, an array of any backend, a list or a data frame; the first dimension is rows.
        y: targets, one for each row, likewise; class labels if ``stratify``.
        test_fraction: the fraction of test rows, in (0, 1); default 0.2.
        rng: seed or ``numpy.random.Generator``; default 0.
        stratify: whether both parts have the class proportions of ``y``; default false.

    Returns:
        ``X_train, X_test, y_train, y_test``, copies in random order.

    Raises:
        ArgumentError: if ``X`` and ``y`` differ in length or have fewer than two rows,
            ``test_fraction`` is not in (0, 1), or ``y`` of a stratified split is not 1-D or has a
            class with a single row.

    >>> X, y = np.arange(10.0)[:, None], np.arange(10) % 2
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, 0.4, stratify=True)
    >>> X_train.shape, X_test.shape, sorted(y_test.tolist())
    ((6, 1), (4, 1), [0, 0, 1, 1])
    """
    X, y = as_array(X, "X"), as_array(y, "y")
    check_same_length(X, y)
    labels = to_numpy(as_vector(y)) if stratify else None
    if labels is not None:
        _require_two_of_each(labels)
    train, test = split_rows(X.shape[0], test_fraction, rng, labels)
    return _take(X, train), _take(X, test), _take(y, train), _take(y, test)


def split_rows(
    n_rows: int, test_fraction: float, rng: Rng, labels: HostArray | None = None
) -> tuple[HostArray, HostArray]:
    """Return the row indices of the training part and of the test part.

    With ``labels`` the split is stratified, and a class of one row is in the training part unless
    the training part would have fewer rows than it must have.
    """
    require_number(test_fraction, "test_fraction", above=0, below=1)
    require(n_rows >= 2, "X", "have at least two rows", Phrase(f"{n_rows}"))
    order = as_generator(rng).permutation(n_rows)
    if labels is None:
        labels = np.zeros(n_rows, dtype=np.int64)
    n_test = min(max(round(n_rows * test_fraction), 1), n_rows - 1)
    _, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    members = members[order]
    by_class = np.argsort(members, kind="stable")
    rank = np.arange(n_rows) - np.repeat(np.cumsum(counts) - counts, counts)
    in_test = np.empty(n_rows, dtype=bool)
    in_test[by_class] = rank < np.repeat(_allocation(counts, n_test), counts)
    return order[~in_test], order[in_test]


def _require_two_of_each(labels: HostArray) -> None:
    require(labels.ndim == 1, "y", "be 1-D class labels to be stratified", labels)
    classes, counts = np.unique(labels, return_counts=True)
    if classes.size:
        single = Phrase(f"one row of class {classes[np.argmin(counts)]!s}")
        require(counts.min() >= 2, "y", "have two rows or more of every class", single)


def _allocation(counts: HostArray, total: int) -> HostArray:
    """Return integers proportional to ``counts`` with the sum ``total``, by largest remainders.

    Where it rounds, it prefers classes of which a row is left over.
    """
    exact = counts * (total / counts.sum())
    allocation: HostArray = np.floor(exact).astype(np.int64)
    rest = total - int(allocation.sum())
    uses_all = allocation >= counts - 1
    allocation[np.lexsort((allocation - exact, uses_all))[:rest]] += 1
    return allocation


def _take(array: Array, rows: HostArray) -> Array:
    xp = namespace_of(array)
    if isinstance(array, np.ndarray):
        return array[rows]
    return xp.take(array, xp.asarray(rows, device=array.device), axis=0)
