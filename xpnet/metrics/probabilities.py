"""Metrics of probabilities: proper scores and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from xpnet.backend import Array, library_of, namespace_of
from xpnet.errors import require_count
from xpnet.losses.base import refuse_where
from xpnet.losses.classification import ROW_SUM_TOLERANCE
from xpnet.metrics.arrays import Rated, mean_of_rows, of_class, rated, relative, unless_nan
from xpnet.metrics.calibration_bins import calibration_bins
from xpnet.metrics.protocol import Need, metric


@metric(needs="probabilities", higher_is_better=False)
def log_loss(
    predicted: Array,
    target: Array,
    sample_weight: Any = None,
    *,
    multilabel: bool = False,
    classes: Sequence[Any] | None = None,
) -> Array:
    """Return the mean of ``−Σ_k t_k log p_k`` over the rows, at least 0; lower is better.

    Probabilities are clipped to ``[ε, 1 − ε]`` with the machine epsilon of their dtype, so that the
    value is finite. For several labels it is the mean over rows and columns of the log loss of the
    two classes of each. It is NaN if a prediction is NaN.

    Args:
        predicted: probabilities: ``(m,)`` of the second of two classes, or ``(m, K)``, a column for
            each class; for several labels ``(m, k)``.
        target: class indices, 0 or 1, ±1 or class names, ``(m,)``; or probabilities of the same
            shape as the predictions. They may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
        multilabel: whether the columns are independent labels. Default false.
        classes: the class names in the order of the columns; default the sorted names. If
            they are numbers, such as ``(1, 2)``, the targets hold these instead of indices.

    Raises:
        ArgumentError: if shapes, targets or weights are invalid, or in host memory numbers are no
            probabilities.

    >>> round(float(log_loss([0.1, 0.9, 0.8, 0.35], [0, 1, 1, 0])), 6)
    0.216162
    """
    given, p = _probabilities(predicted, target, sample_weight, classes, multilabel)
    xp, t = namespace_of(p), given.target
    eps = float(xp.finfo(given.predicted.dtype).eps)
    if t.ndim == 1:
        losses = -_clipped_log(of_class(p, t), eps)
    elif given.multilabel:
        log_p, log_q = (_clipped_log(x, eps) for x in (p, 1.0 - p))
        losses = -xp.mean(t * log_p + (1.0 - t) * log_q, axis=1)
    else:
        losses = -xp.sum(t * _clipped_log(p, eps), axis=1)
    return unless_nan(mean_of_rows(losses, given.weight), p)


@metric(needs="probabilities", higher_is_better=False)
def brier(
    predicted: Array,
    target: Array,
    sample_weight: Any = None,
    *,
    multilabel: bool = False,
    classes: Sequence[Any] | None = None,
) -> Array:
    """Return the Brier score, the mean square error of probabilities; lower is better.

    For two classes ``mean (t − p)²`` of the second class, in ``[0, 1]``; for more
    ``mean Σ_k (t_k − p_k)²``, in ``[0, 2]``, as in Brier's paper and scikit-learn. For several
    labels it is the mean of ``(t − p)²`` over rows and columns. It is NaN if a prediction is NaN.

    Args:
        predicted: probabilities: ``(m,)`` of the second of two classes, or ``(m, K)``, a column for
            each class; for several labels ``(m, k)``.
        target: class indices, 0 or 1, ±1 or class names, ``(m,)``; or probabilities of the same
            shape as the predictions. They may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
        multilabel: whether the columns are independent labels. Default false.
        classes: the class names in the order of the columns; default the sorted names. If
            they are numbers, such as ``(1, 2)``, the targets hold these instead of indices.

    Raises:
        ArgumentError: if shapes, targets or weights are invalid, or in host memory numbers are no
            probabilities.

    Reference: G. W. Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly
    Weather Review 78, 1950.

    >>> round(float(brier([0.1, 0.9, 0.8, 0.3], [0, 1, 1, 0])), 6)
    0.0375
    """
    given, p = _probabilities(predicted, target, sample_weight, classes, multilabel)
    xp, t = namespace_of(p), given.target
    if t.ndim == 1:
        columns = xp.arange(p.shape[1], dtype=t.dtype, device=t.device)[None, :]
        t = xp.astype(columns == t[:, None], xp.float64)
    errors = xp.sum((t - p) ** 2, axis=1)
    if given.multilabel or p.shape[1] == 2:
        errors = errors / p.shape[1]
    return unless_nan(mean_of_rows(errors, given.weight), p)


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error ``Σ_b W_b/W |accuracy_b − confidence_b|``.

    The confidence of a row is its largest probability. Bins ``b`` of equal width,
    ``(b/B, (b + 1)/B]``, divide the rows; ``W_b`` is their number, or the sum of their weights.
    For several labels it is the mean over the labels. A soft target counts as the class with the
    largest probability.

    Args:
        bins: the number of bins B, at least 1. Default 15.

    Raises:
        ArgumentError: if ``bins`` is out of its range.

    Reference: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.

    >>> CalibrationError().name
    'calibration_error'
    >>> round(float(CalibrationError()([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0])), 6)
    0.15
    """

    bins: int = 15

    needs: ClassVar[Need] = "probabilities"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_count(self.bins, "bins")

    @property
    def name(self) -> str:
        """Its column of a history, ``"calibration_error"``; with other than 15 bins their number.

        >>> CalibrationError(10).name
        'calibration_error_10'
        """
        return "calibration_error" + ("" if self.bins == 15 else f"_{self.bins}")

    def __call__(
        self,
        predicted: Array,
        target: Array,
        sample_weight: Any = None,
        *,
        multilabel: bool = False,
        classes: Sequence[Any] | None = None,
    ) -> Array:
        """Return the error, in ``[0, 1]``; lower is better. NaN if a prediction is NaN.

        The arguments are those of `log_loss`.
        """
        given, p = _probabilities(predicted, target, sample_weight, classes, multilabel)
        xp, t = namespace_of(p), given.indices
        if not given.multilabel:
            value = self._of_classes(p, t, given.weight)
            return unless_nan(value, p)
        labels = [
            self._of_classes(xp.stack([1.0 - q, q], axis=1), t[:, k], given.weight)
            for k, q in enumerate(p[:, k] for k in range(p.shape[1]))
        ]
        return unless_nan(xp.mean(xp.stack(labels)), p)

    def _of_classes(self, p: Array, t: Array, weight: Array | None) -> Array:
        xp = namespace_of(p)
        confidence, correct = xp.max(p, axis=1), xp.argmax(p, axis=1) == t
        n, mean, fraction = calibration_bins(confidence, correct, weight, self.bins)
        return xp.sum(n * xp.abs(fraction - mean)) / xp.sum(n)


def _probabilities(
    predicted: Any,
    target: Any,
    sample_weight: Any,
    classes: Sequence[Any] | None,
    multilabel: bool,
) -> tuple[Rated, Array]:
    """Return the arguments, and probabilities as float64: a column for each class or label."""
    given = rated(predicted, target, sample_weight, classes, multilabel, "probabilities")
    given = replace(given, weight=relative(given.weight))
    xp = namespace_of(given.predicted)
    p = xp.astype(given.predicted, xp.float64)
    if library_of(p).is_host:
        outside = (p < -ROW_SUM_TOLERANCE) | (p > 1.0 + ROW_SUM_TOLERANCE)
        refuse_where(outside, p, "hold probabilities, numbers of 0 to 1", argument="predicted")
    if p.ndim == 1:
        p = xp.stack([1.0 - p, p], axis=1)
    elif library_of(p).is_host and not given.multilabel:
        off = xp.abs(xp.sum(p, axis=1) - 1.0) > ROW_SUM_TOLERANCE
        rule = "hold probabilities that sum to 1 in a row"
        refuse_where(off, p, rule, "Are these scores, or several labels?", argument="predicted")
    return given, p


def _clipped_log(p: Array, eps: float) -> Array:
    """Return ``log p`` with p in ``[ε, 1 − ε]``; array-api-compat's `clip` reads a mask."""
    xp = namespace_of(p)
    p = xp.where(p < eps, eps, p)
    return xp.log(xp.where(p > 1.0 - eps, 1.0 - eps, p))
