"""What one model can give to another: its layers, its hints, its opinion of the classes."""

from xpnet.transfer.hints import fit_hints
from xpnet.transfer.layers import copy_layers, first_layers
from xpnet.transfer.layerwise import pretrain_layers
from xpnet.transfer.teacher import distillation_targets

__all__ = [
    "copy_layers",
    "distillation_targets",
    "first_layers",
    "fit_hints",
    "pretrain_layers",
]
