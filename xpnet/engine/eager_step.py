"""A training step without recording: the loss and its gradient on a batch, then the update of θ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

from xpnet.backend import Array
from xpnet.engine.step_arrays import StepArrays
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.errors import (
    ArgumentError,
    require,
    require_count,
    require_type,
    unknown_name,
    warn_fallback,
)
from xpnet.losses import Loss
from xpnet.ops.operations import Precision
from xpnet.optimizers import Optimizer, OptimizerState, Penalty
from xpnet.state import ModelState

Engine: TypeAlias = Literal["replay", "eager"]
ENGINES, PRECISIONS = get_args(Engine), get_args(Precision)


class Clip(Protocol):
    """A limit on the gradient: `ClipByValue`, `ClipByNorm`."""

    def apply(self, grad: Array) -> None:
        """Change ``grad`` in place."""
        ...


@dataclass(frozen=True)
class StepSettings:
    """The settings of a training step and of the engine that runs it; checked.

    Attributes:
        loss: the loss.
        optimizer: the optimizer.
        clip: the limit on the gradient, or ``None``.
        penalty: the penalty on the weights, or ``None``.
        engine: ``"replay"``, ``"eager"``, or ``None`` to select the fastest that can run the step.
        precision: the format in which float32 numbers are multiplied.
        accumulate: the number of parts in which the gradient of a batch is computed.

    Raises:
        ArgumentError: naming the argument, its rule and the value received.
    """

    loss: Loss
    optimizer: Optimizer
    clip: Clip | None = None
    penalty: Penalty | None = None
    engine: Engine | None = None
    precision: Precision = "float32"
    accumulate: int = 1

    def __post_init__(self) -> None:
        require_type(self.loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        do = "Take one of xpnet.optimizers, such as Adam(lr=1e-3)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        if self.clip is not None:
            do = f"Write {self.clip.__name__}(...)." if isinstance(self.clip, type) else ""
            ok = hasattr(self.clip, "apply") and not do
            require(ok, "clip", "be a ClipByNorm or ClipByValue", self.clip, do)
        if self.engine is not None and self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        require_count(self.accumulate, "accumulate")


def no_replay(reason: str) -> ArgumentError:
    """The error for ``engine="replay"`` where a step cannot be replayed."""
    return ArgumentError(f"engine must be 'eager' here; got 'replay'. {reason}.")


def not_captured(settings: StepSettings, error: Exception) -> str:
    """The reason why steps are eager after a capture that failed, of which this warns.

    Raises:
        ArgumentError: if ``engine="replay"`` is requested.
    """
    reason = f"a step could not be captured: {error}"
    if settings.engine == "replay":
        raise no_replay(reason) from error
    warn_fallback(f"{reason}; training continues with engine='eager'")
    return reason


def value_and_grad_of(model: ModelState, settings: StepSettings) -> ValueAndGrad:
    """The function that a step evaluates, on a batch or on its parts."""
    in_parts, ascent = settings.accumulate > 1, settings.optimizer.ascent
    return ValueAndGrad(model, precision=settings.precision, in_parts=in_parts, ascent=ascent)


def finish_gradient(settings: StepSettings, theta: Array, grad: Array, weights: slice) -> None:
    """Add the gradient of the penalty, then clip.

    Args:
        settings: the penalty and the clip.
        theta: θ.
        grad: the gradient of the loss, changed in place.
        weights: the slice of the weights, to which the penalty applies.
    """
    if settings.penalty is not None:
        settings.penalty.add_grad(theta[weights], grad[weights])
    if settings.clip is not None:
        settings.clip.apply(grad)


class EagerStep:
    """A step that calls the methods of the layers, the loss and the optimizer in turn.

    Args:
        model: the model that is trained.
        settings: loss, optimizer, clip and penalty.
        state: the optimizer's state.
        engine: the text for ``history.engine``: ``"eager"``, and why the step is not replayed.

    Attributes:
        value_and_grad: computes the loss and its gradient.

    Raises:
        ArgumentError: if the step cannot overwrite an array; see `check`.
    """

    def __init__(
        self,
        model: ModelState,
        settings: StepSettings,
        state: OptimizerState,
        engine: str = "eager",
    ) -> None:
        self._model, self._settings, self._state, self.engine = model, settings, state, engine
        self.value_and_grad = value_and_grad_of(model, settings)
        self._arrays = StepArrays(model, settings.optimizer, state)
        self.check()

    def check(self) -> None:
        """Refuse arrays that a step cannot overwrite, before it changes any; see `StepArrays`."""
        self._arrays.check()

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        self.check()
        return self.value_and_grad(self._settings.loss, X, y, weight)

    def update(self, lr: float) -> None:
        """Update θ by the gradient."""
        model, settings = self._model, self._settings
        finish_gradient(settings, model.theta, model.grad, model.network.layout.weights)
        skip = self.value_and_grad.skip
        settings.optimizer.step(model.theta, model.grad, self._state, lr, skip=skip)

    def __call__(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """Compute `gradient`, then `update`; return the loss before the update."""
        value = self.gradient(X, y, weight)
        self.update(lr)
        return value
