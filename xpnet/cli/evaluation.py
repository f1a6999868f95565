"""The evaluation of a trained network: its metrics and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import HostArray, to_numpy
from xpnet.calibration import Reliability, reliability
from xpnet.data import encode_labels
from xpnet.errors import Phrase, require
from xpnet.metrics import (
    AUC,
    OWN_METRICS,
    OWN_TYPES,
    AveragePrecision,
    CalibrationError,
    ClassificationTable,
    Pinball,
    accuracy,
    balanced_accuracy,
    brier,
    classification_table,
    confusion_matrix,
    explained_variance,
    log_loss,
    mae,
    r2,
    rmse,
)
from xpnet.metrics.protocol import metric_name
from xpnet.model import Sequential
from xpnet.training.settings import Metric

OF_VALUES = rmse, mae, r2, explained_variance
"""The functions of xpnet that measure a regression."""


@dataclass(frozen=True, eq=False)
class Classification:
    """What an evaluation of a classifier has beside its metrics.

    Attributes:
        table: precision, recall and F1 of each class.
        matrix: the confusion matrix, true classes in rows.
        reliability: the accuracy of predictions by their confidence.
    """

    table: ClassificationTable
    matrix: HostArray
    reliability: Reliability

    def as_json(self) -> dict[str, Any]:
        """Return the tables as JSON values."""
        table, found = self.table, self.reliability
        columns = table.precision, table.recall, table.f1, table.support
        keys = "class", "precision", "recall", "f1", "rows"
        rows = zip(table.names, *(column.tolist() for column in columns), strict=True)
        bins = {key: getattr(found, key).tolist() for key in ("confidence", "accuracy", "weight")}
        averages = {"macro": table.macro, "weighted": table.weighted}
        return {
            "classes": [dict(zip(keys, _counted(row), strict=True)) for row in rows],
            "averages": {k: dict(zip(keys[1:4], v, strict=True)) for k, v in averages.items()},
            "confusion_matrix": self.matrix.tolist(),
            "reliability": {"edges": found.edges.tolist(), **bins},
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The evaluation of a trained network on some rows.

    Attributes:
        n_rows: the number of rows.
        measured: the loss and the metrics, by name.
        predicted: the predictions.
        target: the true values.
        classification: the tables of a classifier; ``None`` for a regression.
    """

    n_rows: int
    measured: dict[str, float]
    predicted: HostArray
    target: HostArray
    classification: Classification | None

    @property
    def outputs(self) -> list[dict[str, float]]:
        """RMSE, MAE and R² of each output of a regression with several, else nothing."""
        if self.classification is not None or self.target.ndim < 2 or self.target.shape[1] < 2:
            return []
        columns = zip(self.predicted.T, self.target.T, strict=True)
        own = {metric_name(metric): metric for metric in (rmse, mae, r2)}
        return [{name: float(own[name](p, y)) for name in own} for p, y in columns]

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values; a number that is not finite is ``None``."""
        entry: dict[str, Any] = {"rows": self.n_rows, "metrics": self.measured}
        if self.classification is not None:
            entry |= self.classification.as_json()
        if self.outputs:
            entry["outputs"] = self.outputs
        return dict(_finite(entry))


def default_metrics(classes: Sequence[Any] | None) -> list[Metric]:
    """Return the metrics of every evaluation of a task.

    >>> [metric_name(metric) for metric in default_metrics(None)]
    ['rmse', 'mae', 'r2']
    """
    if classes is None:
        return [rmse, mae, r2]
    of_two: list[Metric] = [AveragePrecision(), brier] if len(classes) == 2 else []
    return [accuracy, balanced_accuracy, log_loss, AUC(), *of_two, CalibrationError()]


def check_metrics(metrics: Sequence[Metric], classes: Sequence[Any] | None) -> None:
    """Refuse the metrics of xpnet that do not measure the task.

    Args:
        metrics: the metrics.
        classes: the class names; ``None`` for a regression.

    Raises:
        ArgumentError: naming the first of them.
    """
    task = "a regression, as rmse" if classes is None else "a classification, as auc"
    for metric in metrics:
        is_own = metric in OWN_METRICS or isinstance(metric, OWN_TYPES)
        is_of_values = metric in OF_VALUES or isinstance(metric, Pinball)
        fits = not is_own or is_of_values == (classes is None)
        require(fits, "--metric", f"measure {task} does", Phrase(metric_name(metric)))


def evaluation_of(
    model: Sequential, X: HostArray, y: HostArray, metrics: Sequence[Metric] = ()
) -> Evaluation:
    """Return the evaluation of a trained network.

    Args:
        model: the network.
        X: features ``(m, n_in)``.
        y: their class names, or values.
        metrics: metrics beside those of every evaluation.

    Raises:
        ArgumentError: if a metric does not measure the task of the network.
    """
    check_metrics(metrics, model.classes)
    own = default_metrics(model.classes)
    names = {metric_name(metric) for metric in own}
    more = [metric for metric in metrics if metric_name(metric) not in names]
    measured = model.evaluate(X, y, metrics=[*own, *more])
    predicted = to_numpy(model.predict(X))
    found = None
    if model.classes is not None:
        found = _classification(model, X, y, predicted)
    return Evaluation(len(X), measured, predicted, y, found)


def _classification(
    model: Sequential, X: HostArray, y: HostArray, predicted: HostArray
) -> Classification:
    """Return the tables of a classifier; ``y`` and ``predicted`` hold class names."""
    classes, p = model.classes, to_numpy(model.predict_proba(X))
    assert classes is not None
    table = classification_table(predicted, y, classes=classes)
    found, target = (encode_labels(names, classes)[0] for names in (predicted, y))
    matrix = to_numpy(confusion_matrix(found, target, n_classes=len(classes)))
    return Classification(table, matrix, reliability(p, target))


def _counted(values: Sequence[Any]) -> list[Any]:
    """Return the row of a class with scalars of Python, and its last value as an integer."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return [*plain[:-1], int(plain[-1])]


def _finite(value: Any) -> Any:
    """Return a JSON value with ``None`` instead of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
