"""Several optimizers, each of some layers or roles: groups of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array
from xpnet.errors import Phrase, require, require_count, require_type, unknown_name
from xpnet.optimizers import partition
from xpnet.optimizers.adam import Adam
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.partition import Partition
from xpnet.optimizers.resuming import refuse_ascent, refuse_resumed
from xpnet.parameters import ROLES, Entry, Layout, is_inside


class Selector:
    """Base class of the conditions of `Grouped`, frozen dataclasses that are saved by value."""

    def __call__(self, entry: Entry) -> bool:
        """Return whether a parameter belongs to the group."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(entry)")


@dataclass(frozen=True)
class ByRole(Selector):
    """The parameters of a role.

    Args:
        role: ``"weight"``, ``"bias"``, ``"scale"`` or ``"shift"``.

    Raises:
        ArgumentError: if there is no such role of parameters.

    >>> from xpnet import MLP
    >>> [e.path for e in MLP(1, [2], 1).layout.entries if ByRole("bias")(e)]
    ['layers.0.bias', 'layers.1.bias']
    """

    role: str

    def __post_init__(self) -> None:
        if self.role not in ROLES[:-1]:  # statistics are not optimized
            raise unknown_name("role", self.role, ROLES[:-1])

    def __call__(self, entry: Entry) -> bool:
        """Return whether the parameter has the role."""
        return entry.role == self.role


@dataclass(frozen=True)
class ByLayer(Selector):
    """The parameters of a layer, and of the layers inside it.

    Args:
        layer: the index of the layer in the model, at least 0.

    Raises:
        ArgumentError: if ``layer`` is not an integer of at least 0.

    >>> from xpnet import MLP
    >>> [e.path for e in MLP(1, [2], 1).layout.entries if ByLayer(1)(e)]
    ['layers.1.weight', 'layers.1.bias']
    """

    layer: int

    def __post_init__(self) -> None:
        require_count(self.layer, "layer", low=0)

    def __call__(self, entry: Entry) -> bool:
        """Return whether the parameter is of the layer."""
        return is_inside(entry.path, f"layers.{self.layer}")


@dataclass(frozen=True)
class ByPath(Selector):
    """One parameter, or all parameters of a layer that is inside others.

    Args:
        path: the path of the parameter, ``"layers.0.weight"``, or its beginning up to a dot.

    Raises:
        ArgumentError: if ``path`` is not a string.

    >>> from xpnet import MLP
    >>> [e.shape for e in MLP(1, [2], 1).layout.entries if ByPath("layers.0.weight")(e)]
    [(1, 2)]
    """

    path: str

    def __post_init__(self) -> None:
        require_type(self.path, str, "path", 'Write a path such as "layers.0.weight".')

    def __call__(self, entry: Entry) -> bool:
        """Return whether the parameter has the path, or begins with it."""
        return is_inside(entry.path, self.path)


@dataclass(frozen=True, repr=False)
class ByFunction(Selector):
    """The parameters for which a function returns true; `Grouped` makes it of a function.

    Args:
        function: ``function(entry) -> bool`` of an `xpnet.parameters.Entry`, which has a path, a
            shape and a role.

    Raises:
        ArgumentError: if ``function`` cannot be called.

    >>> from xpnet import MLP
    >>> wide = ByFunction(lambda e: len(e.shape) == 2 and e.shape[1] > 1)
    >>> [e.path for e in MLP(1, [2], 1).layout.entries if wide(e)]
    ['layers.0.weight']
    >>> wide
    ByFunction(<lambda>)
    """

    function: Callable[[Entry], bool]

    def __post_init__(self) -> None:
        ok = callable(self.function) and not isinstance(self.function, type)
        require(ok, "function", "be a function of an entry", self.function)

    def __repr__(self) -> str:
        """Without the address of the function, which differs between processes."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return f"ByFunction({name.rpartition('.')[2]})"

    def __call__(self, entry: Entry) -> bool:
        """Return what the function returns."""
        return bool(self.function(entry))


@dataclass(frozen=True)
class Grouped(Optimizer):
    """Other optimizers, rates or decays for some parameters, by layer or role.

    Each optimizer updates its parameters as if there were no others: it has moments only of them,
    and a norm that it computes is theirs. `ClipByNorm` precedes the update and computes that of all
    parameters. A group of adjacent parameters, such as a role, is updated in place; one of parts
    that are not adjacent, such as a layer, is copied to a vector and back in each step.

    ``lr`` is that of ``default``, also in the history. A schedule, or the ``lr`` of a step, changes
    the rates of all groups by the same factor, ``lr/default.lr``.

    Args:
        groups: pairs ``(condition, optimizer)``. A condition is `ByRole`, `ByLayer` or `ByPath`,
            or a function of `xpnet.parameters.Entry` such as ``lambda e: e.role == "bias"``. A
            function cannot be written to the file of a training: `xpnet.resume` refuses it, and
            ``fit(..., resume=path)`` takes it again.
        default: the optimizer of the parameters that no condition selects. Default ``Adam()``.

    Raises:
        ArgumentError: if an argument has another type, or an optimizer is `Resumed`; from `init`,
            if there is no layout, a condition selects no parameter, or two select the same.

    >>> import numpy as np
    >>> from xpnet import MLP, SGD
    >>> model = MLP(1, [2], 1)
    >>> grouped, theta = Grouped([(ByRole("bias"), SGD(lr=2.0))], default=SGD(lr=1.0)), np.zeros(7)
    >>> grouped.step(theta, np.ones(7), grouped.init(theta, model.layout))
    >>> theta
    array([-1., -1., -1., -1., -2., -2., -2.])
    """

    groups: Sequence[tuple[Callable[[Entry], bool], Optimizer]]
    default: Optimizer = Adam()

    def __post_init__(self) -> None:
        do = 'Write groups=[(ByRole("bias"), SGD(lr=0.1))].'
        ok = isinstance(self.groups, (list, tuple)) and len(self.groups) > 0
        require(ok, "groups", "be pairs of a condition and an optimizer", self.groups, do)
        require_type(self.default, Optimizer, "default", "Use one such as Adam(lr=1e-3).")
        refuse_resumed(self.default, "Grouped")
        refuse_ascent(self.default, "Grouped")
        pairs = tuple(_pair(pair, f"groups[{i}]", do) for i, pair in enumerate(self.groups))
        object.__setattr__(self, "groups", pairs)
        take_after(self, self.default)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Return those of every group, each at its own rate times ``lr/default.lr``."""
        base = self.default.lr

        def rate(optimizer: Optimizer) -> float:
            return lr if optimizer.lr == base else optimizer.lr * (lr / base)

        parts: Partition = state.parts
        return parts.scalars(state, rate)

    def _parts(self, theta: Array, layout: Layout | None) -> Partition:
        layout = partition.require_layout(self, layout)
        chosen: list[list[Entry]] = [[] for _ in (*self.groups, self.default)]
        for entry in layout.entries:
            found = [i for i, (select, _) in enumerate(self.groups) if select(entry)]
            if len(found) > 1:
                both = " and ".join(f"groups[{i}], {self.groups[i][0]!r}," for i in found[:2])
                got = Phrase(f"{entry.path}, which {both} both select")
                require(False, "groups", "select each parameter once", got)
            chosen[found[0] if found else -1].append(entry)
        for i, (select, _) in enumerate(self.groups):
            rule = "select a parameter of the layout"
            known = ", ".join(f"{e.path} ({e.role})" for e in layout.entries)
            do = f"The parameters are {known}."
            require(len(chosen[i]) > 0, f"groups[{i}]", rule, select, do)
        optimizers = [*(optimizer for _, optimizer in self.groups), self.default]
        return Partition.of(theta, layout.size, zip(optimizers, chosen, strict=True))

    update = partition.update
    evaluation_point = partition.evaluation_point
    _begin = partition.begin
    _slot_sizes = partition.slot_sizes
    _scalar_count = partition.scalar_count
    _first_scalars = partition.first_scalars
    _are_scalars = partition.are_scalars
    _slot_name = partition.slot_name
    _slot_layout = partition.slot_layout


def _pair(pair: Any, argument: str, do: str) -> tuple[Selector, Optimizer]:
    """A condition and an optimizer, validated; a function as `ByFunction`."""
    ok = isinstance(pair, (list, tuple)) and len(pair) == 2
    require(ok, argument, "be a pair of a condition and an optimizer", pair, do)
    select, optimizer = pair
    ok = callable(select) and not isinstance(select, type)
    require(ok, f"the condition of {argument}", "be a function of an entry", select, do)
    require_type(optimizer, Optimizer, f"the optimizer of {argument}", do)
    refuse_resumed(optimizer, "Grouped")
    refuse_ascent(optimizer, "Grouped")
    return select if isinstance(select, Selector) else ByFunction(select), optimizer
