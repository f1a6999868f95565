"""Arguments of metrics as arrays of one library and shape."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, as_array, library_of, namespace_of, to_numpy
from xpnet.errors import require


def together(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return both as arrays of one library and device: that of ``predicted``, unless on the host.

    Predictions that are class names are in host memory, whatever the device of the targets.
    """
    predicted, target = as_array(predicted, "predicted"), as_array(target, "target")
    if library_of(predicted) is library_of(target):
        return predicted, target
    if isinstance(predicted, np.ndarray) or holds_names(target):
        return to_numpy(predicted), to_numpy(target)
    device = getattr(predicted, "device", None)
    host = to_numpy(target)
    return predicted, library_of(predicted).from_host(host, None, device)


def holds_names(x: Array) -> bool:
    """Return whether ``x`` holds class names, which no array library but NumPy has."""
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "OUST"


def require_one_kind(predicted: Array, target: Array) -> None:
    """Refuse class names beside numbers."""
    kind = "names" if holds_names(predicted) else "numbers"
    ok = holds_names(predicted) == holds_names(target)
    require(ok, "target", f"hold {kind}, as the predictions do", target)


def vectors(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return predictions and targets as vectors, after checking that their shapes agree."""
    xp = namespace_of(predicted)
    shape, target_shape = (
        tuple(x.shape[:1] if x.ndim == 2 and x.shape[1] == 1 else x.shape)
        for x in (predicted, target)
    )
    rule = f"have the shape of the predictions, {tuple(predicted.shape)}"
    require(shape == target_shape, "target", rule, target)
    z, t = (xp.reshape(x, (-1,)) for x in (predicted, target))
    require(z.shape[0] > 0, "predicted", "have at least one row", predicted)
    return z, t


def class_indices(target: Array) -> Array:
    """Return class probabilities ``(m, K)``, K > 1, as class indices; other targets unchanged."""
    if target.ndim != 2 or target.shape[1] == 1 or holds_names(target):
        return target
    return namespace_of(target).argmax(target, axis=1)
