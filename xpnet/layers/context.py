"""What a layer is told during a pass, besides its parameters and its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

from xpnet.backend import Array, Namespace
from xpnet.ops.operations import Operations
from xpnet.random import stream_key


class Memory(Protocol):
    """Where buffers come from: a `Backend`, or what has the use of them recorded."""

    @property
    def xp(self) -> Namespace: ...  # noqa: D102

    def empty(self, size: int, /) -> Array:
        """A new flat array of ``size`` floating numbers, whatever they are."""
        ...


class Buffers(dict[Any, Array]):
    """Arrays by name and shape that are allocated once and used again at every step.

    One block a name, as large as the largest shape asked for; a smaller batch uses its beginning.
    What an array holds is left from its last use.

    >>> from xpnet.backend import get_backend
    >>> buffers = Buffers(get_backend("numpy"))
    >>> buffers["z", 4, 3] is buffers["z", 4, 3]
    True
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self._memory = memory
        self._blocks: dict[str, Array] = {}

    def __missing__(self, key: tuple[Any, ...]) -> Array:
        name, *shape = key
        size = prod(shape)
        if name not in self._blocks or self._blocks[name].shape[0] < size:
            self._blocks[name] = self._memory.empty(size)
            for old in [other for other in self if other[0] == name]:
                del self[old]
        view = self[key] = self._memory.xp.reshape(self._blocks[name][:size], tuple(shape))
        return view

    @property
    def blocks(self) -> list[Array]:
        """The memory that the arrays lie in."""
        return list(self._blocks.values())


class NoBuffers:
    """No array under any name, so that every result is a new one.

    >>> NoBuffers()["z", 4, 3]
    """

    def __getitem__(self, key: object) -> None:
        return None

    def get(self, key: object) -> None:
        """No array either."""

    @property
    def blocks(self) -> list[Array]:
        """None at all."""
        return []


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
        buffers: by name and shape an array to pass as ``out=``, or ``None`` to have a new one
            made: ``ctx.buffers["z", m, n]``.
        scratch: buffers that the layers of a network share on the way back, ``dx`` and ``dz``: what
            one of them leaves there is the dy of the layer before, and done with after that.
        last: whether dy comes from the loss, and so is no part of the scratch.
        device_key: the key of the random masks where it lies on the device, an array of one int64;
            ``None`` if it is what seed, layer and step make.
    """

    ops: Operations
    training: bool = False
    statistics: Mapping[str, Array] = field(default_factory=dict)
    update_statistics: bool = True
    seed: int = 0
    layer: int = 0
    step: int = 0
    need_dx: bool = True
    buffers: Buffers | NoBuffers = field(default_factory=NoBuffers)
    scratch: Buffers | NoBuffers = field(default_factory=NoBuffers)
    last: bool = False
    device_key: Array | None = None

    def room(self, dy: Array, *shape: int, name: str = "dx") -> Array | None:
        """An array for what is made of ``dy`` on the way back, elsewhere than ``dy`` itself.

        In the scratch, if it is known where in it ``dy`` lies; a layer of somebody else's may have
        made a view of it. Two arrays under different names are apart in any case.
        """
        for here, other in (("dx", "dz"), ("dz", "dx")):
            if self.scratch.get((here, *dy.shape)) is dy:
                return self.scratch[other, *shape]
        return (self.scratch if self.last else self.buffers)[name, *shape]

    @property
    def key(self) -> Any:
        """The key of this layer's random masks in this pass."""
        if self.device_key is not None:
            return self.device_key
        return stream_key(self.seed, self.layer, self.step)
