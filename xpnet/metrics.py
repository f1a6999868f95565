"""What a prediction is worth: functions of decisions and targets, each a 0-d array.

A metric is any function ``metric(predicted, target)``, where ``predicted`` is what the loss decides
from the output (`xpnet.losses.Loss.decide`): class indices, 0 or 1, ±1, or values.
"""

from __future__ import annotations

from xpnet.backend import Array, namespace_of
from xpnet.errors import require


def accuracy(predicted: Array, target: Array) -> Array:
    """The share of right decisions, in ``[0, 1]``; higher is better.

    Args:
        predicted: class indices, 0/1 or ±1, ``(m,)`` or ``(m, k)``.
        target: the same, or rows of class probabilities, whose largest is the class.

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
    """``√(mean (z − t)²)``, in the units of the target; lower is better.

    >>> import numpy as np
    >>> float(rmse(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    1.4142135623730951
    """
    xp = namespace_of(predicted)
    difference = _flat(predicted) - _flat(target)
    _same_shape(_flat(predicted), _flat(target))
    return xp.sqrt(xp.mean(difference * difference))


def r2(predicted: Array, target: Array) -> Array:
    """``1 − Σ(z − t)²/Σ(t − mean t)²``: the share of variance explained, at most 1.

    >>> import numpy as np
    >>> float(r2(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    1.0
    """
    xp = namespace_of(predicted)
    z, t = _flat(predicted), _flat(target)
    _same_shape(z, t)
    centered = t - xp.mean(t)
    return 1.0 - xp.sum((z - t) ** 2) / xp.sum(centered**2)


def _flat(x: Array) -> Array:
    xp = namespace_of(x)
    return xp.astype(xp.reshape(x, (-1,)), xp.float64)


def _same_shape(predicted: Array, target: Array) -> None:
    rule = f"have the shape of the predictions, {tuple(predicted.shape)}"
    require(tuple(predicted.shape) == tuple(target.shape), "target", rule, target)
