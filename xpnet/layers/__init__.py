"""Layers: frozen values that name their parameters and compute forward, backward and jvp."""

from xpnet.layers.activation import Activation
from xpnet.layers.base import Layer, LayerSpec, ParameterSpec, TangentLayer, nested_specs
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.branches import Branches
from xpnet.layers.context import Context, child_views
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout
from xpnet.layers.gated import GatedDense
from xpnet.layers.maxout import Maxout
from xpnet.layers.ordered_thresholds import OrderedThresholds
from xpnet.layers.prelu import PReLU
from xpnet.layers.residual import Residual
from xpnet.layers.row_norm import LayerNorm, RMSNorm
from xpnet.layers.scale import Scale
from xpnet.layers.temperature import Temperature

__all__ = [
    "Activation",
    "BatchNorm",
    "Branches",
    "Context",
    "Dense",
    "Dropout",
    "GatedDense",
    "Layer",
    "LayerNorm",
    "LayerSpec",
    "Maxout",
    "OrderedThresholds",
    "PReLU",
    "ParameterSpec",
    "RMSNorm",
    "Residual",
    "Scale",
    "TangentLayer",
    "Temperature",
    "child_views",
    "nested_specs",
]
