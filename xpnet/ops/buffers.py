"""Scratch memory: arrays by name and shape that are allocated once and used at every step."""

from __future__ import annotations

from math import prod
from typing import Any, Protocol

from xpnet.backend import Array, Namespace


class Memory(Protocol):
    """An allocator of flat arrays: a `Backend`, or the allocator of a recorded pass."""

    @property
    def xp(self) -> Namespace:
        """The namespace of the arrays."""
        ...

    def empty(self, size: int, /) -> Array:
        """A new uninitialized flat array of ``size`` floating numbers."""
        ...


class Buffers(dict[Any, Array]):
    """Arrays by name and shape that are allocated once and reused at every step.

    Each name has one block of memory, as large as the largest shape requested; arrays of smaller
    shapes use its beginning and therefore overlap. An array holds the values of its last use.

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
        """The blocks of memory that the arrays are views of."""
        return list(self._blocks.values())


class NoBuffers:
    """No scratch memory: every lookup returns ``None``, so operations return new arrays.

    >>> NoBuffers()["z", 4, 3]
    """

    def __getitem__(self, key: object) -> None:
        return None

    @property
    def blocks(self) -> list[Array]:
        """Always empty."""
        return []


class Scratch:
    """Arrays for the gradients of a backward pass, used in turn.

    A layer computes the gradient with respect to its input from the gradient with respect to its
    output, so two arrays suffice for layers in a row: `next` alternates between them.

    Args:
        buffers: allocates the arrays.
        n_arrays: the number of arrays; ``None``: `next` returns each array once in a pass, so that
            a layer may keep the results of several layers inside it.

    >>> from xpnet.backend import get_backend
    >>> scratch = Scratch(Buffers(get_backend("numpy")), n_arrays=2)
    >>> dz, dx = scratch.next(4, 3), scratch.next(4, 3)
    >>> dz is dx, dz is scratch.next(4, 3)
    (False, True)
    """

    def __init__(self, buffers: Buffers | NoBuffers, n_arrays: int | None) -> None:
        self._buffers, self._n_arrays, self._turn = buffers, n_arrays, 0

    def restart(self) -> None:
        """Begin a pass."""
        self._turn = 0

    def next(self, *shape: int) -> Array | None:
        """The next array, reshaped; ``None`` without buffers."""
        self._turn += 1
        n_arrays = self._n_arrays
        return self._buffers[self._turn if n_arrays is None else self._turn % n_arrays, *shape]

    def settle(self, result: Array, out: Array | None) -> Array:
        """Return ``result``; unless it is ``out``, the array of the last `next` is unused again."""
        if result is not out:
            self._turn -= 1
        return result

    @property
    def blocks(self) -> list[Array]:
        """The blocks of memory of the arrays; see `Buffers.blocks`."""
        return self._buffers.blocks
