"""The metrics of xpnet, which do not change their arguments."""

from __future__ import annotations

from xpnet.metrics.counts import (
    F1,
    Precision,
    Recall,
    accuracy,
    balanced_accuracy,
    matthews,
)
from xpnet.metrics.probabilities import CalibrationError, brier, log_loss
from xpnet.metrics.ranking import AUC, AveragePrecision, TopKAccuracy
from xpnet.metrics.regression import Pinball, explained_variance, mae, r2, rmse

OWN_METRICS = (
    *(accuracy, balanced_accuracy, matthews, log_loss, brier),
    *(rmse, mae, r2, explained_variance),
)
"""The metrics that are functions."""

OWN_TYPES = (
    *(Precision, Recall, F1, AUC, AveragePrecision, TopKAccuracy, CalibrationError, Pinball),
)
"""The metrics with settings."""
