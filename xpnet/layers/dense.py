"""The fully connected layer, with its activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from xpnet.activations import (
    ELU,
    GELU,
    SELU,
    ActivationFunction,
    GELUTanh,
    Identity,
    LeakyReLU,
    ReLU,
    SiLU,
)
from xpnet.backend import Array
from xpnet.errors import require_count, require_type
from xpnet.initializers import GlorotUniform, HeNormal, Initializer, LecunNormal, Zeros
from xpnet.layers.base import LayerSpec, ParameterSpec, Views, require_initializer
from xpnet.layers.context import Context

Saved: TypeAlias = tuple[Array, Array]
SavedTangent: TypeAlias = tuple[Array | None, Array]


def default_init(activation: ActivationFunction) -> Initializer:
    """The usual weight initializer before an activation: He, LeCun for SELU, else Glorot.

    >>> default_init(ReLU())
    HeNormal(truncated=False)
    """
    if isinstance(activation, (ReLU, LeakyReLU, ELU, GELU, GELUTanh, SiLU)):
        return HeNormal()
    return LecunNormal() if isinstance(activation, SELU) else GlorotUniform()


@dataclass(frozen=True)
class Dense:
    """``Y = φ(X W + b)`` with ``W: (n_in, n_out)`` and ``b: (n_out,)``.

    Backward, with ``δ = dY ⊙ φ'(Z)``: ``dW = Xᵀ δ``, ``db = Σ_rows δ``, ``dX = δ Wᵀ``.

    W has the shape ``(n_in, n_out)`` as in Keras: it is the transpose of the ``(out_features,
    in_features)`` weight of PyTorch's ``Linear``.

    Args:
        n_out: number of units, at least 1.
        activation: φ; default `Identity`, with which the layer is affine.
        weight_init: initializer of ``W``; ``None`` (default) selects He, LeCun or Glorot by φ.
        bias_init: initializer of ``b``; default `Zeros`.
        bias: whether the layer has a bias; default true.

    Raises:
        ArgumentError: if ``n_out`` is not a positive integer, or an argument has another type.

    >>> from xpnet import Dense, Sigmoid
    >>> Dense(200, Sigmoid()).specs(784).parameters[0].shape
    (784, 200)
    """

    n_out: int
    activation: ActivationFunction = Identity()
    weight_init: Initializer | None = None
    bias_init: Initializer = Zeros()
    bias: bool = True

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.n_out, "n_out")
        require_type(self.activation, ActivationFunction, "activation")
        if self.weight_init is not None:
            require_initializer(self.weight_init, "weight_init")
        require_initializer(self.bias_init, "bias_init")
        require_type(self.bias, bool, "bias")

    def specs(self, n_in: int) -> LayerSpec:
        """A weight and, unless ``bias=False``, a bias."""
        init = self.weight_init or default_init(self.activation)
        weight = ParameterSpec("weight", (n_in, self.n_out), "weight", init)
        fans = n_in, self.n_out
        bias = ParameterSpec("bias", (self.n_out,), "bias", self.bias_init, fans)
        return LayerSpec(self.n_out, (weight, bias) if self.bias else (weight,))

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """``φ(x W + b)``; saves ``x`` and the input or output of φ."""
        weight, bias, buffers = p["weight"], p.get("bias"), ctx.claim()
        y, saved = ctx.ops.dense(x, weight, bias, self.activation, buffers)
        return y, (x, saved)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array | None:
        """Fill dW and db in ``g``; return ``δ Wᵀ``."""
        x, activated = saved
        parameters = p["weight"], g["weight"], g.get("bias")
        return ctx.ops.dense_backward(
            dy, x, activated, self.activation, *parameters, ctx.scratch, need_dx=ctx.need_dx
        )

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, SavedTangent | None]:
        """``φ'(z) ⊙ ż`` with ``ż = ẋ W + x Ẇ + ḃ``; zero terms are left out."""
        x, activated = saved
        dz = affine_jvp(p, dp, x, dx, ctx)
        if dz is None:
            return None, None
        dy = self.activation.jvp(ctx.ops, activated, dz)
        return dy, (dx, dy if self.activation.saves == "output" else dz)

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Saved,
        dsaved: SavedTangent,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """``Xᵀ δ̇ + Ẋᵀ δ`` and ``Σ_rows δ̇`` into ``dg``; ``δ Wᵀ`` and ``δ̇ Wᵀ + δ Ẇᵀ``."""
        (x, activated), (dx, dactivated) = saved, dsaved
        dz, ddz = self.activation.backward_jvp(ctx.ops, activated, dactivated, dy, ddy)
        return affine_backward_jvp(p, dp, dg, x, dx, dz, ddz, ctx)


def affine_jvp(p: Views, dp: Views, x: Array, dx: Array | None, ctx: Context) -> Array | None:
    """``ż = ẋ W + x Ẇ + ḃ``, the tangent of ``x W + b``; ``None`` and empty ``dp`` stand for 0."""
    dz = None if dx is None else ctx.ops.matmul(dx, p["weight"])
    if not dp:
        return dz
    of_parameters = ctx.ops.affine(x, dp["weight"], dp.get("bias"))
    return of_parameters if dz is None else of_parameters + dz


def affine_backward_jvp(
    p: Views,
    dp: Views,
    dg: Views,
    x: Array,
    dx: Array | None,
    dz: Array,
    ddz: Array,
    ctx: Context,
) -> tuple[Array | None, Array | None]:
    """The backward pass of ``x W + b`` for ``∂L/∂z`` and its tangent; see `Dense.backward_jvp`."""
    ops = ctx.ops
    ops.matmul(x.T, ddz, out=dg["weight"])
    if dx is not None:
        dg["weight"][...] += ops.matmul(dx.T, dz)
    if "bias" in dg:
        ops.column_sum(ddz, out=dg["bias"])
    if not ctx.need_dx:
        return None, None
    back = ops.matmul(ddz, p["weight"].T) + ops.matmul(dz, dp["weight"].T)
    return ops.matmul(dz, p["weight"].T), back
