"""Every layer written a second time in PyTorch, of which autograd knows the derivatives.

`LAYERS` has one row for each layer: layers to test it by, for an input width, and the function in
PyTorch. A row may also be of a layer that this version of xpnet does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpnet
from xpnet import activations
from xpnet.layers import Branches, Dense, Residual
from xpnet.random import hash32, stream_key

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional

ACTIVATIONS = {
    activations.Identity(): lambda z: z,
    activations.Tanh(): torch.tanh,
    activations.Sigmoid(): torch.sigmoid,
    activations.ReLU(): torch.relu,
    activations.ELU(0.7): lambda z: F.elu(z, 0.7),
    activations.GELU(): F.gelu,
    activations.SiLU(): F.silu,
    activations.Softplus(): lambda z: F.softplus(z, threshold=1000),
    activations.Softmax(): lambda z: torch.softmax(z, dim=1),
}


@dataclass(frozen=True)
class Position:
    """Where a layer is in a pass: the key of its random masks, the mode and the statistics."""

    key: int
    training: bool
    statistics: dict[str, Any]

    def inside(self, i):
        """The position of layer ``i`` inside this one."""
        return Position(
            stream_key(self.key, (1 << 16) | i), self.training, inner(self.statistics, i)
        )


def inner(views, i):
    """The parameters or statistics of layer ``i`` inside a layer."""
    prefix = f"{i}_"
    return {k[len(prefix) :]: view for k, view in views.items() if k.startswith(prefix)}


def evaluate(layer, p, x, at):
    """The output of a layer."""
    return LAYERS[type(layer).__name__].function(layer, p, x, at)


def in_a_row(layers, p, x, at):
    for i, layer in enumerate(layers):
        x = evaluate(layer, inner(p, i), x, at.inside(i))
    return x


def network(model, theta, X, *, seed, step, training):
    """The output of a model for θ and X."""
    for i, layer in enumerate(model.layers):
        p, statistics = (
            {
                entry.path.removeprefix(f"layers.{i}."): vector[entry.start : entry.stop].reshape(
                    entry.shape
                )
                for entry in layout.entries
                if entry.path.startswith(f"layers.{i}.")
            }
            for layout, vector in (
                (model.layout, theta),
                (model.statistics_layout, torch.tensor(model.statistics)),
            )
        )
        X = evaluate(layer, p, X, Position(stream_key(seed, i, step), training, statistics))
    return X


# --- the layers -----------------------------------------------------------------------------------


def dense(layer, p, x, at):
    z = x @ p["weight"]
    return ACTIVATIONS[layer.activation](z + p["bias"] if layer.bias else z)


def batch_norm(layer, p, x, at):
    mean, var = x.mean(0), x.var(0, unbiased=False)
    if not at.training:
        mean, var = at.statistics["mean"] + at.statistics["mean_rest"], at.statistics["var"]
    return (x - mean) / torch.sqrt(var + layer.eps) * p["scale"] + p["shift"]


def dropout(layer, p, x, at):
    if not at.training:
        return x
    position = np.arange(x.numel()).reshape(x.shape)
    bits = hash32((hash32(position ^ at.key) + at.key) & 0xFFFFFFFF)
    return x * torch.tensor((bits >= int(layer.p * 2**32)) / (1 - layer.p))


def branches(layer, p, x, at):
    found = [in_a_row(path, inner(p, k), x, at.inside(k)) for k, path in enumerate(layer.paths)]
    return torch.cat(found, dim=1) if layer.join == "concat" else sum(found)


def layer_norm(layer, p, x, at):
    return F.layer_norm(x, x.shape[1:], p["scale"], p.get("shift"), layer.eps)


def gated(layer, p, x, at):
    values, gate = x @ p["weight"], x @ p["gate_weight"]
    if layer.bias:
        values, gate = values + p["bias"], gate + p["gate_bias"]
    return values * ACTIVATIONS[layer.gate](gate)


def maxout(layer, p, x, at):
    z = x @ p["weight"] + p["bias"]
    return z.reshape(len(x), layer.n_pieces, layer.n_out).amax(dim=1)


def ordered_thresholds(layer, p, x, at):
    gaps = [F.softplus(p["gaps"])] if "gaps" in p else []
    return x - torch.cumsum(torch.cat([p["first"], *gaps]), 0)


class Row(NamedTuple):
    """A row of `LAYERS`.

    Attributes:
        layers: a function of a generator and an input width that returns layers in a row.
        function: the layer in PyTorch, ``f(layer, parameters, x, position)``.
    """

    layers: Any
    function: Any


def an_activation(rng):
    return [*ACTIVATIONS][rng.integers(1, len(ACTIVATIONS))]


LAYERS = {
    "Activation": Row(
        lambda rng, n: [xpnet.Activation(an_activation(rng))],
        lambda layer, p, x, at: ACTIVATIONS[layer.function](x),
    ),
    "BatchNorm": Row(lambda rng, n: [xpnet.BatchNorm()], batch_norm),
    "Branches": Row(
        lambda rng, n: [
            Branches([Dense(3, an_activation(rng)), Dense(2)], [], join="concat"),
            Branches(Dense(n), [Dense(2, an_activation(rng)), Dense(n)], join="sum"),
        ],
        branches,
    ),
    "Dense": Row(
        lambda rng, n: [Dense(3, an_activation(rng)), Dense(n, bias=False)],
        dense,
    ),
    "Dropout": Row(lambda rng, n: [xpnet.Dropout(0.3)], dropout),
    "GatedDense": Row(
        lambda rng, n: [
            xpnet.GatedDense(3, an_activation(rng)),
            xpnet.GatedDense(n, an_activation(rng), bias=False),
        ],
        gated,
    ),
    "LayerNorm": Row(
        lambda rng, n: [xpnet.LayerNorm(), Dense(n, an_activation(rng)), xpnet.LayerNorm(1e-3)],
        layer_norm,
    ),
    "Maxout": Row(lambda rng, n: [xpnet.Maxout(3, 3), xpnet.Maxout(n)], maxout),
    "OrderedThresholds": Row(
        lambda rng, n: [Dense(1, bias=False), xpnet.OrderedThresholds(n)], ordered_thresholds
    ),
    "PReLU": Row(
        lambda rng, n: [xpnet.PReLU()],
        lambda layer, p, x, at: torch.where(x > 0, x, p["slope"] * x),
    ),
    "RMSNorm": Row(
        lambda rng, n: [xpnet.RMSNorm(1e-3)],
        lambda layer, p, x, at: (
            x * p["scale"] / torch.sqrt((x * x).mean(1, keepdim=True) + layer.eps)
        ),
    ),
    "Residual": Row(
        lambda rng, n: [Residual(Dense(3, an_activation(rng)), Dense(n))],
        lambda layer, p, x, at: x + in_a_row(layer.layers, p, x, at),
    ),
    "Scale": Row(lambda rng, n: [xpnet.Scale()], lambda layer, p, x, at: x * p["scale"]),
    "Temperature": Row(
        lambda rng, n: [xpnet.Temperature(1.7)],
        lambda layer, p, x, at: x / layer.temperature,
    ),
}
