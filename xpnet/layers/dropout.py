"""Dropout, with random masks that are equal on every backend for one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.layers.base import LayerSpec, Views
from xpnet.layers.context import Context


@dataclass(frozen=True)
class Dropout:
    """``Y = X ⊙ K / (1 − p)`` while training, with ``K`` 0 with probability ``p`` and else 1.

    Inverted dropout: evaluation is the identity. The mask is a hash of the key of the pass and the
    position, so one seed gives the same masks on every backend.

    Args:
        p: the probability that an element is dropped, in ``[0, 1)``; default 0.5.

    Raises:
        ArgumentError: if ``p`` is outside its range.

    Reference: N. Srivastava et al., "Dropout", JMLR 15, 2014 (there the weights are scaled after
    training instead).

    >>> Dropout(1.5)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: p must be a finite number, at least 0 and below 1; got 1.5.
    """

    p: float = 0.5

    releases_dy: ClassVar[bool] = True
    masks_by_row: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self.p, "p", low=0, below=1)

    @property
    def stochastic(self) -> bool:
        """Whether training passes are random."""
        return self.p > 0

    def specs(self, n_in: int) -> LayerSpec:
        """No parameters; the output width is ``n_in``."""
        return LayerSpec(n_in)

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Array | None]:
        """``x ⊙ K / (1 − p)`` in training, else ``x``; saves ``K / (1 − p)``, or ``None``."""
        buffers = ctx.claim()
        if not ctx.training or self.p == 0:
            return x, None
        out = buffers["mask", *x.shape]
        mask = ctx.ops.keep_mask(x, ctx.key, self.p, out=out, first_row=ctx.first_row)
        return ctx.ops.multiply(x, mask, out=buffers["y", *x.shape]), mask

    def backward(self, p: Views, g: Views, saved: Array | None, dy: Array, ctx: Context) -> Array:
        """``dY ⊙ mask``."""
        if saved is None:
            return dy
        out = ctx.scratch.next(*dy.shape)
        return ctx.scratch.settle(ctx.ops.multiply(dy, saved, out=out), out)

    def jvp(
        self, p: Views, dp: Views, saved: Array | None, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, None]:
        """``ẋ ⊙ mask``."""
        if saved is None or dx is None:
            return dx, None
        return ctx.ops.multiply(dx, saved), None

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Array | None,
        dsaved: None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """``dY ⊙ mask`` and ``ḋY ⊙ mask``: the mask is a constant of the pass."""
        if saved is None:
            return dy, ddy
        return ctx.ops.multiply(dy, saved), ctx.ops.multiply(ddy, saved)
