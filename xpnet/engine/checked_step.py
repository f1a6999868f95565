"""A recorded step with user-defined components, which are shown to use only their arguments."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array
from xpnet.engine.argument_use import Guard, changed
from xpnet.engine.eager_step import EagerStep, StepSettings
from xpnet.engine.recorded_step import RecordedStep
from xpnet.engine.replay_trial import require_replayable
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState


class CheckedStep:
    """`RecordedStep` that tries replays on copies before it records a batch shape.

    If a replay differs from plain code, or a value in ``guards`` is replaced later, this step and
    all later ones run eagerly.

    Args:
        model: the model that is trained, on NumPy.
        settings: loss, optimizer, clip and penalty.
        state: the optimizer's state.
        guards: the values on which the components depend beside their arguments.
        label: names the first user-defined component, for messages.
    """

    def __init__(
        self,
        model: ModelState,
        settings: StepSettings,
        state: OptimizerState,
        guards: list[Guard],
        label: str,
    ) -> None:
        self._training = model, settings, state
        self._guards, self._label = guards, label
        self._known: set[Any] = set()
        self._step: RecordedStep | EagerStep = RecordedStep(model, settings, state)

    @property
    def engine(self) -> str:
        """The text for ``history.engine``."""
        return self._step.engine

    @property
    def value_and_grad(self) -> ValueAndGrad:
        """That of the eager step."""
        return self._step.value_and_grad

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        self._check(X, y, weight)
        return self._step.gradient(X, y, weight)

    def update(self, lr: float) -> None:
        """Update θ by the gradient."""
        self._step.update(lr)

    def __call__(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """`gradient`, then `update`; return the loss before the update."""
        self._check(X, y, weight)
        return self._step(X, y, weight, lr)

    def _check(self, X: Array, y: Array, weight: Array | None) -> None:
        """Leave the replay if a value has been replaced, or a trial with this batch fails."""
        if type(self._step) is EagerStep:
            return
        name = changed(self._guards)
        if name:
            self._leave(f"{name} has been replaced since the first step")
            return
        more = None if weight is None else (weight.shape, weight.dtype)
        signature = X.shape, X.dtype, y.shape, y.dtype, more
        if signature in self._known:
            return
        try:
            require_replayable(*self._training, X, y, weight)
        except Exception as error:  # an invalid batch raises its own error in the eager step
            self._leave(str(error))
            return
        name = changed(self._guards)
        if name:
            self._leave(f"a step replaces {name}")
        self._known.add(signature)

    def _leave(self, reason: str) -> None:
        """Run this step and all later ones eagerly."""
        text = (
            f"eager: a step could not be replayed: {self._label}, which is user-defined; {reason}"
        )
        self._step = EagerStep(*self._training, text)
