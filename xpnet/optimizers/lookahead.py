"""Lookahead: slow weights that follow the iterates of another optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import require_count, require_number, require_type
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers import wrapping
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.resuming import refuse_resumed


@dataclass(frozen=True)
class Lookahead(Optimizer):
    """Lookahead: after every k steps ``φ ← φ + α(θ − φ)``, ``θ ← φ``, with slow weights φ.

    The steps of θ, the fast weights, are those of ``optimizer``, which keeps its moments. The slow
    weights begin at the θ that `init` is given. A step that loss scaling skips is counted, and does
    not move φ if it is a k-th one.

    The model is evaluated at θ, as in training; after every k steps that is φ, which `mean` returns
    after any step. With `xpnet.UseAverage`, ``fit`` ends with φ.

    Args:
        optimizer: the optimizer of the fast weights, such as ``Adam(lr=1e-3)``.
        k: the number of steps between two steps of the slow weights, at least 1. Default 5.
        alpha: α, the step of the slow weights, above 0 and at most 1. Default 0.5.

    Raises:
        ArgumentError: if an argument is out of its range or has another type, or ``optimizer`` is
            `Resumed`.

    Reference: Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", 2019, algorithm 1.

    >>> import numpy as np
    >>> from xpnet.optimizers import SGD
    >>> theta, lookahead = np.zeros(1), Lookahead(SGD(lr=1.0), k=2)
    >>> state = lookahead.init(theta)
    >>> for _ in range(3):
    ...     lookahead.step(theta, np.array([-1.0]), state)
    ...     print(theta, lookahead.mean(state))
    [1.] [0.]
    [1.] [1.]
    [2.] [1.]
    """

    optimizer: Optimizer
    k: int = 5
    alpha: float = 0.5

    last_slot: ClassVar[str] = "slow"

    def __post_init__(self) -> None:
        do = "Use one of xpnet.optimizers, such as Adam(lr=1e-3)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        refuse_resumed(self.optimizer, "Lookahead")
        require_count(self.k, "k")
        require_number(self.alpha, "alpha", above=0, high=1)
        take_after(self, self.optimizer)

    def mean(self, state: OptimizerState) -> Array:
        """Return φ, the last slot of ``state``, not a copy: a later step changes it."""
        return state.slots[-1]

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Those of the wrapped optimizer, then α or 0, and the weights of θ and φ in θ."""
        moves = state.step % self.k == 0
        last = (self.alpha, 0.0, 1.0) if moves else (0.0, 1.0, 0.0)
        return (*wrapping.scalars_of_inner(self, state, lr), *last)

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        inner = wrapping.inner_state(state)
        self.optimizer.update_unless(skip, theta, grad, inner, scalars[:-3])
        targets = theta, state.slots[-1]
        operations_for(theta).update_unless(skip, rules.lookahead, targets, (), scalars[-3:])

    def _begin(self, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
        wrapping.one_more_begin(self, theta, slots, parts)
        slots[-1][...] = theta

    evaluation_point = wrapping.one_more_evaluation_point
    _parts = wrapping.parts
    _scalar_count = wrapping.scalar_count
    _first_scalars = wrapping.first_scalars
    _are_scalars = wrapping.are_scalars
    _slot_sizes = wrapping.one_more_slot_sizes
    _slot_name = wrapping.one_more_slot_name
    _slot_layout = wrapping.one_more_slot_layout
