"""Passes through layers in a row inside one layer, each of which has a context of its own.

The layers are named by their positions; see `xpnet.layers.base.nested_specs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet.backend import Array
from xpnet.layers.base import Layer, Views
from xpnet.layers.context import Context, child_views


def forward_row(
    layers: Sequence[Layer], p: Views, x: Array, ctx: Context
) -> tuple[Array, list[Any]]:
    """The output of the last layer, and what each layer saves; without layers ``x`` itself."""
    saved = []
    for i, (layer, inside) in enumerate(zip(layers, ctx.row(layers), strict=True)):
        x, kept = layer.forward(child_views(p, i), x, inside)
        saved.append(kept)
    return x, saved


def backward_row(
    layers: Sequence[Layer], p: Views, g: Views, saved: list[Any], dy: Array, ctx: Context
) -> Array | None:
    """Fill the gradients of all layers; return ∂L/∂x if the context needs it."""
    dx: Array | None = dy
    contexts = ctx.row(layers)
    for i in reversed(range(len(layers))):
        views = child_views(p, i), child_views(g, i)
        dx = layers[i].backward(*views, saved[i], dx, contexts[i])
    return dx


def jvp_row(
    layers: Sequence[Any],
    p: Views,
    dp: Views,
    saved: list[Any],
    dx: Array | None,
    ctx: Context,
) -> tuple[Array | None, list[Any]]:
    """The tangents of the output and of ``saved``; see `TangentLayer.jvp`."""
    dsaved = []
    for i, (layer, inside) in enumerate(zip(layers, ctx.row(layers), strict=True)):
        dx, kept = layer.jvp(child_views(p, i), child_views(dp, i), saved[i], dx, inside)
        dsaved.append(kept)
    return dx, dsaved


def backward_jvp_row(
    layers: Sequence[Any],
    p: Views,
    dp: Views,
    dg: Views,
    saved: list[Any],
    dsaved: list[Any],
    dy: Array,
    ddy: Array,
    ctx: Context,
) -> tuple[Array | None, Array | None]:
    """The derivative of `backward_row`; see `TangentLayer.backward_jvp`."""
    grad: tuple[Array | None, Array | None] = dy, ddy
    contexts = ctx.row(layers)
    for i in reversed(range(len(layers))):
        views = child_views(p, i), child_views(dp, i), child_views(dg, i)
        grad = layers[i].backward_jvp(*views, saved[i], dsaved[i], *grad, contexts[i])
    return grad


def add_tangents(ctx: Context, *tangents: Array | None) -> Array | None:
    """The sum of tangents, of which ``None`` stands for 0."""
    known = [tangent for tangent in tangents if tangent is not None]
    return ctx.ops.add(known) if known else None
