"""Gradient clipping, in place, before the step."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules


@dataclass(frozen=True)
class ClipByValue:
    """Clip every number of the gradient to ``[−limit, limit]``, which changes its direction.

    Args:
        limit: the largest magnitude, above 0.

    Raises:
        ArgumentError: if ``limit`` is out of its range.

    >>> import numpy as np
    >>> grad = np.array([0.5, -3.0, 0.0])
    >>> ClipByValue(1.0).apply(grad)
    >>> grad
    array([ 0.5, -1. ,  0. ])
    """

    limit: float

    def __post_init__(self) -> None:
        require_number(self.limit, "limit", above=0)

    def apply(self, grad: Array) -> None:
        """Compute ``g ← min(max(g, −limit), limit)`` in place; NaN remains NaN."""
        operations_for(grad).update(rules.clip_by_value, (grad,), (), (-self.limit, self.limit))


@dataclass(frozen=True)
class ClipByNorm:
    """Scale the gradient to a norm of at most ``limit``: ``g ← g·min(1, limit/(‖g‖ + 10⁻⁶))``.

    The norm is that of all parameters together, so the direction does not change. As in PyTorch,
    10⁻⁶ avoids a division by 0.

    Args:
        limit: the largest Euclidean norm, above 0.

    Raises:
        ArgumentError: if ``limit`` is out of its range.

    Reference: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1.

    >>> import numpy as np
    >>> grad = np.array([3.0, -4.0])
    >>> ClipByNorm(1.0).apply(grad)
    >>> grad.round(6)
    array([ 0.6, -0.8])
    """

    limit: float

    def __post_init__(self) -> None:
        require_number(self.limit, "limit", above=0)

    def apply(self, grad: Array) -> None:
        """Scale ``grad`` in place; the norm stays on the device. NaN or infinity makes all NaN."""
        operations_for(grad).clip_by_norm(grad, self.limit)
