"""Inspection of the layers: distributions of their outputs and of their gradients.

Everything is measured on the device of the model and transferred to the host once, at the end.
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
