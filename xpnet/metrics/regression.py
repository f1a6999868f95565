"""Metrics of values: errors of predictions in the units of the targets."""

from __future__ import annotations

from xpnet.backend import Array, namespace_of
from xpnet.errors import require
from xpnet.metrics.arrays import holds_names, together, vectors
from xpnet.metrics.protocol import metric


@metric(higher_is_better=False)
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
    z, t = _normalized(predicted, target)
    xp = namespace_of(z)
    difference = z - t
    scale = _scale_of_squares(difference)
    return scale * xp.sqrt(xp.mean((difference / scale) ** 2))


@metric(higher_is_better=True)
def r2(predicted: Array, target: Array) -> Array:
    """Return the coefficient of determination ``1 − Σ(z − t)²/Σ(t − mean t)²``, at most 1.

    If all targets are equal, it is 1 if every prediction is exact, else 0.

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
    z, t = _normalized(predicted, target)
    xp = namespace_of(z)
    one = xp.ones_like(t[0])
    is_constant = xp.max(t) == xp.min(t)  # unlike the sum of squares, free of rounding
    centered = t - xp.mean(t)
    scale = _scale_of_squares(centered)
    error = xp.sum(((z - t) / scale) ** 2)
    total = xp.where(is_constant, one, xp.sum((centered / scale) ** 2))
    return xp.where(is_constant, one - xp.sign(error), one - error / total)


def _normalized(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return predictions and targets as float64 vectors, after checking that their shapes agree."""
    predicted, target = together(predicted, target)
    for name, x in (("predicted", predicted), ("target", target)):
        require(not holds_names(x), name, "hold numbers", x)
    z, t = vectors(predicted, target)
    xp = namespace_of(z)
    return xp.astype(z, xp.float64), xp.astype(t, xp.float64)


def _scale_of_squares(x: Array) -> Array:
    """Return a power of two by which ``x`` is divided before it is squared; it is usually 1.

    The squares of numbers beyond 1e±100 could overflow or underflow in float64.
    """
    xp = namespace_of(x)
    largest, one = xp.max(xp.abs(x)), xp.ones_like(x[0])
    is_usual = ((largest > 1e-100) & (largest < 1e100)) | (largest == 0) | ~xp.isfinite(largest)
    return 2.0 ** xp.floor(xp.log2(xp.where(is_usual, one, largest)))
