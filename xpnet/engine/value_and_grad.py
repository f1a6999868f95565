"""The loss and its gradient on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet.backend import Array
from xpnet.engine.loss_scaling import LossScaling
from xpnet.layers.base import Views
from xpnet.losses import Loss
from xpnet.ops import operations_for
from xpnet.ops.buffers import Buffers, Memory
from xpnet.ops.graph_operations import LossLog
from xpnet.ops.operations import Precision, declares
from xpnet.state import ModelState


class ValueAndGrad:
    """``(X, y) ↦ L(θ), ∂L/∂θ`` in training mode, with views and buffers created once.

    Args:
        model: the network and its vectors. Every call reads θ, overwrites the gradient and updates
            the statistics.
        memory: allocates the buffers; ``None``: the backend of the model.
        precision: the format in which float32 numbers are multiplied, default ``"float32"``; with
            ``"fp16"`` the loss is scaled.
        in_parts: whether calls are for parts of a batch, default false. The gradient then keeps the
            scale of the loss, by which the caller divides the sum over the parts.
        ascent: the distance ρ of `SAM`; if it is above 0, the gradient is the one at
            ``θ + ρ g/‖g‖``, of a second pass that does not update the statistics. Default 0.

    Attributes:
        scaling: the scale of the loss in fp16, or ``None``.

    Raises:
        ArgumentError: if the backend has no such precision.
    """

    def __init__(
        self,
        model: ModelState,
        memory: Memory | None = None,
        precision: Precision = "float32",
        *,
        in_parts: bool = False,
        ascent: float = 0.0,
    ) -> None:
        network, memory = model.network, model.backend if memory is None else memory
        self._network, self._grad, self._masks = network, model.grad, model.masks
        self._p, self._g = network.by_layer(model.theta), network.by_layer(model.grad)
        ops = operations_for(model.grad).at_precision(precision)
        self._contexts = network.contexts(
            memory, model.statistics, training=True, masks=model.masks, reuse=True, ops=ops
        )
        self._buffers = Buffers(memory)
        self._keys_on_device, self._in_parts = False, in_parts
        self.scaling = LossScaling(model.grad) if precision == "fp16" else None
        self._theta, self._ascent = model.theta, ascent
        # Not θ itself, which a step that is interrupted would leave at another point.
        self._point = memory.empty(model.theta.shape[0]) if ascent else model.theta
        self._p_at_point = network.by_layer(self._point) if ascent else self._p

    def __call__(
        self,
        loss: Loss,
        X: Array,
        y: Array,
        weight: Array | None = None,
        log: LossLog | None = None,
    ) -> Array:
        """Fill the gradient and return the loss, a 0-d array; the arguments are not checked.

        The loss is also appended to ``log``, the log of a captured epoch, if one is given.
        """
        if not self._keys_on_device:
            self._masks.step += 1
        if self._ascent:
            self._update_statistics(True)
        value = self._pass(self._p, loss, X, y, weight, log)
        if self._ascent:
            operations_for(self._grad).ascend(self._theta, self._grad, self._ascent, self._point)
            self._update_statistics(False)
            self._pass(self._p_at_point, loss, X, y, weight, None)
        if self.scaling is not None and not self._in_parts:
            self.scaling.advance()
        return value

    def _update_statistics(self, wanted: bool) -> None:
        """Set whether the next passes update the running statistics."""
        for context in self._contexts:
            context.set_update_statistics(wanted)

    def _pass(
        self,
        p: Sequence[Views],
        loss: Loss,
        X: Array,
        y: Array,
        weight: Array | None,
        log: LossLog | None,
    ) -> Array:
        """A forward and a backward pass with the parameters ``p``."""
        output, saved = self._network.forward(p, X, self._contexts)
        out = self._buffers["d_output", *output.shape]
        more: dict[str, Any] = {}
        if log is not None and declares(loss, "appends_to_log"):
            more["log"] = log
        value, d_output = loss.value_and_grad(output, y, weight, out=out, **more)
        if log is not None and not more:
            operations_for(self._grad).for_graphs.record(log, value)
        if self.scaling is not None:
            d_output = self.scaling.up(d_output, out)
        self._network.backward(p, self._g, saved, d_output, self._contexts)
        if self.scaling is not None and not self._in_parts:
            self.scaling.unscale(self._grad)
        return value

    @property
    def skip(self) -> Array | None:
        """`LossScaling.skip`, for the optimizer's next step; ``None`` without loss scaling."""
        return None if self.scaling is None else self.scaling.skip

    @property
    def views(self) -> list[Any]:
        """The dictionaries of views that the layers get: parameters, gradients and statistics."""
        statistics = (context.statistics for context in self._contexts)
        return [*self._p, *self._g, *statistics, *(self._p_at_point if self._ascent else ())]

    @property
    def blocks(self) -> list[Array]:
        """The memory of the buffers; a batch larger than all previous ones allocates new blocks."""
        found = [*self._buffers.blocks]
        for context in self._contexts:
            found += context.blocks
        return list({id(block): block for block in found}.values())

    def first_not_finite(self, X: Array) -> str:
        """See `Network.first_not_finite`; the random masks are those of the last call."""
        return self._network.first_not_finite(self._p, X, self._contexts)

    def read_keys(self, keys: Sequence[Array] | None, first_row: Array | None = None) -> None:
        """Read the key of each layer's random masks from device memory.

        Args:
            keys: an array of one int64 for each layer; calls then do not advance the mask stream.
                ``None``: every call advances the stream and computes the keys from it.
            first_row: the first row of a part of a batch, an array of one int64; default ``None``:
                that of the mask stream at the time of the call.
        """
        self._keys_on_device = keys is not None
        for index, context in enumerate(self._contexts):
            context.device_key = None if keys is None else keys[index]
            context.device_row = first_row
