"""Metrics of decisions: what can be computed from counts of classes."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import Phrase, require, require_count
from xpnet.metrics.arrays import class_indices, holds_names, require_one_kind, together, vectors
from xpnet.metrics.protocol import metric


@metric(higher_is_better=True)
def accuracy(predicted: Array, target: Array) -> Array:
    """Return the fraction of correct predictions, in ``[0, 1]``; higher is better.

    Args:
        predicted: class indices, 0 or 1, ±1, or class names, shape ``(m,)`` or ``(m, k)``.
        target: the true values, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class. They may be in host memory.

    Raises:
        ArgumentError: if the shapes differ, there are no rows, or only one of them holds names.

    >>> import numpy as np
    >>> float(accuracy(np.array([0, 1, 1]), np.array([0, 1, 2])))
    0.6666666666666666
    """
    predicted, target = together(predicted, target)
    xp = namespace_of(predicted)
    require_one_kind(predicted, target)
    if predicted.ndim == 1:
        target = class_indices(target)
    z, t = vectors(predicted, target)
    if not holds_names(z):
        exact = all(is_kind(x, ("bool", "integral")) for x in (z, t))
        z, t = (xp.astype(x, xp.int64 if exact else xp.float64) for x in (z, t))
    return xp.mean(xp.astype(z == t, xp.float64))


def confusion_matrix(predicted: Array, target: Array, n_classes: int | None = None) -> Array:
    """Return the matrix C, where ``C[i, j]`` counts the rows of class i predicted as class j.

    Args:
        predicted: class indices from 0, or class names, of shape ``(m,)``.
        target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class. Classes with names are in sorted order.
        n_classes: the number of classes K; default the largest index plus one.

    Returns:
        Counts, int64 of shape ``(K, K)``, on the backend of ``predicted``.

    Raises:
        ArgumentError: if the indices are not whole numbers from 0 to K − 1, or the lengths differ,
            or only one of them holds names.

    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1])).tolist()
    [[1, 1], [0, 1]]
    """
    predicted, target = together(predicted, target)
    require_one_kind(predicted, target)
    z, t = vectors(predicted, class_indices(target))
    if holds_names(z):
        z, t = np.split(np.unique(np.concatenate([z, t]), return_inverse=True)[1], 2)
    xp = namespace_of(z)
    indices = [xp.astype(x, xp.float64) for x in (z, t)]
    for name, index in zip(("predicted", "target"), indices, strict=True):
        is_index = (index >= 0) & (index < 2**53) & (index == xp.floor(index))
        row = int(xp.argmin(xp.astype(is_index, xp.int64)))
        rule = "hold class indices, whole numbers of at least 0"
        require(is_index[row], name, rule, Phrase(f"{float(index[row]):g} in row {row}"))
    largest = max(int(xp.max(index)) for index in indices)
    n_classes = largest + 1 if n_classes is None else n_classes
    require_count(n_classes, "n_classes")
    require(largest < n_classes, "n_classes", f"be above the largest index, {largest}", n_classes)
    columns = xp.arange(n_classes, dtype=xp.float64, device=z.device)[None, :]
    z, t = (xp.astype(index[:, None] == columns, xp.float64) for index in indices)
    return xp.astype(t.T @ z, xp.int64)
