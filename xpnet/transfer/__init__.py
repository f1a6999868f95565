"""Transfer learning: copied layers, pre-training, hints and distillation."""

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
