"""Metrics: functions ``metric(predicted, target)`` that return a 0-d array.

``predicted`` are the predictions that the loss makes from the output (`xpnet.losses.Loss.decide`):
class indices, 0 or 1, ±1, or values. `confusion_matrix` is no such metric: it returns a matrix.
"""

from __future__ import annotations

from xpnet.backend import Array, as_array, namespace_of
from xpnet.errors import require, require_count


def accuracy(predicted: Array, target: Array) -> Array:
    """Return the fraction of correct predictions, in ``[0, 1]``; higher is better.

    Args:
        predicted: class indices, 0 or 1, or ±1, ``(m,)`` or ``(m, k)``.
        target: the same, or rows of class probabilities, of which the largest is the class.

    Raises:
        ArgumentError: if the shapes differ.

    >>> import numpy as np
    >>> float(accuracy(np.array([0, 1, 1]), np.array([0, 1, 2])))
    0.6666666666666666
    """
    xp = namespace_of(predicted)
    if predicted.ndim == 1 and target.ndim == 2:
        target = xp.argmax(target, axis=1) if target.shape[1] > 1 else xp.reshape(target, (-1,))
    _same_shape(predicted, target)
    hits = xp.astype(predicted, xp.float64) == xp.astype(target, xp.float64)
    return xp.mean(xp.astype(hits, xp.float64))


def rmse(predicted: Array, target: Array) -> Array:
    """Return ``√(mean (z − t)²)``, in the units of the target; lower is better.

    >>> import numpy as np
    >>> float(rmse(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    1.4142135623730951
    """
    xp = namespace_of(predicted)
    difference = _flat(predicted) - _flat(target)
    _same_shape(_flat(predicted), _flat(target))
    return xp.sqrt(xp.mean(difference * difference))


def r2(predicted: Array, target: Array) -> Array:
    """Return ``1 − Σ(z − t)²/Σ(t − mean t)²``, the fraction of the variance explained, at most 1.

    >>> import numpy as np
    >>> float(r2(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    1.0
    """
    xp = namespace_of(predicted)
    z, t = _flat(predicted), _flat(target)
    _same_shape(z, t)
    centered = t - xp.mean(t)
    return 1.0 - xp.sum((z - t) ** 2) / xp.sum(centered**2)


def confusion_matrix(predicted: Array, target: Array, n_classes: int | None = None) -> Array:
    """Return the matrix ``C`` in which ``C[i, j]`` counts the rows of class i predicted as j.

    Args:
        predicted: class indices from 0, integers ``(m,)``. Convert words with
            `xpnet.data.encode_labels`.
        target: the same, or rows of class probabilities, of which the largest is the class.
        n_classes: the number of classes K. Default: the largest index plus one.

    Returns:
        Counts, int64 of shape ``(K, K)``, on the backend of ``predicted``.

    Raises:
        ArgumentError: if the indices are not integers from 0 to K − 1, or the lengths differ.

    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1])).tolist()
    [[1, 1], [0, 1]]
    """
    predicted, target = as_array(predicted), as_array(target)
    xp = namespace_of(predicted)
    if target.ndim == 2 and target.shape[1] > 1:
        target = xp.argmax(target, axis=1)
    largest = 0
    for name, index in (("predicted", predicted), ("target", target)):
        is_index = index.ndim == 1 and index.shape[0] > 0 and xp.isdtype(index.dtype, "integral")
        require(is_index, name, "hold class indices, integers of shape (m,)", index)
        require(int(xp.min(index)) >= 0, name, "hold indices of at least 0", int(xp.min(index)))
        largest = max(largest, int(xp.max(index)))
    _same_shape(predicted, target)
    n_classes = largest + 1 if n_classes is None else n_classes
    require_count(n_classes, "n_classes")
    require(largest < n_classes, "n_classes", f"be above the largest index, {largest}", n_classes)
    columns = xp.arange(n_classes, dtype=xp.int64, device=predicted.device)[None, :]
    true, guess = (
        xp.astype(xp.astype(index, xp.int64)[:, None] == columns, xp.float64)
        for index in (target, predicted)
    )
    return xp.astype(true.T @ guess, xp.int64)


def _flat(x: Array) -> Array:
    """Return ``x`` as a float64 vector."""
    xp = namespace_of(x)
    return xp.astype(xp.reshape(x, (-1,)), xp.float64)


def _same_shape(predicted: Array, target: Array) -> None:
    """Refuse a target of another shape than the predictions."""
    rule = f"have the shape of the predictions, {tuple(predicted.shape)}"
    require(tuple(predicted.shape) == tuple(target.shape), "target", rule, target)
