"""The product of an affine layer and a gate: GLU and its family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from xpnet.activations import ActivationFunction, Identity, Sigmoid
from xpnet.backend import Array
from xpnet.errors import require_count, require_type
from xpnet.initializers import Initializer, Zeros
from xpnet.layers.base import LayerSpec, Views, require_initializer
from xpnet.layers.context import Context
from xpnet.layers.dense import Dense
from xpnet.ops.rules.layers import add, multiply

Saved: TypeAlias = tuple[Array, Array, Any, Any]  # both factors, and what their layers saved
SavedTangent: TypeAlias = tuple[Array | None, Array | None, Any, Any]

GATE = "gate_"
"""The beginning of the names of the parameters of the gate."""


@dataclass(frozen=True)
class GatedDense:
    """``Y = (X W + b) ⊙ φ(X V + c)``, with ``W, V: (n_in, n_out)`` and ``b, c: (n_out,)``.

    The gate φ gives the layer its usual name: `Sigmoid` GLU, `ReLU` ReGLU, `GELU` GEGLU, `SiLU`
    SwiGLU, and `Identity` the bilinear layer. The parameters are ``weight``, ``bias``,
    ``gate_weight`` and ``gate_bias``; PyTorch's ``glu`` has ``[W, V]`` side by side.

    Args:
        n_out: number of units, at least 1.
        gate: φ; default `Sigmoid`.
        weight_init: initializer of W and V; ``None`` (default) selects those of `Dense`: Glorot
            for W, and He, LeCun or Glorot by φ for V.
        bias_init: initializer of both biases; default `Zeros`.
        bias: whether there are biases; default true.

    Raises:
        ArgumentError: if ``n_out`` is not a positive integer, or an argument has another type.

    Reference: Y. Dauphin et al., "Language Modeling with Gated Convolutional Networks", ICML 2017,
    equation 1; N. Shazeer, "GLU Variants Improve Transformer", 2020, equations 4 and 5.

    >>> from xpnet import SiLU
    >>> [p.name for p in GatedDense(8, gate=SiLU()).specs(4).parameters]
    ['weight', 'bias', 'gate_weight', 'gate_bias']
    """

    n_out: int
    gate: ActivationFunction = Sigmoid()
    weight_init: Initializer | None = None
    bias_init: Initializer = Zeros()
    bias: bool = True

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.n_out, "n_out")
        require_type(self.gate, ActivationFunction, "gate")
        if self.weight_init is not None:
            require_initializer(self.weight_init, "weight_init")
        require_initializer(self.bias_init, "bias_init")
        require_type(self.bias, bool, "bias")

    @property
    def _values(self) -> Dense:
        return Dense(self.n_out, Identity(), self.weight_init, self.bias_init, self.bias)

    @property
    def _gate(self) -> Dense:
        return Dense(self.n_out, self.gate, self.weight_init, self.bias_init, self.bias)

    def specs(self, n_in: int) -> LayerSpec:
        """The parameters of the values, then those of the gate."""
        values, gate = (layer.specs(n_in).parameters for layer in (self._values, self._gate))
        named = [replace(spec, name=GATE + spec.name) for spec in gate]
        return LayerSpec(self.n_out, (*values, *named))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """``(x W + b) ⊙ φ(x V + c)``; saves both factors and what their layers save."""
        (p_values, p_gate), (first, second) = _factors(p), _contexts(ctx)
        values, of_values = self._values.forward(p_values, x, first)
        gate, of_gate = self._gate.forward(p_gate, x, second)
        y = ctx.ops.apply(multiply, values, gate, out=ctx.claim()["y", *values.shape])
        return y, (values, gate, of_values, of_gate)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array | None:
        """Pass ``dY ⊙ φ`` back through the values and ``dY ⊙ (X W + b)`` through the gate."""
        (values, gate, of_values, of_gate), ops = saved, ctx.ops
        (p_values, p_gate), (g_values, g_gate), inner = _factors(p), _factors(g), _contexts(ctx)
        outs = [context.scratch.next(*dy.shape) for context in inner]
        d_values, d_gate = (
            ops.apply(multiply, dy, other, out=out)
            for other, out in zip((gate, values), outs, strict=True)
        )
        dx = self._values.backward(p_values, g_values, of_values, d_values, inner[0])
        dx_of_gate = self._gate.backward(p_gate, g_gate, of_gate, d_gate, inner[1])
        if dx is None or dx_of_gate is None:
            return None
        out = ctx.scratch.next(*dx.shape)
        return ctx.scratch.settle(ops.apply(add, dx, dx_of_gate, out=out), out)

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, SavedTangent | None]:
        """``ẏ = ȧ ⊙ φ + a ⊙ φ̇`` for the values ``a``; zero terms are left out."""
        (values, gate, of_values, of_gate), inner = saved, _contexts(ctx)
        (p_values, p_gate), (dp_values, dp_gate) = _factors(p), _factors(dp)
        d_values, dsaved = self._values.jvp(p_values, dp_values, of_values, dx, inner[0])
        d_gate, dsaved_gate = self._gate.jvp(p_gate, dp_gate, of_gate, dx, inner[1])
        if d_values is None or d_gate is None:
            return None, None
        return d_values * gate + values * d_gate, (d_values, d_gate, dsaved, dsaved_gate)

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
        """The tangents of the gradients of both factors, by the product rule, passed back."""
        (values, gate, *kept), views = saved, zip(*map(_factors, (p, dp, dg)), strict=True)
        d_values, d_gate, *d_kept = (None,) * 4 if dsaved is None else dsaved
        d_other = (gate, d_gate), (values, d_values)
        found = []
        for layer, of_layer, own, d_own, (other, tangent), inner in zip(
            (self._values, self._gate), views, kept, d_kept, d_other, _contexts(ctx), strict=True
        ):
            grad, d_grad = dy * other, ddy * other
            d_grad = d_grad if tangent is None else d_grad + dy * tangent
            found.append(layer.backward_jvp(*of_layer, own, d_own, grad, d_grad, inner))
        (dx, ddx), (dx_of_gate, ddx_of_gate) = found
        if dx is None or ddx is None:
            return None, None
        return dx + dx_of_gate, ddx + ddx_of_gate


def _factors(views: Views) -> tuple[Views, Views]:
    """The views of the values and those of the gate."""
    gate = {k.removeprefix(GATE): v for k, v in views.items() if k.startswith(GATE)}
    return {k: v for k, v in views.items() if not k.startswith(GATE)}, gate


def _contexts(ctx: Context) -> tuple[Context, Context]:
    """The contexts of both factors, each of which has the input of this layer."""
    return ctx.child(0, need_dx=ctx.need_dx), ctx.child(1, need_dx=ctx.need_dx)
