"""Check targets and weights, and encode class names as indices."""

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
    """``y`` as an array that ``loss`` takes, in the library that it came in.

    Raises:
        ArgumentError: if the loss cannot take it.
    """
    y = as_array(y)
    loss.check(y, n_out, n_rows)
    return y


def as_weights(weight: Any, n_rows: int, argument: str) -> Array:
    """``weight`` as an array of one number for each row, in the library that it came in.

    Raises:
        ArgumentError: if a weight is negative or not finite, all are 0, or there are more or fewer
            than rows; the message calls ``weight`` by the name ``argument``.
    """
    weight = as_array(weight)
    check_weight(weight, n_rows, argument)
    return weight


def encode_targets(
    y: Any, loss: Loss, n_out: int, n_rows: int, classes: Classes | None
) -> tuple[Array, Classes | None]:
    """Targets that ``loss`` takes, and the class names that they stand for.

    Words become the indices of the sorted names. Integers are indices already, unless ``classes``
    names them.

    Args:
        y: the targets, one for each row.
        loss: the loss, which decides what targets are valid.
        n_out: the number of outputs of the network.
        n_rows: the number of rows of X.
        classes: the known class names in order, or ``None``.

    Returns:
        The targets, and the class names or ``None``.

    Raises:
        ArgumentError: if the loss cannot take the targets, or the number of classes does not fit
            the number of outputs.
    """
    y = as_array(y)
    named = loss.target_kind in ("classes", "binary") and y.ndim == 1
    words = isinstance(y, np.ndarray) and y.dtype.kind in "OUT"
    if named and (classes is not None or words):
        indices, found = encode_labels(y, classes)
        names = n_out if loss.target_kind == "classes" else 2
        rule = f"have {names} classes for {n_out} output{'s' * (n_out != 1)}"
        do = "Name those that do not occur by classes= of the model." if len(found) < names else ""
        require(len(found) == names, "y", rule, Phrase(f"{len(found)}"), do)
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
    """The weight of each row, sample weight times class weight, on the backend.

    Args:
        backend: where the weights go, in its dtype.
        y: checked targets, as `encode_targets` returns them.
        loss: the loss, which decides whether the targets are classes.
        sample_weight: a weight for each row, at least 0, or ``None``.
        class_weight: a weight for each class, by name, by index, or in order; or ``None``.
        classes: the class names, if the classes have names.

    Returns:
        Weights ``(m,)``, or ``None`` if neither was given.

    Raises:
        ArgumentError: if a weight is negative, not finite, or of another length than the rows.
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
