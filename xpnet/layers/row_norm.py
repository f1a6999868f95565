"""Normalization of each row: layer normalization, and normalization by the root mean square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from xpnet.backend import Array
from xpnet.errors import require_number, require_type
from xpnet.initializers import Initializer, Ones, Zeros
from xpnet.layers.base import LayerSpec, ParameterSpec, Views, require_initializer
from xpnet.layers.context import Context

Saved: TypeAlias = tuple[Array, Array]  # x, and the numbers of its rows
SavedTangent: TypeAlias = tuple[Array, Array]  # of x̂, and ḟ/f


@dataclass(frozen=True)
class LayerNorm:
    """``x̂ = (x − μ)/√(σ² + ε)``, ``y = γ x̂ + β``, with the mean μ and variance σ² of each row.

    σ² is the biased variance over the features. Training and evaluation are the same, and rows do
    not depend on each other. The outputs are as accurate as the inputs where ``|μ| ≫ σ``; a row of
    equal numbers becomes β.

    Args:
        eps: the constant ε, above 0; default 1e-5.
        shift: whether there is a shift β; default true.
        scale_init: initializer of γ; default `Ones`.

    Raises:
        ArgumentError: if an argument is outside its range or has another type.

    Reference: J. Ba, J. Kiros, G. Hinton, "Layer Normalization", 2016, equation 4; ε inside the
    root is that of batch normalization.

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> model = Sequential([LayerNorm()], n_in=3, dtype="float64")
    >>> model.forward(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).round(3)
    array([[-1.225,  0.   ,  1.225],
           [ 0.   ,  0.   ,  0.   ]])
    """

    eps: float = 1e-5
    shift: bool = True
    scale_init: Initializer = Ones()

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self.eps, "eps", above=0)
        require_type(self.shift, bool, "shift")
        require_initializer(self.scale_init, "scale_init")

    def specs(self, n_in: int) -> LayerSpec:
        """A scale γ and, unless ``shift=False``, a shift β."""
        scale = ParameterSpec("scale", (n_in,), "scale", self.scale_init)
        shift = ParameterSpec("shift", (n_in,), "shift", Zeros())
        return LayerSpec(n_in, (scale, shift) if self.shift else (scale,))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """``y``; saves ``x`` and the mean and factor of each row."""
        return _forward(p, x, ctx, self.eps, centered=True)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array:
        """Fill dγ and dβ; return dx, which includes the derivative of the statistics."""
        return _backward(p, g, saved, dy, ctx, centered=True)

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, SavedTangent | None]:
        """``ẏ = γ x̂̇ + γ̇ x̂ + β̇``, ``x̂̇ = (ẋ − mean ẋ − x̂ mean(x̂ ẋ))/√(σ² + ε)``."""
        return _jvp(p, dp, saved, dx, ctx, centered=True)

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Saved,
        dsaved: SavedTangent | None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The tangents of dγ and dβ into ``dg``; dx and its tangent."""
        return _backward_jvp(p, dp, dg, saved, dsaved, dy, ddy, ctx, centered=True)


@dataclass(frozen=True)
class RMSNorm:
    """``y = γ x/√(mean(x²) + ε)``, with the mean of the squares of each row.

    It is `LayerNorm` without the mean and without the shift. Training and evaluation are the same.

    Args:
        eps: the constant ε, above 0; default 1e-6. The paper has none; PyTorch's default is the
            machine epsilon.
        scale_init: initializer of γ; default `Ones`.

    Raises:
        ArgumentError: if an argument is outside its range or has another type.

    Reference: B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019,
    equation 4.

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> model = Sequential([RMSNorm()], n_in=2, dtype="float64")
    >>> model.forward(np.array([[3.0, 4.0], [0.0, 0.0]])).round(3)
    array([[0.849, 1.131],
           [0.   , 0.   ]])
    """

    eps: float = 1e-6
    scale_init: Initializer = Ones()

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self.eps, "eps", above=0)
        require_initializer(self.scale_init, "scale_init")

    def specs(self, n_in: int) -> LayerSpec:
        """A scale γ."""
        return LayerSpec(n_in, (ParameterSpec("scale", (n_in,), "scale", self.scale_init),))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """``y``; saves ``x`` and the factor of each row."""
        return _forward(p, x, ctx, self.eps, centered=False)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array:
        """Fill dγ; return dx, which includes the derivative of the mean square."""
        return _backward(p, g, saved, dy, ctx, centered=False)

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, SavedTangent | None]:
        """``ẏ = γ x̂̇ + γ̇ x̂``, ``x̂̇ = (ẋ − x̂ mean(x̂ ẋ))/√(mean(x²) + ε)``."""
        return _jvp(p, dp, saved, dx, ctx, centered=False)

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Saved,
        dsaved: SavedTangent | None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The tangent of dγ into ``dg``; dx and its tangent."""
        return _backward_jvp(p, dp, dg, saved, dsaved, dy, ddy, ctx, centered=False)


def _forward(
    p: Views, x: Array, ctx: Context, eps: float, *, centered: bool
) -> tuple[Array, Saved]:
    buffers = ctx.claim()
    out, rows = buffers["y", *x.shape], buffers["rows", x.shape[0], 3]
    y, rows = ctx.ops.row_norm(
        x, p["scale"], p.get("shift"), eps, centered=centered, out=out, rows=rows
    )
    return y, (x, rows)


def _backward(
    p: Views, g: Views, saved: Saved, dy: Array, ctx: Context, *, centered: bool
) -> Array:
    out, sums = ctx.scratch.next(*dy.shape), (g["scale"], g.get("shift"))
    dx = ctx.ops.row_norm_backward(dy, *saved, p["scale"], *sums, centered=centered, out=out)
    return ctx.scratch.settle(dx, out)


def _jvp(
    p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context, *, centered: bool
) -> tuple[Array | None, SavedTangent | None]:
    """The tangent of ``y``, and those of ``x̂`` and of ``log f``, for ``x̂ = f (x − μ)``."""
    (x, rows), ops = saved, ctx.ops
    x_hat, dy = ops.row_normalized(x, rows), None
    if dp:
        dy = dp["scale"] * x_hat
        dy = dy + dp["shift"] if "shift" in dp else dy
    if dx is None:
        return dy, None
    factor = rows[:, 2:]
    relative = -factor * ops.row_mean(x_hat * dx)
    dx = dx - ops.row_mean(dx) if centered else dx
    dx_hat = factor * dx + x_hat * relative
    dy_of_x = p["scale"] * dx_hat
    return dy_of_x if dy is None else dy + dy_of_x, (dx_hat, relative)


def _backward_jvp(
    p: Views,
    dp: Views,
    dg: Views,
    saved: Saved,
    dsaved: SavedTangent | None,
    dy: Array,
    ddy: Array,
    ctx: Context,
    *,
    centered: bool,
) -> tuple[Array, Array]:
    """``dx = f v``, ``v = u − mean u − x̂ mean(u x̂)``, ``u = γ dy``, and the tangent of each."""
    (x, rows), ops = saved, ctx.ops
    x_hat, factor, mean = ops.row_normalized(x, rows), rows[:, 2:], ops.row_mean
    dx_hat, relative = (None, None) if dsaved is None else dsaved
    product = ddy * x_hat if dx_hat is None else ddy * x_hat + dy * dx_hat
    ops.column_sum(product, out=dg["scale"])
    if "shift" in dg:
        ops.column_sum(ddy, out=dg["shift"])
    u, du = p["scale"] * dy, p["scale"] * ddy + dp["scale"] * dy
    along, d_along = mean(u * x_hat), mean(du * x_hat)
    if dx_hat is not None:
        d_along = d_along + mean(u * dx_hat)
    v, dv = u - x_hat * along, du - x_hat * d_along
    if centered:
        v, dv = v - mean(u), dv - mean(du)
    if dx_hat is not None:
        dv = dv - dx_hat * along
    dx, ddx = factor * v, factor * dv
    return dx, ddx if relative is None else ddx + relative * dx
