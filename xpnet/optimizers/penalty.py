"""L1, L2 and elastic-net penalties of the weights."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules


@dataclass(frozen=True)
class Penalty:
    """The penalty ``l1·Σ|w| + ½·l2·Σw²`` of a loss: L1, L2, or both, the elastic net.

    It is for weights, not for biases, scales or shifts: pass the slices ``theta[layout.weights]``
    and ``grad[layout.weights]``. Unlike the decay of `AdamW`, its gradient passes through the
    moments of the optimizer.

    Args:
        l1: the coefficient of ``Σ|w|``, at least 0; its gradient at 0 is 0. Default 0.
        l2: the coefficient of ``½Σw²``, at least 0. Default 0.

    Raises:
        ArgumentError: if an argument is out of its range.

    References: Goodfellow et al., Deep Learning, eq. (7.2) and (7.19); for the elastic net Zou and
    Hastie, "Regularization and variable selection via the elastic net", 2005.

    >>> import numpy as np
    >>> weight, grad = np.array([2.0, -1.0, 0.0]), np.zeros(3)
    >>> penalty = Penalty(l1=0.1, l2=1.0)
    >>> penalty.add_grad(weight, grad)
    >>> round(float(penalty.value(weight)), 6), grad
    (2.8, array([ 2.1, -1.1,  0. ]))
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        require_number(self.l1, "l1", low=0)
        require_number(self.l2, "l2", low=0)

    def value(self, weight: Array) -> Array:
        """Compute the penalty of the flat array ``weight``, a 0-d array on its device."""
        xp = operations_for(weight).xp
        return self.l1 * xp.sum(xp.abs(weight)) + 0.5 * self.l2 * xp.sum(weight * weight)

    def add_grad(self, weight: Array, grad: Array) -> None:
        """Add ``l1·sign(w) + l2·w`` to ``grad`` in place, for flat arrays of the same shape."""
        operations_for(grad).update(rules.penalty, (grad,), (weight,), (self.l1, self.l2))
