"""The loss and its gradient on a batch, and the output on many rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from xpnet.backend import Array, Backend, HostArray, copied
from xpnet.data.batching import spans
from xpnet.data.mapped import forget_pages
from xpnet.engine.loss_scaling import LossScaling
from xpnet.layers.base import Views
from xpnet.layers.context import Memory
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.ops import operations_for
from xpnet.ops.operations import Precision
from xpnet.random import stream_key

CHUNK_ROWS = 4096
"""How many rows are evaluated at a time: large enough for the matrix units, small in memory."""

HOST_ROWS = 1024
"""The same on the host, where what one layer hands to the next should stay in the cache."""

FEW_ROWS = 64
"""Up to how many rows new arrays cost less than buffers."""


class Gradient:
    """``(X, y) ↦ L(θ), ∂L/∂θ`` in training mode, with views and buffers made once.

    Args:
        network: the layers.
        memory: where its buffers come from, a backend in general.
        theta: the flat parameters, read through views at every call.
        grad: the flat gradient, overwritten through views at every call.
        statistics: the running statistics of batch norm.

    Attributes:
        steps: how many calls have drawn their masks; a mask depends on it.
        scaling: the scale of the loss for products in fp16, or ``None``.
    """

    def __init__(
        self,
        network: Network,
        memory: Memory,
        theta: Array,
        grad: Array,
        statistics: Array,
    ) -> None:
        self._network = network
        self._p, self._g = network.by_layer(theta), network.by_layer(grad)
        self._contexts = network.contexts(memory, statistics, training=True, reuse=True)
        self.steps, self._grad = 0, grad
        self.scaling: LossScaling | None = None

    def reseed(self, seed: int) -> None:
        """Begin the sequence of dropout masks that belongs to ``seed``, one mask a call."""
        self.steps = 0
        for context in self._contexts:
            context.seed = seed

    def __call__(self, loss: Loss, X: Array, y: Array, weight: Array | None = None) -> Array:
        """Fill the gradient and return the loss, a 0-d array; nothing is checked."""
        if self._contexts[0].device_key is None:
            self.steps += 1
            for context in self._contexts:
                context.step = self.steps
        output, tapes = self._network.forward(self._p, X, self._contexts)
        out = self._contexts[-1].buffers["d_output", *output.shape]
        value, d_output = loss.value_and_grad(output, y, weight, out=out)
        if self.scaling is not None:
            d_output = self.scaling.up(d_output, out)
        self._network.backward(self._p, self._g, tapes, d_output, self._contexts)
        if self.scaling is not None:
            self.scaling.down(self._grad)
        return value

    def multiply_in(self, precision: Precision) -> None:
        """Multiply float32 numbers in another format from now on; with fp16 the loss is scaled.

        Raises:
            ArgumentError: if that cannot be done here.
        """
        ops = operations_for(self._grad).at_precision(precision)
        self.scaling = LossScaling(self._grad) if precision == "fp16" else None
        for context in self._contexts:
            context.ops = ops

    @property
    def skip(self) -> Array | None:
        """`LossScaling.skip`, for the optimizer's next step; ``None`` without loss scaling."""
        return None if self.scaling is None else self.scaling.skip

    @property
    def blocks(self) -> list[Array]:
        """The memory of the buffers as they are; a larger batch than ever before takes other."""
        rooms = {id(room): room for c in self._contexts for room in (c.scratch, c.buffers)}
        return [block for room in rooms.values() for block in room.blocks]

    def first_not_finite(self, X: Array) -> str:
        """The first layer whose output for ``X`` is not finite, with the masks of the last call."""
        for context in self._contexts:
            context.step = self.steps
        return self._network.first_not_finite(self._p, X, self._contexts)

    def next_keys(self, n: int) -> HostArray:
        """The keys of the masks of the next ``n`` calls, ``(n, layers)``; they count as done."""
        steps = np.arange(self.steps + 1, self.steps + n + 1)
        self.steps += n
        keys = [stream_key(context.seed, context.layer, steps) for context in self._contexts]
        return np.stack(keys, axis=1)

    def read_keys(self, keys: Sequence[Array] | None) -> None:
        """Read each layer's key from an array of one number on the device; ``None``: no more.

        Calls then do not count, for nothing of theirs depends on their number.
        """
        for index, context in enumerate(self._contexts):
            context.device_key = None if keys is None else keys[index]


class Evaluation:
    """``X ↦ f(θ, X)`` in evaluation mode, with views made once.

    Args:
        network: the layers.
        backend: where everything lives.
        theta: the flat parameters, read through views at every call.
        statistics: the running statistics of batch norm.
    """

    def __init__(self, network: Network, backend: Backend, theta: Array, statistics: Array) -> None:
        self._network, self._backend, self._statistics = network, backend, statistics
        self._p = network.by_layer(theta)
        self._contexts = network.contexts(backend, statistics)

    def __call__(
        self, X: Array, prepare: Callable[[Array], Array], theta: Array | None = None
    ) -> Array:
        """The network's output for all rows of ``X``, ``(m, n_out)``.

        Rows are taken `CHUNK_ROWS` or `HOST_ROWS` at a time through buffers of the call's own, so
        that memory beyond the result does not grow with ``m`` and several threads may ask at once;
        `FEW_ROWS` take no buffers.

        Args:
            X: the rows.
            prepare: makes network inputs of a part of them.
            theta: other parameters than the model's, or ``None``.
        """
        network, m = self._network, X.shape[0]
        p = self._p if theta is None else network.by_layer(theta)
        if m <= FEW_ROWS and not isinstance(X, np.memmap):
            return self.few(p, prepare(X))
        contexts = network.contexts(self._backend, self._statistics, reuse=True)
        result = self._backend.empty(m, network.n_out)
        for part in spans(m, HOST_ROWS if self._backend.reads_are_free else CHUNK_ROWS):
            result[part, ...] = network.forward(p, prepare(X[part, ...]), contexts)[0]
            forget_pages(X)
        return result

    def few(self, p: Sequence[Views], inputs: Array) -> Array:
        """The output for few rows, a new array."""
        output = self._network.forward(p, inputs, self._contexts)[0]
        return copied(output) if output is inputs else output


class Model(Protocol):
    """What training and evaluation need of a model."""

    network: Network
    backend: Backend
    evaluation: Evaluation

    @property
    def theta(self) -> Array:
        """The flat parameters."""
        ...

    @property
    def statistics(self) -> Array:
        """The flat running statistics."""
        ...
