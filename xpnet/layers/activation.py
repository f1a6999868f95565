"""An activation function as a separate layer, for use after batch norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet import activations
from xpnet.backend import Array
from xpnet.errors import require_type
from xpnet.layers.base import LayerSpec, Views
from xpnet.layers.context import Context


@dataclass(frozen=True)
class Activation:
    """``Y = φ(X)``, elementwise or, for softmax, along each row.

    Args:
        function: φ, such as ``ReLU()``.

    Raises:
        ArgumentError: if ``function`` is not an activation.

    >>> from xpnet import Activation, ReLU
    >>> Activation(ReLU()).specs(3).n_out
    3
    """

    function: activations.ActivationFunction

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.function, activations.ActivationFunction, "function")

    def specs(self, n_in: int) -> LayerSpec:
        """No parameters; the output width is ``n_in``."""
        return LayerSpec(n_in)

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Array]:
        """``φ(x)``; saves what φ' is a function of."""
        buffers = ctx.claim()
        scratch = buffers["u", *x.shape] if self.function.saves == "intermediate" else None
        saved, y = self.function.kept(ctx.ops, x, buffers["a", *x.shape], scratch)
        return y, saved

    def backward(self, p: Views, g: Views, saved: Array, dy: Array, ctx: Context) -> Array:
        """``dY ⊙ φ'``."""
        out = ctx.scratch.next(*dy.shape)
        return ctx.scratch.settle(self.function.backward(ctx.ops, saved, dy, out), out)

    def jvp(
        self, p: Views, dp: Views, saved: Array, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, Array | None]:
        """``φ' ⊙ ẋ``."""
        if dx is None:
            return None, None
        dy = self.function.jvp(ctx.ops, saved, dx)
        return dy, dy if self.function.saves == "output" else dx

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
        """``dY ⊙ φ'`` and its tangent ``ḋY ⊙ φ' + dY ⊙ φ'' ⊙ ẋ``."""
        return self.function.backward_jvp(ctx.ops, saved, dsaved, dy, ddy)
