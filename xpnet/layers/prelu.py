"""The rectifier with a trained slope for negative inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.initializers import Constant, Initializer
from xpnet.layers.base import LayerSpec, ParameterSpec, Views, require_initializer
from xpnet.layers.context import Context
from xpnet.ops.rules.layers import prelu, prelu_derivatives


@dataclass(frozen=True)
class PReLU:
    """``y = x`` where positive, else ``a x``, with a trained slope ``a`` for each feature.

    The derivative at 0 is ``a``, as in PyTorch. The slopes have the role of scales, which no
    penalty or weight decay changes, as the paper advises. PyTorch's default is one slope for all
    features; this layer is its ``PReLU(num_parameters=n)``.

    Args:
        slope_init: initializer of ``a``; default ``Constant(0.25)``, as in the paper.

    Raises:
        ArgumentError: if ``slope_init`` is not an initializer.

    Reference: K. He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 1.

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> Sequential([PReLU()], n_in=2).forward(np.array([[2.0, -2.0]])).tolist()
    [[2.0, -0.5]]
    """

    slope_init: Initializer = Constant(0.25)

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_initializer(self.slope_init, "slope_init")

    def specs(self, n_in: int) -> LayerSpec:
        """A slope for each feature."""
        return LayerSpec(n_in, (ParameterSpec("slope", (n_in,), "scale", self.slope_init),))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Array]:
        """``max(0, x) + a min(0, x)``; saves ``x``."""
        out = ctx.claim()["y", *x.shape]
        return ctx.ops.apply_by_column(prelu, x, p["slope"], out=out), x

    def backward(self, p: Views, g: Views, saved: Array, dy: Array, ctx: Context) -> Array:
        """``da = Σ_rows dY ⊙ min(0, X)``; return ``dY`` times 1 or ``a``."""
        out, rule = ctx.scratch.next(*dy.shape), prelu_derivatives
        dx = ctx.ops.chain_by_column(rule, dy, saved, p["slope"], g["slope"], out=out)
        return ctx.scratch.settle(dx, out)

    def jvp(
        self, p: Views, dp: Views, saved: Array, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, Array | None]:
        """``ẏ = φ' ⊙ ẋ + ȧ ⊙ min(0, x)``; zero terms are left out."""
        by_x, by_slope = prelu_derivatives(ctx.ops.xp, saved, p["slope"])
        dy = by_slope * dp["slope"] if dp else None
        if dx is None:
            return dy, None
        return by_x * dx if dy is None else dy + by_x * dx, dx

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
        """``Σ_rows`` of the tangent of ``dY ⊙ min(0, X)`` into ``dg``; dX and its tangent."""
        xp = ctx.ops.xp
        by_x, by_slope = prelu_derivatives(xp, saved, p["slope"])
        negative = xp.where(saved > 0.0, xp.zeros_like(saved), xp.ones_like(saved))
        product = ddy * by_slope
        if dsaved is not None:
            product = product + dy * negative * dsaved
        ctx.ops.column_sum(product, out=dg["slope"])
        return by_x * dy, by_x * ddy + negative * dp["slope"] * dy
