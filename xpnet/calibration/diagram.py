"""Reliability: predicted probabilities beside the frequencies of what they predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, as_array, is_real, namespace_of, to_numpy
from xpnet.data.labels import encode_labels
from xpnet.errors import Phrase, require, require_count
from xpnet.losses.base import refuse_where, require_finite
from xpnet.losses.classification import ROW_SUM_TOLERANCE
from xpnet.metrics.arrays import class_indices, holds_names, row_weights, together
from xpnet.metrics.calibration_bins import calibration_bins

BAR = 36
"""Characters of a bar of the text of a `Reliability`, for a fraction of 1."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """The mean confidence and the accuracy of predictions, in bins of equal width of confidence.

    ``str()`` shows it as a table of at most 80 columns, `xpnet.plots.reliability_diagram` as a
    figure.

    Attributes:
        edges: the edges of the B bins, ``(B + 1,)``, from 0 to 1. A confidence that equals an edge
            is in the bin below it, and 0 in the first bin.
        weight: the sum of the weights of the rows in each bin, ``(B,)``: without weights their
            number.
        confidence: the mean confidence of each bin, ``(B,)``; NaN without weight.
        accuracy: the fraction of correct predictions in each bin, ``(B,)``; NaN without weight.
        is_top_label: whether the confidence is the probability of the most likely class, and the
            accuracy the fraction of rows of this class. If not, they are the probability and the
            frequency of one event, such as the positive class.
    """

    edges: HostArray
    weight: HostArray
    confidence: HostArray
    accuracy: HostArray
    is_top_label: bool = True

    @property
    def ece(self) -> float:
        """The expected calibration error ``Σ_b (w_b/Σw) |accuracy_b − confidence_b|``."""
        is_used = self.weight > 0
        gaps = np.abs(self.accuracy - self.confidence)[is_used]
        return float(np.sum(self.weight[is_used] * gaps) / np.sum(self.weight))

    @property
    def mce(self) -> float:
        """The maximum calibration error ``max_b |accuracy_b − confidence_b|``, over used bins."""
        return float(np.nanmax(np.abs(self.accuracy - self.confidence)))

    def __str__(self) -> str:
        """A table with a line for each bin from the first to the last that has rows.

        ``#`` is the accuracy and ``|`` the confidence.
        """
        digits = min(max(2, math.ceil(math.log10(len(self.weight)))), 4)
        what = "accuracy" if self.is_top_label else "frequency"
        size = max(2 * digits + 5, len("confidence"))
        lines = [f"{'confidence':<{size}} {'rows':>11} {'mean':>6} {what:>9}"]
        used = np.flatnonzero(self.weight > 0)
        for b in range(used[0], used[-1] + 1):
            weight = self.weight[b]
            span = f"{self.edges[b]:.{digits}f}-{self.edges[b + 1]:.{digits}f}"
            line = f"{span:<{size}} {weight:>11.6g}"
            if weight > 0:
                mean, fraction = self.confidence[b], self.accuracy[b]
                line += f" {mean:>6.3f} {fraction:>9.3f}  {_bar(fraction, mean)}"
            lines.append(line)
        lines.append(f"ECE {self.ece:.4f}, MCE {self.mce:.4f}")
        lines.append(f"#: {what}; |: mean confidence, where calibrated bars end")
        return "\n".join(lines)


def reliability(
    probabilities: Array,
    target: Any,
    sample_weight: Array | None = None,
    bins: int = 15,
    *,
    classes: Sequence[Any] | None = None,
) -> Reliability:
    """Compare predicted probabilities with frequencies, in bins of equal width.

    Rows of probabilities of K classes are judged by their most likely class: its probability is the
    confidence, and the prediction is correct if it is the class of the row. A vector is judged as
    the probabilities of one event, such as the positive class.

    The calibration error of few rows is above 0 even if the probabilities are the true ones, and
    depends on the number of bins.

    Args:
        probabilities: rows ``(m, K)``, each with a sum of 1, such as ``model.predict_proba(X)``; or
            the probabilities of one event, ``(m,)``, such as ``model.predict_proba(X)[:, 1]``. Of
            several independent labels pass ``p.ravel()`` and ``y.ravel()``, or one column.
        target: the class of each row, ``(m,)``: an index, or a name if ``classes`` is given; or
            rows of class probabilities ``(m, K)``, of which the largest determines the class. For
            a vector 0 or 1, −1 or 1, booleans, or one of two names.
        sample_weight: a weight for each row, at least 0; default 1.
        bins: the number of bins, at least 1; default 15.
        classes: the names of the classes in the order of the columns, for targets that are names,
            such as ``model.classes``; of a vector two names, the event second. Default: indices.

    Returns:
        The `Reliability`, with arrays in host memory.

    Raises:
        ArgumentError: if an argument breaks its rule.

    Reference: M. Naeini, G. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning", AAAI 2015 (ECE, MCE); C. Guo et al., 2017, section 2, for the most likely
    class.

    >>> found = reliability([0.1, 0.3, 0.8, 0.9, 0.9], [0, 1, 1, 1, 0], bins=2)
    >>> found.accuracy.round(4).tolist(), found.confidence.round(4).tolist()
    ([0.5, 0.6667], [0.2, 0.8667])
    >>> round(found.ece, 4)
    0.24
    """
    require_count(bins, "bins")
    p = _probabilities(probabilities)
    names = None if classes is None else list(classes)
    target = as_array(target, "target")
    if names is not None and target.ndim == 1:
        n_classes = 2 if p.ndim == 1 else p.shape[1]
        got = Phrase(f"{len(names)} names")
        require(len(names) == n_classes, "classes", f"name {n_classes} classes", got)
        target = encode_labels(target, names)[0]
    do = "Pass classes= with the names in the order of the columns."
    require(not holds_names(target), "target", "hold class indices without classes=", target, do)
    p, target = together(p, target)
    confidence, correct = _top_label(p, target) if p.ndim == 2 else _event(p, target)
    weight = None
    if sample_weight is not None:  # those in host memory are checked
        weight = row_weights(to_numpy(as_array(sample_weight, "sample_weight")), p)
    total, *means = map(to_numpy, calibration_bins(confidence, correct, weight, int(bins)))
    confidence, accuracy = (np.where(total > 0, mean, np.nan) for mean in means)
    return Reliability(np.arange(bins + 1) / bins, total, confidence, accuracy, p.ndim == 2)


def _probabilities(p: Any) -> Array:
    """Return probabilities as ``(m,)`` or ``(m, K)``, after validating them."""
    p = as_array(p, "probabilities")
    require(is_real(p), "probabilities", "hold real numbers", p)
    ok = p.ndim in (1, 2) and 0 not in p.shape
    require(ok, "probabilities", "have the shape (m,) or (m, K), with at least one row", p)
    xp = namespace_of(p)
    p = xp.astype(p, xp.float64)
    p = p[:, 0] if p.ndim == 2 and p.shape[1] == 1 else p
    require_finite(p, "probabilities")
    outside = (p < -ROW_SUM_TOLERANCE) | (p > 1.0 + ROW_SUM_TOLERANCE)
    refuse_where(outside, p, "be from 0 to 1", argument="probabilities")
    if p.ndim == 2:
        off = xp.abs(xp.sum(p, axis=1) - 1.0) > ROW_SUM_TOLERANCE
        row = int(xp.argmax(xp.astype(off, xp.int64)))
        got = Phrase(f"a sum of {float(xp.sum(p[row, :])):.6g} in row {row}")
        do = "Of independent labels pass p.ravel() and y.ravel()."
        require(not bool(xp.any(off)), "probabilities", "sum to 1 in a row", got, do)
    return p


def _top_label(p: Array, target: Array) -> tuple[Array, Array]:
    """Return the largest probability of each row, and whether its class is that of the row."""
    xp, n_classes = namespace_of(p), p.shape[1]
    if target.ndim == 2 and target.shape[1] > 1:
        require(target.shape == p.shape, "target", f"have the shape {tuple(p.shape)}", target)
    target = _vector(class_indices(target), p.shape[0])
    is_index = (target >= 0) & (target < n_classes) & (target == xp.floor(target))
    rule = f"hold class indices of 0 to {n_classes - 1}"
    refuse_where(~is_index, target, rule, argument="target")
    predicted = xp.astype(xp.argmax(p, axis=1), xp.float64)
    return xp.max(p, axis=1), predicted == target


def _event(p: Array, target: Array) -> tuple[Array, Array]:
    """Return the probability of the event of each row, and whether it occurred."""
    target = _vector(target, p.shape[0])
    xp = namespace_of(p)
    is_valid = (target == 0) | (xp.abs(target) == 1)
    refuse_where(~is_valid, target, "hold 0 or 1, or -1 or 1", argument="target")
    both = xp.any(target == 0) & xp.any(target == -1)
    require(not bool(both), "target", "hold 0 or 1, or -1 or 1", Phrase("both 0 and -1"))
    return p, target == 1


def _vector(target: Array, m: int) -> Array:
    """Return targets as a float64 vector of ``m`` numbers."""
    xp = namespace_of(target)
    target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
    require(tuple(target.shape) == (m,), "target", f"have the shape ({m},)", target)
    require(is_real(target), "target", "hold numbers", target)
    return xp.astype(target, xp.float64)


def _bar(fraction: float, mean: float) -> str:
    """Return a bar of the length of a fraction, with a mark at the mean confidence."""
    cells = ["#"] * round(BAR * fraction)
    mark = min(max(round(BAR * mean), 1), BAR)
    cells += [" "] * (mark - len(cells))
    cells[mark - 1] = "|"
    return "".join(cells)
