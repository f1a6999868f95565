"""Validation of targets and weights, and encoding of class names as indices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, as_array, is_kind, namespace_of, to_numpy
from xpnet.data.checks import as_vector
from xpnet.data.labels import encode_labels, sample_weights, whole_numbers
from xpnet.errors import Phrase, dtype_name, require, unknown_name
from xpnet.losses import Loss, Ordinal
from xpnet.losses.base import check_weight, needed_outputs

Classes = tuple[Any, ...]

COMFORTABLE = 2.0**32
"""Largest weights between the reciprocal of this number and this number are not rescaled."""


def as_targets(y: Any, loss: Loss, n_out: int, n_rows: int) -> Array:
    """Return ``y`` as an array, after checking that it is valid for ``loss``.

    A single column of classes becomes a vector; booleans and whole floating-point numbers become
    class indices, and unsigned integers, which some libraries cannot compare, become int64.

    Raises:
        ArgumentError: if ``y`` is not valid for the loss.
    """
    y = _normalized(as_array(y, "y"), loss, n_out)
    loss.check(y, n_out, n_rows)
    return y


def _normalized(y: Array, loss: Loss, n_out: int) -> Array:
    """Return targets in the form that the loss takes, if there is one."""
    if type(y) is np.ndarray and y.ndim == 1 and y.dtype.char in "ilq":
        return y  # fast path for a step of a hand-written loop
    is_class = loss.target_kind == "classes"
    if is_class or (loss.target_kind != "values" and n_out == 1):
        y = as_vector(y)
    if not _is_number(y):
        return y
    if dtype_name(y.dtype) in ("uint16", "uint32", "uint64"):
        xp = namespace_of(y)
        y = xp.astype(y, xp.float64 if loss.target_kind == "values" else xp.int64)
    return whole_numbers(y) if is_class and y.ndim == 1 else y


def _is_number(y: Array) -> bool:
    """Return whether ``y`` is an array of real numbers, which not every array of objects is."""
    kind = getattr(y.dtype, "kind", None)
    return kind in "biuf" if kind is not None else is_kind(y, ("bool", "integral", "real floating"))


def as_weights(weight: Any, n_rows: int, argument: str) -> Array:
    """Return ``weight`` as an array, after checking that it holds one weight for each row.

    A weighted mean does not depend on the scale of the weights. Very large and very small weights
    are multiplied by a power of two, so that they and their sum are finite in every dtype.

    Raises:
        ArgumentError: if the shape is not ``(n_rows,)``, a weight is negative or not finite, or
            all weights are 0; the message names ``argument``.
    """
    weight = as_vector(as_array(weight, argument))
    check_weight(weight, n_rows, argument)
    return _rescaled(weight)


def _rescaled(weight: Array) -> Array:
    """Return ``weight``, multiplied by a power of two if the largest one is very large or small."""
    xp = namespace_of(weight)
    if is_kind(weight, "bool"):
        return weight
    largest = float(xp.max(weight))
    if largest == 0 or 1 / COMFORTABLE <= largest <= COMFORTABLE:
        return weight
    exponent = max(math.frexp(largest)[1] - 1, -1000)
    return xp.astype(weight, xp.float64) * 2.0**-exponent


def check_classes(classes: Classes | None, n_out: int, loss: Loss | None) -> None:
    """Refuse names that are not one for each class of a model; one more than outputs for `Ordinal`.

    Raises:
        ArgumentError: naming ``classes``.
    """
    if classes is None:
        return
    is_ordered = isinstance(loss, Ordinal) or (loss is None and len(classes) == n_out + 1)
    n_classes = n_out + 1 if is_ordered else max(n_out, 2)
    ok = len({*classes}) == len(classes) == n_classes
    require(ok, "classes", f"be {n_classes} distinct names", classes)


def encode_targets(
    y: Any,
    loss: Loss,
    n_out: int,
    n_rows: int,
    classes: Classes | None,
    *,
    name_from_one: bool = False,
) -> tuple[Array, Classes | None]:
    """Return targets that are valid for ``loss``, and the class names that they index.

    Strings are encoded as indices of the sorted names. Integers are class indices, unless
    ``classes`` is given and lists them as names.

    Args:
        y: the targets, one for each row.
        loss: the loss, which determines the valid targets.
        n_out: the number of outputs of the network.
        n_rows: the number of rows of X.
        classes: the known class names in the order of their indices, or ``None``.
        name_from_one: whether labels from 1 to the number of classes, without a 0, are class
            names; default false.

    Returns:
        The targets, and the class names or ``None``.

    Raises:
        ArgumentError: if the targets are not valid for the loss, or the number of classes does not
            match the number of outputs.
    """
    y = as_array(y, "y")
    can_have_names = loss.target_kind in ("classes", "binary")
    if can_have_names:
        y = as_vector(y)
    can_have_names = can_have_names and y.ndim == 1
    if can_have_names and _is_number(y) and (classes is not None or name_from_one):
        y = whole_numbers(y)
        n_classes = loss.n_classes(n_out) or 2
        if classes is None and _are_from_one(y, n_classes):
            classes = tuple(range(1, n_classes + 1))
    has_strings = isinstance(y, np.ndarray) and y.dtype.kind in "OUT"
    if can_have_names and (classes is not None or has_strings):
        do = "Name them from the lowest to the highest: classes=[...] of the model."
        is_ordered = isinstance(loss, Ordinal)
        ok = classes is not None or not is_ordered
        require(ok, "classes", "be given for Ordinal, which needs their order", classes, do)
        indices, found = encode_labels(y, classes)
        n_classes = loss.n_classes(n_out) or 2
        rule = f"have {n_classes} classes for {n_out} output{'s' * (n_out != 1)}"
        few = len(found) < n_classes
        do = needed_outputs(len(found) - is_ordered)
        if few:
            do = "Name those that do not occur by classes= of the model."
        elif n_out == 1 and not is_ordered:
            do += " For two classes and one output use BinaryCrossEntropy()."
        require(len(found) == n_classes, "y", rule, Phrase(f"{len(found)}"), do)
        y, classes = indices, tuple(found.tolist())
    return as_targets(y, loss, n_out, n_rows), classes


def _are_from_one(y: Array, n_classes: int) -> bool:
    """Return whether ``y`` holds integers from 1 to ``n_classes``, both of which occur."""
    xp = namespace_of(y)
    if n_classes < 2 or y.shape[0] == 0 or not is_kind(y, "integral"):
        return False
    return int(xp.min(y)) == 1 and int(xp.max(y)) == n_classes


def row_weights(
    backend: Backend,
    y: Array,
    loss: Loss,
    n_out: int,
    sample_weight: Any,
    class_weight: Mapping[Any, float] | Sequence[float] | None,
    classes: Classes | None,
) -> Array | None:
    """Return the weight of each row: the product of its sample weight and its class weight.

    Args:
        backend: the backend of the result, which has its floating dtype.
        y: the result of `encode_targets`.
        loss: the loss, which determines whether the targets are classes.
        n_out: the number of outputs of the network.
        sample_weight: a weight of at least 0 for each row, or ``None``.
        class_weight: a weight of at least 0 for each class: a sequence in the order of the
            classes, a mapping from names or indices, or ``None``.
        classes: the class names, or ``None`` if the classes have no names.

    Returns:
        Weights ``(m,)``, or ``None`` if neither weight is given.

    Raises:
        ArgumentError: if a weight is negative or not finite, or there is not one weight for each
            row or class, or the product is 0 for all rows.
    """
    factors = []
    if sample_weight is not None:
        factors.append(as_weights(sample_weight, y.shape[0], "sample_weight"))
    if class_weight is not None:
        ok = loss.target_kind in ("classes", "binary") and y.ndim == 1
        require(ok, "class_weight", "be given for class indices only", y)
        if classes is not None and isinstance(class_weight, Mapping):
            for name in class_weight:
                if name not in classes:
                    raise unknown_name("a key of class_weight", name, map(str, classes))
            class_weight = {classes.index(name): w for name, w in class_weight.items()}
        n_classes = loss.n_classes(n_out) or 2
        factors.append(_rescaled(sample_weights(y, class_weight, n_classes)))
    return _product(backend, factors)


def _product(backend: Backend, factors: list[Array]) -> Array | None:
    """Return the product of positive weights in the dtype of the backend, or ``None``."""
    if len(factors) == 2:
        exact = np.prod([to_numpy(factor).astype(np.float64) for factor in factors], axis=0)
        require_weight(exact, "class_weight and sample_weight")
        if float(exact.max()) < 1 / COMFORTABLE**2:
            factors = [_rescaled(exact)]
    elif factors:
        require_weight(factors[0], "class_weight")
    weight = None
    for factor in factors:
        converted = backend.asarray(factor, backend.dtype, "sample_weight")
        weight = converted if weight is None else weight * converted
    return weight


def require_weight(weight: Array, argument: str, rows: str = "some row") -> None:
    """Refuse weights that are all 0, with which a mean is not defined.

    Raises:
        ArgumentError: naming ``argument``.
    """
    rule = f"give {rows} a weight above 0"
    got = Phrase(f"0 for all {weight.shape[0]}")
    require(bool(namespace_of(weight).any(weight > 0)), argument, rule, got)
