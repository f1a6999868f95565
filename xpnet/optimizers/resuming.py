"""Resume training from a state instead of a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xpnet.backend import Array, namespace_of
from xpnet.errors import require, require_type
from xpnet.optimizers import wrapping
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.parameters import Layout


@dataclass(frozen=True, eq=False)
class Resumed(Optimizer):
    """An optimizer that starts from a given state: moments, number of steps, average.

    With it, ``fit`` continues the training of an earlier call or process::

        state = load_state("state.safetensors", backend=model.backend)
        model.fit(X, y, loss=CrossEntropy(), optimizer=Resumed(Adam(), state))

    It is outside of `Averaged` and `Frozen`, which have other states than the optimizers that they
    wrap.

    Args:
        optimizer: the optimizer that made the state.
        state: the state, which `init` copies; not changed.

    Raises:
        ArgumentError: if an argument has another type; from `init`, if the state does not fit.

    >>> import numpy as np
    >>> from xpnet.optimizers import Momentum
    >>> resumed = Resumed(Momentum(), OptimizerState((np.ones(2),), step=5))
    >>> resumed.init(np.zeros(2))
    OptimizerState(slots=(array([1., 1.]),), step=5, scalars=())
    """

    optimizer: Optimizer
    state: OptimizerState

    def __post_init__(self) -> None:
        do = "Use one of xpnet.optimizers, such as Adam(lr=1e-3)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        require_type(self.state, OptimizerState, "state", "load_state reads one from a file.")
        take_after(self, self.optimizer)

    def init(self, theta: Array, layout: Layout | None = None) -> OptimizerState:
        """Return a copy of the state, after validating that it is finite and fits ``theta``."""
        fresh = self.optimizer.init(theta, layout)
        kinds = [
            [(namespace_of(slot), slot.dtype, slot.shape) for slot in state.slots]
            for state in (fresh, self.state)
        ]
        if kinds[0] != kinds[1] or len(fresh.scalars) != len(self.state.scalars):
            self.optimizer._refuse_state(theta, self.state)
        state = replace(self.state, parts=fresh.parts)
        self.check_finite(state, layout)
        return state.copy()

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        self.optimizer.update_unless(skip, theta, grad, state, scalars)

    scalars = wrapping.scalars
    evaluation_point = wrapping.evaluation_point
    _scalar_count = wrapping.scalar_count
    _are_scalars = wrapping.are_scalars
    _slot_sizes = wrapping.slot_sizes
    _slot_name = wrapping.slot_name
    _slot_layout = wrapping.slot_layout


def refuse_resumed(inner: Optimizer, wrapper: str) -> None:
    """Refuse `Resumed` in a wrapper, which makes a new state and would ignore that of `Resumed`."""
    do = f"Put Resumed outside: Resumed({wrapper}(...), state)."
    rule = f"begin with a new state inside {wrapper}"
    require(not isinstance(inner, Resumed), "optimizer", rule, inner, do)


def refuse_ascent(inner: Optimizer, wrapper: str) -> None:
    """Refuse `SAM` in an optimizer of some parameters, because its norm is that of all."""
    rule, do = f"be outside of {wrapper}, not inside", f"Write SAM({wrapper}(...))."
    do = do if wrapper != "SAM" else "Leave one out."
    require(inner.ascent == 0, "SAM", rule, inner, do)
