"""Freeze layers or parameters during training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpnet.backend import Array
from xpnet.errors import require, require_type, unknown_name
from xpnet.optimizers import wrapping
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.partition import Packed
from xpnet.optimizers.resuming import refuse_ascent, refuse_resumed
from xpnet.parameters import Layout, is_inside


@dataclass(frozen=True)
class Frozen(Optimizer):
    """An optimizer that does not change some parameters.

    ``optimizer`` updates only the free parameters, packed into one vector: it has no moments of
    the frozen ones, does not decay them, and does not include them in a norm. What precedes the
    update does: `ClipByNorm` computes the norm of the gradient of all parameters. The running
    statistics of a frozen `BatchNorm` are not parameters, so training still updates them.

    Args:
        optimizer: the optimizer of the free parameters, such as ``Adam(lr=1e-3)``.
        layout: the layout of the parameters, ``model.layout``.
        parts: the frozen parts, at least one and not all: layers by their index (``0``), or
            parameters by their path (``"layers.0.weight"``).

    Raises:
        ArgumentError: if a part does not exist or has no parameters, if all parameters are frozen,
            or if ``optimizer`` is `Resumed`.

    >>> import numpy as np
    >>> from xpnet import MLP, SGD
    >>> model = MLP(1, [2], 1)
    >>> frozen, theta = Frozen(SGD(lr=1.0), model.layout, [0]), np.zeros(7)
    >>> frozen.step(theta, np.ones(7), frozen.init(theta))
    >>> model.layout.views(theta)["layers.0.weight"], theta.sum()
    (array([[0., 0.]]), np.float64(-3.0))
    """

    optimizer: Optimizer
    layout: Layout
    parts: tuple[int | str, ...]
    _packed: Packed = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        do = "Use one of xpnet.optimizers, such as Adam(lr=1e-3)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        refuse_resumed(self.optimizer, "Frozen")
        refuse_ascent(self.optimizer, "Frozen")
        require_type(self.layout, Layout, "layout", "Give model.layout.")
        require(not isinstance(self.parts, (str, int)), "parts", "be a sequence", self.parts)
        parts = tuple(self.parts)
        require(len(parts) > 0, "parts", "name at least one part", list(parts))
        frozen = {path for part in parts for path in _paths(self.layout, part)}
        free = [e for e in self.layout.entries if e.path not in frozen]
        require(len(free) > 0, "parts", "leave a parameter to train", list(parts))
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "_packed", Packed.of(free))
        take_after(self, self.optimizer)

    def init(self, theta: Array, layout: Layout | None = None) -> OptimizerState:
        """Make the state of the free parameters; see `Optimizer.init`."""
        return super().init(theta, layout or self.layout)

    def evaluation_point(self, theta: Array, state: OptimizerState) -> Array:
        """See `Optimizer.evaluation_point`: that of the free parameters, with the frozen ones."""
        return self._packed.evaluation_point(self.optimizer, theta, state)

    def _parts(self, theta: Array, layout: Layout | None) -> Any:
        free = self._packed.layout
        return self.optimizer._parts(theta[: free.size], free)

    def _begin(self, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
        self.optimizer._begin(self._packed.gather(theta)[0], slots, parts)

    def _slot_sizes(self, n: int, parts: Any) -> list[int]:
        return self.optimizer._slot_sizes(self._packed.layout.size, parts)

    def _slot_layout(self, number: int, layout: Layout | None, parts: Any) -> Layout | None:
        return self.optimizer._slot_layout(number, self._packed.layout, parts)

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        rule = f"have the layout's size {self.layout.size}"
        require(theta.shape[0] == self.layout.size, "theta", rule, theta)
        self._packed.update(self.optimizer, theta, grad, state, scalars, skip)

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        free = self._packed.layout
        return self.optimizer._first_scalars(theta[: free.size], free)

    scalars = wrapping.scalars
    _scalar_count = wrapping.scalar_count
    _are_scalars = wrapping.are_scalars
    _slot_name = wrapping.slot_name


def _paths(layout: Layout, part: int | str) -> list[str]:
    """Return the paths of the parameters of ``part``."""
    prefix = part if isinstance(part, str) else f"layers.{part}"
    paths = [e.path for e in layout.entries if is_inside(e.path, prefix)]
    if not paths:
        known = {e.path for e in layout.entries} | {
            e.path.rpartition(".")[0] for e in layout.entries
        }
        raise unknown_name("a part to freeze", prefix, known)
    return paths
