"""Metrics: functions ``metric(predicted, target)`` that return a 0-d array.

``predicted`` holds the predictions of the loss (`xpnet.losses.Loss.decide`): class indices, 0 or 1,
±1, or values. `confusion_matrix` returns a matrix instead, so it cannot be passed to ``metrics=``.
"""

from __future__ import annotations

from xpnet.backend import Array, as_array, is_kind, namespace_of
from xpnet.errors import require, require_count


def accuracy(predicted: Array, target: Array) -> Array:
    """Return the fraction of correct predictions, in ``[0, 1]``; higher is better.

    Args:
        predicted: class indices, 0 or 1, or ±1, shape ``(m,)`` or ``(m, k)``.
        target: the true values, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class.

    Raises:
        ArgumentError: if the shapes differ.

    >>> import numpy as np
    >>> float(accuracy(np.array([0, 1, 1]), np.array([0, 1, 2])))
    0.6666666666666666
    """
    xp = namespace_of(predicted)
    if predicted.ndim == 1:
        target = _class_indices(target)
    z, t = _normalized(predicted, target)
    return xp.mean(xp.astype(z == t, xp.float64))


def rmse(predicted: Array, target: Array) -> Array:
    """Return the root mean square error ``√(mean (z − t)²)``; lower is better.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent.

    Raises:
        ArgumentError: if the shapes differ.

    >>> import numpy as np
    >>> float(rmse(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    1.4142135623730951
    """
    xp = namespace_of(predicted)
    z, t = _normalized(predicted, target)
    difference = z - t
    return xp.sqrt(xp.mean(difference * difference))


def r2(predicted: Array, target: Array) -> Array:
    """Return the coefficient of determination ``1 − Σ(z − t)²/Σ(t − mean t)²``, at most 1.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent. The
            mean is that of all elements.

    Raises:
        ArgumentError: if the shapes differ.

    >>> import numpy as np
    >>> float(r2(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    1.0
    """
    xp = namespace_of(predicted)
    z, t = _normalized(predicted, target)
    centered = t - xp.mean(t)
    return 1.0 - xp.sum((z - t) ** 2) / xp.sum(centered**2)


def confusion_matrix(predicted: Array, target: Array, n_classes: int | None = None) -> Array:
    """Return the matrix C, where ``C[i, j]`` counts the rows of class i predicted as class j.

    Args:
        predicted: class indices from 0, integers of shape ``(m,)``. Encode class names with
            `xpnet.data.encode_labels`.
        target: the true class indices, of the same shape; or class probabilities ``(m, K)``, of
            which the largest in each row determines the class.
        n_classes: the number of classes K; default the largest index plus one.

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
    target = _class_indices(target)
    largest = 0
    for name, index in (("predicted", predicted), ("target", target)):
        is_index = index.ndim == 1 and index.shape[0] > 0 and is_kind(index, "integral")
        require(is_index, name, "hold class indices, integers of shape (m,)", index)
        require(int(xp.min(index)) >= 0, name, "hold indices of at least 0", int(xp.min(index)))
        largest = max(largest, int(xp.max(index)))
    indices = _normalized(predicted, target)
    n_classes = largest + 1 if n_classes is None else n_classes
    require_count(n_classes, "n_classes")
    require(largest < n_classes, "n_classes", f"be above the largest index, {largest}", n_classes)
    columns = xp.arange(n_classes, dtype=xp.float64, device=predicted.device)[None, :]
    z, t = (xp.astype(index[:, None] == columns, xp.float64) for index in indices)
    return xp.astype(t.T @ z, xp.int64)


def _normalized(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return predictions and targets as float64 vectors, after checking that their shapes agree."""
    xp = namespace_of(predicted)
    shape, target_shape = (
        tuple(x.shape[:1] if x.ndim == 2 and x.shape[1] == 1 else x.shape)
        for x in (predicted, target)
    )
    rule = f"have the shape of the predictions, {tuple(predicted.shape)}"
    require(shape == target_shape, "target", rule, target)
    z, t = (xp.astype(xp.reshape(x, (-1,)), xp.float64) for x in (predicted, target))
    return z, t


def _class_indices(target: Array) -> Array:
    """Return class probabilities ``(m, K)``, K > 1, as class indices; other targets unchanged."""
    if target.ndim != 2 or target.shape[1] == 1:
        return target
    return namespace_of(target).argmax(target, axis=1)
