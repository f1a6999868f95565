"""Methods of the optimizers that wrap another one, the attribute ``optimizer``.

A class assigns them to its own names, because inheritance has one level. Those with ``one_more``
are of wrappers with one slot after those of the wrapped optimizer, named ``last_slot``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xpnet.backend import Array
from xpnet.optimizers.base import OptimizerState
from xpnet.parameters import Layout


def parts(self: Any, theta: Array, layout: Layout | None) -> Any:
    """See `Optimizer._parts`."""
    return self.optimizer._parts(theta, layout)


def begin(self: Any, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
    """See `Optimizer._begin`."""
    self.optimizer._begin(theta, slots, parts)


def scalar_count(self: Any, parts: Any) -> int:
    """See `Optimizer._scalar_count`."""
    count: int = self.optimizer._scalar_count(parts)
    return count


def first_scalars(self: Any, theta: Array, layout: Layout | None) -> tuple[float, ...]:
    """See `Optimizer._first_scalars`."""
    first: tuple[float, ...] = self.optimizer._first_scalars(theta, layout)
    return first


def are_scalars(self: Any, found: tuple[float, ...], first: tuple[float, ...], parts: Any) -> bool:
    """See `Optimizer._are_scalars`."""
    return bool(self.optimizer._are_scalars(found, first, parts))


def slot_sizes(self: Any, n: int, parts: Any) -> list[int]:
    """See `Optimizer._slot_sizes`."""
    sizes: list[int] = self.optimizer._slot_sizes(n, parts)
    return sizes


def slot_name(self: Any, number: int, parts: Any) -> str:
    """See `Optimizer._slot_name`."""
    name: str = self.optimizer._slot_name(number, parts)
    return name


def slot_layout(self: Any, number: int, layout: Layout | None, parts: Any) -> Layout | None:
    """See `Optimizer._slot_layout`."""
    found: Layout | None = self.optimizer._slot_layout(number, layout, parts)
    return found


def scalars(self: Any, state: OptimizerState, lr: float) -> tuple[float, ...]:
    """See `Optimizer.scalars`: those of the wrapped optimizer."""
    found: tuple[float, ...] = self.optimizer.scalars(state, lr)
    return found


def evaluation_point(self: Any, theta: Array, state: OptimizerState) -> Array:
    """See `Optimizer.evaluation_point`: that of the wrapped optimizer."""
    return self.optimizer.evaluation_point(theta, state)


def one_more_evaluation_point(self: Any, theta: Array, state: OptimizerState) -> Array:
    """See `Optimizer.evaluation_point`: that of the wrapped optimizer."""
    return self.optimizer.evaluation_point(theta, inner_state(state))


def one_more_begin(self: Any, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
    """See `Optimizer._begin`."""
    self.optimizer._begin(theta, slots[:-1], parts)


def one_more_slot_sizes(self: Any, n: int, parts: Any) -> list[int]:
    """See `Optimizer._slot_sizes`."""
    return [*self.optimizer._slot_sizes(n, parts), n]


def one_more_slot_name(self: Any, number: int, parts: Any) -> str:
    """See `Optimizer._slot_name`."""
    is_last = number == len(self.optimizer._slot_sizes(1, parts))
    return str(self.last_slot if is_last else self.optimizer._slot_name(number, parts))


def one_more_slot_layout(
    self: Any, number: int, layout: Layout | None, parts: Any
) -> Layout | None:
    """See `Optimizer._slot_layout`."""
    is_last = number == len(self.optimizer._slot_sizes(1, parts))
    return layout if is_last else self.optimizer._slot_layout(number, layout, parts)


def inner_state(state: OptimizerState) -> OptimizerState:
    """The state of the optimizer inside a wrapper with one more slot, with the same arrays."""
    return replace(state, slots=state.slots[:-1])


def scalars_of_inner(self: Any, state: OptimizerState, lr: float) -> tuple[float, ...]:
    """The scalars of the wrapped optimizer, of which the state keeps its own."""
    inner = inner_state(state)
    found: tuple[float, ...] = self.optimizer.scalars(inner, lr)
    state.scalars = inner.scalars
    return found
