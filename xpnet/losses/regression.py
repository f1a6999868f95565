"""Losses for regression of means: squared and absolute errors, and smooth ones between them."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.errors import require_number
from xpnet.losses.base import Loss
from xpnet.ops.rules import loss_formulas
from xpnet.ops.rules import losses as rules


class HalfMSE(Loss):
    """``ℓ = ½ Σ_k (z_k - t_k)²``, averaged over the rows; the gradient is ``z - t``.

    Targets are finite numbers ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = HalfMSE().value_and_grad(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    >>> float(loss), grad
    (2.5, array([[1., 2.]]))
    """

    rule = staticmethod(rules.half_square)
    is_likelihood = True


class MSE(Loss):
    """``ℓ = 1/K Σ_k (z_k - t_k)²`` over the K outputs, averaged over the rows.

    Targets are finite numbers ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = MSE().value_and_grad(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]]))
    >>> float(loss), grad
    (2.5, array([[1., 2.]]))
    """

    rule = staticmethod(rules.square)
    is_likelihood = True
    mean = True


class MAE(Loss):
    """``ℓ = 1/K Σ_k |z_k - t_k|`` over the K outputs; the derivative is 0 at the kink.

    Targets are finite numbers ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = MAE().value_and_grad(np.array([[1.0, -2.0]]), np.array([[0.0, 0.0]]))
    >>> float(loss), grad
    (1.5, array([[ 0.5, -0.5]]))
    """

    rule = staticmethod(rules.absolute)
    mean = True


@dataclass(frozen=True)
class Huber(Loss):
    """``ℓ = 1/K Σ_k h(z_k - t_k)``, ``h(d) = ½d²`` for ``|d| ≤ δ``, else ``δ(|d| - ½δ)``.

    Targets are finite numbers ``(m, n_out)``, or ``(m,)`` for one output.

    Args:
        delta: the error at which the loss becomes linear, above 0. Default 1.

    Raises:
        ArgumentError: if ``delta`` is not above 0.

    Reference: P. Huber, "Robust Estimation of a Location Parameter", 1964.

    >>> import numpy as np
    >>> loss, grad = Huber().value_and_grad(np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))
    >>> float(loss), grad
    (1.3125, array([[0.25, 0.5 ]]))
    """

    delta: float = 1.0

    rule = staticmethod(rules.huber)
    derivative = staticmethod(rules.huber_derivative)
    curvature = staticmethod(rules.huber_curvature)
    mean = True

    def __post_init__(self) -> None:
        require_number(self.delta, "delta", above=0)


class LogCosh(Loss):
    """``ℓ = 1/K Σ_k log cosh(z_k - t_k)``; the derivative is ``tanh(z - t)``.

    It is ``½d²`` for small errors and ``|d| - log 2`` for large ones, with all derivatives. Targets
    are finite numbers ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = LogCosh().value_and_grad(np.array([[0.0, 1000.0]]), np.array([[0.0, 0.0]]))
    >>> round(float(loss), 4), grad
    (499.6534, array([[0. , 0.5]]))
    """

    rule = staticmethod(loss_formulas.log_cosh)
    mean = True
