"""Steps on batches that are computed in parts, whose gradients are accumulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from xpnet.backend import Array
from xpnet.data.batching import parts_of
from xpnet.engine.checked_step import CheckedStep
from xpnet.engine.eager_step import EagerStep, StepSettings
from xpnet.engine.loss_scaling import LossScaling
from xpnet.engine.recorded_step import RecordedStep
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.errors import require
from xpnet.layers.base import components, is_any
from xpnet.network import Network, brief
from xpnet.ops import operations_for
from xpnet.ops.operations import declares
from xpnet.ops.rules.optimizers import average, scaled
from xpnet.state import ModelState

Batch: TypeAlias = tuple[Array, Array, Array | None]
"""Network inputs, targets, and weights or ``None``."""


class PartSum:
    """``L = Σ_p W_p L_p / Σ_p W_p`` over the parts p of a batch, with its gradient.

    ``W_p`` is the number of rows of a part or the sum of their weights, so that the sum is the loss
    of the whole batch for any division into parts, if the loss is a weighted mean over rows. The
    masks of the parts are those of the rows of the batch.

    Args:
        model: the model, of which the gradient is overwritten.
    """

    def __init__(self, model: ModelState) -> None:
        self._model, self._ops = model, operations_for(model.grad)
        self._sum = model.backend.zeros(model.grad.shape[0])

    def gradient(
        self,
        parts: Iterable[Batch],
        gradient: Callable[[Array, Array, Array | None], Array],
        scaling: LossScaling | None,
    ) -> tuple[Array, Any, Array | None]:
        """Fill the model's gradient with that of the whole batch.

        Args:
            parts: the parts of the batch, at least one; each may overwrite the previous one.
            gradient: fills the model's gradient with that of a part, and returns the loss.
            scaling: the scale of the loss, which the gradients of the parts have; ``None``: 1.

        Returns:
            The loss, the number of rows or the sum of their weights, and the inputs of the last
            part.
        """
        model, masks, ops, row = self._model, self._model.masks, self._ops, 0
        before, loss, total, X = masks.step, 0.0, 0.0, None
        try:
            for X, y, weight in parts:
                masks.step, masks.first_row = before, row
                value, share = gradient(X, y, weight), self._weight(X, weight)
                loss, total = loss + value * share, total + share
                if row == 0:
                    ops.update(scaled, (self._sum,), (model.grad,), (share,))
                else:
                    ops.update(average, (self._sum,), (model.grad,), (1.0, share))
                row += X.shape[0]
        finally:
            masks.first_row = 0
        factor = self._inverse(total)
        ops.update(scaled, (model.grad,), (self._sum,), (factor,))
        if scaling is not None:
            scaling.down(model.grad)
        return self._ops.xp.reshape(loss * factor, ()), total, X

    def _weight(self, X: Array, weight: Array | None) -> Any:
        """The number of rows of a part or the sum of their weights; on a device it stays there."""
        if weight is None:
            return float(X.shape[0])
        xp = self._ops.xp
        total = xp.sum(xp.astype(weight, self._model.grad.dtype))
        return float(total) if self._model.backend.is_host else xp.reshape(total, (1,))

    def _inverse(self, total: Any) -> Any:
        """``1/total``; a batch without weight has a gradient of 0."""
        if isinstance(total, float):
            return 1.0 / (total or 1.0)
        xp = self._ops.xp
        return 1.0 / xp.where(total > 0.0, total, xp.ones_like(total))


class AccumulatedStep:
    """A step on a batch in parts: their gradients are accumulated, and θ is updated once.

    Args:
        step: computes the gradients of the parts and updates θ.
        model: the model that is trained.
        n_parts: the number of parts of a batch.
    """

    def __init__(
        self, step: RecordedStep | CheckedStep | EagerStep, model: ModelState, n_parts: int
    ) -> None:
        self._step, self._n_parts, self._sum = step, n_parts, PartSum(model)

    @property
    def engine(self) -> str:
        """The text for ``history.engine``."""
        return with_parts(self._step.engine, self._n_parts)

    @property
    def value_and_grad(self) -> ValueAndGrad:
        """That of the step on a part."""
        return self._step.value_and_grad

    def gradient(self, parts: Iterable[Batch]) -> tuple[Array, Any, Array | None]:
        """Fill the model's gradient with that of a batch; see `PartSum.gradient`."""
        return self._sum.gradient(parts, self._step.gradient, self.value_and_grad.scaling)

    def update(self, lr: float) -> None:
        """Update θ by the gradient."""
        self._step.update(lr)

    def __call__(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """Compute `gradient`, then `update`; return the loss before the update."""
        value, _, _ = self.gradient(cut(X, y, weight, self._n_parts))
        self.update(lr)
        return value


def in_parts(
    step: RecordedStep | CheckedStep | EagerStep, model: ModelState, settings: StepSettings
) -> RecordedStep | CheckedStep | EagerStep | AccumulatedStep:
    """The step, or one that takes it in the parts that the settings require."""
    return step if settings.accumulate == 1 else AccumulatedStep(step, model, settings.accumulate)


def cut(X: Array, y: Array, weight: Array | None, n_parts: int) -> Iterable[Batch]:
    """Yield the parts of a batch, which are views of it."""
    for part in parts_of(slice(0, X.shape[0]), n_parts):
        yield X[part, ...], y[part, ...], None if weight is None else weight[part]


def with_parts(engine: str, n_parts: int) -> str:
    """The text of an engine that computes batches in parts."""
    return engine if n_parts == 1 else f"{engine}; each batch in {n_parts} parts"


def check_parts(network: Network, settings: StepSettings) -> None:
    """Refuse networks and losses of which a batch cannot be computed in parts.

    Raises:
        ArgumentError: naming ``accumulate`` and the part that needs the whole batch.
    """
    if settings.accumulate == 1:
        return
    argument, n, loss = "accumulate", settings.accumulate, settings.loss
    rule = f"be 1 for {loss!r}, which is not a mean over rows and needs the whole batch"
    require(getattr(loss, "row_mean", True), argument, rule, n)
    rule = "be 1 with SAM, of which the second gradient needs the first one of the whole batch"
    require(settings.optimizer.ascent == 0, argument, rule, n)
    for index, layer in enumerate(network.layers):
        rule = f"be 1 with {brief(layer)} in layer {index}, which normalizes by the whole batch"
        require(not is_any(layer, "batch_statistics"), argument, rule, n)
        for part in _without_rows(layer):
            rule = f"be 1 with {type(part).__name__} in layer {index}, whose random numbers are"
            rule += " not known to be those of the rows of the whole batch"
            do = "Pass first_row=ctx.first_row to ops.keep_mask and set masks_by_row = True."
            require(False, argument, rule, n, do)


def _without_rows(layer: Any) -> list[Any]:
    """The random layers, without those that only contain some, that draw masks without rows."""
    return [
        part
        for part in components(layer)
        if getattr(part, "stochastic", False)
        and not declares(part, "masks_by_row")
        and not any(getattr(p, "stochastic", False) for p in components(part) if p is not part)
    ]
