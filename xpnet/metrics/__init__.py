"""Metrics: ``metric(predicted, target, sample_weight=None)`` returns a 0-d array.

| metric | needs | range | better |
|---|---|---|---|
| `accuracy`, `balanced_accuracy` | decisions | [0, 1] | higher |
| `Precision`, `Recall`, `F1` | decisions | [0, 1] | higher |
| `matthews` | decisions | [−1, 1] | higher |
| `AUC`, `AveragePrecision`, `TopKAccuracy` | scores | [0, 1] | higher |
| `log_loss` | probabilities | [0, ∞) | lower |
| `brier` | probabilities | [0, 1], [0, 2] for more than two classes | lower |
| `CalibrationError` | probabilities | [0, 1] | lower |
| `rmse`, `mae`, `Pinball` | decisions, which are values | [0, ∞) | lower |
| `r2`, `explained_variance` | decisions, which are values | (−∞, 1] | higher |

Decisions are the predictions of the loss (`xpnet.losses.Loss.decide`): class indices, 0 or 1, ±1,
or values in the units and the shape of the targets. Scores are log-odds of the classes
(`xpnet.losses.Loss.scores`), and probabilities those of `xpnet.losses.Loss.probabilities`.

A class such as `F1` has settings: write ``F1()``. A function of your own gets decisions, unless
`xpnet.metric` declares something else. `confusion_matrix` and `classification_table` return no
number, so they cannot be passed to ``metrics=``.

Every metric takes NumPy arrays, lists and class names as well, and equals that of scikit-learn
where it has one. Nothing but the result is read from a device if the number of classes is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.lazy import attributes

if TYPE_CHECKING:
    from xpnet.metrics.counts import (
        F1,
        ClassificationTable,
        Precision,
        Recall,
        accuracy,
        balanced_accuracy,
        classification_table,
        confusion_matrix,
        matthews,
    )
    from xpnet.metrics.own import OWN_METRICS, OWN_TYPES
    from xpnet.metrics.probabilities import CalibrationError, brier, log_loss
    from xpnet.metrics.ranking import AUC, AveragePrecision, TopKAccuracy
    from xpnet.metrics.regression import Pinball, explained_variance, mae, r2, rmse

__all__ = [
    "AUC",
    "F1",
    "OWN_METRICS",
    "OWN_TYPES",
    "AveragePrecision",
    "CalibrationError",
    "ClassificationTable",
    "Pinball",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "accuracy",
    "balanced_accuracy",
    "brier",
    "classification_table",
    "confusion_matrix",
    "explained_variance",
    "log_loss",
    "mae",
    "matthews",
    "r2",
    "rmse",
]

_MODULES = {
    "AUC": "ranking",
    "F1": "counts",
    "OWN_METRICS": "own",
    "OWN_TYPES": "own",
    "AveragePrecision": "ranking",
    "CalibrationError": "probabilities",
    "ClassificationTable": "counts",
    "Pinball": "regression",
    "Precision": "counts",
    "Recall": "counts",
    "TopKAccuracy": "ranking",
    "accuracy": "counts",
    "balanced_accuracy": "counts",
    "brier": "probabilities",
    "classification_table": "counts",
    "confusion_matrix": "counts",
    "explained_variance": "regression",
    "log_loss": "probabilities",
    "mae": "regression",
    "matthews": "counts",
    "r2": "regression",
    "rmse": "regression",
}

__getattr__ = attributes(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
