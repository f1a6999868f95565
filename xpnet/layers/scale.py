"""The product of each feature with a trained factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.initializers import Initializer, Ones
from xpnet.layers.base import LayerSpec, ParameterSpec, Views, require_initializer
from xpnet.layers.context import Context
from xpnet.ops.rules.layers import multiply, multiply_derivatives


@dataclass(frozen=True)
class Scale:
    """``Y = γ ⊙ X``, with a trained factor γ for each feature.

    As the last layer of a residual block, with a small ``scale_init``, it keeps the block near the
    identity at the start of training. As the first layer it weights the inputs.

    Args:
        scale_init: initializer of γ; default `Ones`.

    Raises:
        ArgumentError: if ``scale_init`` is not an initializer.

    Reference: H. Touvron et al., "Going deeper with Image Transformers", ICCV 2021, equation 4
    (LayerScale).

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> from xpnet.initializers import Constant
    >>> layer = Scale(scale_init=Constant(0.5))
    >>> Sequential([layer], n_in=2).forward(np.array([[1.0, -3.0]])).tolist()
    [[0.5, -1.5]]
    """

    scale_init: Initializer = Ones()

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_initializer(self.scale_init, "scale_init")

    def specs(self, n_in: int) -> LayerSpec:
        """A scale γ."""
        return LayerSpec(n_in, (ParameterSpec("scale", (n_in,), "scale", self.scale_init),))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Array]:
        """``γ ⊙ x``; saves ``x``."""
        out = ctx.claim()["y", *x.shape]
        return ctx.ops.apply_by_column(multiply, x, p["scale"], out=out), x

    def backward(self, p: Views, g: Views, saved: Array, dy: Array, ctx: Context) -> Array:
        """``dγ = Σ_rows dY ⊙ X``; return ``γ ⊙ dY``."""
        out, rule = ctx.scratch.next(*dy.shape), multiply_derivatives
        dx = ctx.ops.chain_by_column(rule, dy, saved, p["scale"], g["scale"], out=out)
        return ctx.scratch.settle(dx, out)

    def jvp(
        self, p: Views, dp: Views, saved: Array, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, Array | None]:
        """``ẏ = γ ⊙ ẋ + γ̇ ⊙ x``; zero terms are left out."""
        dy = saved * dp["scale"] if dp else None
        if dx is None:
            return dy, None
        dy_of_x = dx * p["scale"]
        return dy_of_x if dy is None else dy + dy_of_x, dx

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Array,
        dsaved: Array | None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """``Σ_rows (ḋY ⊙ X + dY ⊙ Ẋ)`` into ``dg``; ``γ ⊙ dY`` and ``γ ⊙ ḋY + γ̇ ⊙ dY``."""
        product = ddy * saved if dsaved is None else ddy * saved + dy * dsaved
        ctx.ops.column_sum(product, out=dg["scale"])
        return dy * p["scale"], ddy * p["scale"] + dy * dp["scale"]
