"""Select the fastest execution engine available, and record why a faster one was rejected."""

from __future__ import annotations

from typing import Any, TypeAlias

from xpnet.backend import Backend
from xpnet.data.batching import TrainingData
from xpnet.engine.accumulated_step import AccumulatedStep, check_parts, in_parts
from xpnet.engine.argument_use import Guard, MayHoldStateError, guards_of
from xpnet.engine.captured_epochs import CapturedEpochs
from xpnet.engine.captured_step import CapturedStep
from xpnet.engine.checked_step import CheckedStep
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.engine.eager_step import EagerStep, StepSettings, no_replay, not_captured
from xpnet.engine.recorded_step import RecordedStep, why_not_recorded
from xpnet.engine.user_defined import forbidden, name_of, user_defined, vouched
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState

OneByOne: TypeAlias = RecordedStep | CheckedStep | EagerStep | AccumulatedStep
"""An engine for the batches of an epoch, one after the other."""


def steps_for(
    model: ModelState,
    rows: TrainingData,
    settings: StepSettings,
    state: OptimizerState,
    *,
    batch_size: int,
    drop_last: bool,
    divided: bool = False,
) -> CapturedEpochs | OneByOne:
    """The engine for epochs of steps over ``rows``.

    Args:
        model: the model that is trained.
        rows: the training data.
        settings: loss, optimizer, clip, penalty and the requested engine.
        state: the optimizer's state.
        batch_size: the number of rows of a step.
        drop_last: whether a shorter last batch is left out.
        divided: whether an epoch may begin or be stopped within the steps of a graph.

    Raises:
        ArgumentError: if ``engine="replay"`` is requested where steps cannot be replayed, or a
            batch cannot be computed in the parts that the settings require.
    """
    check_parts(model.network, settings)
    reason = why_not_captured(model.backend)
    if settings.engine == "eager" or (reason and model.backend.library.records_steps):
        return in_parts(_recorded_or_eager(model, settings, state), model, settings)
    reason = reason or _why_user_defined(model, settings)
    if not reason:
        try:
            device = CudaCapture()
            return CapturedEpochs(
                model, rows, settings, batch_size, drop_last, state, device, divided
            )
        except Exception as error:  # the eager step raises an error that has another cause
            reason = not_captured(settings, error)
    return in_parts(_eager(model, settings, state, reason), model, settings)


def step_for(
    model: ModelState, settings: StepSettings, state: OptimizerState
) -> OneByOne | CapturedStep:
    """The engine for single steps, each on a batch that the caller passes.

    Raises:
        ArgumentError: as from `steps_for`.
    """
    check_parts(model.network, settings)
    if model.backend.library.records_steps or settings.engine == "eager":
        return in_parts(_recorded_or_eager(model, settings, state), model, settings)
    reason = why_not_captured(model.backend) or _why_user_defined(model, settings)
    if reason:
        return in_parts(_eager(model, settings, state, reason), model, settings)
    return CapturedStep(model, settings, state, CudaCapture)


def _recorded_or_eager(
    model: ModelState, settings: StepSettings, state: OptimizerState
) -> RecordedStep | CheckedStep | EagerStep:
    """A recorded step if it is possible."""
    if settings.engine == "eager":
        return EagerStep(model, settings, state)
    parts = _not_vouched(model, settings)
    reason = _why_forbidden(parts) or why_not_recorded()
    if reason:
        return _eager(model, settings, state, reason)
    if settings.engine == "replay" or not parts:
        return RecordedStep(model, settings, state)
    guards: list[Guard] = []
    for label, part in parts:
        try:
            guards += guards_of(part)
        except MayHoldStateError as error:
            reason = (
                f"{label}, which is user-defined and may hold a state that a replay would freeze: "
                f"{error}. If it uses only its arguments, set replayable = True in the class"
            )
            return _eager(model, settings, state, reason)
    return CheckedStep(model, settings, state, guards, parts[0][0])


def why_not_captured(backend: Backend) -> str:
    """Why steps cannot be captured as CUDA graphs; empty if they can."""
    if not backend.library.is_cuda:
        return f"CUDA graphs are for the backend 'cupy', and this is {backend.name!r}"
    return operations_for(backend.empty(0)).why_not_captured


def _eager(
    model: ModelState, settings: StepSettings, state: OptimizerState, reason: str
) -> EagerStep:
    if settings.engine == "replay":
        raise no_replay(reason)
    return EagerStep(model, settings, state, f"eager: {reason}")


def _why_user_defined(model: ModelState, settings: StepSettings) -> str:
    """Why a user-defined component prevents a capture; empty if none does or one is requested."""
    parts = _not_vouched(model, settings)
    reason = _why_forbidden(parts)
    if reason or settings.engine == "replay" or not parts:
        return reason
    return (
        f"{parts[0][0]}, which is user-defined: a CUDA graph would freeze numbers that it draws or "
        "counts itself. If it uses only its arguments, set replayable = True in the class"
    )


def _not_vouched(model: ModelState, settings: StepSettings) -> list[tuple[str, Any]]:
    """The user-defined components that are not vouched for (`vouched`), with labels.

    Raises:
        ArgumentError: if the class of one has an invalid attribute ``replayable``.
    """
    wholes: dict[str, Any] = {f"layers.{i}": layer for i, layer in enumerate(model.network.layers)}
    wholes |= {"the loss": settings.loss, "the optimizer": settings.optimizer}
    found: dict[int, tuple[str, Any]] = {}
    for name, whole in (wholes | {"clip": settings.clip}).items():
        for part in user_defined(whole):
            if not vouched(part):
                found.setdefault(id(part), (f"{name} contains {name_of(part)}", part))
    return list(found.values())


def _why_forbidden(parts: list[tuple[str, Any]]) -> str:
    """The first component that forbids replays (`forbidden`); empty if there is none."""
    labels = [label for label, part in parts if forbidden(part)]
    return f"{labels[0]}, whose class sets replayable = False" if labels else ""
