"""A training step for hand-written loops."""

from __future__ import annotations

import math
from typing import Any

from xpnet.backend import Array, copied, on_device_of, to_numpy, write
from xpnet.data.prepare import prepare_batch
from xpnet.engine.accumulated_step import in_parts
from xpnet.engine.eager_step import Clip, EagerStep, Engine, StepSettings
from xpnet.engine.select import step_for
from xpnet.engine.step_lock import StepLock
from xpnet.errors import NonFiniteError, Phrase, plain_number, require, require_number
from xpnet.losses import Loss
from xpnet.optimizers import Optimizer, OptimizerState, Penalty, Resumed
from xpnet.state import ModelState
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries, drawn_of, require_array


class TrainingStep:
    """``θ ← optimizer(θ, ∂L/∂θ)`` on a batch: the step of ``fit`` for hand-written loops.

    On NumPy with Numba the step is recorded at the first call for a batch shape and replayed at
    later ones, which saves the time that Python takes between the loops; on CuPy it is captured as
    a CUDA graph. The results are those of ``value_and_grad`` and ``optimizer.step``.

    Several threads may call it: one step is taken at a time. A step in a signal handler that
    interrupts another one is taken in the middle of it. A forked process can continue.

    Args:
        model: the `Sequential` to train, in place.
        loss: the loss. One that is not a mean over rows must be given all rows at each call.
        optimizer: the optimizer; `state` is its new state.
        clip: `ClipByValue` or `ClipByNorm`, or ``None`` (default).
        l1: the rate λ of ``λ Σ|W|``, at least 0, default 0; weights only.
        l2: the rate λ of ``½ λ Σ W²``, at least 0, default 0; weights only.
        engine: ``"replay"`` or ``"eager"``; ``None`` (default) replays if that is possible and
            every user-defined component is shown to use only its arguments, or its class sets
            ``replayable = True``. A replay freezes numbers that a layer or loss draws or counts
            itself.
        accumulate: the number of parts in which a batch is computed, default 1. θ is updated once,
            by the gradient of the whole batch, and the layers need the memory of a part; see
            `Sequential.fit`.

    Raises:
        ArgumentError: if an argument breaks its rule, or ``engine="replay"`` is not possible.

    >>> import numpy as np, xpnet
    >>> X, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
    >>> model = xpnet.MLP(4, [8], 2)
    >>> step = xpnet.TrainingStep(model, xpnet.CrossEntropy(), xpnet.Adam(lr=0.1))
    >>> losses = [float(step(X, y)) for _ in range(50)]
    >>> losses[-1] < 0.01 < losses[0]
    True
    """

    @on_device_of("model")
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
        accumulate: int = 1,
    ) -> None:
        rule = "be a model with parameters, such as MLP(...)"
        require(isinstance(getattr(model, "state", None), ModelState), "model", rule, model)
        penalty = Penalty(l1, l2)
        self._settings = StepSettings(
            loss=loss,
            optimizer=optimizer,
            clip=clip,
            penalty=penalty if l1 or l2 else None,
            engine=engine,
            accumulate=accumulate,
        )
        self._model = model
        self._state = optimizer.init(model.theta, model.network.layout)
        self._lock = StepLock()
        self._inner: Any = None
        self._select()

    def __reduce__(self) -> Any:
        """Refuse copies, which would train the model of the original."""
        raise TypeError(
            "a TrainingStep cannot be copied, because it is bound to the memory of its model; "
            "copy the model and make a new TrainingStep"
        )

    @property
    def state(self) -> OptimizerState:
        """The optimizer's state, for `save_state`; `Resumed` starts with a given state."""
        return self._state

    def state_dict(self) -> StateDict:
        """Return copies of all that later steps depend on, for `xpnet.save_state_dict`.

        They are θ, the statistics of batch norm, the optimizer's state and the random streams. A
        loop that is resumed also needs its own position, and the states of its generators::

            state = {"step": step.state_dict(), "epoch": 3, "rng": rng.bit_generator.state}
            xpnet.save_state_dict(state, "loop.safetensors")

        Later steps then have the same bits on the same CPU, with the same versions, number of
        BLAS threads and engine.
        """
        with self._model.backend.active(), self._lock.lock:
            state = self._model.state
            return {
                "theta": copied(state.theta),
                "statistics": copied(state.statistics),
                "type": _type_of(self._settings.optimizer),
                "optimizer": self._state.copy().state_dict(),
                "streams": list(state.streams.drawn),
            }

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; the vectors are overwritten in place.

        Args:
            state: the state of a step of the same network and optimizer, with arrays of NumPy or of
                the backend, as from `xpnet.load_state_dict`.

        Raises:
            ArgumentError: if ``state`` is of another optimizer.
            FileFormatError: if it does not fit; the model and the optimizer are unchanged.

        >>> import numpy as np, xpnet
        >>> X, y, model = np.eye(2), np.array([0, 1]), xpnet.MLP(2, [], 2)
        >>> step = xpnet.TrainingStep(model, xpnet.CrossEntropy(), xpnet.Adam(lr=0.1))
        >>> state, first = step.state_dict(), float(step(X, y))
        >>> step.load_state_dict(state)
        >>> float(step(X, y)) == first
        True
        """
        with self._model.backend.active(), self._lock.lock:
            own, vectors = self._model.state, ("theta", "statistics")
            entries = Entries(state, "TrainingStep", *vectors, "type", "optimizer", "streams")
            kind, saved = _type_of(self._settings.optimizer), entries.text("type")
            rule = f"be {saved}, as in the state"
            require(kind == saved, "the optimizer of TrainingStep", rule, Phrase(kind))
            for name in vectors:
                like = getattr(own, name)
                require_array(entries[name], like, f"{name} of TrainingStep", finite=True)
            streams = drawn_of(entries["streams"])
            self._settings.optimizer.load_state(self._state, entries["optimizer"])
            for name in vectors:
                write(to_numpy(entries[name]), getattr(own, name))
            own.streams.restart(*streams)

    @property
    def engine(self) -> str:
        """``"replay"`` and how steps are replayed, or ``"eager"`` and why they are not replayed."""
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
            y: targets in the form that the loss expects, such as class indices; not scaled.
            weight: weights of the rows, ``(m,)``, or ``None``.
            lr: the learning rate of this step, at least 0; ``None``: that of the optimizer.
            check: whether ``X`` and ``y`` are checked, default true; on a GPU a check waits for the
                device.

        Returns:
            The loss before the step, a 0-d array. On a GPU nothing waits for the device.

        Raises:
            ArgumentError: if an argument does not fit the network and the loss; if a vector of the
                model or the optimizer's state cannot be overwritten or has another shape or dtype;
                or at the first step, if ``engine="replay"`` is not possible.
            NonFiniteError: if a check finds NaN or infinity in the optimizer's state; see
                `Optimizer.check_some_steps`.
        """
        model, settings, own = self._model, self._settings, self._lock
        if model.state.backend.device is not None and model.backend.is_elsewhere:
            with model.backend.active():
                return self(X, y, weight=weight, lr=lr, check=check)
        given = lr
        if lr is None:
            lr = settings.optimizer.lr
        if type(lr) is not float or not 0 <= lr < math.inf:
            lr = plain_number(lr)
            require_number(lr, "optimizer.lr" if given is None else "lr", low=0)
            lr = float(lr)
        batch = prepare_batch(model.input_spec, X, y, settings.loss, weight, check=check)
        with own.lock:
            if own.busy:
                return self._inside_another(*batch, lr)
            try:
                own.busy = True
                if model.state is not self._trained:
                    self._select()
                return self._step(*batch, lr)
            except NonFiniteError:
                settings.optimizer.check_finite(self._state, model.network.layout)
                raise
            finally:
                own.busy = False

    def _select(self) -> None:
        """Select the engine for the current vectors of the model, which unpickling replaces."""
        state = self._model.state
        self._step = step_for(state, self._settings, self._state)
        self._trained, self._inner = state, None

    def _inside_another(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """Take a step in a signal handler that interrupts a step of the same thread.

        It uses other buffers and leaves the gradient, which the interrupted step needs.
        """
        state = self._trained
        step, self._inner = self._inner, None  # this step may be interrupted too
        if step is None:
            step = in_parts(EagerStep(state, self._settings, self._state), state, self._settings)
        before = copied(state.grad)
        try:
            return step(X, y, weight, lr)
        finally:
            state.grad[...] = before
            self._inner = step


def _type_of(optimizer: Optimizer) -> str:
    """Return the types of an optimizer and of those that it wraps, such as ``Averaged(SGD)``."""
    if isinstance(optimizer, Resumed):
        return _type_of(optimizer.optimizer)
    values = [getattr(optimizer, name) for name in getattr(optimizer, "__dataclass_fields__", ())]
    groups = [group for value in values if isinstance(value, tuple) for group in value]
    values = [group[-1] for group in groups if isinstance(group, tuple)] + values
    inner = [_type_of(value) for value in values if isinstance(value, Optimizer)]
    name = type(optimizer).__name__
    return f"{name}({', '.join(inner)})" if inner else name
