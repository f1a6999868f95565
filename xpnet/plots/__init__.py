"""Pictures; each takes ``ax=``, or ``axes=`` for a grid, and returns it. Data of any backend.

They need the extra ``plots``. Matplotlib is imported when one is drawn, and without its global
state: no window is opened. ``ax.figure.savefig(path)`` saves a picture.
"""

from xpnet.plots.curves import learning_rate_curve, loss_curve, metric_curve
from xpnet.plots.network import activation_curves, layer_histograms, weight_images
from xpnet.plots.predictions import confusion_matrix, decision_regions, predictive_curve

__all__ = [
    "activation_curves",
    "confusion_matrix",
    "decision_regions",
    "layer_histograms",
    "learning_rate_curve",
    "loss_curve",
    "metric_curve",
    "predictive_curve",
    "weight_images",
]
