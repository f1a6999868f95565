"""Validation of targets and weights, and encoding of class names as indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, as_array
from xpnet.data.labels import encode_labels, sample_weights
from xpnet.errors import Phrase, require, unknown_name
from xpnet.losses import Loss
from xpnet.losses.base import check_weight

Classes = tuple[Any, ...]


def as_targets(y: Any, loss: Loss, n_out: int, n_rows: int) -> Array:
    """Return ``y`` as an array, after checking that it is valid for ``loss``.

    Raises:
        ArgumentError: if ``y`` is not valid for the loss.
    """
    y = as_array(y)
    loss.check(y, n_out, n_rows)
    return y


def as_weights(weight: Any, n_rows: int, argument: str) -> Array:
    """Return ``weight`` as an array, after checking that it holds one weight for each row.

    Raises:
        ArgumentError: if the shape is not ``(n_rows,)``, a weight is negative or not finite, or
            all weights are 0; the message names ``argument``.
    """
    weight = as_array(weight)
    check_weight(weight, n_rows, argument)
    return weight


def encode_targets(
    y: Any, loss: Loss, n_out: int, n_rows: int, classes: Classes | None
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

    Returns:
        The targets, and the class names or ``None``.

    Raises:
        ArgumentError: if the targets are not valid for the loss, or the number of classes does not
            match the number of outputs.
    """
    y = as_array(y)
    can_have_names = loss.target_kind in ("classes", "binary") and y.ndim == 1
    has_strings = isinstance(y, np.ndarray) and y.dtype.kind in "OUT"
    if can_have_names and (classes is not None or has_strings):
        indices, found = encode_labels(y, classes)
        n_classes = n_out if loss.target_kind == "classes" else 2
        rule = f"have {n_classes} classes for {n_out} output{'s' * (n_out != 1)}"
        few = len(found) < n_classes
        do = f"These targets need a network with {len(found)} outputs (n_out={len(found)})."
        if few:
            do = "Name those that do not occur by classes= of the model."
        elif n_out == 1:
            do += " For two classes and one output use BinaryCrossEntropy()."
        require(len(found) == n_classes, "y", rule, Phrase(f"{len(found)}"), do)
        y, classes = indices, tuple(found.tolist())
    return as_targets(y, loss, n_out, n_rows), classes


def row_weights(
    backend: Backend,
    y: Array,
    loss: Loss,
    sample_weight: Any,
    class_weight: Mapping[Any, float] | Sequence[float] | None,
    classes: Classes | None,
) -> Array | None:
    """Return the weight of each row: the product of its sample weight and its class weight.

    Args:
        backend: the backend of the result, which has its floating dtype.
        y: the result of `encode_targets`.
        loss: the loss, which determines whether the targets are classes.
        sample_weight: a weight of at least 0 for each row, or ``None``.
        class_weight: a weight of at least 0 for each class: a sequence in the order of the
            classes, a mapping from names or indices, or ``None``.
        classes: the class names, or ``None`` if the classes have no names.

    Returns:
        Weights ``(m,)``, or ``None`` if neither weight is given.

    Raises:
        ArgumentError: if a weight is negative or not finite, or there is not one weight for each
            row or class.
    """
    weight = None
    if sample_weight is not None:
        weight = as_weights(sample_weight, y.shape[0], "sample_weight")
        weight = backend.asarray(weight, backend.dtype)
    if class_weight is not None:
        ok = loss.target_kind in ("classes", "binary") and y.ndim == 1
        require(ok, "class_weight", "be given for class indices only", y)
        if classes is not None and isinstance(class_weight, Mapping):
            for name in class_weight:
                if name not in classes:
                    raise unknown_name("a key of class_weight", name, map(str, classes))
            class_weight = {classes.index(name): w for name, w in class_weight.items()}
        by_class = backend.asarray(sample_weights(y, class_weight), backend.dtype)
        weight = by_class if weight is None else weight * by_class
    return weight
