"""Batch normalization over the rows of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from xpnet.backend import Array
from xpnet.errors import Phrase, require, require_number
from xpnet.initializers import Initializer, Ones, Zeros
from xpnet.layers.base import LayerSpec, ParameterSpec, Views, require_initializer
from xpnet.layers.context import Context
from xpnet.ops.operations import RunningStatistics

Saved: TypeAlias = tuple[Array, Array, bool]
SavedTangent: TypeAlias = tuple[Array, Array | None]  # of x̂, and ṙ/r of r = 1/√(σ² + ε)


@dataclass(frozen=True)
class BatchNorm:
    """``x̂ = (x − μ)/√(σ² + ε)``, ``y = γ x̂ + β``, with γ and β for each feature.

    Training uses μ and the biased σ² of the batch, and updates the running statistics; evaluation
    uses the running statistics. The running variance is updated with the unbiased ``m/(m−1) σ²``.
    A further statistic holds what rounding loses of the running mean, so that the outputs are as
    accurate as the inputs where ``|μ| ≫ σ``, in training and in evaluation.

    Args:
        momentum: in ``[0, 1)``, for ``r ← momentum·r + (1 − momentum)·batch`` (default 0.9;
            PyTorch calls ``1 − momentum`` its momentum); ``None`` for cumulative statistics, the
            exact mean and variance of all rows seen.
        eps: the constant ε, above 0; default 1e-5.
        scale_init: initializer of γ; default `Ones`. `Zeros`, in the last layer of a residual
            block, makes the block the identity at the start of training.

    Raises:
        ArgumentError: if an argument is outside its range or has another type; in training, for a
            batch of one row.

    Reference: S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1. The
    cumulative variance is merged as in T. Chan et al., 1979, equation 2.1.

    >>> BatchNorm(momentum=1.5)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: momentum must be a finite number, at least 0 and below 1; got 1.5.
    """

    momentum: float | None = 0.9
    eps: float = 1e-5
    scale_init: Initializer = Ones()

    batch_statistics: ClassVar[bool] = True
    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.momentum is not None:
            require_number(self.momentum, "momentum", low=0, below=1)
        require_number(self.eps, "eps", above=0)
        require_initializer(self.scale_init, "scale_init")

    def specs(self, n_in: int) -> LayerSpec:
        """A scale γ and a shift β; a running mean, its rounding, variance and count of rows."""
        return LayerSpec(
            n_in,
            (
                ParameterSpec("scale", (n_in,), "scale", self.scale_init),
                ParameterSpec("shift", (n_in,), "shift", Zeros()),
            ),
            (
                ParameterSpec("mean", (n_in,), "statistic", Zeros()),
                ParameterSpec("var", (n_in,), "statistic", Ones()),
                ParameterSpec("count", (1,), "statistic", Zeros()),
                ParameterSpec("mean_rest", (n_in,), "statistic", Zeros()),
            ),
        )

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """``y``; saves ``x̂``, the variance used, and whether it is that of the batch."""
        rule, do = "hold its running mean", "Give an inner layer ctx.child(i), not ctx itself."
        require("mean" in ctx.statistics, "the context of BatchNorm", rule, ctx.statistics, do)
        scale, shift, buffers = p["scale"], p["shift"], ctx.claim()
        out, x_hat = buffers["y", *x.shape], buffers["x_hat", *x.shape]
        if not ctx.training:
            mean, var = ctx.statistics["mean"], ctx.statistics["var"]
            factor = 1.0 / ctx.ops.xp.sqrt(var + self.eps)
            columns = mean, ctx.statistics["mean_rest"], factor, scale, shift
            y, x_hat = ctx.ops.normalize(x, columns, out=out, x_hat=x_hat)
            return y, (x_hat, var, False)
        rule = "have at least 2 rows under batch norm, which normalizes by the batch"
        do = "Use larger batches, or drop the last short one (drop_last=True)."
        require(x.shape[0] > 1, "a training batch", rule, Phrase("1 row"), do)
        running = self._running(ctx.statistics) if ctx.update_statistics else None
        results = ctx.ops.batch_norm(
            x, scale, shift, self.eps, out=out, x_hat=x_hat, running=running
        )
        y, x_hat, _, var, _ = results
        return y, (x_hat, var, True)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array:
        """Fill dγ and dβ; return dx, which includes the derivative of the batch's statistics."""
        x_hat, var, by_batch = saved
        scale = p["scale"]
        if by_batch:
            out = ctx.scratch.next(*dy.shape)
            dx = ctx.ops.batch_norm_backward(
                dy, x_hat, scale, var, self.eps, g["scale"], g["shift"], out=out
            )
            return ctx.scratch.settle(dx, out)
        g["shift"][...] = ctx.ops.xp.sum(dy, axis=0)
        g["scale"][...] = ctx.ops.xp.sum(dy * x_hat, axis=0)
        return dy * (scale / ctx.ops.xp.sqrt(var + self.eps))

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, SavedTangent | None]:
        """``ẏ = γ x̂̇ + γ̇ x̂ + β̇``, ``x̂̇ = (ẋ − mean ẋ − x̂ mean(x̂ ẋ))/√(σ² + ε)``."""
        x_hat, var, by_batch = saved
        xp = ctx.ops.xp
        dy = dp["scale"] * x_hat + dp["shift"] if dp else None
        if dx is None:
            return dy, None
        inverse, relative = 1.0 / xp.sqrt(var + self.eps), None
        if by_batch:
            along = xp.mean(x_hat * dx, axis=0)
            dx = dx - xp.mean(dx, axis=0) - x_hat * along
            relative = -inverse * along
        dx_hat = dx * inverse
        dy_of_x = p["scale"] * dx_hat
        return dy_of_x if dy is None else dy + dy_of_x, (dx_hat, relative)

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
        """The tangents of dγ and dβ into ``dg``; dx and its tangent.

        With ``r = 1/√(σ² + ε)``, ``dx = γ r u`` and ``u = dy − dβ/m − x̂ dγ/m``; the product
        rule with ``ṙ = −r² mean(x̂ ẋ)`` gives the tangent. In evaluation ``u = dy``, ``ṙ = 0``.
        """
        (x_hat, var, by_batch), m, xp = saved, dy.shape[0], ctx.ops.xp
        dx_hat, relative = (None, None) if dsaved is None else dsaved
        product = ddy * x_hat if dx_hat is None else ddy * x_hat + dy * dx_hat
        dg["shift"][...], dg["scale"][...] = xp.sum(ddy, axis=0), xp.sum(product, axis=0)
        u, du = dy, ddy
        if by_batch:
            along = xp.mean(dy * x_hat, axis=0)
            u = dy - xp.mean(dy, axis=0) - x_hat * along
            du = ddy - (dg["shift"] + x_hat * dg["scale"]) / m
            if dx_hat is not None:
                du = du - dx_hat * along
        factor = dp["scale"] if relative is None else dp["scale"] + p["scale"] * relative
        inverse = 1.0 / xp.sqrt(var + self.eps)
        return (p["scale"] * inverse) * u, inverse * (factor * u + p["scale"] * du)

    def _running(self, views: Views) -> RunningStatistics:
        mean, rest, var, count = map(views.__getitem__, ("mean", "mean_rest", "var", "count"))
        return RunningStatistics(mean, rest, var, count, self.momentum)
