"""The training step of `fit` for hand-written loops."""

from __future__ import annotations

import math
from typing import Any

from xpnet.backend import Array
from xpnet.data.prepare import prepare_batch
from xpnet.engine.eager_step import Clip, Engine, StepSettings
from xpnet.engine.select import step_for
from xpnet.errors import require_number
from xpnet.losses import Loss
from xpnet.optimizers import Optimizer, OptimizerState, Penalty


class TrainingStep:
    """``θ ← optimizer(θ, ∂L/∂θ)`` on a batch: the step of ``fit`` for hand-written loops.

    On NumPy with Numba the step is recorded when it is first taken and replayed from then on, which
    saves the time that Python takes between the loops; the numbers are those of ``value_and_grad``
    and ``optimizer.step``.

    Args:
        model: the `Sequential` to train, in place.
        loss: the loss.
        optimizer: the optimizer; its state is made here, see `state`.
        clip: `ClipByValue` or `ClipByNorm`, or ``None``.
        l1: the rate of ``Σ|w|`` over the weights, at least 0.
        l2: the rate of ``½Σw²`` over the weights, at least 0.
        engine: ``"replay"`` or ``"eager"``; ``None`` replays where that is possible and no
            component is user-defined. A replay freezes numbers that a user-defined layer or loss
            draws or counts itself.

    Raises:
        ArgumentError: if an argument breaks its rule.

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
        model: Any,
        loss: Loss,
        optimizer: Optimizer,
        *,
        clip: Clip | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        engine: Engine | None = None,
    ) -> None:
        penalty = Penalty(l1, l2)
        self._settings = StepSettings(
            loss=loss,
            optimizer=optimizer,
            clip=clip,
            penalty=penalty if l1 or l2 else None,
            engine=engine,
        )
        self._model = model
        self._state = optimizer.init(model.theta, model.network.layout)
        self._step = step_for(model.state, self._settings, self._state)

    @property
    def state(self) -> OptimizerState:
        """The optimizer's state, for `save_state`; to begin with another take `Resumed`."""
        return self._state

    @property
    def engine(self) -> str:
        """How steps run: ``"replay"`` and its kind, or ``"eager"`` and why not replayed."""
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
            y: targets in the form that the loss expects, such as class indices.
            weight: weights of the rows, ``(m,)``, or ``None``.
            lr: the learning rate of this step, at least 0; ``None``: the optimizer's.
            check: whether ``X`` and ``y`` are checked; on a GPU a check waits for the device.

        Returns:
            The loss before the step, a 0-d array.

        Raises:
            ArgumentError: if an argument does not fit the network and the loss.
        """
        model, settings = self._model, self._settings
        lr = settings.optimizer.lr if lr is None else lr
        if not 0 <= lr < math.inf:
            require_number(lr, "lr", low=0)
        batch = prepare_batch(model.input_spec, X, y, settings.loss, weight, check=check)
        return self._step(*batch, lr)
