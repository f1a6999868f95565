"""Activation functions as values: what goes forward, and what comes back.

Each carries its rules from `xpnet.ops.rules.activations` and says which array its derivative is
written in, so that a layer keeps no more than it must.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import ClassVar, Literal

from xpnet.backend import Array
from xpnet.errors import ArgumentError, require_number
from xpnet.ops.reference import Operations, Rule
from xpnet.ops.rules import activations as rules


class Activation:
    """A function φ of ``z: (m, n)`` with its derivative; elementwise unless overridden.

    A subclass is a frozen dataclass whose fields are the scalars of its rules.

    Attributes:
        value: the rule ``φ(xp, z, *scalars)``.
        derivative: the rule ``φ'(xp, saved, *scalars)``.
        saves: what ``derivative`` is written in: the ``"output"`` ``a = φ(z)`` or the ``"input"``.
    """

    value: ClassVar[Rule]
    derivative: ClassVar[Rule]
    saves: ClassVar[Literal["output", "input"]] = "output"

    def scalars(self) -> tuple[float, ...]:
        """The hyperparameters, in the order in which the rules take them."""
        return astuple(self) if self.__dict__ else ()  # type: ignore[call-overload]

    def forward(self, ops: Operations, z: Array, out: Array | None = None) -> Array:
        """``φ(z)``, perhaps in ``out``, which may be ``z`` itself."""
        return ops.apply(type(self).value, z, scalars=self.scalars(), out=out)

    def backward(
        self, ops: Operations, saved: Array, dy: Array, out: Array | None = None
    ) -> Array:
        """``∂L/∂z = dy ⊙ φ'``, with ``saved`` as `saves` says."""
        return ops.chain(type(self).derivative, dy, saved, scalars=self.scalars(), out=out)

    def tangent(self, ops: Operations, saved: Array, dz: Array) -> Array:
        """``φ' ⊙ ż``: forward mode; the same product as backward where φ is elementwise."""
        return self.backward(ops, saved, dz)


@dataclass(frozen=True)
class Identity(Activation):
    """``φ(z) = z``; ``φ' = 1``."""

    value = staticmethod(rules.identity)
    derivative = staticmethod(rules.one)

    def forward(self, ops: Operations, z: Array, out: Array | None = None) -> Array:
        """``z`` itself."""
        return z

    def backward(
        self, ops: Operations, saved: Array, dy: Array, out: Array | None = None
    ) -> Array:
        """``dy`` itself."""
        return dy


@dataclass(frozen=True)
class Affine(Activation):
    """``φ(z) = slope·z + intercept``; ``φ' = slope``.

    Args:
        slope: any finite number; default 1.
        intercept: any finite number; default 0.
    """

    slope: float = 1.0
    intercept: float = 0.0
    value = staticmethod(rules.affine)
    derivative = staticmethod(rules.affine_slope)

    def __post_init__(self) -> None:
        require_number(self.slope, "slope")
        require_number(self.intercept, "intercept")


@dataclass(frozen=True)
class Step(Activation):
    """``φ(z) = [z > 0]``: forward only, for threshold units built by hand."""

    value = staticmethod(rules.step)

    def backward(
        self, ops: Operations, saved: Array, dy: Array, out: Array | None = None
    ) -> Array:
        """Refused: the derivative is zero almost everywhere, so nothing would be learned.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(
            "activation must be differentiable to train; got Step(), whose derivative is 0 almost "
            "everywhere. Use Sigmoid() or ReLU(), or the perceptron's own rule."
        )


@dataclass(frozen=True)
class Sigmoid(Activation):
    """``φ(z) = 1/(1 + e^-z)``; ``φ' = a (1 − a)``. No input overflows.

    >>> from xpnet.ops import operations_for
    >>> import numpy as np
    >>> z = np.array([[-1000.0, 0.0, 1000.0]])
    >>> Sigmoid().forward(operations_for(z), z)
    array([[0. , 0.5, 1. ]])
    """

    value = staticmethod(rules.sigmoid)
    derivative = staticmethod(rules.sigmoid_slope)


@dataclass(frozen=True)
class Tanh(Activation):
    """``φ(z) = tanh z``; ``φ' = 1 − a²``."""

    value = staticmethod(rules.tanh)
    derivative = staticmethod(rules.tanh_slope)


@dataclass(frozen=True)
class ReLU(Activation):
    """``φ(z) = max(0, z)``; ``φ' = [z > 0]``, 0 at the kink."""

    value = staticmethod(rules.relu)
    derivative = staticmethod(rules.relu_slope)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """``φ(z) = z`` where positive, else ``αz``; ``φ' = 1`` or ``α``.

    Args:
        alpha: the slope of the negative side, at least 0; default 0.01.

    Raises:
        ArgumentError: if ``alpha`` is negative: the sign of the output would not tell the side.
    """

    alpha: float = 0.01
    value = staticmethod(rules.leaky_relu)
    derivative = staticmethod(rules.leaky_relu_slope)

    def __post_init__(self) -> None:
        require_number(self.alpha, "alpha", low=0)


@dataclass(frozen=True)
class ELU(Activation):
    """``φ(z) = z`` where positive, else ``α(e^z − 1)``; ``φ' = 1`` or ``a + α``.

    Args:
        alpha: minus the limit for ``z → −∞``, above 0; default 1.

    Reference: D.-A. Clevert et al., "Exponential Linear Units", ICLR 2016, equation 15.
    """

    alpha: float = 1.0
    value = staticmethod(rules.elu)
    derivative = staticmethod(rules.elu_slope)

    def __post_init__(self) -> None:
        require_number(self.alpha, "alpha", above=0)


@dataclass(frozen=True)
class SELU(Activation):
    """``φ(z) = λ elu(z, α)`` with the α and λ for which mean 0 and variance 1 are a fixed point.

    Reference: G. Klambauer et al., "Self-Normalizing Neural Networks", 2017, equation 2.
    """

    value = staticmethod(rules.selu)
    derivative = staticmethod(rules.selu_slope)


@dataclass(frozen=True)
class Softplus(Activation):
    """``φ(z) = log(1 + e^z)`` without overflow; ``φ' = σ(z) = 1 − e^-a``."""

    value = staticmethod(rules.softplus)
    derivative = staticmethod(rules.softplus_slope)


@dataclass(frozen=True)
class GELU(Activation):
    """``φ(z) = z Φ(z)`` with the normal distribution function Φ, exact; ``φ' = Φ + z φ_N(z)``.

    Reference: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units", 2016.
    """

    value = staticmethod(rules.gelu)
    derivative = staticmethod(rules.gelu_slope)
    saves = "input"


@dataclass(frozen=True)
class GELUTanh(Activation):
    """``φ(z) = ½z(1 + tanh(√(2/π)(z + 0.044715z³)))``, the usual approximation of `GELU`."""

    value = staticmethod(rules.gelu_tanh)
    derivative = staticmethod(rules.gelu_tanh_slope)
    saves = "input"


@dataclass(frozen=True)
class SiLU(Activation):
    """``φ(z) = z σ(z)``, also called swish; ``φ' = σ(1 + z(1 − σ))``."""

    value = staticmethod(rules.silu)
    derivative = staticmethod(rules.silu_slope)
    saves = "input"


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """``φ(z) = min(max(0.2z + 0.5, 0), 1)``; ``φ' = 0.2`` strictly inside, else 0."""

    value = staticmethod(rules.hard_sigmoid)
    derivative = staticmethod(rules.hard_sigmoid_slope)


@dataclass(frozen=True)
class Exponential(Activation):
    """``φ(z) = e^z``; ``φ' = a``. It overflows as the exponential does (float32: z > 88.7)."""

    value = staticmethod(rules.exponential)
    derivative = staticmethod(rules.identity)


@dataclass(frozen=True)
class Softmax(Activation):
    """``φ(z)_k = e^(z_k − max z) / Σ_j e^(z_j − max z)`` along each row.

    For classification leave the output layer linear and take `CrossEntropy`, which is written on
    logits; this activation is for hidden use and for squared losses on probabilities.
    """

    def forward(self, ops: Operations, z: Array, out: Array | None = None) -> Array:
        """The softmax of each row."""
        return ops.softmax(z, out=out)

    def backward(
        self, ops: Operations, saved: Array, dy: Array, out: Array | None = None
    ) -> Array:
        """``a ⊙ (dy − Σ_k a_k dy_k)``: the Jacobian is symmetric."""
        return saved * (dy - ops.xp.sum(saved * dy, axis=1, keepdims=True))
