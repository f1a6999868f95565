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
from xpnet.metrics.probabilities import CalibrationError, brier, log_loss
from xpnet.metrics.ranking import AUC, AveragePrecision, TopKAccuracy
from xpnet.metrics.regression import Pinball, explained_variance, mae, r2, rmse

OWN_METRICS = (
    *(accuracy, balanced_accuracy, matthews, log_loss, brier),
    *(rmse, mae, r2, explained_variance),
)
"""The metrics of this package that are functions, which do not change their arguments."""

OWN_TYPES = (
    *(Precision, Recall, F1, AUC, AveragePrecision, TopKAccuracy, CalibrationError, Pinball),
)
"""The metrics of this package with settings, which do not change their arguments."""

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
