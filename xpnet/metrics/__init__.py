"""Metrics: functions ``metric(predicted, target)`` that return a 0-d array.

``predicted`` holds the predictions of the loss (`xpnet.losses.Loss.decide`): class indices, 0 or 1,
±1, or values in the units and the shape of the targets. `confusion_matrix` returns a matrix
instead, so it cannot be passed to ``metrics=``.
"""

from xpnet.metrics.counts import accuracy, confusion_matrix
from xpnet.metrics.regression import r2, rmse

OWN_METRICS = accuracy, rmse, r2
"""The metrics of this module, which do not change their arguments."""

__all__ = ["accuracy", "confusion_matrix", "r2", "rmse"]
