"""Optimizers of parts of a vector, each on its part as if there were no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from xpnet.backend import Array, copied
from xpnet.errors import require
from xpnet.ops import operations_for
from xpnet.optimizers.base import Optimizer, OptimizerState
from xpnet.parameters import Entry, Layout


@dataclass(frozen=True)
class Packed:
    """Some entries of a layout as one vector.

    Attributes:
        spans: their slices of the vector, adjacent ones merged, which need fewer copies.
        layout: the layout of the packed vector.
    """

    spans: tuple[slice, ...]
    layout: Layout

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Packed:
        """The packed vector of entries, in the order of the vector."""
        spans: list[tuple[int, int]] = []
        for entry in entries:
            if spans and spans[-1][1] == entry.start:
                spans[-1] = spans[-1][0], entry.stop
            else:
                spans.append((entry.start, entry.stop))
        layout = Layout.of((e.path, e.shape, e.role) for e in entries)
        return cls(tuple(slice(*span) for span in spans), layout)

    def gather(self, *vectors: Array) -> tuple[Array, ...]:
        """The packed parts of vectors: views if the entries are adjacent, else copies."""
        if len(self.spans) == 1:
            return tuple(vector[self.spans[0]] for vector in vectors)
        xp, n = operations_for(vectors[0]).xp, self.layout.size
        packed = tuple(xp.empty_like(vector[:n]) for vector in vectors)
        # Slice by slice, because CuPy joins many arrays by a table of their addresses, which it
        # copies from the host: a captured step must not do so.
        for part, target in zip(self.spans, self._targets(), strict=True):
            for new, vector in zip(packed, vectors, strict=True):
                new[target] = vector[part]
        return packed

    def update(
        self,
        optimizer: Optimizer,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None,
    ) -> None:
        """Let ``optimizer`` update this part of θ; its state is of the packed vector."""
        packed, packed_grad = self.gather(theta, grad)
        optimizer.update_unless(skip, packed, packed_grad, state, scalars)
        if len(self.spans) > 1:
            self._scatter(packed, theta)

    def evaluation_point(self, optimizer: Optimizer, theta: Array, state: OptimizerState) -> Array:
        """``theta`` with this part at the evaluation point of its optimizer."""
        (packed,) = self.gather(theta)
        point = optimizer.evaluation_point(packed, state)
        if point is packed:
            return theta
        whole = copied(theta)
        self._scatter(point, whole)
        return whole

    def _scatter(self, packed: Array, theta: Array) -> None:
        for part, target in zip(self.spans, self._targets(), strict=True):
            theta[part] = packed[target]

    def _targets(self) -> list[slice]:
        """The slices of the packed vector that hold the spans."""
        ends = list(accumulate(span.stop - span.start for span in self.spans))
        return [slice(start, stop) for start, stop in pairwise([0, *ends])]


@dataclass(frozen=True)
class Part:
    """A part of the vector, and its optimizer.

    Attributes:
        optimizer: the optimizer.
        packed: the part.
        parts: those of the optimizer's own state.
        first_scalars: the scalars of its state before the first step.
        slot_sizes: the sizes of its slots.
        slots: its slots among those of the whole state.
        scalars: the scalars of its state among those of the whole state.
        rule_scalars: the scalars of its rule among those of a step.
    """

    optimizer: Optimizer
    packed: Packed
    parts: Any
    first_scalars: tuple[float, ...]
    slot_sizes: tuple[int, ...]
    slots: slice
    scalars: slice
    rule_scalars: slice

    def state(self, whole: OptimizerState) -> OptimizerState:
        """The state of its optimizer, with the same arrays."""
        return OptimizerState(
            tuple(whole.slots[self.slots]), whole.step, whole.scalars[self.scalars], self.parts
        )


@dataclass(frozen=True)
class Partition:
    """The parts of a vector, which do not overlap, each with an optimizer.

    Attributes:
        parts: the parts; together they are the whole vector.
        size: the size of the vector.
    """

    parts: tuple[Part, ...]
    size: int

    @classmethod
    def of(
        cls, theta: Array, size: int, groups: Iterable[tuple[Optimizer, Sequence[Entry]]]
    ) -> Partition:
        """The partition of ``theta``; groups without entries are left out."""
        parts: list[Part] = []
        at = 0, 0, 0
        for optimizer, entries in groups:
            if entries:
                parts.append(_part(theta, optimizer, entries, at))
                last = parts[-1]
                at = last.slots.stop, last.scalars.stop, last.rule_scalars.stop
        return cls(tuple(parts), size)

    def scalars(
        self, state: OptimizerState, rate: Callable[[Optimizer], float]
    ) -> tuple[float, ...]:
        """The scalars of all rules, at the learning rates that ``rate`` returns."""
        found: list[float] = []
        after: list[float] = []
        for part in self.parts:
            own = part.state(state)
            found += part.optimizer.scalars(own, rate(part.optimizer))
            after += own.scalars
        state.scalars = tuple(after)
        return tuple(found)

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None,
    ) -> None:
        """Let each optimizer update its part."""
        for part in self.parts:
            own, given = part.state(state), scalars[part.rule_scalars]
            part.packed.update(part.optimizer, theta, grad, own, given, skip)

    def find(self, number: int) -> tuple[Part, int]:
        """The part of a slot, and the number of the slot among those of the part."""
        part = next(part for part in self.parts if number < part.slots.stop)
        return part, number - part.slots.start


def _part(
    theta: Array, optimizer: Optimizer, entries: Sequence[Entry], at: tuple[int, int, int]
) -> Part:
    """A part of which the slots, scalars and scalars of the rule begin at these numbers."""
    packed = Packed.of(entries)
    like, layout = theta[: packed.layout.size], packed.layout
    parts, first = optimizer._parts(like, layout), optimizer._first_scalars(like, layout)
    sizes = tuple(optimizer._slot_sizes(layout.size, parts))
    n_given = len(optimizer.scalars(OptimizerState((), 1, first, parts), optimizer.lr))
    counts = len(sizes), len(first), n_given
    spans = [slice(start, start + count) for start, count in zip(at, counts, strict=True)]
    return Part(optimizer, packed, parts, first, sizes, *spans)


# The methods of an optimizer that has a `Partition` as the parts of its state. One class cannot
# inherit them together with `Optimizer`, because inheritance has one level.


def begin(self: Optimizer, theta: Array, slots: tuple[Array, ...], parts: Partition) -> None:
    """See `Optimizer._begin`."""
    for part in parts.parts:
        own = slots[part.slots]
        part.optimizer._begin(part.packed.gather(theta)[0], own, part.parts)


def update(
    self: Optimizer,
    theta: Array,
    grad: Array,
    state: OptimizerState,
    scalars: tuple[Any, ...],
    skip: Array | None = None,
) -> None:
    """See `Optimizer.update`."""
    parts: Partition = state.parts
    parts.update(theta, grad, state, scalars, skip)


def evaluation_point(self: Optimizer, theta: Array, state: OptimizerState) -> Array:
    """See `Optimizer.evaluation_point`."""
    for part in state.parts.parts:
        theta = part.packed.evaluation_point(part.optimizer, theta, part.state(state))
    return theta


def slot_sizes(self: Optimizer, n: int, parts: Partition | None) -> list[int]:
    """See `Optimizer._slot_sizes`; impossible sizes for a state without a layout."""
    if parts is None:
        return [-1]
    sizes = [size for part in parts.parts for size in part.slot_sizes]
    return sizes if n == parts.size else [-1] * len(sizes)


def scalar_count(self: Optimizer, parts: Partition | None) -> int:
    """See `Optimizer._scalar_count`."""
    return -1 if parts is None else sum(len(part.first_scalars) for part in parts.parts)


def first_scalars(self: Optimizer, theta: Array, layout: Layout | None) -> tuple[float, ...]:
    """See `Optimizer._first_scalars`."""
    parts: Partition = self._parts(theta, layout)
    return tuple(scalar for part in parts.parts for scalar in part.first_scalars)


def are_scalars(
    self: Optimizer, found: tuple[float, ...], first: tuple[float, ...], parts: Partition
) -> bool:
    """See `Optimizer._are_scalars`."""
    return all(
        part.optimizer._are_scalars(found[part.scalars], part.first_scalars, part.parts)
        for part in parts.parts
    )


def slot_name(self: Optimizer, number: int, parts: Partition) -> str:
    """See `Optimizer._slot_name`."""
    part, own = parts.find(number)
    return part.optimizer._slot_name(own, part.parts)


def slot_layout(
    self: Optimizer, number: int, layout: Layout | None, parts: Partition
) -> Layout | None:
    """See `Optimizer._slot_layout`."""
    part, own = parts.find(number)
    return part.optimizer._slot_layout(own, part.packed.layout, part.parts)


def require_layout(self: Optimizer, layout: Layout | None) -> Layout:
    """Refuse ``None``, with which no parameter can be selected."""
    name = type(self).__name__
    rule = f"be given for {name}, which selects parameters by their shapes and roles"
    require(layout is not None, "layout", rule, layout, "Write init(theta, model.layout).")
    assert layout is not None
    return layout
