"""Schedule-free Adam, with an average of its iterates instead of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.ops import operations_for
from xpnet.ops.operations import Rule
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers.base import Optimizer, OptimizerState, decayed_count, require_moments
from xpnet.parameters import Layout


@dataclass(frozen=True)
class ScheduleFreeAdam(Optimizer):
    """Schedule-free AdamW: gradients at y, steps of z, evaluation at their average x.

    θ is ``y = (1−β₁)z + β₁x`` in training, the point of the gradient ``g``. A step is
    ``v ← β₂v + (1−β₂)g²``, ``z ← z − lr·(g/(√v̂ + eps) + λy)``, ``x ← (1−c)x + cz`` with
    ``c = r²/Σr²``, where r is the largest learning rate so far. z and x begin at the θ that `init`
    is given.

    The model is to be evaluated at x, which is a slot of the state: `evaluation_point` returns it.
    ``fit`` does so: validation, metrics, `EarlyStopping` and `Checkpoint` are of x, with the
    statistics of batch norm recomputed for it, and the model ends with x. To continue a training,
    pass ``callbacks=[UseAverage()]``, which keeps y. The column ``loss`` and callbacks during the
    training see y. A decreasing schedule is not needed; `LinearWarmup` helps.

    Args:
        lr: the learning rate, above 0; one to ten times that of Adam with a schedule. Default
            2.5e-3.
        beta1: β₁, the share of x in y, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.999.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.
        weight_decay: λ, at least 0; only weights decay if `init` is given a layout. Default 0.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Defazio et al., "The road less scheduled", 2024, algorithm 1. The weights r² are
    those of the authors' package `schedulefree`, and equal those of the paper for a constant rate.

    >>> import numpy as np
    >>> theta, optimizer = np.zeros(1), ScheduleFreeAdam(lr=0.1)
    >>> state = optimizer.init(theta)
    >>> for _ in range(2):
    ...     optimizer.step(theta, np.array([1.0]), state)
    >>> theta.round(3), optimizer.evaluation_point(theta, state).round(3)
    (array([-0.155]), array([-0.15]))
    """

    lr: float = 2.5e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    rule: ClassVar[Rule] = staticmethod(rules.schedule_free_adam)
    n_slots: ClassVar[int] = 3
    n_scalars: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)
        require_number(self.weight_decay, "weight_decay", low=0)

    def evaluation_point(self, theta: Array, state: OptimizerState) -> Array:
        """Return x, the last slot of ``state``, not a copy: the next step changes it."""
        return state.slots[-1]

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(β₁, β₂, 1−β₂, 1/√(1−β₂ᵗ), eps, c, lr, lr·λ)``; the sum of the weights advances."""
        n, total, largest = state.scalars
        largest = max(largest, lr)
        total += largest**2
        state.scalars = n, total, largest
        share = largest**2 / total if total > 0 else 0.0  # a warm-up begins at 0
        root_correction = 1 / sqrt(1 - self.beta2**state.step)
        moments = self.beta1, self.beta2, 1 - self.beta2, root_correction, self.eps
        return (*moments, share, lr, lr * self.weight_decay)

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`; in two parts if some parameters do not decay."""
        n = theta.shape[0] if self.weight_decay == 0 else int(state.scalars[0])
        for part, decay in ((slice(0, n), scalars[-1]), (slice(n, None), 0.0)):
            targets = [array[part] for array in (theta, *state.slots)]
            if targets[0].shape[0]:
                given = (*scalars[:-1], decay)
                operations_for(theta).update_unless(skip, self.rule, targets, (grad[part],), given)

    def _begin(self, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
        slots[1][...] = theta
        slots[2][...] = theta

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        return (*decayed_count(theta, layout), 0.0, 0.0)

    def _are_scalars(self, found: tuple[float, ...], first: tuple[float, ...], parts: Any) -> bool:
        return found[0] == first[0] and all(0 <= number < float("inf") for number in found)
