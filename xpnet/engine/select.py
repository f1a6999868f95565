"""What takes the steps of a training: the fastest that can, and why it is not a faster one."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TypeAlias

from xpnet.backend import Backend
from xpnet.data.batching import TrainingData
from xpnet.engine.cuda_graph import CapturedSteps, CudaCapture, Stepping
from xpnet.engine.eager import How, PlainStep, Steppable, no_graph
from xpnet.engine.recorded import RecordedStep, why_not_recorded
from xpnet.engine.user_defined import strangers
from xpnet.errors import FallbackWarning
from xpnet.optimizers import OptimizerState

OneByOne: TypeAlias = RecordedStep | PlainStep


def steps_for(
    model: Steppable, rows: TrainingData, how: Stepping, state: OptimizerState
) -> CapturedSteps | OneByOne:
    """What takes the steps of epochs over ``rows``.

    Raises:
        ArgumentError: if ``engine="graph"`` is asked for where it cannot be.
    """
    reason = why_not_captured(model.backend)
    if how.engine == "eager" or (reason and model.backend.name == "numpy"):
        return step_for(model, how, state)
    reason = reason or _strange(model, how)
    if not reason:
        try:
            return CapturedSteps(model, rows, how, state, CudaCapture())
        except Exception as error:  # if it is no matter of graphs, the plain path says so again
            reason = f"a step could not be captured: {error}"
            if how.engine is None:
                message = f"{reason}; training goes on with engine='eager'"
                warnings.warn(message, FallbackWarning, stacklevel=4)
    return _plain(model, how, state, reason)


def step_for(model: Steppable, how: How, state: OptimizerState) -> OneByOne:
    """What takes steps on one batch after another.

    Raises:
        ArgumentError: if ``engine="graph"`` is asked for where it cannot be.
    """
    if how.engine == "eager":
        return PlainStep(model, how, state)
    reason = why_plain(model, how)
    return _plain(model, how, state, reason) if reason else RecordedStep(model, how, state)


def _plain(model: Steppable, how: How, state: OptimizerState, reason: str) -> PlainStep:
    if how.engine == "graph":
        raise no_graph(reason)
    return PlainStep(model, how, state, f"eager: {reason}")


def why_not_captured(backend: Backend) -> str:
    """Why steps cannot be captured into CUDA graphs; empty if they can."""
    if backend.name != "cupy":
        return f"CUDA graphs are for the backend 'cupy', and this is {backend.name!r}"
    if importlib.util.find_spec("nvmath") is None:
        return "CuPy's own products cannot be captured: pip install nvmath-python"
    return ""


def why_plain(model: Steppable, how: How) -> str:
    """Why the steps of a training are not recorded; empty if they are."""
    if model.backend.name != "numpy":
        return "steps are recorded on NumPy alone"
    return _strange(model, how) or why_not_recorded()


def _strange(model: Steppable, how: How) -> str:
    """Why a part of a user's own may not be replayed; empty if none is, or a graph is asked for."""
    if how.engine == "graph":
        return ""
    layers = {f"layers.{i}": layer for i, layer in enumerate(model.network.layers)}
    parts = layers | {"the loss": how.loss, "the optimizer": how.optimizer, "clip": how.clip}
    for name, part in parts.items():
        foreign = strangers(part)
        if foreign:
            return (
                f"{name} is or has a {foreign[0]}, which is not xpnet's: numbers that it draws "
                "or counts itself would stay what they are at the first step"
            )
    return ""
