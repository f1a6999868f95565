"""Layers with a connection around them, which adds their input to their output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import Phrase, require
from xpnet.layers.base import Layer, LayerSpec, Views, nested_specs, require_layer
from xpnet.layers.context import Context
from xpnet.layers.rows import (
    add_tangents,
    backward_jvp_row,
    backward_row,
    forward_row,
    jvp_row,
)


@dataclass(frozen=True, init=False, repr=False)
class Residual:
    """``Y = X + f(X)``, where f are layers in a row; ``dX = dY + (∂f/∂X)ᵀ dY``.

    The output of f is as wide as its input, because both are added. Where a width changes, project
    the input: ``Branches(Dense(20, bias=False), [Dense(20, ReLU()), Dense(20)], join="sum")``.

    Args:
        layers: the layers of f, at least one; they may be residual themselves. Parameter
            ``weight`` of layer ``i`` is named ``i_weight``.

    Raises:
        ArgumentError: if there is no layer, or an argument is none; in a model, if the output of
            the layers is not as wide as their input.

    Reference: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition",
    CVPR 2016, equation 1. There φ follows the sum: write ``Activation(φ)`` after the layer.

    >>> import numpy as np
    >>> from xpnet import Dense, Sequential, Tanh
    >>> model = Sequential([Residual(Dense(8, Tanh()), Dense(3))], n_in=3)
    >>> [entry.path for entry in model.layout.entries][:2]
    ['layers.0.0_weight', 'layers.0.1_weight']
    >>> model.theta[...] = 0.0
    >>> model.forward(np.array([[1.0, 2.0, 3.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    >>> Sequential([Residual(Dense(8))], n_in=3)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: the layers of Residual must have an output as wide as their input, \
which has 3 columns; got one of 8 columns. End them with Dense(3), or project the input: \
Branches(Dense(8), [...], join="sum").
    """

    layers: tuple[Layer, ...]

    # It reads dy again after the backward passes inside it, whose scratch arrays are others.
    releases_dy: ClassVar[bool] = True

    def __init__(self, *layers: Layer) -> None:
        rule, do = "have at least one layer", "Write Residual(Dense(...), ...)."
        require(layers, "Residual", rule, Phrase("none"), do)
        for i, layer in enumerate(layers):
            require_layer(layer, f"layers[{i}] of Residual")
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        return f"Residual({', '.join(map(repr, self.layers))})"

    def specs(self, n_in: int) -> LayerSpec:
        """The parameters and statistics of the layers; the output width is ``n_in``."""
        spec = nested_specs(self.layers, n_in)
        rule = f"have an output as wide as their input, which has {_columns(n_in)}"
        do = f"End them with Dense({n_in}), or project the input: "
        do += f'Branches(Dense({spec.n_out}), [...], join="sum").'
        got = Phrase(f"one of {_columns(spec.n_out)}")
        require(spec.n_out == n_in, "the layers of Residual", rule, got, do)
        return spec

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, list[Any]]:
        """``x + f(x)``; saves what the layers save."""
        out = ctx.claim()["y", *x.shape]
        y, saved = forward_row(self.layers, p, x, ctx)
        return ctx.ops.add((x, y), out=out), saved

    def backward(
        self, p: Views, g: Views, saved: list[Any], dy: Array, ctx: Context
    ) -> Array | None:
        """Fill the gradients of the layers; return ``dY`` and what they return, added."""
        dx = backward_row(self.layers, p, g, saved, dy, ctx)
        if not ctx.need_dx:
            return None
        out = ctx.scratch.next(*dy.shape)
        return ctx.scratch.settle(ctx.ops.add((dy, dx), out=out), out)

    def jvp(
        self, p: Views, dp: Views, saved: list[Any], dx: Array | None, ctx: Context
    ) -> tuple[Array | None, list[Any]]:
        """``ẋ + ḟ``."""
        inner, dsaved = jvp_row(self.layers, p, dp, saved, dx, ctx)
        return add_tangents(ctx, dx, inner), dsaved

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: list[Any],
        dsaved: list[Any],
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The derivative of `backward`: ``dY`` and ``ḋY`` plus the results of the layers."""
        dx, ddx = backward_jvp_row(self.layers, p, dp, dg, saved, dsaved, dy, ddy, ctx)
        if not ctx.need_dx:
            return None, None
        return ctx.ops.add((dy, dx)), ctx.ops.add((ddy, ddx))


def _columns(n: int) -> str:
    return f"{n} column{'s' * (n != 1)}"
