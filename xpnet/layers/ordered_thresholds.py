"""Thresholds of a score, in increasing order, for ordinal regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require, require_count, require_number
from xpnet.initializers import Constant
from xpnet.layers.base import LayerSpec, ParameterSpec, Views
from xpnet.layers.context import Context
from xpnet.ops.rules.activations import sigmoid

MAX_SPACING = 1e6


@dataclass(frozen=True)
class OrderedThresholds:
    """``z_k = x − b_k`` for one score ``x`` and trained thresholds ``b_1 < b_2 < …``.

    ``z_k`` are cumulative logits, ``P(y ≥ k) = σ(z_k)`` for classes ``y`` of 0 to ``K − 1``, which
    decrease in ``k``: with ``K − 1`` thresholds and the loss `xpnet.losses.Ordinal`, this is the
    proportional-odds model of the score.

    The order holds by construction: ``b_(k+1) = b_k + softplus(r_k)`` with ``b_1`` and ``r_k``
    trained freely. The derivative of softplus is at most 1; with an exponential, a step would
    change a gap in proportion to the gap, and large ones would overflow.

    The layer needs one input: it follows ``Dense(1, bias=False)``, because a bias of the score
    shifts all thresholds.

    Args:
        n_thresholds: the number of thresholds, at least 1: the number of classes less 1.
        spacing: the distance of neighbouring thresholds at the start, above 0 and at most 1e6;
            default 1. They start centered at 0.

    Raises:
        ArgumentError: if an argument is outside its range; for an input of more than one column.

    Reference: P. McCullagh, "Regression Models for Ordinal Data", JRSS B 42, 1980, equation 2.1.

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> model = Sequential([OrderedThresholds(3)], n_in=1, dtype="float64")
    >>> model.forward(np.array([[0.0], [2.0]])).round(6)
    array([[ 1.,  0., -1.],
           [ 3.,  2.,  1.]])
    """

    n_thresholds: int
    spacing: float = 1.0

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.n_thresholds, "n_thresholds")
        require_number(self.spacing, "spacing", above=0, high=MAX_SPACING)

    def specs(self, n_in: int) -> LayerSpec:
        """``first``, which is ``b_1``, and the ``gaps`` ``r_k`` if there are several thresholds."""
        do = "Put Dense(1, bias=False) before it."
        require(n_in == 1, "the input of OrderedThresholds", "have 1 column", n_in, do)
        others, spacing = self.n_thresholds - 1, float(self.spacing)
        start = Constant(-0.5 * spacing * others)
        first = ParameterSpec("first", (1,), "shift", start)
        if others == 0:
            return LayerSpec(1, (first,))
        gap = Constant(spacing + math.log(-math.expm1(-spacing)))  # its softplus is the spacing
        gaps = ParameterSpec("gaps", (others,), "shift", gap)
        return LayerSpec(self.n_thresholds, (first, gaps))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Array]:
        """``x − b_k``; saves ``x``."""
        out = ctx.claim()["z", x.shape[0], self.n_thresholds]
        return ctx.ops.ordered_thresholds(x, p["first"], _gaps(p), out), x

    def backward(self, p: Views, g: Views, saved: Array, dy: Array, ctx: Context) -> Array:
        """Fill the gradients of ``b_1`` and of the gaps; return ``Σ_k dY_k``."""
        out = ctx.scratch.next(dy.shape[0], 1)
        given = dy, _gaps(p), g["first"], _gaps(g)
        return ctx.scratch.settle(ctx.ops.ordered_thresholds_backward(*given, out), out)

    def jvp(
        self, p: Views, dp: Views, saved: Array, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, None]:
        """``ż_k = ẋ − ḃ_k``, with ``ḃ_(k+1) = ḃ_k + σ(r_k) ṙ_k``; zero terms are left out."""
        if dx is None and not dp:
            return None, None
        xp, gaps = ctx.ops.xp, _gaps(p)
        d_gaps = sigmoid(xp, gaps) * _gaps(dp) if dp else xp.zeros_like(gaps)
        d_first = dp["first"] if dp else xp.zeros_like(p["first"])
        moved = xp.cumulative_sum(xp.concat((d_first, d_gaps)))
        return (xp.zeros_like(saved) if dx is None else dx) - moved, None

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Array,
        dsaved: None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The tangents of the gradients into ``dg``; ``Σ_k dY_k`` and ``Σ_k ḋY_k``."""
        xp, gaps, back = ctx.ops.xp, _gaps(p), ctx.ops.ordered_thresholds_backward
        ddx = back(ddy, gaps, dg["first"], _gaps(dg))
        d_first, d_gaps = xp.zeros_like(p["first"]), xp.zeros_like(gaps)
        dx = back(dy, gaps, d_first, d_gaps)
        if "gaps" in dg:  # d_gaps has the factor σ(r), whose derivative is σ(r)(1 − σ(r))
            dg["gaps"][...] += d_gaps * (1.0 - sigmoid(xp, gaps)) * dp["gaps"]
        return dx, ddx


def _gaps(views: Views) -> Array:
    """The view of the gaps; without elements for one threshold."""
    return views["gaps"] if "gaps" in views else views["first"][:0]
