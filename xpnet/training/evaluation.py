"""The loss and the metrics that the history has for every epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.data.batching import TrainingData
from xpnet.engine.prediction import Prediction
from xpnet.errors import ArgumentError
from xpnet.losses import Loss
from xpnet.metrics.binding import BoundMetric, bound, check_metric_names
from xpnet.metrics.protocol import NEEDS, as_number, metric_name
from xpnet.training.hidden_state import holds_state
from xpnet.training.settings import Metric

PROBE_ROWS = 64
"""The number of rows on which a metric is tried before the first step."""


def measured_columns(validation: TrainingData | None, metrics: Sequence[Metric]) -> list[str]:
    """The names of the columns that `measure` returns."""
    names = list(map(metric_name, metrics))
    return names if validation is None else [f"val_{name}" for name in ("loss", *names)]


def known_directions(metrics: Sequence[Metric]) -> dict[str, bool]:
    """Return whether higher is better, by the name of the loss or metric, where it is known."""
    found = {metric.name: metric.higher_is_better for metric in map(bound, metrics)}
    return {"loss": False} | {k: v for k, v in found.items() if v is not None}


def measure(
    predict: Prediction,
    data: TrainingData,
    validation: TrainingData | None,
    loss: Loss,
    metrics: Sequence[Metric],
) -> dict[str, float]:
    """The columns that the evaluation adds to the row of an epoch."""
    if validation is not None:
        measured = evaluate(predict, validation, loss, metrics)
        return {f"val_{name}": value for name, value in measured.items()}
    if metrics:
        measured = evaluate(predict, data, loss, metrics)
        del measured["loss"]
        return measured
    return {}


def evaluate(
    predict: Prediction, data: TrainingData, loss: Loss, metrics: Sequence[Metric]
) -> dict[str, float]:
    """The loss and the metrics on all rows in evaluation mode, by name."""
    with np.errstate(all="ignore"):  # a number that is not finite is in the result
        output = predict(*data.features)
        row = {"loss": float(loss.value(output, data.y, data.weight))}
        given = _Given(output, data, loss)
        for metric in map(bound, metrics):
            row[metric.name] = as_number(given.result(metric), metric)
    return row


def bound_metrics(
    metrics: Sequence[Metric], loss: Loss, data: TrainingData, classes: Sequence[Any] | None
) -> tuple[BoundMetric, ...]:
    """Return metrics as they are called, after refusing those that the loss cannot have.

    Args:
        metrics: the metrics.
        loss: the loss, which makes predictions of outputs.
        data: the data on which the metrics will be evaluated.
        classes: the class names, or ``None``.

    Raises:
        ArgumentError: if two metrics have one name, one names a class that the model does not have,
            or the loss cannot give what one needs.
    """
    check_metric_names(metrics)
    found = tuple(bound(metric, classes) for metric in metrics)
    if found:
        given = _given_of_zeros(data, loss)
        for metric in found:
            _require_need(metric, given, loss)
    return found


def checked_metrics(
    metrics: Sequence[Metric], loss: Loss, data: TrainingData, classes: Sequence[Any] | None
) -> tuple[BoundMetric, ...]:
    """Return the metrics of a training, after refusing those that it cannot have.

    Each metric that holds no state (`holds_state`) is called once, with an output of zeros for the
    first rows. An exception that a user-defined one raises there is ignored: these rows may lack a
    class. Other metrics are checked at their first evaluation.

    Raises:
        ArgumentError: see `bound_metrics`; also if a metric does not return one number.
    """
    found = bound_metrics(metrics, loss, data, classes)
    tried = [metric for metric in found if metric.is_own or not holds_state(metric.function)]
    if tried:
        given = _given_of_zeros(data, loss)
        for metric in tried:
            _try(metric, given)
    return found


def _given_of_zeros(data: TrainingData, loss: Loss) -> _Given:
    """Return what metrics are given for an output of zeros for the first rows."""
    n_rows = min(PROBE_ROWS, data.n_rows)
    return _Given(data.backend.zeros(n_rows, data.spec.n_out), data, loss, n_rows)


def _require_need(metric: BoundMetric, given: _Given, loss: Loss) -> None:
    """Refuse a metric that needs what the loss cannot give, or has no value for its targets."""
    if metric.is_own and loss.target_kind == "heads":
        raise ArgumentError(
            f"metric {metric.name!r} needs the columns of one head; got those of all heads of "
            f"{loss!r}. Select them: xpnet.metric(lambda p, t: {metric.name}(p[:, 0], t[:, 0]), "
            'name="...").'
        )
    others = [need for need in NEEDS if given.can_give(need)]
    if metric.needs not in others:
        raise ArgumentError(
            f"metric {metric.name!r} needs {metric.needs}, which {loss!r} does not define. Take "
            f"one that needs {' or '.join(others)}, or another loss."
        )
    is_of_classes = "n_classes" in metric.takes and "multilabel" not in metric.takes
    if metric.is_own and is_of_classes and given.n_classes is None:
        raise ArgumentError(
            f"metric {metric.name!r} needs classes; got the values of {loss!r}. Take one of "
            "values, such as xpnet.metrics.rmse or r2, or another loss."
        )
    takes_labels = "multilabel" in metric.takes or metric.needs == "decisions"
    if metric.is_own and given.multilabel and not takes_labels:
        raise ArgumentError(
            f"metric {metric.name!r} needs classes of which one is true; got {given.n_labels} "
            f"outputs of {loss!r}, which are independent. Leave it out."
        )
    is_of_values = metric.needs == "decisions" and not {"n_classes", "multilabel"} & metric.takes
    if metric.is_own and is_of_values and loss.target_kind != "values":
        raise ArgumentError(
            f"metric {metric.name!r} needs values; got the classes of {loss!r}, which are indices "
            "here. Take one of classes, such as xpnet.metrics.accuracy or brier, or another loss."
        )
    n_targets = loss.target_columns(given.n_labels)
    if metric.is_own and is_of_values and given.n_decisions != n_targets:
        raise ArgumentError(
            f"metric {metric.name!r} needs as many predictions as targets, {n_targets} in a row; "
            f"got {given.n_decisions} of {loss!r}. Select columns: "
            f'xpnet.metric(lambda p, t: {metric.name}(p[:, 0], t), name="...").'
        )


def _try(metric: BoundMetric, given: _Given) -> None:
    """Call a metric on the first rows; a user-defined one may need other rows than these.

    Raises:
        ArgumentError: if the metric does not return one number.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            value = given.result(metric)
        except Exception:
            if metric.is_own:
                raise
            return
    as_number(value, metric)


class _Given:
    """What metrics are given for an output of the network, computed for the first that needs it.

    Args:
        output: the output, ``(m, n_out)``.
        data: the data, with targets and weights.
        loss: the loss, which makes predictions of outputs.
        n_rows: the number of first rows to take; ``None`` (default): all.
    """

    def __init__(
        self, output: Array, data: TrainingData, loss: Loss, n_rows: int | None = None
    ) -> None:
        self._output, self._data, self._loss = output, data, loss
        self._made: dict[str, Array] = {}
        self.n_labels, rows = data.spec.n_out, slice(0, n_rows)
        is_binary = loss.target_kind in ("binary", "signs")
        self.multilabel = is_binary and self.n_labels > 1
        self.n_classes = loss.n_classes(self.n_labels)
        weight = data.metric_weight
        self._target = loss.class_targets(data.metric_targets, self.n_labels)[rows, ...]
        self._context = {
            "sample_weight": None if weight is None else weight[rows, ...],
            "n_classes": self.n_classes,
            "multilabel": self.multilabel,
        }

    def result(self, metric: BoundMetric) -> Any:
        """Return what a metric returns, which should be one number."""
        predicted = self._needed(metric.needs)
        try:
            return metric(predicted, self._target, **self._context)
        except ArgumentError as error:
            raise ArgumentError(f"In the metric {metric.name!r}: {error}") from None
        except Exception as error:
            if metric.is_own:  # also one of scikit-learn
                error.add_note(f"It was raised in the metric {metric.name!r}.")
            raise

    @property
    def n_decisions(self) -> int:
        """The number of predictions of a row."""
        return math.prod(self._needed("decisions").shape[1:])

    def can_give(self, need: str) -> bool:
        """Return whether the loss defines what a metric may need."""
        try:
            self._needed(need)
        except ArgumentError:
            return False
        return True

    def _needed(self, need: str) -> Array:
        if need not in self._made:
            self._made[need] = self._make(need)
        return self._made[need]

    def _make(self, need: str) -> Array:
        if need == "scores":
            return self._loss.scores(self._output)
        if need == "probabilities":
            return self._loss.probabilities(self._output)
        return self._data.spec.predictions(self._output, self._loss)
