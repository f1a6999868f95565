"""Arguments of metrics as arrays of one library, class indices and weights.

A check that reads numbers runs only where the argument is in host memory. Of arrays on a device
only dtypes and shapes are checked, so that nothing but the result of a metric is read from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import (
    Array,
    HostArray,
    as_array,
    is_kind,
    is_real,
    library_of,
    namespace_of,
    to_numpy,
)
from xpnet.errors import Phrase, require, require_count
from xpnet.losses.base import check_weight, refuse_where
from xpnet.losses.classification import ROW_SUM_TOLERANCE

WHOLE = "hold class indices, whole numbers of at least 0"
BLOCK = 1 << 22
"""The number of elements of a temporary matrix for rows that are taken in blocks."""

SAME_SHAPE = "have the shape of the predictions, "


def together(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return both as arrays of one library and device: that of ``predicted``, unless on the host.

    Predictions that are class names are in host memory, whatever the device of the targets.
    """
    predicted, target = as_array(predicted, "predicted"), as_array(target, "target")
    if library_of(predicted) is not library_of(target) and holds_names(target):
        return to_numpy(predicted), target
    if library_of(predicted) is not library_of(target) and isinstance(predicted, np.ndarray):
        return predicted, to_numpy(target)
    return predicted, beside(target, predicted)


def beside(x: Array, other: Array) -> Array:
    """Return ``x`` as an array of the library and device of ``other``."""
    if library_of(x) is library_of(other):
        return x
    return library_of(other).from_host(to_numpy(x), None, getattr(other, "device", None))


def holds_names(x: Array) -> bool:
    """Return whether ``x`` holds class names, which no array library but NumPy has."""
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "OUST"


def require_one_kind(predicted: Array, target: Array) -> None:
    """Refuse class names beside numbers, and what is neither."""
    kind = "names" if holds_names(predicted) else "numbers"
    ok = holds_names(predicted) == holds_names(target)
    require(ok, "target", f"hold {kind}, as the predictions do", target)
    for name, x in (("predicted", predicted), ("target", target)):
        require(holds_names(x) or is_real(x), name, "hold real numbers or class names", x)


def require_numbers(x: Array, argument: str) -> None:
    """Refuse class names and complex numbers."""
    require(not holds_names(x) and is_real(x), argument, "hold real numbers", x)


def same_shapes(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return both without an axis of one column, after checking that their shapes agree."""
    z, t = squeezed(predicted), squeezed(target)
    same = tuple(z.shape) == tuple(t.shape)
    require(same, "target", f"{SAME_SHAPE}{tuple(predicted.shape)}", target)
    require_rows(predicted)
    return z, t


def require_rows(predicted: Array) -> None:
    """Refuse predictions without a row."""
    ok = predicted.ndim > 0 and math.prod(predicted.shape) > 0
    require(ok, "predicted", "have at least one row", predicted)


def squeezed(x: Array) -> Array:
    """Return a column ``(m, 1)`` as ``(m,)``, other arrays unchanged."""
    column = x.ndim == 2 and x.shape[1] == 1
    return namespace_of(x).reshape(x, (-1,)) if column else x


def class_indices(target: Array) -> Array:
    """Return class probabilities ``(m, K)``, K > 1, as class indices; other targets unchanged."""
    if target.ndim != 2 or target.shape[1] == 1 or holds_names(target):
        return target
    return namespace_of(target).argmax(target, axis=1)


def row_weights(sample_weight: Any, like: Array) -> Array | None:
    """Return the weights of the rows of ``like`` as float64 on its device; ``None`` without.

    Raises:
        ArgumentError: if they are not one real number for each row or, in host memory, not finite,
            below 0 or all 0.
    """
    if sample_weight is None:
        return None
    weight = squeezed(as_array(sample_weight, "sample_weight"))
    require_numbers(weight, "sample_weight")
    if library_of(weight).is_host:
        check_weight(weight, like.shape[0])
    rule = f"have the shape ({like.shape[0]},)"
    require(tuple(weight.shape) == (like.shape[0],), "sample_weight", rule, sample_weight)
    weight = beside(weight, like)
    return namespace_of(weight).astype(weight, namespace_of(weight).float64)


def relative(weight: Array | None) -> Array | None:
    """Return weights divided by a power of two near the largest; sums do not overflow then."""
    if weight is None:
        return None
    return weight / power_of_two(namespace_of(weight).max(weight))


def power_of_two(x: Array) -> Array:
    """Return the power of two next to each positive number, at most 2¹⁰²³; 0 for 0.

    >>> power_of_two(np.array([3.0, 0.25, 1.7e308])).tolist() == [2.0, 0.25, 2.0**1023]
    True
    """
    xp = namespace_of(x)
    exponent = xp.floor(xp.log2(x))
    return 2.0 ** xp.where(exponent > 1023.0, 1023.0, exponent)  # log2 rounds up near 2¹⁰²⁴


def mean_of_rows(x: Array, weight: Array | None) -> Array:
    """Return the weighted mean of ``x`` over its first axis; NaN if all weights are 0."""
    xp = namespace_of(x)
    if weight is None:
        return xp.mean(x, axis=0)
    column = weight if x.ndim == 1 else weight[:, None]
    return xp.sum(column * x, axis=0) / xp.sum(weight)


def ratio(numerator: Array, denominator: Array, undefined: float) -> Array:
    """Return the quotient, and ``undefined`` where the denominator is 0."""
    xp = namespace_of(numerator)
    is_zero, one = denominator == 0, xp.ones_like(denominator)
    return xp.where(is_zero, undefined * one, numerator / xp.where(is_zero, one, denominator))


def unless_nan(value: Array, predicted: Array) -> Array:
    """Return ``value``, or NaN if a prediction is NaN."""
    xp = namespace_of(predicted)
    if not is_kind(predicted, "real floating"):
        return value
    return xp.where(xp.any(xp.isnan(predicted)), value * math.nan, value)


def blocks(n_rows: int, width: int) -> list[slice]:
    """Return slices of rows of which matrices with ``width`` columns have about `BLOCK` elements.

    >>> blocks(5, 1 << 21)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(BLOCK // width, 1)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def of_class(p: Array, t: Array) -> Array:
    """Return the number of ``p``, ``(m, K)``, in the column of each row's class, ``(m,)``."""
    xp = namespace_of(p)
    row = xp.arange(p.shape[0], dtype=xp.int64, device=t.device)
    return xp.take(xp.reshape(p, (-1,)), row * p.shape[1] + t)


def signed(x: Array) -> Array:
    """Return integers as int64, which can be compared with -1 and with 2⁵³; others unchanged."""
    xp = namespace_of(x)
    return xp.astype(x, xp.int64) if is_kind(x, "integral") else x


def require_indices(x: Array, name: str, n_classes: int | None) -> None:
    """Refuse numbers that are no class indices; it reads them."""
    xp = namespace_of(x)
    index = signed(x) if is_kind(x, "integral") else xp.astype(x, xp.float64)
    ok = (index >= 0) & (index < 2**53)
    if is_kind(index, "real floating"):
        ok = ok & (index == xp.floor(index))
    if not bool(xp.all(ok)):
        row = int(xp.argmin(xp.astype(ok, xp.int64)))
        require(False, name, WHOLE, Phrase(f"{float(index[row]):g} in row {row}"))
    if n_classes is not None:
        largest = int(xp.max(index))
        rule = f"hold class indices of 0 to {n_classes - 1}"
        require(largest < n_classes, name, rule, Phrase(f"the index {largest}"))


@dataclass(frozen=True)
class Decided:
    """Decisions and targets as class indices, or as labels.

    Attributes:
        predicted: indices, int64 ``(m,)``; for several labels 0 or 1, int64 ``(m, k)``.
        target: the true ones.
        weight: float64 ``(m,)``, or ``None``.
        n_classes: the number of classes, or of labels.
        names: the class names in the order of the indices, or ``None``.
    """

    predicted: Array
    target: Array
    weight: Array | None
    n_classes: int
    names: tuple[Any, ...] | None = None

    @property
    def is_multilabel(self) -> bool:
        """Whether each column is a label of its own."""
        return bool(self.predicted.ndim == 2)


def decided(
    predicted: Any,
    target: Any,
    sample_weight: Any,
    n_classes: int | None,
    classes: Sequence[Any] | None = None,
) -> Decided:
    """Return decisions and targets as indices from 0 and their number.

    ``n_classes`` and ``classes`` may be ``None``; the number is then read from the arrays.
    """
    if n_classes is not None:
        require_count(n_classes, "n_classes")
    predicted, target = together(predicted, target)
    require_one_kind(predicted, target)
    predicted, target = (
        indices_of_numbers(x, classes, name)
        for x, name in ((predicted, "predicted"), (target, "target"))
    )
    z = squeezed(predicted)
    if z.ndim == 1 and not holds_names(z) and target.ndim == 2 and target.shape[1] > 1:
        n_classes, target = n_classes or target.shape[1], class_indices(target)
    z, t = same_shapes(predicted, target)
    require(z.ndim in (1, 2), "predicted", "have one or two axes", predicted)
    weight, names = row_weights(sample_weight, z), None if classes is None else tuple(classes)
    if holds_names(z):
        require(z.ndim == 1, "predicted", "hold one class name for each row", predicted)
        names = names or sorted_names(z, t)
        z, t = (positions(x, names, name) for x, name in ((z, "predicted"), (t, "target")))
        return Decided(z, t, weight, len(names), names)
    if z.ndim == 2:
        z, t = (is_second(x, name) for x, name in ((z, "predicted"), (t, "target")))
        return Decided(z, t, weight, z.shape[1], names)
    n_classes = n_classes or (len(names) if names else _n_classes(z, t))
    z, t = (_indices(x, name, n_classes) for x, name in ((z, "predicted"), (t, "target")))
    return Decided(z, t, weight, n_classes, names)


def _n_classes(z: Array, t: Array) -> int:
    """Return the largest index plus one, or 2 if both arrays hold ±1; it reads them."""
    xp = namespace_of(z)
    if is_kind(z, "bool") and is_kind(t, "bool"):
        return 2
    z, t = signed(z), signed(t)
    if all(bool(xp.all((x == 1) | (x == -1))) for x in (z, t) if not is_kind(x, "bool")):
        return 2
    largest = 0
    for x, name in ((z, "predicted"), (t, "target")):
        index = xp.astype(x, xp.int64) if is_kind(x, "bool") else x
        require_indices(index, name, None)
        largest = max(largest, int(xp.max(index)))
    return largest + 1


def _indices(x: Array, name: str, n_classes: int) -> Array:
    """Return class indices as int64; of two classes also from ±1 and from numbers in [0, 1]."""
    if n_classes <= 2:
        return is_second(x, name)
    xp = namespace_of(x)
    if library_of(x).is_host and not is_kind(x, "bool"):
        require_indices(x, name, n_classes)
    return xp.astype(x, xp.int64)


def is_second(x: Array, name: str) -> Array:
    """Return 1 where a number of [0, 1] is above ½, or where one of ±1 is 1, as int64."""
    xp = namespace_of(x)
    if is_kind(x, "bool"):
        return xp.astype(x, xp.int64)
    x = signed(x)
    if library_of(x).is_host:
        bad = ~(((x >= 0) & (x <= 1)) | (x == -1))
        refuse_where(bad, x, "hold numbers of 0 to 1, or -1 and 1", argument=name)
    return xp.astype(x > 0 if is_kind(x, "integral") else x > 0.5, xp.int64)


def sorted_names(*arrays: HostArray) -> tuple[Any, ...]:
    """Return the class names of several arrays, each once, sorted.

    Raises:
        ArgumentError: if they cannot be sorted.
    """
    both = np.concatenate([x.reshape(-1) for x in arrays])
    if both.dtype.kind == "O":
        mixed = [x for x in both if not isinstance(x, (str, bytes))]
        rule = "hold class names that are all text"
        require(not mixed, "target", rule, mixed[0] if mixed else None)
    return tuple(np.unique(both).tolist())


def positions(x: HostArray, names: Sequence[Any], argument: str) -> HostArray:
    """Return the indices in ``names`` of class names.

    Raises:
        ArgumentError: for the first name that is not one of them.
    """
    index = {name: i for i, name in enumerate(names)}
    require(len(index) == len(names), "classes", "be distinct", names)
    known, inverse = np.unique(x.astype(str) if x.dtype.kind == "O" else x, return_inverse=True)
    unknown = [name for name in known.tolist() if name not in index]
    shown = ", ".join(map(str, names))
    rule = f"hold the class names {shown if len(shown) < 80 else shown[:77] + '...'}"
    require(not unknown, argument, rule, unknown[0] if unknown else None)
    return np.array([index[name] for name in known.tolist()], np.int64)[inverse.reshape(-1)]


def indices_of_numbers(x: Array, classes: Sequence[Any] | None, argument: str) -> Array:
    """Return the indices in ``classes`` of numbers that are class names; other arrays unchanged.

    They are looked up in host memory.

    Raises:
        ArgumentError: for the first number that is not one of them.

    >>> indices_of_numbers(np.array([4, 2]), (2, 4), "target").tolist()
    [1, 0]
    """
    is_number = classes is not None and not holds_names(np.asarray(classes))
    if classes is None or not is_number or holds_names(x) or squeezed(x).ndim != 1:
        return x
    return beside(positions(to_numpy(squeezed(x)), tuple(classes), argument), x)


@dataclass(frozen=True)
class Rated:
    """Scores or probabilities, and targets as indices or as probabilities.

    Attributes:
        predicted: ``(m,)`` of the second of two classes; else a column for each class or label.
        target: class indices, int64 ``(m,)``; or probabilities, float64 ``(m, K)``, also those of
            labels.
        weight: float64 ``(m,)``, or ``None``.
        n_classes: the number of classes, or of labels.
        multilabel: whether each column is a label of its own.
        names: the class names in the order of the columns, or ``None``.
    """

    predicted: Array
    target: Array
    weight: Array | None
    n_classes: int
    multilabel: bool
    names: tuple[Any, ...] | None

    @property
    def indices(self) -> Array:
        """The target as class indices, int64 ``(m,)``; of labels as 0 or 1, ``(m, k)``."""
        xp = namespace_of(self.target)
        if self.multilabel:
            return xp.astype(self.target > 0.5, xp.int64)
        return class_indices(self.target)


def rated(
    predicted: Any,
    target: Any,
    sample_weight: Any,
    classes: Sequence[Any] | None,
    multilabel: bool,
    what: str = "scores",
) -> Rated:
    """Return scores or probabilities and their targets; see `Rated`."""
    predicted, target = as_array(predicted, "predicted"), as_array(target, "target")
    require_numbers(predicted, "predicted")
    p = squeezed(predicted)
    require(p.ndim in (1, 2), "predicted", f"hold {what}, (m,) or (m, K)", predicted)
    require_rows(p)
    xp = namespace_of(p)
    if not any(p.dtype == dtype for dtype in (xp.float32, xp.float64)):
        p = xp.astype(p, xp.float64)
    multilabel = multilabel and p.ndim == 2
    n_classes = p.shape[1] if p.ndim == 2 else 2
    names = None if classes is None else tuple(classes)
    if names is not None:
        rule = f"name each of the {n_classes} classes"
        require(len(names) == n_classes, "classes", rule, classes)
    if not multilabel:
        target = indices_of_numbers(target, names, "target")
    if holds_names(target):
        require(not multilabel, "target", "hold numbers for several labels", target)
        target = _rows_of(target, p, n_classes)
        names = names or sorted_names(target)
        do = "Give their names in the order of the columns, classes=[...]."
        got = Phrase(f"{len(names)} class names")
        require(len(names) == n_classes, "target", f"hold {n_classes} class names", got, do)
        target = positions(target, names, "target")
    require_numbers(target, "target")
    target = beside(_rows_of(target, p, n_classes), p)
    t = _soft(target) if multilabel else _classes(target, n_classes)
    return Rated(p, t, row_weights(sample_weight, p), n_classes, multilabel, names)


def _rows_of(target: Array, p: Array, n_classes: int) -> Array:
    """Return targets ``(m,)`` or ``(m, K)`` after checking their shape."""
    t = squeezed(target)
    m = p.shape[0]
    shapes = [(m,)] if holds_names(t) else [(m,), (m, n_classes)]
    rule = "have the shape " + " or ".join(map(str, shapes))
    require(tuple(t.shape) in shapes, "target", rule, target, "It needs a row for each prediction.")
    return t


def _classes(t: Array, n_classes: int) -> Array:
    """Return targets of classes as indices, or as probabilities if they are."""
    xp = namespace_of(t)
    if t.ndim == 2:
        t = _soft(t)
        if library_of(t).is_host:
            off = xp.abs(xp.sum(t, axis=1) - 1.0) > ROW_SUM_TOLERANCE
            refuse_where(off, t, "hold probabilities that sum to 1 in a row", argument="target")
        return t
    if n_classes == 2 and is_kind(t, "real floating"):
        t = _soft(t)
        return xp.stack([1.0 - t, t], axis=1)
    return _indices(t, "target", n_classes)


def _soft(t: Array) -> Array:
    """Return numbers of [0, 1] as float64, and those of ±1 as 0 and 1."""
    xp = namespace_of(t)
    if is_kind(t, "bool"):
        return xp.astype(t, xp.float64)
    t = signed(t)
    if library_of(t).is_host:
        bad = ~(((t >= 0) & (t <= 1)) | (t == -1))
        refuse_where(bad, t, "hold numbers of 0 to 1, or -1 and 1", argument="target")
    t = xp.astype(t, xp.float64)
    return xp.where(t < 0, xp.zeros_like(t), t)
