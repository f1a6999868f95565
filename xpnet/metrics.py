"""Metrics: functions ``metric(predicted, target)`` that return a 0-d array.

``predicted`` holds the predictions of the loss (`xpnet.losses.Loss.decide`): class indices, 0 or 1,
±1, or values in the units and the shape of the targets. `confusion_matrix` returns a matrix
instead, so it cannot be passed to ``metrics=``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array, as_array, is_kind, library_of, namespace_of, to_numpy
from xpnet.errors import ArgumentError, Phrase, describe, require, require_count

OTHER_COLUMNS = ("epoch", "loss", "val_loss", "penalty", "lr", "step", "grad_norm", "seconds")
"""Columns of a history that are not metrics."""


def accuracy(predicted: Array, target: Array) -> Array:
    """Return the fraction of correct predictions, in ``[0, 1]``; higher is better.

    Args:
        predicted: class indices, 0 or 1, ±1, or class names, shape ``(m,)`` or ``(m, k)``.
        target: the true values, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class. They may be in host memory.

    Raises:
        ArgumentError: if the shapes differ, there are no rows, or only one of them holds names.

    >>> import numpy as np
    >>> float(accuracy(np.array([0, 1, 1]), np.array([0, 1, 2])))
    0.6666666666666666
    """
    predicted, target = _together(predicted, target)
    xp = namespace_of(predicted)
    _require_one_kind(predicted, target)
    if predicted.ndim == 1:
        target = _class_indices(target)
    z, t = _vectors(predicted, target)
    if not _holds_names(z):
        exact = all(is_kind(x, ("bool", "integral")) for x in (z, t))
        z, t = (xp.astype(x, xp.int64 if exact else xp.float64) for x in (z, t))
    return xp.mean(xp.astype(z == t, xp.float64))


def rmse(predicted: Array, target: Array) -> Array:
    """Return the root mean square error ``√(mean (z − t)²)``; lower is better.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent.

    Raises:
        ArgumentError: if the shapes differ.

    >>> import numpy as np
    >>> float(rmse(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    1.4142135623730951
    """
    z, t = _normalized(predicted, target)
    xp = namespace_of(z)
    difference = z - t
    scale = _scale_of_squares(difference)
    return scale * xp.sqrt(xp.mean((difference / scale) ** 2))


def r2(predicted: Array, target: Array) -> Array:
    """Return the coefficient of determination ``1 − Σ(z − t)²/Σ(t − mean t)²``, at most 1.

    If all targets are equal, it is 1 if every prediction is exact, else 0.

    Args:
        predicted: values z, shape ``(m,)`` or ``(m, k)``.
        target: the true values t, of the same shape; ``(m,)`` and ``(m, 1)`` are equivalent. The
            mean is that of all elements.

    Raises:
        ArgumentError: if the shapes differ.

    >>> import numpy as np
    >>> float(r2(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    1.0
    """
    z, t = _normalized(predicted, target)
    xp = namespace_of(z)
    one = xp.ones_like(t[0])
    is_constant = xp.max(t) == xp.min(t)  # unlike the sum of squares, free of rounding
    centered = t - xp.mean(t)
    scale = _scale_of_squares(centered)
    error = xp.sum(((z - t) / scale) ** 2)
    total = xp.where(is_constant, one, xp.sum((centered / scale) ** 2))
    return xp.where(is_constant, one - xp.sign(error), one - error / total)


def confusion_matrix(predicted: Array, target: Array, n_classes: int | None = None) -> Array:
    """Return the matrix C, where ``C[i, j]`` counts the rows of class i predicted as class j.

    Args:
        predicted: class indices from 0, or class names, of shape ``(m,)``.
        target: the true classes, of the same shape; or class probabilities ``(m, K)``, of which
            the largest in each row determines the class. Classes with names are in sorted order.
        n_classes: the number of classes K; default the largest index plus one.

    Returns:
        Counts, int64 of shape ``(K, K)``, on the backend of ``predicted``.

    Raises:
        ArgumentError: if the indices are not whole numbers from 0 to K − 1, or the lengths differ,
            or only one of them holds names.

    >>> import numpy as np
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1])).tolist()
    [[1, 1], [0, 1]]
    """
    predicted, target = _together(predicted, target)
    _require_one_kind(predicted, target)
    z, t = _vectors(predicted, _class_indices(target))
    if _holds_names(z):
        z, t = np.split(np.unique(np.concatenate([z, t]), return_inverse=True)[1], 2)
    xp = namespace_of(z)
    indices = [xp.astype(x, xp.float64) for x in (z, t)]
    for name, index in zip(("predicted", "target"), indices, strict=True):
        is_index = (index >= 0) & (index < 2**53) & (index == xp.floor(index))
        row = int(xp.argmin(xp.astype(is_index, xp.int64)))
        rule = "hold class indices, whole numbers of at least 0"
        require(is_index[row], name, rule, Phrase(f"{float(index[row]):g} in row {row}"))
    largest = max(int(xp.max(index)) for index in indices)
    n_classes = largest + 1 if n_classes is None else n_classes
    require_count(n_classes, "n_classes")
    require(largest < n_classes, "n_classes", f"be above the largest index, {largest}", n_classes)
    columns = xp.arange(n_classes, dtype=xp.float64, device=z.device)[None, :]
    z, t = (xp.astype(index[:, None] == columns, xp.float64) for index in indices)
    return xp.astype(t.T @ z, xp.int64)


OWN_METRICS = accuracy, rmse, r2
"""The metrics of this module, which do not change their arguments."""


def metric_name(metric: Callable[..., Any]) -> str:
    """Return the name of a metric, which is its column of a history.

    >>> metric_name(accuracy)
    'accuracy'
    """
    return str(getattr(metric, "__name__", type(metric).__name__.lower()))


def check_metric_names(metrics: Sequence[Callable[..., Any]]) -> None:
    """Refuse two metrics of one name, and a metric that has the name of another column.

    Raises:
        ArgumentError: naming the metric.

    >>> check_metric_names([rmse, rmse])
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: metrics must have distinct names, which are columns of the \
history; got 2 with the name 'rmse'. Write each one as a function with a name of its own.
    """
    do = "Write each one as a function with a name of its own."
    for name, count in Counter(map(metric_name, metrics)).items():
        got = Phrase(f"{count} with the name {name!r}")
        rule = "have distinct names, which are columns of the history"
        require(count == 1, "metrics", rule, got, do)
        rule = f"have other names than {', '.join(OTHER_COLUMNS)}"
        require(name not in OTHER_COLUMNS, "metrics", rule, name, do)


def as_number(value: Any, metric: Callable[..., Any]) -> float:
    """Return the result of a metric as a number.

    Raises:
        ArgumentError: if it is not one real number; the message names the metric.

    >>> as_number(np.float64(0.5), accuracy)
    0.5
    """
    number = real_number(value)
    if number is None:
        name = metric_name(metric)
        raise ArgumentError(f"metric {name!r} must return one number; got {describe(value)}.")
    return number


def real_number(value: Any) -> float | None:
    """Return a real number, also one in an array of shape (), as a float; else ``None``.

    >>> real_number(np.array(0.5)), real_number("0.5"), real_number([0.5])
    (0.5, None, None)
    """
    if getattr(value, "shape", ()) != () or isinstance(value, (str, bytes, complex)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _together(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return both as arrays of one library and device: that of ``predicted``, unless on the host.

    Predictions that are class names are in host memory, whatever the device of the targets.
    """
    predicted, target = as_array(predicted, "predicted"), as_array(target, "target")
    if library_of(predicted) is library_of(target):
        return predicted, target
    if isinstance(predicted, np.ndarray) or _holds_names(target):
        return to_numpy(predicted), to_numpy(target)
    device = getattr(predicted, "device", None)
    host = to_numpy(target)
    return predicted, library_of(predicted).from_host(host, None, device)


def _holds_names(x: Array) -> bool:
    """Return whether ``x`` holds class names, which no array library but NumPy has."""
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "OUST"


def _require_one_kind(predicted: Array, target: Array) -> None:
    """Refuse class names beside numbers."""
    kind = "names" if _holds_names(predicted) else "numbers"
    ok = _holds_names(predicted) == _holds_names(target)
    require(ok, "target", f"hold {kind}, as the predictions do", target)


def _normalized(predicted: Array, target: Array) -> tuple[Array, Array]:
    """Return predictions and targets as float64 vectors, after checking that their shapes agree."""
    predicted, target = _together(predicted, target)
    for name, x in (("predicted", predicted), ("target", target)):
        require(not _holds_names(x), name, "hold numbers", x)
    z, t = _vectors(predicted, target)
    xp = namespace_of(z)
    return xp.astype(z, xp.float64), xp.astype(t, xp.float64)


def _scale_of_squares(x: Array) -> Array:
    """Return a power of two by which ``x`` is divided before it is squared; it is usually 1.

    The squares of numbers beyond 1e±100 could overflow or underflow in float64.
    """
    xp = namespace_of(x)
    largest, one = xp.max(xp.abs(x)), xp.ones_like(x[0])
    is_usual = ((largest > 1e-100) & (largest < 1e100)) | (largest == 0) | ~xp.isfinite(largest)
    return 2.0 ** xp.floor(xp.log2(xp.where(is_usual, one, largest)))


def _vectors(predicted: Array, target: Array) -> tuple[Array, Array]:
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


def _class_indices(target: Array) -> Array:
    """Return class probabilities ``(m, K)``, K > 1, as class indices; other targets unchanged."""
    if target.ndim != 2 or target.shape[1] == 1 or _holds_names(target):
        return target
    return namespace_of(target).argmax(target, axis=1)
