"""Turn X, y and weights into checked, encoded data on the backend of a network.

Everything that a caller passes as data goes through this module. `prepare` serves `fit`,
`evaluate` and `objective`; `prepare_batch` one step of a hand-written loop; `prepare_features`
predictions. Features are normalized and checked in `as_features` alone, targets in `as_targets`
(after `encode_targets` where they may be class names), weights in `as_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, as_array, is_kind
from xpnet.data.batching import TrainingData, is_bytes
from xpnet.data.checks import check_features, check_table
from xpnet.data.preprocessing import InputSpec, columns_of
from xpnet.data.streaming import stays_on_host
from xpnet.data.targets import Classes, as_targets, as_weights, encode_targets, row_weights
from xpnet.errors import require
from xpnet.finite import are_finite
from xpnet.losses import Loss
from xpnet.random import Rng, as_generator

Validation = tuple[Array, Array] | float | None
"""Validation data: a pair ``(X, y)``, the share of the rows to hold out, or none."""

ClassWeight = Mapping[Any, float] | Sequence[float]
"""A weight for each class: a mapping by class, or numbers in the order of the classes."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `prepare` returns.

    Attributes:
        data: the rows to train or to evaluate on.
        validation: the rows to validate on, or ``None``.
        classes: the class names that the targets stand for; ``None`` if they have no names.
    """

    data: TrainingData
    validation: TrainingData | None
    classes: Classes | None


def prepare(
    spec: InputSpec,
    X: Any,
    y: Any,
    loss: Loss,
    *,
    classes: Sequence[Any] | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    validation: Validation = None,
    rng: Rng = 0,
) -> Prepared:
    """Check features, targets and weights, encode class names, and move everything.

    Features are preprocessed and moved once. A `numpy.memmap`, and an array larger than half of a
    device's free memory, stay in host memory and are converted batch by batch; bytes stay bytes on
    a device.

    Args:
        spec: the inputs that the network takes.
        X: raw features, ``(m, n_in)``.
        y: targets, one for each row; words stand for the indices of their sorted names.
        loss: the loss, which decides what targets are valid.
        classes: the known class names in order; ``None`` takes them from ``y`` if it holds words.
        sample_weight: a weight for each row, at least 0; default 1.
        class_weight: a weight for each class; default 1.
        validation: a pair ``(X, y)``, or the share of the rows to hold out, in ``(0, 1)``.
        rng: seed or generator of the choice of the rows that are held out.

    Returns:
        The data, the validation data and the class names.

    Raises:
        ArgumentError: if an argument is not valid; the message names it and the first bad row.

    >>> from xpnet.backend import get_backend
    >>> from xpnet.losses import CrossEntropy
    >>> spec = InputSpec(get_backend("numpy"), n_in=2, n_out=2)
    >>> prepared = prepare(spec, [[0, 1], [2, 3]], ["no", "yes"], CrossEntropy())
    >>> prepared.data.y, prepared.data.X.dtype, prepared.classes
    (array([0, 1]), dtype('float32'), ('no', 'yes'))
    """
    known = None if classes is None else tuple(classes)
    X = as_features(spec, X)
    y, known = encode_targets(y, loss, spec.n_out, X.shape[0], known)
    weight = row_weights(spec.backend, y, loss, sample_weight, class_weight, known)
    data, held_out = _split(spec, X, y, weight, validation, loss, known, rng)
    return Prepared(data, held_out, known)


def prepare_batch(
    spec: InputSpec,
    X: Any,
    y: Any,
    loss: Loss,
    weight: Any = None,
    *,
    check: bool = True,
) -> tuple[Array, Array, Array | None]:
    """Network inputs, targets and weights of one batch on the backend, checked unless told not to.

    Features are not preprocessed and targets are not encoded: a hand-written loop does both once,
    before its first step.

    Args:
        spec: the inputs that the network takes.
        X: network inputs, ``(m, n_in)``.
        y: what the loss takes, such as class indices.
        loss: the loss, which decides what targets are valid.
        weight: weights of the rows, ``(m,)``, or ``None``.
        check: whether to check; on a GPU a check waits for the device.

    Raises:
        ArgumentError: if an argument is not valid; only its library is looked at without
            ``check``.
    """
    if check:
        X = as_features(spec, X)
        y = as_targets(y, loss, spec.n_out, X.shape[0])
        weight = None if weight is None else as_weights(weight, X.shape[0], "weight")
    backend = spec.backend
    weight = None if weight is None else backend.asarray(weight, backend.dtype)
    return backend.asarray(X, backend.dtype), backend.asarray(y), weight


def prepare_features(
    spec: InputSpec, X: Any, *, preprocess: bool = True
) -> tuple[Array, Callable[[Array], Array]]:
    """``X`` as an array of ``n_in`` columns, and a function that converts a part of its rows.

    The function checks that the part is finite and returns network inputs. A part is then in the
    cache already, while a check of all rows beforehand would read them twice.

    Args:
        spec: the inputs that the network takes.
        X: features, ``(m, n_in)``.
        preprocess: whether the function applies the preprocessing; default true.

    Raises:
        ArgumentError: if ``X`` is not a table of real numbers with ``n_in`` columns. NaN and
            infinity raise it when the part that holds them is converted.
    """
    X = _as_array(spec, X)
    check_table(X, spec.n_in)
    convert = spec.network_inputs if preprocess else spec.moved

    def checked(part: Array) -> Array:
        if not are_finite(part):
            check_features(X, spec.n_in)  # names the row and the column within all of X
        return convert(part)

    return X, checked


def as_features(spec: InputSpec, X: Any) -> Array:
    """``X`` as an array of ``n_in`` finite columns, in the library that it came in.

    Raises:
        ArgumentError: if it is not a table of finite real numbers with ``n_in`` columns, or
            belongs to the library of another backend.
    """
    X = _as_array(spec, X)
    check_features(X, spec.n_in)
    return X


def _as_array(spec: InputSpec, X: Any) -> Array:
    X = as_array(X)
    if not isinstance(X, np.ndarray):
        spec.backend.asarray(X)  # refuses the arrays of another device library
    return X


def _moved(spec: InputSpec, X: Array, y: Array, weight: Array | None) -> TrainingData:
    """Checked rows on the backend, converted unless they must be converted batch by batch."""
    backend, columns = spec.backend, None
    keep = not backend.is_host and backend.dtype_name == "float32" and is_bytes(X)
    if not stays_on_host(backend, X, X.dtype if keep else backend.dtype_name):
        if keep and spec.preprocessing is not None:
            columns = columns_of(spec.preprocessing, spec.n_in).astype(np.float32)
        X = backend.asarray(X) if keep else spec.network_inputs(X)
    y = backend.asarray(y)
    if is_kind(y, "real floating"):
        y = backend.asarray(y, backend.dtype)
    return TrainingData(spec, X, y, weight, columns)


def _split(
    spec: InputSpec,
    X: Array,
    y: Array,
    weight: Array | None,
    validation: Validation,
    loss: Loss,
    classes: Classes | None,
    rng: Rng,
) -> tuple[TrainingData, TrainingData | None]:
    """The data to train on, of checked rows, and the data to validate on."""
    if validation is None:
        return _moved(spec, X, y, weight), None
    if isinstance(validation, (tuple, list)) and len(validation) == 2:
        X_val = as_features(spec, validation[0])
        y_val, _ = encode_targets(validation[1], loss, spec.n_out, X_val.shape[0], classes)
        return _moved(spec, X, y, weight), _moved(spec, X_val, y_val, None)
    ok = isinstance(validation, float) and 0 < validation < 1
    rule = "be a pair (X, y) or a fraction between 0 and 1"
    require(ok, "validation", rule, validation)
    return _hold_out(_moved(spec, X, y, weight), float(validation), as_generator(rng))


def _hold_out(
    data: TrainingData, fraction: float, rng: np.random.Generator
) -> tuple[TrainingData, TrainingData]:
    """Divide the rows at random: those to train on, and a share to validate on."""
    order = rng.permutation(data.n_rows)
    n_held = round(fraction * data.n_rows)
    rule = f"leave rows on both sides of {data.n_rows}"
    require(0 < n_held < data.n_rows, "validation", rule, fraction)
    is_file = isinstance(data.X, np.memmap)
    require(not is_file, "validation", "be a pair (X, y) for data in a file", fraction)
    return data.take(np.sort(order[n_held:])), data.take(np.sort(order[:n_held]))
