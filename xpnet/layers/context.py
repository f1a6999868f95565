"""The context of a layer in a pass: operations, mode, statistics, random masks and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from xpnet.backend import Array
from xpnet.errors import Phrase, require, require_count
from xpnet.ops.buffers import Buffers, Memory, NoBuffers, Scratch
from xpnet.ops.operations import Operations, declares
from xpnet.random import MaskStream, stream_key

MAX_CHILDREN = 1 << 16
"""The number of positions inside one layer, so that no two keys of random masks are equal."""


@dataclass(slots=True, eq=False)
class Context:
    """The inputs of a layer in a pass other than its parameters and its input array.

    A layer that contains layers gives each of them a context from `child`, with separate memory,
    statistics, `need_dx` and random masks. A pass changes its contexts, so two threads must not use
    one at the same time.

    Attributes:
        ops: the operations of the backend.
        training: whether batch norm normalizes by the batch and dropout drops.
        statistics: the layer's views of the running statistics (batch norm).
        update_statistics: whether a training pass updates them.
        masks: the stream of random masks, common to all layers of a network.
        index: the position of the layer among its siblings, which is part of the key of its masks.
        parent: the context of the layer that contains this one, or ``None``.
        need_dx: whether ``backward`` must return the gradient with respect to the input.
        memory: the allocator of buffers that passes reuse; ``None``: every result is a new array.
        scratch: the arrays of the backward pass. The argument ``shared_scratch`` is the `Scratch`
            that layers in a row share; without it the context has a separate one, which hands out
            each array once in a pass.
        device_key: the key of the random masks as an array of one int64 on the device; ``None`` to
            compute it from ``masks`` and ``index``.
        device_row: `first_row` as such an array; ``None`` to read it from ``masks``.
    """

    ops: Operations
    training: bool = False
    statistics: Mapping[str, Array] = field(default_factory=dict)
    update_statistics: bool = True
    masks: MaskStream = field(default_factory=MaskStream)
    index: int = 0
    parent: Context | None = None
    need_dx: bool = True
    memory: Memory | None = None
    shared_scratch: InitVar[Scratch | None] = None
    device_key: Array | None = None
    device_row: Array | None = None
    scratch: Scratch = field(init=False, repr=False)
    _buffers: list[Buffers | NoBuffers] = field(init=False, repr=False, default_factory=list)
    _children: dict[int, Context] = field(init=False, repr=False, default_factory=dict)
    _row_scratch: Scratch | None = field(init=False, repr=False, default=None)
    _claims: int = field(init=False, repr=False, default=0)
    _key_claim: int = field(init=False, repr=False, default=0)

    def __post_init__(self, shared_scratch: Scratch | None) -> None:
        self.scratch = shared_scratch or Scratch(self._new_buffers(), n_arrays=None)

    def _new_buffers(self) -> Buffers | NoBuffers:
        return NoBuffers() if self.memory is None else Buffers(self.memory)

    def begin_pass(self) -> None:
        """Start a forward pass: buffers are handed out from the first one again."""
        self._claims = self._key_claim = 0
        self.scratch.restart()
        for child in self._children.values():
            child.begin_pass()

    def set_update_statistics(self, wanted: bool) -> None:
        """Set `update_statistics` here and in the contexts inside this one."""
        self.update_statistics = wanted
        for child in self._children.values():
            child.set_update_statistics(wanted)

    def claim(self) -> Buffers | NoBuffers:
        """The buffers of the next layer that uses this context in a forward pass.

        ``buffers["z", m, n]`` is an array to pass as ``out=``, or ``None``, with which an operation
        returns a new array. A layer claims its context once in each forward pass. If a layer passes
        its context to layers inside it, each of their claims gives separate buffers and a separate
        key of random masks.
        """
        self._claims += 1
        if self._claims > len(self._buffers):
            self._buffers.append(self._new_buffers())
        return self._buffers[self._claims - 1]

    def child(self, i: int, *, need_dx: bool | None = None, in_row: bool = False) -> Context:
        """The context of the layer at position ``i`` inside this one, the same object every time.

        Its statistics are the statistics of this context that `nested_specs` names for layer ``i``,
        and the key of its random masks is derived from the key of this context and ``i``.

        Args:
            i: the position, at least 0 and below `MAX_CHILDREN`.
            need_dx: whether the inner ``backward`` must return the gradient with respect to its
                input; ``None`` for layers in a row: all but the first must, and the first if this
                layer must.
            in_row: whether its scratch arrays are the two that layers in a row share; see `row`.

        Raises:
            ArgumentError: if ``i`` is no such position.
        """
        known = self._children.get(i)
        if known is None:
            require_count(i, "i", low=0)
            require(i < MAX_CHILDREN, "i", f"be below {MAX_CHILDREN}", i)
            known = self._children[i] = Context(
                self.ops,
                self.training,
                child_views(self.statistics, i),
                self.update_statistics,
                index=i,
                parent=self,
                memory=self.memory,
                shared_scratch=self._row_scratch if in_row else None,
            )
        known.need_dx = (i > 0 or self.need_dx) if need_dx is None else need_dx
        return known

    def row(self, layers: Sequence[Any]) -> list[Context]:
        """The contexts of layers in a row inside this one, those of `child`.

        Their backward passes use two arrays in turn, which are none of this context. A layer that
        may read ``dy`` after the backward pass of a layer inside it has scratch of its own.
        """
        if self._row_scratch is None:
            self._row_scratch = Scratch(self._new_buffers(), n_arrays=2)
        return [
            self.child(i, in_row=declares(layer, "releases_dy")) for i, layer in enumerate(layers)
        ]

    @property
    def key(self) -> Any:
        """The key of the random masks of the layer that claimed this context last, in this pass.

        A layer reads it once in ``forward``, after `claim`, so that no two layers share a mask. A
        layer that needs several masks derives their keys with `xpnet.random.stream_key`.

        Raises:
            ArgumentError: if the context has not been claimed since the key was read last.
        """
        rule, do = (
            "be read once after each claim",
            "Call ctx.claim() in forward, then keep the key.",
        )
        got = Phrase("another reading" if self._claims else "a context without a claim")
        require(self._claims > self._key_claim, "ctx.key", rule, got, do)
        self._key_claim = self._claims
        return self._current_key()

    @property
    def first_row(self) -> Any:
        """The row of the batch at which the rows of this pass begin; not 0 in its later parts.

        A random layer passes it to ``ops.keep_mask``, so that a batch has the same mask whether it
        is computed in one pass or in parts; see ``accumulate`` of `Sequential.fit`.
        """
        if self.parent is not None:
            return self.parent.first_row
        return self.masks.first_row if self.device_row is None else self.device_row

    def _current_key(self) -> Any:
        if self.parent is not None:
            key = stream_key(self.parent._current_key(), MAX_CHILDREN | self.index)
        elif self.device_key is not None:
            key = self.device_key
        else:
            key = self.masks.key(self.index)
        return key if self._claims < 2 else stream_key(key, self._claims)

    @property
    def blocks(self) -> Iterator[Array]:
        """The memory of the buffers of this context and its children."""
        for buffers in (*self._buffers, self.scratch):
            yield from buffers.blocks
        for child in self._children.values():
            yield from child.blocks


def child_views(views: Mapping[str, Array], i: int) -> dict[str, Array]:
    """The views of layer ``i`` inside a layer, as `nested_specs` names them.

    >>> child_views({"0_weight": 1, "1_weight": 2, "10_weight": 3}, 1)
    {'weight': 2}
    """
    prefix = f"{i}_"
    return {k.removeprefix(prefix): view for k, view in views.items() if k.startswith(prefix)}
