"""One training step: the loss and its gradient on a batch, then the update of θ."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from xpnet.backend import Array, Backend
from xpnet.engine.value_and_grad import Gradient
from xpnet.errors import ArgumentError
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.optimizers import Optimizer, OptimizerState, Penalty

Engine: TypeAlias = Literal["graph", "eager"]
ENGINES = ("graph", "eager")


class Clip(Protocol):
    """What cuts a gradient down in place: `ClipByValue`, `ClipByNorm`."""

    def apply(self, grad: Array) -> None:
        """Change ``grad`` in place."""
        ...


class How(Protocol):
    """What a step needs of the settings."""

    @property
    def engine(self) -> Engine | None: ...  # noqa: D102
    @property
    def loss(self) -> Loss: ...  # noqa: D102
    @property
    def optimizer(self) -> Optimizer: ...  # noqa: D102
    @property
    def clip(self) -> Clip | None: ...  # noqa: D102
    @property
    def penalty(self) -> Penalty | None: ...  # noqa: D102


class Steppable(Protocol):
    """What a step needs of a model."""

    network: Network
    backend: Backend

    @property
    def theta(self) -> Array: ...  # noqa: D102
    @property
    def statistics(self) -> Array: ...  # noqa: D102
    @property
    def grad(self) -> Array: ...  # noqa: D102
    @property
    def gradient(self) -> Gradient: ...  # noqa: D102


def no_graph(reason: str) -> ArgumentError:
    """The error of ``engine="graph"`` where it cannot be."""
    return ArgumentError(f"engine must be 'eager' here; got 'graph'. {reason}.")


def update_gradient(how: How, theta: Array, grad: Array, weights: slice) -> None:
    """Add the penalty's gradient, then clip: what comes between backward and the update."""
    if how.penalty is not None:
        how.penalty.add_grad(theta[weights], grad[weights])
    if how.clip is not None:
        how.clip.apply(grad)


class PlainStep:
    """A step as the layers, the loss and the optimizer take it, one call after another.

    Args:
        model: what is trained.
        how: loss, optimizer and what composes around it.
        state: the optimizer's.
        engine: a word for the history: ``"eager"``, and why.
    """

    def __init__(
        self, model: Steppable, how: How, state: OptimizerState, engine: str = "eager"
    ) -> None:
        self._model, self._how, self._state, self.engine = model, how, state, engine

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        return self._model.gradient(self._how.loss, X, y, weight)

    def update(self, lr: float) -> None:
        """Move θ by the gradient."""
        model, how = self._model, self._how
        update_gradient(how, model.theta, model.grad, model.network.layout.weights)
        skip = model.gradient.skip
        how.optimizer.step(model.theta, model.grad, self._state, lr, skip=skip)

    def both(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """`gradient`, then `update`."""
        value = self.gradient(X, y, weight)
        self.update(lr)
        return value
