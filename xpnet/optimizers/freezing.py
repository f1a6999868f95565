"""Freeze layers or parameters during training."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

from xpnet.backend import Array
from xpnet.errors import require, require_type, unknown_name
from xpnet.ops import operations_for
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.resuming import refuse_resumed
from xpnet.parameters import Layout


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
    _spans: tuple[slice, ...] = field(init=False, repr=False, compare=False)
    _free: Layout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        do = "Use one of xpnet.optimizers, such as Adam(lr=1e-3)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        refuse_resumed(self.optimizer, "Frozen")
        require_type(self.layout, Layout, "layout", "Give model.layout.")
        require(not isinstance(self.parts, (str, int)), "parts", "be a sequence", self.parts)
        parts = tuple(self.parts)
        require(len(parts) > 0, "parts", "name at least one part", list(parts))
        frozen = {path for part in parts for path in _paths(self.layout, part)}
        free = [e for e in self.layout.entries if e.path not in frozen]
        require(len(free) > 0, "parts", "leave a parameter to train", list(parts))
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "_spans", _merged([(e.start, e.stop) for e in free]))
        object.__setattr__(self, "_free", Layout.of((e.path, e.shape, e.role) for e in free))
        take_after(self, self.optimizer)

    def init(self, theta: Array, layout: Layout | None = None) -> OptimizerState:
        """Make the state of the free parameters; see `Optimizer.init`."""
        return super().init(theta, layout or self.layout)

    def _slot_sizes(self, n: int) -> list[int]:
        return self.optimizer._slot_sizes(self._free.size)

    def _slot_name(self, number: int) -> str:
        return self.optimizer._slot_name(number)

    def _slot_layout(self, number: int, layout: Layout | None) -> Layout | None:
        return self.optimizer._slot_layout(number, self._free)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Return the scalars of the wrapped optimizer."""
        return self.optimizer.scalars(state, lr)

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
        if len(self._spans) == 1:
            part = self._spans[0]
            self.optimizer.update_unless(skip, theta[part], grad[part], state, scalars)
            return
        xp, n = operations_for(theta).xp, self._free.size
        packed, packed_grad = (xp.empty_like(vector[:n]) for vector in (theta, grad))
        # Slice by slice, because CuPy joins many arrays by a table of their addresses, which it
        # copies from the host: a captured step must not do so.
        targets = _packed(self._spans)
        for part, target in zip(self._spans, targets, strict=True):
            packed[target] = theta[part]
            packed_grad[target] = grad[part]
        self.optimizer.update_unless(skip, packed, packed_grad, state, scalars)
        for part, target in zip(self._spans, targets, strict=True):
            theta[part] = packed[target]

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        return self.optimizer._first_scalars(theta[: self._free.size], self._free)

    def _are_scalars(self, found: tuple[float, ...], first: tuple[float, ...]) -> bool:
        return self.optimizer._are_scalars(found, first)


def _paths(layout: Layout, part: int | str) -> list[str]:
    """Return the paths of the parameters of ``part``."""
    prefix = part if isinstance(part, str) else f"layers.{part}"
    paths = [e.path for e in layout.entries if e.path == prefix or e.path.startswith(f"{prefix}.")]
    if not paths:
        known = {e.path for e in layout.entries} | {
            e.path.rpartition(".")[0] for e in layout.entries
        }
        raise unknown_name("a part to freeze", prefix, known)
    return paths


def _merged(spans: list[tuple[int, int]]) -> tuple[slice, ...]:
    """Return the spans with adjacent ones merged, which need fewer copies."""
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if merged and merged[-1][1] == start:
            merged[-1] = merged[-1][0], stop
        else:
            merged.append((start, stop))
    return tuple(slice(*span) for span in merged)


def _packed(spans: tuple[slice, ...]) -> list[slice]:
    """Return the slices of the packed vector that hold the spans."""
    ends = list(accumulate(span.stop - span.start for span in spans))
    return [slice(start, stop) for start, stop in pairwise([0, *ends])]
