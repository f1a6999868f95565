"""Losses of numbers: squares, absolute values, and between the two."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.errors import require_number
from xpnet.losses.base import ElementwiseLoss
from xpnet.ops.rules import losses as rules


@dataclass(frozen=True)
class HalfMSE(ElementwiseLoss):
    """``ℓ = ½ Σ_k (z_k − t_k)²``, the classical E, averaged over the rows.

    >>> import numpy as np
    >>> loss, grad = HalfMSE().value_and_grad(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    >>> float(loss), grad
    (2.5, array([[1., 2.]]))
    """

    rule = staticmethod(rules.half_square)
    slope = staticmethod(rules.difference)


@dataclass(frozen=True)
class MSE(ElementwiseLoss):
    """``ℓ = 1/K Σ_k (z_k − t_k)²`` over the K outputs, averaged over the rows."""

    rule = staticmethod(rules.square)
    slope = staticmethod(rules.twice_difference)
    mean = True


@dataclass(frozen=True)
class MAE(ElementwiseLoss):
    """``ℓ = 1/K Σ_k |z_k − t_k|``; the derivative is 0 at the kink."""

    rule = staticmethod(rules.absolute)
    slope = staticmethod(rules.sign_of_difference)
    mean = True


@dataclass(frozen=True)
class Huber(ElementwiseLoss):
    """``ℓ = 1/K Σ_k h(z_k − t_k)``, ``h(d) = ½d²`` for ``|d| ≤ δ``, else ``δ(|d| − ½δ)``.

    Args:
        delta: where the square becomes a line, above 0; default 1.

    Reference: P. Huber, "Robust estimation of a location parameter", 1964.
    """

    delta: float = 1.0
    rule = staticmethod(rules.huber)
    slope = staticmethod(rules.huber_slope)
    mean = True

    def __post_init__(self) -> None:
        require_number(self.delta, "delta", above=0)
