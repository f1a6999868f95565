"""The loss and the metrics that the history has for every epoch."""

from __future__ import annotations

from collections.abc import Sequence

from xpnet.backend import copied
from xpnet.data.batching import TrainingData
from xpnet.engine.prediction import Prediction
from xpnet.losses import Loss
from xpnet.metrics import OWN_METRICS
from xpnet.metrics.protocol import as_number, metric_name
from xpnet.training.settings import Metric


def measured_columns(validation: TrainingData | None, metrics: Sequence[Metric]) -> list[str]:
    """The names of the columns that `measure` returns."""
    names = list(map(metric_name, metrics))
    return names if validation is None else [f"val_{name}" for name in ("loss", *names)]


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
    """The loss and the metrics on the data in evaluation mode, by name."""
    output = predict(*data.features)
    row = {"loss": float(loss.value(output, data.y, data.weight))}
    predicted = data.spec.predictions(output, loss)
    for metric in metrics:
        given = predicted, data.metric_targets
        if metric not in OWN_METRICS:  # it may change what it is given
            given = copied(given[0]), copied(given[1])
        row[metric_name(metric)] = as_number(metric(*given), metric)
    return row
