"""A training step that depends on device memory only, so that it can be captured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from xpnet.backend import Array, Snapshot
from xpnet.engine.accumulated_step import Batch, PartSum, cut
from xpnet.engine.eager_step import StepSettings, finish_gradient, value_and_grad_of
from xpnet.ops import operations_for
from xpnet.ops.graph_operations import LossLog
from xpnet.optimizers import Optimizer, OptimizerState
from xpnet.state import ModelState


class DeviceStep:
    """The loss and its gradient on a batch, then the update of θ, by numbers on the device.

    Args:
        model: the model that is trained.
        settings: loss, optimizer, clip and penalty.
        state: the optimizer's state; its slots are those of this moment.

    Attributes:
        value_and_grad: computes the loss and its gradient, in its own buffers.
    """

    def __init__(self, model: ModelState, settings: StepSettings, state: OptimizerState) -> None:
        self._model, self._settings, self._state = model, settings, state
        self.value_and_grad = value_and_grad_of(model, settings)
        self._sum = PartSum(model) if settings.accumulate > 1 else None

    def __call__(
        self,
        batch: Batch,
        keys: Sequence[Array],
        scalars: tuple[Any, ...],
        log: LossLog | None = None,
    ) -> Array:
        """Take a step and return the loss before it.

        Args:
            batch: network inputs, targets, and weights or ``None``.
            keys: the key of each layer's random masks, an array of one int64.
            scalars: the scalars of the optimizer, each an array of one number.
            log: the log of an epoch, to which the loss is appended, or ``None``.
        """
        model, settings = self._model, self._settings
        self.value_and_grad.read_keys(keys)
        loss = self._in_parts(batch, log) if self._sum is not None else self._whole(batch, log)
        finish_gradient(settings, model.theta, model.grad, model.network.layout.weights)
        skip = self.value_and_grad.skip
        settings.optimizer.update_unless(skip, model.theta, model.grad, self._state, scalars)
        return loss

    def _whole(self, batch: Batch, log: LossLog | None) -> Array:
        return self.value_and_grad(self._settings.loss, *batch, log=log)

    def _in_parts(self, batch: Batch, log: LossLog | None) -> Array:
        """Compute the gradient of a batch in parts; append the loss to the log."""
        settings, function = self._settings, self.value_and_grad
        assert self._sum is not None
        parts = cut(*batch, settings.accumulate)
        loss, _, _ = self._sum.gradient(parts, partial(function, settings.loss), function.scaling)
        if log is not None:
            operations_for(self._model.grad).for_graphs.record(log, loss)
        return loss

    @contextmanager
    def without_effect(self) -> Iterator[None]:
        """Restore what steps change: steps that warm up and are captured must not train."""
        model, scaling = self._model, self.value_and_grad.scaling
        changed = [model.theta, model.statistics, *self._state.slots]
        before = Snapshot(changed if scaling is None else [*changed, scaling.state])
        try:
            yield
        finally:
            self.value_and_grad.read_keys(None)
            before.restore()


def singles(x: Array) -> tuple[Array, ...]:
    """The elements of a vector as arrays of one number."""
    return tuple(x[i : i + 1] for i in range(x.shape[0]))


def next_scalars(optimizer: Optimizer, state: OptimizerState) -> tuple[float, ...]:
    """The scalars of the next step at the optimizer's own rate; the state does not advance."""
    following = replace(state, step=state.step + 1)
    return optimizer.scalars(following, optimizer.lr)


def are_same(arrays: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether both hold the same objects; a graph is bound to the memory of its arrays."""
    return [*map(id, arrays)] == [*map(id, others)]
