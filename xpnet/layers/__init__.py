"""Layers: frozen values that name their parameters and say forward, backward and jvp."""

from xpnet.layers.activation import Activation
from xpnet.layers.base import Layer, LayerSpec, ParameterSpec
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.context import Buffers, Context, NoBuffers
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout

__all__ = [
    "Activation",
    "BatchNorm",
    "Buffers",
    "Context",
    "Dense",
    "Dropout",
    "Layer",
    "LayerSpec",
    "NoBuffers",
    "ParameterSpec",
]
