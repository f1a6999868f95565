"""Units that are the largest of several affine functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from xpnet.activations import Identity
from xpnet.backend import Array
from xpnet.errors import require_count
from xpnet.initializers import Initializer, LecunNormal, Zeros
from xpnet.layers.base import LayerSpec, ParameterSpec, Views, require_initializer
from xpnet.layers.context import Context
from xpnet.layers.dense import affine_backward_jvp, affine_jvp

Saved: TypeAlias = tuple[Array, Array]  # x, and the number of the largest piece of each output

AFFINE = Identity()


@dataclass(frozen=True)
class Maxout:
    """``y_j = max_k (x W_k + b_k)_j`` with ``K`` affine pieces for each unit.

    The weight ``(n_in, K n_out)`` holds the ``W_k`` side by side, so that all pieces are one
    product. The gradient of a maximum belongs to its first largest piece, as in PyTorch's ``max``.

    Args:
        n_out: number of units, at least 1.
        n_pieces: ``K``, at least 2; default 2.
        weight_init: initializer of the weight, for units of ``n_in`` inputs and ``n_out`` outputs;
            default `LecunNormal`, with which two pieces keep the mean square of the input.
        bias_init: initializer of the biases; default `Zeros`.

    Raises:
        ArgumentError: if an argument is outside its range or has another type.

    Reference: I. Goodfellow et al., "Maxout Networks", ICML 2013, section 3.

    >>> from xpnet import Maxout
    >>> [p.shape for p in Maxout(5, n_pieces=3).specs(4).parameters]
    [(4, 15), (15,)]
    """

    n_out: int
    n_pieces: int = 2
    weight_init: Initializer = LecunNormal()
    bias_init: Initializer = Zeros()

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.n_out, "n_out")
        require_count(self.n_pieces, "n_pieces", low=2)
        require_initializer(self.weight_init, "weight_init")
        require_initializer(self.bias_init, "bias_init")

    def specs(self, n_in: int) -> LayerSpec:
        """A weight and a bias, with the pieces side by side."""
        width, fans = self.n_pieces * self.n_out, (n_in, self.n_out)
        weight = ParameterSpec("weight", (n_in, width), "weight", self.weight_init, fans)
        bias = ParameterSpec("bias", (width,), "bias", self.bias_init, fans)
        return LayerSpec(self.n_out, (weight, bias))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """The largest piece; saves ``x`` and the number of that piece."""
        buffers, shape = ctx.claim(), (x.shape[0], self.n_out)
        z, _ = ctx.ops.dense(x, p["weight"], p["bias"], AFFINE, buffers)
        out, piece = buffers["y", *shape], buffers["piece", *shape]
        y, piece = ctx.ops.largest_piece(z, self.n_out, out, piece)
        return y, (x, piece)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array | None:
        """``dW = Xᵀ δ``, ``db = Σ_rows δ``, with ``δ = dY`` at the largest pieces; ``δ Wᵀ``."""
        x, piece = saved
        out = ctx.scratch.next(dy.shape[0], self.n_pieces * self.n_out)
        dz = ctx.ops.largest_piece_backward(dy, piece, self.n_pieces, out)
        ctx.scratch.settle(dz, out)
        parameters = p["weight"], g["weight"], g["bias"]
        return ctx.ops.dense_backward(
            dz, x, dz, AFFINE, *parameters, ctx.scratch, need_dx=ctx.need_dx
        )

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, Array | None]:
        """The largest piece of ``ż = ẋ W + x Ẇ + ḃ``; zero terms are left out."""
        x, piece = saved
        dz = affine_jvp(p, dp, x, dx, ctx)
        return None if dz is None else self._selected(dz, piece, ctx), dx

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Saved,
        dsaved: Array | None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """``Xᵀ δ̇ + Ẋᵀ δ`` and ``Σ_rows δ̇`` into ``dg``; ``δ Wᵀ`` and ``δ̇ Wᵀ + δ Ẇᵀ``."""
        x, piece = saved
        dz, ddz = (ctx.ops.largest_piece_backward(d, piece, self.n_pieces) for d in (dy, ddy))
        return affine_backward_jvp(p, dp, dg, x, dsaved, dz, ddz, ctx)

    def _selected(self, dz: Array, piece: Array, ctx: Context) -> Array:
        """The columns of ``dz`` that belong to the largest pieces."""
        xp, n = ctx.ops.xp, self.n_out
        selected = dz[:, :n]
        for k in range(1, self.n_pieces):
            selected = xp.where(piece == float(k), dz[:, k * n : (k + 1) * n], selected)
        return selected
