"""What a layer is told during a pass, besides its parameters and its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from xpnet.backend import Array, Backend
from xpnet.ops.reference import Operations
from xpnet.random import stream_key


class Buffers:
    """Named arrays that are allocated once and used again at every step.

    One block a name, as large as the largest shape asked for; a smaller batch uses its beginning.

    >>> from xpnet.backend import get_backend
    >>> buffers = Buffers(get_backend("numpy"))
    >>> buffers.get("z", (4, 3)) is buffers.get("z", (4, 3))
    True
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._blocks: dict[str, Array] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Array] = {}

    def get(self, name: str, shape: tuple[int, ...]) -> Array:
        """The array called ``name`` with ``shape``; what it holds is left from its last use."""
        view = self._views.get((name, shape))
        return self._make(name, shape) if view is None else view

    def _make(self, name: str, shape: tuple[int, ...]) -> Array:
        size = prod(shape)
        if name not in self._blocks or self._blocks[name].shape[0] < size:
            self._blocks[name] = self._backend.empty(size)
            self._views = {key: view for key, view in self._views.items() if key[0] != name}
        view = self._backend.xp.reshape(self._blocks[name][:size], shape)
        self._views[name, shape] = view
        return view


@dataclass(slots=True)
class Context:
    """One layer's surroundings in a pass.

    Attributes:
        ops: the operations of the backend.
        training: whether batch norm normalizes by the batch and dropout drops.
        statistics: the layer's views of the running statistics (batch norm).
        update_statistics: whether a training pass updates them.
        seed: of the random masks.
        layer: the index of the layer, part of its masks' key.
        step: the number of the training pass, part of its masks' key.
        need_dx: whether ``backward`` must return the gradient of the layer's input.
        buffers: reusable arrays, or ``None`` where every result is a new array.
    """

    ops: Operations
    training: bool = False
    statistics: Mapping[str, Array] = field(default_factory=dict)
    update_statistics: bool = True
    seed: int = 0
    layer: int = 0
    step: int = 0
    need_dx: bool = True
    buffers: Buffers | None = None

    @property
    def key(self) -> int:
        """The key of this layer's random masks in this pass."""
        return stream_key(self.seed, self.layer, self.step)

    def buffer(self, name: str, *shape: int) -> Array | None:
        """An array to pass as ``out=``: reused memory, or ``None`` to have a new one made."""
        return None if self.buffers is None else self.buffers.get(name, shape)
