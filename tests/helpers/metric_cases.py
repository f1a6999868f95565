"""Every metric of xpnet with data for it; a metric without a row fails tests/metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet import metrics
from xpnet.metrics import (
    AUC,
    F1,
    AveragePrecision,
    CalibrationError,
    Pinball,
    Precision,
    Recall,
    TopKAccuracy,
)


@dataclass(frozen=True)
class MetricCase:
    """A metric, and the kind of its data.

    Attributes:
        metric: the metric.
        kind: a kind of `data_of`.
        settings: the keywords with which nothing is read from a device.
    """

    metric: Any
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


CLASSES, TWO, LABELS = {"n_classes": 4}, {"n_classes": 2}, {"multilabel": True}
METRIC_CASES = {
    "accuracy": MetricCase(metrics.accuracy, "classes", CLASSES),
    "accuracy of two": MetricCase(metrics.accuracy, "two", TWO),
    "accuracy of labels": MetricCase(metrics.accuracy, "labels", TWO),
    "balanced accuracy": MetricCase(metrics.balanced_accuracy, "classes", CLASSES),
    "matthews": MetricCase(metrics.matthews, "classes", CLASSES),
    "matthews of two": MetricCase(metrics.matthews, "two", TWO),
    "precision": MetricCase(Precision(), "classes", CLASSES),
    "precision of two": MetricCase(Precision("binary"), "two", TWO),
    "recall": MetricCase(Recall("weighted"), "classes", CLASSES),
    "recall of class 1": MetricCase(Recall(of=1), "classes", CLASSES),
    "f1": MetricCase(F1(), "classes", CLASSES),
    "f1 micro": MetricCase(F1("micro"), "classes", CLASSES),
    "f1 of labels": MetricCase(F1("weighted"), "labels", TWO),
    "auc": MetricCase(AUC(), "score"),
    "auc of classes": MetricCase(AUC(), "scores"),
    "auc weighted": MetricCase(AUC("weighted"), "scores"),
    "auc of labels": MetricCase(AUC(), "scores of labels", LABELS),
    "average precision": MetricCase(AveragePrecision(), "score"),
    "average precision of class 0": MetricCase(AveragePrecision(of=0), "score"),
    "average precision of classes": MetricCase(AveragePrecision("weighted"), "scores"),
    "average precision of labels": MetricCase(AveragePrecision(), "scores of labels", LABELS),
    "top 2": MetricCase(TopKAccuracy(2), "scores"),
    "top 1 of two": MetricCase(TopKAccuracy(1), "score"),
    "log loss": MetricCase(metrics.log_loss, "probabilities"),
    "log loss of two": MetricCase(metrics.log_loss, "probability"),
    "log loss of labels": MetricCase(metrics.log_loss, "probabilities of labels", LABELS),
    "brier": MetricCase(metrics.brier, "probabilities"),
    "brier of two": MetricCase(metrics.brier, "probability"),
    "brier of labels": MetricCase(metrics.brier, "probabilities of labels", LABELS),
    "calibration error": MetricCase(CalibrationError(), "probabilities"),
    "calibration error of two": MetricCase(CalibrationError(4), "probability"),
    "calibration error of labels": MetricCase(
        CalibrationError(), "probabilities of labels", LABELS
    ),
    "rmse": MetricCase(metrics.rmse, "values"),
    "mae": MetricCase(metrics.mae, "values"),
    "r2": MetricCase(metrics.r2, "values"),
    "explained variance": MetricCase(metrics.explained_variance, "values"),
    "pinball": MetricCase(Pinball(0.9), "values"),
}


def data_of(kind: str, rng: np.random.Generator, m: int = 23) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets of a kind; scores have ties, and every class has a target."""
    if kind == "values":
        target = rng.normal(size=(m, 2))
        return target + 0.3 * rng.normal(size=(m, 2)), target
    if kind.endswith("labels"):
        target = rng.integers(0, 2, (m, 3))
        target[:2] = [[0] * 3, [1] * 3]
        scores = np.round(rng.normal(size=(m, 3)) + target, 1)
        return as_kind(kind, scores), target
    n_classes = 2 if kind in ("two", "score", "probability") else 4
    target = rng.permutation(np.arange(m) % n_classes)
    scores = np.round(rng.normal(size=(m, n_classes)), 1) + np.eye(n_classes)[target]
    if kind == "score":
        return scores[:, 1], target
    if kind in ("classes", "two"):
        return np.argmax(scores, axis=1), target
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return {"scores": scores, "probabilities": p, "probability": p[:, -1]}[kind], target


def as_kind(kind: str, scores: np.ndarray) -> np.ndarray:
    """Scores of labels as the scores, the probabilities or the decisions of a kind."""
    if kind == "labels":
        return (scores > 0.5).astype(int)
    return scores if kind.startswith("scores") else 1 / (1 + np.exp(-scores))
