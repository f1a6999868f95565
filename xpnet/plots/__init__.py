"""Pictures; each takes ``ax=``, or ``axes=`` for a grid, and returns it. Data of any backend.

They need the extra ``plots``. Matplotlib is imported when one is drawn, and without its global
state: no window is opened. ``ax.figure.savefig(path)`` saves a picture.
"""

from xpnet.plots.activations import activation_curves
from xpnet.plots.confusion import confusion_matrix
from xpnet.plots.curves import learning_rate_curve, loss_curve, metric_curve
from xpnet.plots.layers import layer_histograms
from xpnet.plots.predictions import decision_regions, predictive_curve
from xpnet.plots.weights import weight_images

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
