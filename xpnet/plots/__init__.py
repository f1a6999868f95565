"""Plots of trainings, predictions, their errors and networks, from arrays of any backend.

Each function takes the argument ``ax``, or ``axes`` for a grid, and returns it;
``ax.figure.savefig(path)`` saves the figure, and a notebook shows it where the axes are the value
of a cell. The plots need the extra ``plots``. Matplotlib is imported on the first call, without its
global state, so no window opens.
"""

from xpnet.plots.calibration import reliability_diagram, residuals
from xpnet.plots.curves import (
    learning_rate_curve,
    learning_rate_range,
    loss_curve,
    metric_curve,
)
from xpnet.plots.network import activation_curves, layer_histograms, weight_images
from xpnet.plots.predictions import confusion_matrix, decision_regions, predictive_curve

__all__ = [
    "activation_curves",
    "confusion_matrix",
    "decision_regions",
    "layer_histograms",
    "learning_rate_curve",
    "learning_rate_range",
    "loss_curve",
    "metric_curve",
    "predictive_curve",
    "reliability_diagram",
    "residuals",
    "weight_images",
]
