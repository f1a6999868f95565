"""Metrics of values: errors of predictions in the units of the targets.

Several columns are averaged with equal weights, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array, namespace_of
from xpnet.errors import require_number
from xpnet.metrics.arrays import (
    mean_of_rows,
    power_of_two,
    relative,
    require_numbers,
    row_weights,
    same_shapes,
    together,
)
from xpnet.metrics.protocol import Need, metric


@metric(needs="decisions", higher_is_better=False)
def rmse(predicted: Array, target: Array, sample_weight: Any = None) -> Array:
    """Return the root mean square error ``√(mean (z − t)²)``; lower is better.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``, of which the errors of the columns are
            averaged.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent. They
            may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.

    Raises:
        ArgumentError: if the shapes differ, or the weights are out of their range.

    >>> import numpy as np
    >>> float(rmse(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    1.4142135623730951
    """
    z, t, weight = _columns(predicted, target, sample_weight)
    xp = namespace_of(z)
    difference = z - t
    scale = _scale_of_squares(difference)
    return xp.mean(scale * xp.sqrt(mean_of_rows((difference / scale) ** 2, weight)))


@metric(needs="decisions", higher_is_better=False)
def mae(predicted: Array, target: Array, sample_weight: Any = None) -> Array:
    """Return the mean absolute error ``mean |z − t|``; lower is better.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent. They
            may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.

    Raises:
        ArgumentError: if the shapes differ, or the weights are out of their range.

    >>> float(mae([1.0, 3.0], [1.0, 1.0], sample_weight=[1, 3]))
    1.5
    """
    z, t, weight = _columns(predicted, target, sample_weight)
    xp = namespace_of(z)
    return xp.mean(mean_of_rows(xp.abs(z - t), weight))


@metric(needs="decisions", higher_is_better=True)
def r2(predicted: Array, target: Array, sample_weight: Any = None) -> Array:
    """Return the coefficient of determination ``1 − Σ(z − t)²/Σ(t − mean t)²``, at most 1.

    If all targets of a column are equal, it is 1 if every prediction is exact, else 0. It is NaN
    for fewer than two rows.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``, of which the values of the columns are
            averaged.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent. They
            may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0, in the sums and the
            mean. Default 1.

    Raises:
        ArgumentError: if the shapes differ, or the weights are out of their range.

    >>> import numpy as np
    >>> float(r2(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    1.0
    """
    z, t, weight = _columns(predicted, target, sample_weight)
    xp = namespace_of(z)
    if z.shape[0] < 2:
        return xp.sum(z) * float("nan")
    return xp.mean(_explained(z - t, t, weight))


@metric(needs="decisions", higher_is_better=True)
def explained_variance(predicted: Array, target: Array, sample_weight: Any = None) -> Array:
    """Return the explained variance ``1 − Var(t − z)/Var(t)``, at most 1.

    Unlike `r2` it does not count a constant error. If all targets of a column are equal, it is 1 if
    all errors are, else 0.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``, of which the values of the columns are
            averaged.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent. They
            may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.

    Raises:
        ArgumentError: if the shapes differ, or the weights are out of their range.

    >>> float(explained_variance([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]))
    1.0
    """
    z, t, weight = _columns(predicted, target, sample_weight)
    xp = namespace_of(z)
    error = z - t
    is_constant = _is_constant(error, weight)
    centered = error - mean_of_rows(error, weight)
    centered = xp.where(is_constant, 0.0 * error, centered)  # without the rounding of the mean
    return xp.mean(_explained(centered, t, weight))


@dataclass(frozen=True)
class Pinball:
    """The pinball loss of quantiles, ``mean max(q (t − z), (q − 1)(t − z))``.

    The q-quantile of the targets minimizes it; with q = ½ it is half of the mean absolute error.

    Args:
        q: the quantile, in ``[0, 1]``. Default ½.

    Raises:
        ArgumentError: if ``q`` is out of its range.

    Reference: R. Koenker, G. Bassett, "Regression Quantiles", Econometrica 46, 1978.

    >>> Pinball(0.9).name, float(Pinball(0.9)([1.0, 2.0], [2.0, 2.0]))
    ('pinball_0.9', 0.45)
    """

    q: float = 0.5

    needs: ClassVar[Need] = "decisions"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_number(self.q, "q", low=0, high=1)

    @property
    def name(self) -> str:
        """Its column of a history, such as ``"pinball_0.9"``."""
        return f"pinball_{float(self.q):g}"

    def __call__(self, predicted: Array, target: Array, sample_weight: Any = None) -> Array:
        """Return the loss, at least 0; lower is better.

        Args:
            predicted: predicted quantiles z, shape ``(m,)`` or ``(m, k)``.
            target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent.
                They may be in host memory.
            sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.

        Raises:
            ArgumentError: if the shapes differ, or the weights are out of their range.
        """
        z, t, weight = _columns(predicted, target, sample_weight)
        xp, q, d = namespace_of(z), float(self.q), t - z
        return xp.mean(mean_of_rows(xp.where(d < 0, (q - 1.0) * d, q * d), weight))


def _columns(
    predicted: Array, target: Array, sample_weight: Any
) -> tuple[Array, Array, Array | None]:
    """Return predictions and targets as float64 ``(m, k)``, and the weights, after checks."""
    predicted, target = together(predicted, target)
    for name, x in (("predicted", predicted), ("target", target)):
        require_numbers(x, name)
    z, t = same_shapes(predicted, target)
    xp, m = namespace_of(z), z.shape[0]
    weight = relative(row_weights(sample_weight, z))
    z, t = (xp.astype(xp.reshape(x, (m, -1)), xp.float64) for x in (z, t))
    return z, t, weight


def _explained(error: Array, t: Array, weight: Array | None) -> Array:
    """Return ``1 − Σ error²/Σ(t − mean t)²`` of each column, ``(k,)``."""
    xp = namespace_of(t)
    is_constant = _is_constant(t, weight)
    centered = t - mean_of_rows(t, weight)
    scale = _scale_of_squares(centered)
    unexplained, total = (mean_of_rows((x / scale) ** 2, weight) for x in (error, centered))
    one = xp.ones_like(total)
    total = xp.where(is_constant, one, total)
    return xp.where(is_constant, one - xp.sign(unexplained), one - unexplained / total)


def _is_constant(x: Array, weight: Array | None) -> Array:
    """Return whether all numbers of a column are equal, unlike a sum of squares free of rounding.

    Rows with a weight of 0 do not count.
    """
    xp = namespace_of(x)
    if weight is None:
        return xp.max(x, axis=0) == xp.min(x, axis=0)
    counts, far = (weight > 0)[:, None], xp.full_like(x, float("inf"))
    return xp.max(xp.where(counts, x, -far), axis=0) == xp.min(xp.where(counts, x, far), axis=0)


def _scale_of_squares(x: Array) -> Array:
    """Return a power of two for each column by which it is divided before it is squared.

    It is usually 1. The squares of numbers beyond 1e±100 could overflow or underflow in float64.
    """
    xp = namespace_of(x)
    largest = xp.max(xp.abs(x), axis=0)
    is_usual = ((largest > 1e-100) & (largest < 1e100)) | (largest == 0) | ~xp.isfinite(largest)
    return power_of_two(xp.where(is_usual, xp.ones_like(largest), largest))
