"""What the layers do with data: the distribution of every output and of every gradient.

Everything is measured on the model's device, and the host reads the numbers once, at the end.
"""

from xpnet.inspection.passes import SATURATION, LayerRecorder, inspect_layers
from xpnet.inspection.report import Distribution, InspectionReport, LayerReport

__all__ = [
    "SATURATION",
    "Distribution",
    "InspectionReport",
    "LayerRecorder",
    "LayerReport",
    "inspect_layers",
]
