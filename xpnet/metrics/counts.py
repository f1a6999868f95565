"""Metrics of decisions: what can be computed from weighted counts of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np

from xpnet.backend import Array, HostArray, as_array, is_kind, library_of, namespace_of, to_numpy
from xpnet.errors import Phrase, require, require_count
from xpnet.metrics.arrays import (
    Decided,
    beside,
    blocks,
    class_indices,
    decided,
    holds_names,
    is_second,
    mean_of_rows,
    ratio,
    relative,
    require_indices,
    require_one_kind,
    row_weights,
    same_shapes,
    squeezed,
    together,
)
from xpnet.metrics.classes import class_position, require_selection, with_index
from xpnet.metrics.protocol import Need, metric

Average: TypeAlias = Literal["macro", "micro", "weighted", "binary"]


@metric(needs="decisions", higher_is_better=True)
def accuracy(
    predicted: Array, target: Array, sample_weight: Any = None, *, n_classes: int | None = None
) -> Array:
    """Return the fraction of correct predictions, in ``[0, 1]``; higher is better.

    Of several labels it is the mean over rows and columns, unlike scikit-learn's ``accuracy_score``
    of them, which counts the rows without an error.

    Args:
        predicted: class indices, 0 or 1, ±1, or class names, shape ``(m,)`` or ``(m, k)``.
        target: the true values, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class. They may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
        n_classes: 2 takes decisions and targets of two classes as 1 where they are above ½, so
            that targets may be probabilities; by default and otherwise equal numbers are correct.

    Raises:
        ArgumentError: if the shapes differ, there are no rows, only one of them holds names, or the
            weights are out of their range.

    >>> import numpy as np
    >>> float(accuracy(np.array([0, 1, 1]), np.array([0, 1, 2])))
    0.6666666666666666
    >>> float(accuracy(["cat", "dog"], ["cat", "cat"], sample_weight=[3, 1]))
    0.75
    """
    predicted, target = together(predicted, target)
    xp = namespace_of(predicted)
    require_one_kind(predicted, target)
    if squeezed(predicted).ndim == 1:
        target = class_indices(target)
    z, t = same_shapes(predicted, target)
    weight = relative(row_weights(sample_weight, z))
    if n_classes == 2 and not holds_names(z):
        z, t = (is_second(x, name) for x, name in ((z, "predicted"), (t, "target")))
    elif not holds_names(z):
        exact = all(is_kind(x, ("bool", "integral")) for x in (z, t))
        z, t = (xp.astype(x, xp.int64 if exact else xp.float64) for x in (z, t))
    correct = xp.astype(z == t, xp.float64)
    return mean_of_rows(correct if z.ndim == 1 else xp.mean(correct, axis=1), weight)


@metric(needs="decisions", higher_is_better=True)
def balanced_accuracy(
    predicted: Array, target: Array, sample_weight: Any = None, *, n_classes: int | None = None
) -> Array:
    """Return the mean over the classes of the fraction of their rows that is predicted correctly.

    It is in ``[0, 1]``; higher is better. Classes without a target (or with a weight of 0) are left
    out of the mean.

    Args:
        predicted: class indices from 0, 0 or 1, ±1, or class names, ``(m,)``.
        target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which the
            largest in each row determines the class. They may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
        n_classes: the number of classes; default read from the arrays.

    Raises:
        ArgumentError: if shapes, indices or weights are invalid, or there are several labels.

    Reference: K. H. Brodersen et al., "The Balanced Accuracy and Its Posterior Distribution",
    ICPR 2010.

    >>> float(balanced_accuracy([0, 0, 0, 0], [0, 0, 0, 1]))
    0.5
    """
    given = _of_classes(decided(predicted, target, sample_weight, n_classes))
    counts = class_counts(given)
    xp = namespace_of(counts.true)
    used = xp.astype(counts.true > 0, xp.float64)
    recall = ratio(counts.correct, counts.true, 0.0)
    return beside(xp.sum(recall) / xp.sum(used), given.predicted)


@metric(needs="decisions", higher_is_better=True)
def matthews(
    predicted: Array, target: Array, sample_weight: Any = None, *, n_classes: int | None = None
) -> Array:
    """Return the Matthews correlation coefficient of K classes, in ``[−1, 1]``; higher is better.

    ``(n Σ_k C_kk − Σ_k p_k t_k) / √((n² − Σ_k p_k²)(n² − Σ_k t_k²))`` with the confusion matrix C,
    the numbers ``t_k`` of targets and ``p_k`` of predictions of each class, and their sum n. It is
    0 if all predictions or all targets are of one class.

    Args:
        predicted: class indices from 0, 0 or 1, ±1, or class names, ``(m,)``.
        target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which the
            largest in each row determines the class. They may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
        n_classes: the number of classes; default read from the arrays.

    Raises:
        ArgumentError: if shapes, indices or weights are invalid, or there are several labels.

    Reference: J. Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient", Computational Biology and Chemistry 28, 2004, equation 8.

    >>> round(float(matthews([0, 1, 1, 0], [0, 1, 1, 1])), 6)
    0.57735
    """
    given = _of_classes(decided(predicted, target, sample_weight, n_classes))
    counts = class_counts(replace(given, weight=relative(given.weight)))
    xp = namespace_of(counts.true)
    # Not divided by n, whole numbers are exact: the difference of fractions cancels if one class
    # is frequent. Σ p_k (n − p_k), unlike n² − Σ p_k², is exactly 0 if all predictions are equal.
    n, c, t, p = xp.sum(counts.true), counts.correct, counts.true, counts.predicted
    spread = xp.sum(p * (n - p)) * xp.sum(t * (n - t))
    one_class = (xp.max(p) == xp.sum(p)) | (xp.max(t) == xp.sum(t))
    safe = xp.where(one_class, xp.ones_like(spread), spread)
    value = xp.sum(n * c - p * t) / xp.sqrt(safe)
    return beside(xp.where(one_class, xp.zeros_like(value), value), given.predicted)


@metric(needs="decisions")
def confusion_matrix(
    predicted: Array,
    target: Array,
    n_classes: int | None = None,
    *,
    sample_weight: Any = None,
) -> Array:
    """Return the matrix C, where ``C[i, j]`` counts the rows of class i predicted as class j.

    Args:
        predicted: class indices from 0, or class names, of shape ``(m,)``.
        target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class. Classes with names are in sorted order.
        n_classes: the number of classes K; default the largest index plus one. If it is given,
            nothing is read from a device, and rows with other indices there are not counted.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0, of which C holds the
            sums. Default 1.

    Returns:
        Counts, int64 of shape ``(K, K)``, or sums of weights, float64, on the backend of
        ``predicted``.

    Raises:
        ArgumentError: if the indices are not whole numbers from 0 to K − 1, or the lengths differ,
            only one of them holds names, or the weights are out of their range.

    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1])).tolist()
    [[1, 1], [0, 1]]
    """
    predicted, target = together(predicted, target)
    require_one_kind(predicted, target)
    z, t = same_shapes(predicted, class_indices(target))
    require(z.ndim == 1, "predicted", "have one class for each row, (m,)", predicted)
    weight = row_weights(sample_weight, z)
    if holds_names(z):
        given = decided(z, t, None, None)
        z, t, largest = given.predicted, given.target, given.n_classes - 1
    elif n_classes is not None and not library_of(z).is_host:
        xp, largest = namespace_of(z), -1  # nothing is read; an index outside is not counted
        z, t = xp.astype(z, xp.int64), xp.astype(t, xp.int64)
    else:
        z, t = (_whole(x, name) for x, name in ((z, "predicted"), (t, "target")))
        xp = namespace_of(z)
        largest = max(int(xp.max(z)), int(xp.max(t)))
    n_classes = largest + 1 if n_classes is None else n_classes
    require_count(n_classes, "n_classes")
    require(largest < n_classes, "n_classes", f"be above the largest index, {largest}", n_classes)
    sums = confusion(z, t, weight, n_classes)
    return sums if weight is not None else namespace_of(z).astype(sums, namespace_of(z).int64)


def _whole(x: Array, name: str) -> Array:
    """Return class indices of any real dtype as int64, after checking them."""
    xp = namespace_of(x)
    x = xp.astype(x, xp.int64) if is_kind(x, "bool") else x
    require_indices(x, name, None)
    return xp.astype(x, xp.int64)


def confusion(z: Array, t: Array, weight: Array | None, n_classes: int) -> Array:
    """Return the sums of weights by true and predicted class, float64 ``(K, K)``.

    It validates nothing, and reads nothing from a device.
    """
    xp, size = namespace_of(z), n_classes
    if library_of(z).is_host:
        sums = sums_by_index(t * size + z, weight, size * size)
        return xp.reshape(sums, (size, size))
    total = xp.zeros((size, size), dtype=xp.float64, device=z.device)
    for part in blocks(z.shape[0], size):
        rows = _one_hot(t[part], size)
        rows = rows if weight is None else rows * weight[part][:, None]
        total = total + rows.T @ _one_hot(z[part], size)
    return total


def sums_by_index(index: Array, weight: Array | None, size: int) -> Array:
    """Return the sum of the weights of each index in ``[0, size)``, float64 ``(size,)``.

    It validates nothing, and reads nothing from a device.
    """
    xp = namespace_of(index)
    if library_of(index).is_host:
        weights = None if weight is None else to_numpy(weight)
        sums = np.bincount(to_numpy(index), weights, minlength=size).astype(np.float64)
        return beside(sums, index)
    total = xp.zeros((1, size), dtype=xp.float64, device=index.device)
    for part in blocks(index.shape[0], size):
        rows = _one_hot(index[part], size)
        row = xp.ones_like(rows[:, 0]) if weight is None else weight[part]
        total = total + row[None, :] @ rows
    return total[0, :]


def _one_hot(index: Array, size: int) -> Array:
    xp = namespace_of(index)
    columns = xp.arange(size, dtype=index.dtype, device=index.device)
    return xp.astype(index[:, None] == columns[None, :], xp.float64)


def _of_classes(given: Decided) -> Decided:
    """Refuse several labels, for which a metric is not defined."""
    rule = "have one class for each row, (m,)"
    require(not given.is_multilabel, "predicted", rule, given.predicted)
    return given


@dataclass(frozen=True)
class ClassCounts:
    """Sums of weights by class, float64 ``(K,)``, or by label.

    Attributes:
        correct: of the rows of the class that are predicted as it.
        true: of the rows of the class.
        predicted: of the rows predicted as the class.
        occurs: the number of rows with the class as a target or a prediction, whatever their
            weight.
    """

    correct: Array
    true: Array
    predicted: Array
    occurs: Array


def class_counts(given: Decided) -> ClassCounts:
    """Return the sums that precision and recall are computed from; it reads nothing."""
    z, t, w, size = given.predicted, given.target, given.weight, given.n_classes
    xp = namespace_of(z)
    if given.is_multilabel:
        column = xp.ones_like(z[:, 0]) if w is None else w
        column = xp.astype(column, xp.float64)[:, None]
        correct, true, predicted = (
            xp.sum(column * xp.astype(x, xp.float64), axis=0) for x in (z * t, t, z)
        )
        return ClassCounts(correct, true, predicted, xp.ones_like(true))
    ones = xp.ones_like(z, dtype=xp.float64)
    hits = xp.astype(z == t, xp.float64) * (ones if w is None else w)
    correct = sums_by_index(t, hits, size)
    true, predicted = (sums_by_index(x, w, size) for x in (t, z))
    if w is None:
        return ClassCounts(correct, true, predicted, true + predicted)
    occurs = sums_by_index(t, None, size) + sums_by_index(z, None, size)
    return ClassCounts(correct, true, predicted, occurs)


@dataclass(frozen=True)
class CountMetric:
    """Base class of the metrics of decisions by class: `Precision`, `Recall` and `F1`.

    A subclass computes the value of each class from its counts, and 0 where it is undefined.

    Args:
        average: how one number is made of the values of the classes. ``"macro"`` (default): their
            mean over the classes that occur as a target or a prediction; of labels the mean of all.
            ``"weighted"``: their mean weighted by the targets of each class. ``"micro"``: the
            value of the sums over all classes, which for classes is the accuracy. ``"binary"``: the
            value of the second of two classes.
        of: the class of which the value is taken, a name or an index; ``average`` is ignored then.
            For several labels the index of a column.
        label: what stands for ``of`` in the name; set by `resolved`.

    Raises:
        ArgumentError: if a setting is unknown.
    """

    average: Average = "macro"
    of: str | int | None = None
    label: str | None = field(default=None, repr=False, kw_only=True)

    needs: ClassVar[Need] = "decisions"
    higher_is_better: ClassVar[bool] = True
    base_name: ClassVar[str]

    def __post_init__(self) -> None:
        require_selection(self.average, get_args(Average), self.of)

    @property
    def name(self) -> str:
        """Its column of a history, such as ``"f1_macro"``, or ``"f1_cat"`` with ``of="cat"``."""
        of = self.label or self.of
        return f"{self.base_name}_{self.average if of is None else of}"

    def resolved(self, classes: Sequence[Any] | None) -> Self:
        """Return the metric with an index as ``of``, given the class names or ``None``.

        Raises:
            ArgumentError: if ``of`` is none of the classes.
        """
        return with_index(self, classes)

    def by_class(self, counts: ClassCounts) -> Array:
        """Return the value of each class, ``(K,)``."""
        raise NotImplementedError

    def __call__(
        self,
        predicted: Array,
        target: Array,
        sample_weight: Any = None,
        *,
        n_classes: int | None = None,
    ) -> Array:
        """Return the value, in ``[0, 1]``; higher is better.

        Args:
            predicted: class indices from 0, 0 or 1, ±1, or class names, ``(m,)``; for several
                labels 0 or 1, or ±1, ``(m, k)``.
            target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which
                the largest in each row determines the class. They may be in host memory.
            sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
            n_classes: the number of classes; default read from the arrays.

        Raises:
            ArgumentError: if shapes, indices or weights are invalid, ``of`` is none of the classes,
                or ``"binary"`` is to average more than two classes or labels.
        """
        is_binary = self.average == "binary" and self.of is None
        is_open = n_classes is None
        if is_binary and is_open and not holds_names(as_array(predicted, "predicted")):
            n_classes = 2
        given = decided(predicted, target, sample_weight, n_classes)
        given = replace(given, weight=relative(given.weight))
        of: int | None = None
        if is_binary:
            ok = given.n_classes == 2 and not given.is_multilabel
            what = "labels" if given.is_multilabel else "classes"
            got = Phrase(f"{given.n_classes} {what}")
            require(ok, "average", "be another one than 'binary' except for two classes", got)
            of = 1
        elif self.of is not None:
            known = None if is_open and given.names is None else given.n_classes
            of = class_position(self.of, given.names, known)
            given = replace(given, n_classes=max(given.n_classes, of + 1))
        return beside(self.averaged(class_counts(given), of), given.predicted)

    def averaged(self, counts: ClassCounts, of: int | None) -> Array:
        """Return the average of the classes, or the value of one."""
        xp = namespace_of(counts.true)
        if of is not None:
            return self.by_class(counts)[of]
        if self.average == "micro":
            sums = (counts.correct, counts.true, counts.predicted, counts.occurs)
            return self.by_class(ClassCounts(*map(xp.sum, sums)))
        values = self.by_class(counts)
        if self.average == "weighted":
            return ratio(xp.sum(values * counts.true), xp.sum(counts.true), 0.0)
        return xp.sum(values) / xp.sum(xp.astype(counts.occurs > 0, xp.float64))


class Precision(CountMetric):
    """The fraction of the rows predicted as a class that belong to it.

    It is 0 for a class that is never predicted. For the settings see `CountMetric`.

    >>> float(Precision("binary")([0, 1, 1, 1], [0, 1, 0, 1]))
    0.6666666666666666
    >>> Precision(of="cat").name
    'precision_cat'
    >>> float(Precision(of="cat")(["cat", "cat", "dog"], ["cat", "dog", "dog"]))
    0.5
    """

    base_name = "precision"

    def by_class(self, counts: ClassCounts) -> Array:
        """See `CountMetric.by_class`."""
        return ratio(counts.correct, counts.predicted, 0.0)


class Recall(CountMetric):
    """The fraction of the rows of a class that are predicted as it.

    It is 0 for a class without rows. For the settings see `CountMetric`.

    >>> float(Recall("binary")([0, 1, 1, 0], [0, 1, 1, 1]))
    0.6666666666666666
    """

    base_name = "recall"

    def by_class(self, counts: ClassCounts) -> Array:
        """See `CountMetric.by_class`."""
        return ratio(counts.correct, counts.true, 0.0)


class F1(CountMetric):
    """The harmonic mean ``2 c/(t + p)`` of precision ``c/p`` and recall ``c/t``.

    Here t and p are the numbers of rows of a class and of those predicted as it, c of those that
    are both; it is 0 if there are neither. For the settings see `CountMetric`.

    >>> F1().name, float(F1()([0, 0, 1, 1], [0, 0, 1, 2]))
    ('f1_macro', 0.5555555555555555)
    """

    base_name = "f1"

    def by_class(self, counts: ClassCounts) -> Array:
        """See `CountMetric.by_class`."""
        return ratio(2.0 * counts.correct, counts.true + counts.predicted, 0.0)


@dataclass(frozen=True)
class ClassificationTable:
    """Precision, recall and F1 of each class, and their averages; see `classification_table`.

    ``str()`` shows it as a table with a line for each class.

    Attributes:
        names: the class names, or the indices.
        precision: of each class, ``(K,)``.
        recall: of each class, ``(K,)``.
        f1: of each class, ``(K,)``.
        support: the number of targets of each class, or the sum of their weights, ``(K,)``.
        macro: the means of precision, recall and F1 over the classes that occur.
        weighted: their means weighted by the support.
    """

    names: tuple[Any, ...]
    precision: HostArray
    recall: HostArray
    f1: HostArray
    support: HostArray
    macro: tuple[float, float, float]
    weighted: tuple[float, float, float]

    def __str__(self) -> str:
        """A table with a line for each class and each average."""
        total = float(np.sum(self.support))
        columns = self.precision, self.recall, self.f1, self.support
        rows = list(zip(map(str, self.names), *columns, strict=True))
        rows += [("macro", *self.macro, total), ("weighted", *self.weighted, total)]
        width = max(len(row[0]) for row in rows)
        lines = [f"{'':{width}}  precision  recall     F1  rows"]
        for name, precision, recall, f1, support in rows:
            lines.append(f"{name:{width}}  {precision:9.3f}  {recall:6.3f}  {f1:.3f}  {support:g}")
        return "\n".join(lines)


def classification_table(
    predicted: Array,
    target: Array,
    sample_weight: Any = None,
    n_classes: int | None = None,
    classes: Sequence[Any] | None = None,
) -> ClassificationTable:
    """Return precision, recall and F1 of each class, in host memory.

    Args:
        predicted: class indices from 0, 0 or 1, ±1, or class names, ``(m,)``; for several labels 0
            or 1, or ±1, ``(m, k)``.
        target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which the
            largest in each row determines the class. They may be in host memory.
        sample_weight: weights of the rows, ``(m,)``, at least 0 and not all 0. Default 1.
        n_classes: the number of classes; default read from the arrays, or that of ``classes``.
        classes: the class names, in the order of the indices; default the names in sorted order, or
            the indices. If they are numbers, such as ``(1, 2)``, the arrays hold these instead of
            indices.

    Raises:
        ArgumentError: if shapes, indices, names or weights are invalid.

    >>> table = classification_table(["cat", "dog", "dog"], ["cat", "cat", "dog"])
    >>> table.names, table.recall.tolist(), table.support.tolist()
    (('cat', 'dog'), [0.5, 1.0], [2.0, 1.0])
    >>> print(table)
              precision  recall     F1  rows
    cat           1.000   0.500  0.667  2
    dog           0.500   1.000  0.667  1
    macro         0.750   0.750  0.667  3
    weighted      0.833   0.667  0.667  3
    """
    given = decided(predicted, target, sample_weight, n_classes, classes)
    names = given.names or tuple(range(given.n_classes))
    got = Phrase(f"{len(names)} names of {given.n_classes} classes")
    require(len(names) == given.n_classes, "classes", "name each class", got)
    counts = class_counts(given)
    counts = ClassCounts(*(to_numpy(x) for x in vars(counts).values()))
    precision, recall, f1 = (metric().by_class(counts) for metric in (Precision, Recall, F1))
    macro = _averages("macro", counts)
    weighted = _averages("weighted", counts)
    return ClassificationTable(names, precision, recall, f1, counts.true, macro, weighted)


def _averages(average: Average, counts: ClassCounts) -> tuple[float, float, float]:
    """Return the averages of precision, recall and F1."""
    p, r, f = (float(metric(average).averaged(counts, None)) for metric in (Precision, Recall, F1))
    return p, r, f
