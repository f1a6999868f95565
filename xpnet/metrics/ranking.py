"""Metrics of scores: areas under curves over all thresholds, and the rank of the true class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

from xpnet.backend import Array, namespace_of
from xpnet.errors import require_count
from xpnet.metrics.arrays import (
    Rated,
    blocks,
    mean_of_rows,
    of_class,
    rated,
    ratio,
    relative,
    unless_nan,
)
from xpnet.metrics.classes import class_position, require_selection, with_index
from xpnet.metrics.protocol import Need

RankingAverage: TypeAlias = Literal["macro", "weighted"]


@dataclass(frozen=True)
class RankingMetric:
    """Base class of the areas under a curve over all thresholds: `AUC` and `AveragePrecision`.

    For two classes the value is that of the second class. For more classes, each against the rest,
    and for several labels it is an average of the values of all.

    Args:
        average: ``"macro"`` (default): the mean of the values. ``"weighted"``: their mean weighted
            by the targets of each class; those without a target do not count.
        of: the class of which the value is taken, a name or an index; ``average`` is ignored then.
            For several labels the index of a column.
        label: what stands for ``of`` in the name; set by `resolved`.

    Raises:
        ArgumentError: if a setting is unknown.
    """

    average: RankingAverage = "macro"
    of: str | int | None = None
    label: str | None = field(default=None, repr=False, kw_only=True)

    needs: ClassVar[Need] = "scores"
    higher_is_better: ClassVar[bool] = True
    base_name: ClassVar[str]
    without_targets: ClassVar[float]

    def __post_init__(self) -> None:
        require_selection(self.average, get_args(RankingAverage), self.of)

    @property
    def name(self) -> str:
        """Its column of a history, such as ``"auc"``, or ``"auc_cat"`` with ``of="cat"``."""
        of = self.label or self.of
        if of is None:
            return self.base_name + ("" if self.average == "macro" else f"_{self.average}")
        return f"{self.base_name}_{of}"

    def resolved(self, classes: Sequence[Any] | None) -> Self:
        """Return the metric with an index as ``of``, given the class names or ``None``.

        Raises:
            ArgumentError: if ``of`` is none of the classes.
        """
        return with_index(self, classes)

    def of_two(self, score: Array, positive: Array, negative: Array) -> Array:
        """Return the value of one class.

        Args:
            score: larger for rows that rather belong to the class, ``(m,)``.
            positive: the weights of the rows of the class, 0 for others, float64 ``(m,)``.
            negative: the weights of the other rows, 0 for those of the class.
        """
        raise NotImplementedError

    def __call__(
        self,
        predicted: Array,
        target: Array,
        sample_weight: Any = None,
        *,
        multilabel: bool = False,
        classes: Sequence[Any] | None = None,
    ) -> Array:
        """Return the value, in ``[0, 1]``; higher is better. NaN if a prediction is NaN.

        Args:
            predicted: scores of any scale: ``(m,)`` of the second of two classes, or ``(m, K)``, a
                column for each class; for several labels ``(m, k)``.
            target: class indices, 0 or 1, ±1 or class names, ``(m,)``; or class probabilities
                ``(m, K)``, of which the largest in each row determines the class; for several
                labels 0 or 1, or ±1, ``(m, k)``. They may be in host memory.
            sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
            multilabel: whether the columns are independent labels. Default false.
            classes: the class names in the order of the columns; default the sorted names. If
                they are numbers, such as ``(1, 2)``, the targets hold these instead of indices.

        Raises:
            ArgumentError: if shapes, targets or weights are invalid, or there is no class ``of``.
        """
        given = rated(predicted, target, sample_weight, classes, multilabel)
        given = replace(given, weight=relative(given.weight))
        of = None if self.of is None else class_position(self.of, given.names, given.n_classes)
        if of is None and given.n_classes == 2 and not given.multilabel:
            of = 1
        if of is not None:
            return self._of_column(given, given.indices, of)[0]
        t = given.indices
        pairs = [self._of_column(given, t, k) for k in range(given.n_classes)]
        xp = namespace_of(given.predicted)
        values, shares = (xp.stack(list(x)) for x in zip(*pairs, strict=True))
        if self.average == "macro":
            return xp.mean(values)
        total = xp.sum(xp.where(shares == 0, 0.0 * shares, values * shares))
        value = ratio(total, xp.sum(shares), self.without_targets)
        return unless_nan(value, given.predicted)

    def _of_column(self, given: Rated, t: Array, k: int) -> tuple[Array, Array]:
        """Return the value of a class or label, and the weight of its targets."""
        xp, score = namespace_of(t), given.predicted
        is_positive = t[:, k] == 1 if given.multilabel else t == k
        if score.ndim == 2:
            score = score[:, k]
        elif k == 0:
            score = -score
        positive = xp.astype(is_positive, xp.float64)
        negative = 1.0 - positive
        if given.weight is not None:
            positive, negative = positive * given.weight, negative * given.weight
        value = self.of_two(score, positive, negative)
        return unless_nan(value, score), xp.sum(positive)


class AUC(RankingMetric):
    """The area under the ROC curve of scores.

    It is the probability that a row of the class has a higher score than another row, where equal
    scores count one half: ``Σ_i Σ_j w_i w_j ([s_i > s_j] + ½[s_i = s_j]) / Σ_i Σ_j w_i w_j`` over
    the rows i of the class and the others j. It is NaN if one of them has no row (or no weight):
    the macro average is NaN then, and the weighted average leaves out classes without a row. For
    the settings see `RankingMetric`.

    Reference: J. A. Hanley, B. J. McNeil, "The Meaning and Use of the Area under a Receiver
    Operating Characteristic (ROC) Curve", Radiology 143, 1982.

    >>> import numpy as np
    >>> float(AUC()(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])))
    0.75
    >>> AUC(of="cat").name
    'auc_cat'
    """

    base_name = "auc"
    without_targets = math.nan

    def of_two(self, score: Array, positive: Array, negative: Array) -> Array:
        """See `RankingMetric.of_two`."""
        xp = namespace_of(score)
        order = xp.argsort(score, stable=False)
        s, w = xp.take(score, order), xp.take(positive, order)
        below = xp.cumulative_sum(xp.take(negative, order), include_initial=True)
        left, right = (xp.searchsorted(s, s, side=side) for side in ("left", "right"))
        pairs = 0.5 * xp.sum(w * (xp.take(below, left) + xp.take(below, right)))
        return ratio(pairs, xp.sum(w) * below[-1], math.nan)


class AveragePrecision(RankingMetric):
    """The average precision ``Σ_n (R_n − R_{n−1}) P_n`` of scores.

    ``P_n`` and ``R_n`` are precision and recall of the rows with at least the n-th largest score;
    equal scores are one threshold, and nothing is interpolated. It is 0 if the class has no row.
    For the settings see `RankingMetric`.

    Reference: C. D. Manning, P. Raghavan, H. Schütze, "Introduction to Information Retrieval",
    2008, section 8.4.

    >>> import numpy as np
    >>> float(AveragePrecision()(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])))
    0.8333333333333333
    """

    base_name = "average_precision"
    without_targets = 0.0

    def of_two(self, score: Array, positive: Array, negative: Array) -> Array:
        """See `RankingMetric.of_two`."""
        xp = namespace_of(score)
        order = xp.argsort(-score, stable=False)
        s, w = -xp.take(score, order), xp.take(positive, order)
        rest = xp.take(negative, order)
        right = xp.searchsorted(s, s, side="right")
        hits, others = (
            xp.take(xp.cumulative_sum(x, include_initial=True), right) for x in (w, rest)
        )
        return ratio(xp.sum(w * ratio(hits, hits + others, 0.0)), xp.sum(w), 0.0)


@dataclass(frozen=True)
class TopKAccuracy:
    """The fraction of rows with their class among the k highest scores.

    Of equal scores the one of the later class counts as higher, as in scikit-learn. The score
    ``(m,)`` of the second of two classes has the threshold 0; scikit-learn takes ½ if all are in
    ``[0, 1]``. It is 1 if k is at least the number of classes.

    Args:
        k: the number of classes, at least 1. Default 5.

    Raises:
        ArgumentError: if ``k`` is out of its range.

    >>> import numpy as np
    >>> scores = np.array([[0.5, 0.2, 0.2], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3]])
    >>> TopKAccuracy(2).name, float(TopKAccuracy(2)(scores, [0, 1, 0]))
    ('top_2_accuracy', 0.6666666666666666)
    """

    k: int = 5

    needs: ClassVar[Need] = "scores"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.k, "k")

    @property
    def name(self) -> str:
        """Its column of a history, such as ``"top_5_accuracy"``."""
        return f"top_{self.k}_accuracy"

    def __call__(
        self,
        predicted: Array,
        target: Array,
        sample_weight: Any = None,
        *,
        classes: Sequence[Any] | None = None,
    ) -> Array:
        """Return the fraction, in ``[0, 1]``; higher is better. NaN if a prediction is NaN.

        Args:
            predicted: scores of any scale, ``(m, K)``, a column for each class; or log-odds of the
                second of two classes, ``(m,)``.
            target: class indices, 0 or 1, ±1 or class names, ``(m,)``; or class probabilities
                ``(m, K)``, of which the largest in each row determines the class. They may be in
                host memory.
            sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
            classes: the class names in the order of the columns; default the sorted names. If
                they are numbers, such as ``(1, 2)``, the targets hold these instead of indices.

        Raises:
            ArgumentError: if shapes, targets or weights are invalid.
        """
        given = rated(predicted, target, sample_weight, classes, multilabel=False)
        p, t, xp = given.predicted, given.indices, namespace_of(given.predicted)
        if p.ndim == 1:
            rank = xp.astype((p > 0) != (t == 1), xp.int64)
        else:
            parts = blocks(p.shape[0], p.shape[1])
            rank = xp.concat([_rank_of(t[rows], p[rows, :]) for rows in parts])
        hits = xp.astype(rank < self.k, xp.float64)
        return unless_nan(mean_of_rows(hits, relative(given.weight)), p)


def _rank_of(t: Array, p: Array) -> Array:
    """Return the number of classes with a higher score than the true one, ``(m,)``."""
    xp = namespace_of(p)
    true, columns = of_class(p, t)[:, None], xp.arange(p.shape[1], dtype=t.dtype, device=p.device)
    above = (p > true) | ((p == true) & (columns[None, :] > t[:, None]))
    return xp.sum(xp.astype(above, xp.int64), axis=1)
