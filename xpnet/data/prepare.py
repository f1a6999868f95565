"""Preparation of X, y and weights: validation, encoding, preprocessing, transfer to the backend.

All data that a caller passes is prepared by this module: `prepare` is called by `fit`, `evaluate`
and `objective`; `prepare_batch` by a step of a hand-written loop; `prepare_features` by
predictions. They share `as_features`, which validates features; `as_targets`, which validates
targets (`encode_targets` first encodes class names); and `as_weights`, which validates weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, HostArray, as_array, is_kind, to_numpy
from xpnet.data.batching import TrainingData, is_bytes
from xpnet.data.checks import check_features, check_table, refuse_overflow
from xpnet.data.labels import whole_numbers
from xpnet.data.mapped import release_pages
from xpnet.data.preprocessing import InputSpec, TargetSpec, scaling_coefficients
from xpnet.data.splitting import split_rows
from xpnet.data.streaming import stays_on_host
from xpnet.data.target_scaling import check_target_scaling, standardization_of, target_spec
from xpnet.data.targets import (
    Classes,
    as_targets,
    as_weights,
    encode_targets,
    require_weight,
    row_weights,
)
from xpnet.errors import ArgumentError, dtype_name, require
from xpnet.finite import are_finite, fit_float32, row_chunks
from xpnet.losses import Loss
from xpnet.random import Rng

Validation = tuple[Array, Array] | tuple[Array, Array, Array] | float | None
"""Validation data: ``(X, y)`` or ``(X, y, weight)``, the fraction to hold out, or ``None``."""

ClassWeight = Mapping[Any, float] | Sequence[float]
"""A weight for each class: a mapping from classes, or a sequence in the order of the classes."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The result of `prepare`.

    Attributes:
        data: the training data.
        validation: the validation data, or ``None``.
        classes: the class names in the order of their indices; ``None`` if they have no names.
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
    name_from_one: bool = False,
    training: bool = False,
    target_scaling: str | None = None,
) -> Prepared:
    """Validate features, targets and weights, encode class names, and transfer the data.

    Features are preprocessed and transferred once, with two exceptions: a `numpy.memmap` and an
    array larger than half of the free device memory remain in host memory, and bytes remain bytes
    on a device. Both are converted batch by batch. Targets are scaled in float64, before they are
    rounded to the dtype of the model.

    Args:
        spec: the inputs and outputs of the network, and the preprocessing.
        X: raw features, ``(m, n_in)``.
        y: targets, one for each row; strings are encoded as indices of the sorted names.
        loss: the loss, which determines the valid targets.
        classes: the known class names in the order of their indices; ``None`` (default) takes the
            names from ``y`` if it holds strings.
        sample_weight: a weight of at least 0 for each row; default 1.
        class_weight: a weight of at least 0 for each class; default 1.
        validation: ``(X, y)`` or ``(X, y, weight)``, the fraction of the rows to hold out, in
            ``(0, 1)``, or ``None`` (default).
        rng: seed or generator of the selection of the held-out rows; default 0.
        name_from_one: whether labels from 1 to the number of outputs are class names; default
            false, which refuses them.
        training: whether the data train the model, so that its predictions get the shape of
            ``y``; default false.
        target_scaling: ``"standardize"`` fits the scaling of the targets to the training rows, if
            ``spec`` has none; ``None`` (default) takes that of ``spec``.

    Returns:
        The training data, the validation data and the class names. ``data.spec.targets`` has the
        scaling and the shape of the targets.

    Raises:
        ArgumentError: if an argument is not valid; the message names it and the first invalid row.

    >>> from xpnet.backend import get_backend
    >>> from xpnet.losses import CrossEntropy
    >>> spec = InputSpec(get_backend("numpy"), n_in=2, n_out=2)
    >>> prepared = prepare(spec, [[0, 1], [2, 3]], ["no", "yes"], CrossEntropy())
    >>> prepared.data.y, prepared.data.X.dtype, prepared.classes
    (array([0, 1]), dtype('float32'), ('no', 'yes'))
    """
    check_target_scaling(target_scaling, loss, spec.targets)
    known = None if classes is None else tuple(classes)
    X = _finite_features(spec, X)
    y, known = encode_targets(y, loss, spec.n_out, X.shape[0], known, name_from_one=name_from_one)
    targets = target_spec(spec.targets, y, loss, training=training)
    if targets.scaling is None and target_scaling is None:
        _require_fit(spec.backend, y)
    weigh = partial(row_weights, spec.backend, y, loss, spec.n_out, sample_weight, classes=known)
    weight = weigh(class_weight)
    of_metrics = weight if class_weight is None else weigh(None)
    data, held_out = _on_backend(spec, X, y, weight, of_metrics), None
    if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
        held_out = _given(spec, loss, known, *validation)
    elif validation is not None:
        share = float(validation) if isinstance(validation, Real) else 0.0
        rule = "be a pair (X, y) or a fraction between 0 and 1, or (X, y, weight)"
        require(0 < share < 1, "validation", rule, validation)
        data, held_out = _hold_out(data, _labels(y, loss), share, rng)
    if target_scaling is not None and targets.scaling is None:
        scaling = standardization_of(data.y, spec.n_out, data.weight)
        targets = replace(targets, scaling=scaling)
    if held_out is not None:
        held_out = _in_units_of_loss(held_out, targets, "the validation's y")
    return Prepared(_in_units_of_loss(data, targets, "y"), held_out, known)


def prepare_batch(
    spec: InputSpec,
    X: Any,
    y: Any,
    loss: Loss,
    weight: Any = None,
    *,
    check: bool = True,
) -> tuple[Array, Array, Array | None]:
    """Return network inputs, targets and weights of one batch on the backend.

    Features are not preprocessed and targets are not encoded: a hand-written loop does both once,
    before its first step.

    Args:
        spec: the inputs and outputs of the network.
        X: network inputs, ``(m, n_in)``.
        y: targets that are valid for the loss, such as class indices.
        loss: the loss, which determines the valid targets.
        weight: weights of the rows, ``(m,)``, or ``None``.
        check: whether to validate the arguments; default true. On a GPU, validation waits for the
            device.

    Raises:
        ArgumentError: if an argument is not valid; without ``check``, only if it belongs to
            another array library.
    """
    if check:
        X = _finite_features(spec, X)
        y = as_targets(y, loss, spec.n_out, X.shape[0])
        weight = None if weight is None else as_weights(weight, X.shape[0], "weight")
    backend = spec.backend
    weight = None if weight is None else backend.asarray(weight, backend.dtype, "weight")
    if not check:
        return backend.asarray(X, backend.dtype), backend.asarray(y), weight
    if _is_narrowed(y, backend):
        y = _in_dtype(backend, y, "y")
    return _in_dtype(backend, X, "X"), backend.asarray(y, argument="y"), weight


def prepare_features(
    spec: InputSpec, X: Any, *, preprocess: bool = True
) -> tuple[Array, Callable[[Array], Array]]:
    """Return ``X`` as an array, and a function that converts some of its rows to network inputs.

    The function also checks that the rows are finite. The conversion then reads them from the CPU
    cache, whereas a check of all rows in advance would read them from memory twice.

    Args:
        spec: the inputs of the network, and the preprocessing.
        X: features, ``(m, n_in)``.
        preprocess: whether the function applies the preprocessing; default true.

    Raises:
        ArgumentError: if ``X`` does not hold real numbers, shape ``(m, n_in)``. The function
            raises it for NaN and infinity.
    """
    X = _as_array(spec, X)
    check_table(X, spec.n_in)
    convert = spec.network_inputs if preprocess else spec.to_backend
    scaled = preprocess and spec.preprocessing is not None
    narrowed = not scaled and _may_overflow(spec, X, preprocess=preprocess)

    def refuse() -> None:
        check_features(X, spec.n_in)  # raises an error that names the row in X
        _check_range(spec, X, convert)

    def checked(part: Array) -> Array:
        if not (fit_float32(part) if narrowed else are_finite(part)):
            refuse()
        return convert(part)

    def scaled_and_checked(part: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            inputs = convert(part)
        if not are_finite(inputs):  # as it is if an element of the part is not
            refuse()
        return inputs

    return X, scaled_and_checked if scaled else checked


def as_features(spec: InputSpec, X: Any, *, preprocess: bool = True) -> Array:
    """Return ``X`` as an array of its own library, after validation.

    Args:
        spec: the inputs of the network, and the preprocessing.
        X: features, ``(m, n_in)``.
        preprocess: whether the preprocessing will be applied; default true.

    Raises:
        ArgumentError: if ``X`` does not hold finite real numbers, shape ``(m, n_in)``, is too
            large for the dtype of the model, or belongs to another device library.
    """
    X = _finite_features(spec, X)
    if _may_overflow(spec, X, preprocess=preprocess):
        _check_range(spec, X, spec.network_inputs if preprocess else spec.to_backend)
    return X


def _finite_features(spec: InputSpec, X: Any) -> Array:
    """Return validated features, which may be too large for the dtype of the model."""
    X = _as_array(spec, X)
    check_features(X, spec.n_in)
    return X


def _may_overflow(spec: InputSpec, X: Array, *, preprocess: bool = True) -> bool:
    """Return whether finite features may be infinite as network inputs."""
    if preprocess and spec.preprocessing is not None:
        return is_kind(X, "real floating")
    return _is_narrowed(X, spec.backend)


def _is_narrowed(x: Array, backend: Backend) -> bool:
    """Return whether the dtype of the model has a smaller range than that of ``x``."""
    if type(x) is np.ndarray:
        return x.dtype.char == "d" and backend.dtype_name == "float32"
    return dtype_name(x.dtype) == "float64" and backend.dtype_name == "float32"


def _check_range(spec: InputSpec, X: Array, convert: Callable[[Array], Array]) -> None:
    """Refuse features that are too large for the dtype of the model, chunk by chunk."""
    for start, rows in row_chunks(X):
        with np.errstate(over="ignore", invalid="ignore"):
            inputs = convert(rows)
        refuse_overflow(rows, inputs, spec.backend.dtype_name, "X", first_row=start)


def _check_limits(spec: InputSpec, X: HostArray) -> None:
    """Refuse features that batches cannot convert; only extremes of each column are converted."""
    for _, rows in row_chunks(X):
        limits = np.stack([np.min(rows, axis=0), np.max(rows, axis=0)])
        release_pages(X)
        with np.errstate(over="ignore", invalid="ignore"):
            if spec.preprocessing is not None:
                limits = spec.preprocessing.apply(limits)
            limits = limits.astype(spec.backend.dtype_name)
        if not are_finite(limits):
            _check_range(spec, X, spec.network_inputs)  # raises an error that names the row


def _in_dtype(backend: Backend, x: Array, argument: str) -> Array:
    """Return ``x`` in the dtype of the model, after checking that it does not overflow."""
    if not _is_narrowed(x, backend):
        return backend.asarray(x, backend.dtype, argument)
    with np.errstate(over="ignore"):
        converted = backend.asarray(x, backend.dtype, argument)
    refuse_overflow(x, converted, backend.dtype_name, argument)
    return converted


def _require_fit(backend: Backend, y: Array) -> None:
    """Refuse targets that are too large for the dtype of the model, before they are split."""
    if _is_narrowed(y, backend) and not fit_float32(y):
        _in_dtype(backend, y, "y")  # raises an error that names the row


def _in_units_of_loss(data: TrainingData, targets: TargetSpec, argument: str) -> TrainingData:
    """Return data with targets in the units of the loss and the dtype of the model.

    Args:
        data: the data, with targets in their own units and precision.
        targets: the units and the shape of the targets.
        argument: the name of the targets in error messages.
    """
    backend, raw, spec = data.backend, data.y, replace(data.spec, targets=targets)
    if targets.scaling is None and not is_kind(raw, "real floating"):
        return replace(data, spec=spec)
    if targets.scaling is None:
        y = _in_dtype(backend, raw, argument)
        return replace(data, spec=spec, y=y, exact_y=raw if _is_narrowed(raw, backend) else None)
    with np.errstate(over="ignore", invalid="ignore"):
        y = backend.asarray(targets.scaled(raw), backend.dtype)
    refuse_overflow(raw, y, backend.dtype_name, f"{argument}, standardized,")
    return replace(data, spec=spec, y=y, exact_y=raw)


def _as_array(spec: InputSpec, X: Any) -> Array:
    X = as_array(X, "X")
    if not isinstance(X, np.ndarray):
        spec.backend.asarray(X, argument="X")  # refuses arrays of another device library
    return X


def _on_backend(
    spec: InputSpec, X: Array, y: Array, weight: Array | None, metric_weight: Array | None
) -> TrainingData:
    """Return validated rows on the backend, as network inputs unless batches are converted.

    Targets keep their units and their precision.
    """
    backend, scaling = spec.backend, None
    keeps_bytes = not backend.is_host and backend.dtype_name == "float32" and is_bytes(X)
    if not stays_on_host(backend, X, X.dtype if keeps_bytes else backend.dtype_name):
        if keeps_bytes and spec.preprocessing is not None:
            scaling = scaling_coefficients(spec.preprocessing, spec.n_in).astype(np.float32)
        raw = X
        with np.errstate(over="ignore", invalid="ignore"):
            X = backend.asarray(X) if keeps_bytes else spec.network_inputs(X)
        if _may_overflow(spec, raw):
            refuse_overflow(raw, X, backend.dtype_name, "X")
    elif _may_overflow(spec, X):
        _check_limits(spec, X)
    y = backend.asarray(y, argument="y")
    return TrainingData(spec, X, y, weight, metric_weight, scaling)


def _given(
    spec: InputSpec, loss: Loss, classes: Classes | None, X: Any, y: Any, weight: Any = None
) -> TrainingData:
    """Return the validation data that the caller passes."""
    try:
        X = _finite_features(spec, X)
        y, _ = encode_targets(y, loss, spec.n_out, X.shape[0], classes)
        if weight is not None:
            weight = as_weights(weight, X.shape[0], "weight")
            weight = spec.backend.asarray(weight, spec.backend.dtype, "weight")
        return _on_backend(spec, X, y, weight, weight)
    except ArgumentError as error:
        raise ArgumentError(f"In validation=(X, y, weight): {error}") from None


def _labels(y: Array, loss: Loss) -> HostArray | None:
    """Return the class of each row on the host, or ``None`` if rows have no single class."""
    if loss.target_kind in ("values", "heads") or y.ndim > 2:
        return None
    labels = to_numpy(whole_numbers(y))
    if labels.ndim == 2:
        is_one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        return labels.argmax(axis=1) if is_one_hot else None
    return None if labels.dtype.kind == "f" else labels


def _hold_out(
    data: TrainingData,
    labels: HostArray | None,
    fraction: float,
    rng: Rng,
) -> tuple[TrainingData, TrainingData]:
    """Split the rows at random into training data and held-out validation data.

    Args:
        data: all rows, with the weights of the training.
        labels: the class of each row, of which both parts have the same proportions, or ``None``.
        fraction: the share of the held-out rows.
        rng: seed or generator of the selection.
    """
    rule = f"leave rows on both sides of {data.n_rows}"
    require(0 < round(fraction * data.n_rows) < data.n_rows, "validation", rule, fraction)
    is_file = isinstance(data.X, np.memmap)
    require(not is_file, "validation", "be a pair (X, y) for data in a file", fraction)
    trained, held_out = map(np.sort, split_rows(data.n_rows, fraction, rng, labels))
    training = data.take(trained)
    validation = replace(data, weight=data.metric_weight).take(held_out)
    argument = "class_weight" if data.metric_weight is None else "sample_weight"
    if training.weight is not None:
        require_weight(training.weight, argument, "a training row")
    if validation.weight is not None:
        require_weight(validation.weight, "sample_weight", "a held-out row")
    return training, validation
