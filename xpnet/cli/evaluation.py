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
from xpnet.metrics import (
    AUC,
    AveragePrecision,
    CalibrationError,
    ClassificationTable,
    accuracy,
    balanced_accuracy,
    brier,
    classification_table,
    confusion_matrix,
    log_loss,
    mae,
    r2,
    rmse,
)
from xpnet.metrics.protocol import metric_name
from xpnet.model import Sequential
from xpnet.training.settings import Metric


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
            "classes": [dict(zip(keys, _plain(row), strict=True)) for row in rows],
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

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values; a number that is not finite is ``None``."""
        entry = {"rows": self.n_rows, "metrics": self.measured}
        if self.classification is not None:
            entry |= self.classification.as_json()
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


def evaluation_of(
    model: Sequential, X: HostArray, y: HostArray, metrics: Sequence[Metric] = ()
) -> Evaluation:
    """Return the evaluation of a trained network.

    Args:
        model: the network.
        X: features ``(m, n_in)``.
        y: their class names, or values.
        metrics: metrics beside those of every evaluation.
    """
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


def _plain(values: Sequence[Any]) -> list[Any]:
    """Return values with scalars of NumPy as those of Python."""
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _finite(value: Any) -> Any:
    """Return a JSON value with ``None`` in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
