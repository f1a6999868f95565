"""The step of `fit` for a loop of one's own."""

from __future__ import annotations

import math
from typing import Protocol

from xpnet.backend import Array
from xpnet.data.prepare import prepare_batch
from xpnet.data.preprocessing import InputSpec
from xpnet.engine.eager import Clip, Engine, Steppable
from xpnet.engine.select import step_for
from xpnet.errors import require_number
from xpnet.losses import Loss
from xpnet.optimizers import Optimizer, OptimizerState, Penalty
from xpnet.training.fit import Settings


class Trained(Steppable, Protocol):
    """What a step by hand needs of a model."""

    input_spec: InputSpec


class TrainingStep:
    """``θ ← optimizer(θ, ∂L/∂θ)`` on a batch: the step of ``fit`` for a loop of one's own.

    On NumPy with Numba the step is written down when it is first taken and replayed from then on,
    which spares the time that Python takes between its loops; the numbers are those of
    ``value_and_grad`` and ``optimizer.step``.

    Args:
        model: what is trained, in place.
        loss: the loss.
        optimizer: the optimizer; its state is made here, see `state`.
        clip: `ClipByValue` or `ClipByNorm`, or ``None``.
        l1: the rate of ``Σ|w|`` over the weights, at least 0.
        l2: the rate of ``½Σw²`` over the weights, at least 0.
        engine: ``"graph"`` replays, ``"eager"`` takes each step by itself; ``None``: graph where it
            can be and every part is xpnet's own. What a layer or a loss of yours draws or counts
            itself, besides its arguments, would be the same in every replay.

    Raises:
        ArgumentError: if an argument is not what it must be.

    >>> import numpy as np, xpnet
    >>> X, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> model = xpnet.MLP(4, [8], 2)
    >>> step = xpnet.TrainingStep(model, xpnet.CrossEntropy(), xpnet.Adam(lr=0.1))
    >>> losses = [float(step(X, y)) for _ in range(50)]
    >>> losses[-1] < 0.01 < losses[0]
    True
    """

    def __init__(
        self,
        model: Trained,
        loss: Loss,
        optimizer: Optimizer,
        *,
        clip: Clip | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        engine: Engine | None = None,
    ) -> None:
        penalty = Penalty(l1, l2)
        self._how = Settings(
            loss=loss,
            optimizer=optimizer,
            clip=clip,
            penalty=penalty if l1 or l2 else None,
            engine=engine,
        )
        self._model = model
        self._state = optimizer.init(model.theta, model.network.layout)
        self._step = step_for(model, self._how, self._state)

    @property
    def state(self) -> OptimizerState:
        """The optimizer's state, for `save_state`; to begin with another take `Resumed`."""
        return self._state

    @property
    def engine(self) -> str:
        """How steps are taken: ``"graph"``, or ``"eager"`` with the reason why not otherwise."""
        return self._step.engine

    def __call__(
        self,
        X: Array,
        y: Array,
        *,
        weight: Array | None = None,
        lr: float | None = None,
        check: bool = True,
    ) -> Array:
        """Take one step.

        Args:
            X: network inputs, ``(m, n_in)``; not preprocessed.
            y: what the loss takes, such as class indices.
            weight: weights of the rows, ``(m,)``, or ``None``.
            lr: the learning rate of this step, at least 0; ``None``: the optimizer's.
            check: whether ``X`` and ``y`` are checked; on a GPU a check waits for the device.

        Returns:
            The loss before the step, a 0-d array.

        Raises:
            ArgumentError: if an argument is not what the network and the loss take.
        """
        model, how = self._model, self._how
        lr = how.optimizer.lr if lr is None else lr
        if not 0 <= lr < math.inf:
            require_number(lr, "lr", low=0)
        batch = prepare_batch(model.input_spec, X, y, how.loss, weight, check=check)
        return self._step.both(*batch, lr)
