"""Training by a method of `xpnet.minimize`, which uses all rows in every iteration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xpnet import minimize as minimization  # loads its modules on first access
from xpnet.backend import Array, copied
from xpnet.data.batching import TrainingData
from xpnet.engine.prediction import prediction_of
from xpnet.errors import ArgumentError, require, require_count, require_type
from xpnet.generators import generator_state
from xpnet.layers.base import is_any
from xpnet.losses import Loss
from xpnet.minimize.method import Method, require_dense_fits
from xpnet.optimizers import Penalty
from xpnet.random import Rng
from xpnet.state import ModelState
from xpnet.state_dict import StateDict
from xpnet.training.callbacks import Callback, Callbacks, Run, check_callbacks
from xpnet.training.evaluation import known_directions, measure, measured_columns
from xpnet.training.history import History
from xpnet.training.interrupts import Interrupts
from xpnet.training.objective import NetworkObjective, require_statistics
from xpnet.training.progress import (
    NoProgress,
    ProgressMode,
    Reporter,
    check_progress,
    print_ended,
    reporter,
)
from xpnet.training.resuming import SavedTraining, begin_training
from xpnet.training.saving import Saver
from xpnet.training.settings import Metric, OnInterrupt, check_metric_functions, check_on_interrupt

if TYPE_CHECKING:
    from xpnet.minimize.loop import MinimizationLoop
    from xpnet.minimize.result import Iterate


@dataclass(frozen=True)
class FullBatchSettings:
    """The settings of full-batch training: arguments of `Sequential.fit`, checked.

    Attributes:
        loss: the loss.
        method: the method of `xpnet.minimize`.
        iterations: the maximum number of iterations, the argument ``epochs``.
        metrics: functions of predictions and targets.
        l2: the rate of the L2 penalty.
        callbacks: functions called after each iteration.
        progress: what is printed, a `ProgressMode`.
        on_interrupt: ``"raise"`` or ``"return"``, what ends a training after Ctrl-C.
        rng: the seed or the generator of the held-out rows, or ``None``.

    Raises:
        ArgumentError: naming the argument, its rule and the value received.
    """

    loss: Loss
    method: Method
    iterations: int = 20
    metrics: Sequence[Metric] = ()
    l2: float = 0.0
    callbacks: Sequence[Callback] = ()
    progress: ProgressMode = True
    on_interrupt: OnInterrupt = "raise"
    rng: Rng | None = None

    def __post_init__(self) -> None:
        require_type(self.loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        require_count(self.iterations, "epochs")
        check_metric_functions(self.metrics)
        check_callbacks(self.callbacks)
        check_on_interrupt(self.on_interrupt)
        check_progress(self.progress)


def refuse_mini_batch_arguments(method: Method, l1: float, **arguments: object) -> None:
    """Refuse arguments that have no meaning for methods that use all rows in every iteration.

    Args:
        method: the method, for the message.
        l1: the rate of the L1 penalty, which has no gradient at 0.
        **arguments: arguments that must be ``None`` or false.

    Raises:
        ArgumentError: naming the argument.
    """
    do = "Leave it out, or take a first-order optimizer such as Adam(lr=1e-3)."
    for name, value in arguments.items():
        rule = f"be left out for {type(method).__name__}, which sees all rows in every iteration"
        require(value is None or value is False, name, rule, value, do)
    rule = f"be 0 for {type(method).__name__}, which needs a gradient everywhere"
    require(l1 == 0, "l1", rule, l1, "Take l2, or a first-order optimizer such as Adam(lr=1e-3).")


def check_method(model: ModelState, method: Method) -> None:
    """Refuse networks that a method cannot train.

    Raises:
        ArgumentError: if the network is too large for a method with dense matrices, a layer is
            stochastic, or batch norm has no statistics yet.
    """
    require_statistics(model)
    if method.dense:
        size = model.network.layout.size
        require_dense_fits(size, method, model.backend, argument="optimizer")
    for index, layer in enumerate(model.network.layers):
        rule = f"be a first-order one, such as Adam(lr=1e-3), for {layer!r} in layer {index}"
        do = "Dropout is random, and a line search needs a function that is not."
        require(not is_any(layer, "stochastic"), "optimizer", rule, method, do)


def train_full_batch(
    model: Any,
    state: ModelState,
    rows: TrainingData,
    validation: TrainingData | None,
    settings: FullBatchSettings,
    saved: SavedTraining | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Minimize the loss over all rows in θ, in place, and return the history.

    The model ends with the best θ found, unless a callback restores another.

    Args:
        model: the model that callbacks receive.
        state: its network and vectors.
        rows: the training data.
        validation: the validation data, or ``None``.
        settings: the loss, the method and all other settings.
        saved: see `xpnet.training.fit.train`.
        record: see `xpnet.training.fit.train`.

    Raises:
        ArgumentError: if a callback cannot be used, or breaks a rule in the first iteration, or a
            metric does; the parameters and the history of the model are as before.
        KeyboardInterrupt: after Ctrl-C, unless ``settings.on_interrupt`` is ``"return"``.
    """
    with Interrupts(raises=settings.on_interrupt == "raise") as interrupts:
        sets, resumed = (rows, validation), None if saved is None else saved.name
        training = _FullBatchTraining(model, state, *sets, settings, interrupts, record, resumed)
        training.begin(saved)
        return training.run()


class _FullBatchTraining:
    """A full-batch training; it appends a row to the history for every iterate.

    The arguments are those of `train_full_batch`.
    """

    def __init__(
        self,
        model: Any,
        state: ModelState,
        rows: TrainingData,
        validation: TrainingData | None,
        settings: FullBatchSettings,
        interrupts: Interrupts,
        record: Mapping[str, Any] | None,
        resumed: str | None,
    ) -> None:
        self._model, self._state, self._settings = model, state, settings
        self._data, self._penalty = (rows, validation), Penalty(0.0, settings.l2)
        self.history = History(engine=f"full batch: {type(settings.method).__name__}")
        self._callbacks, self._unfinished = Callbacks(settings.callbacks), False
        self._has_ended = False
        penalty = ["penalty"] if settings.l2 else []
        measured = measured_columns(validation, settings.metrics)
        self._run = Run(
            model,
            0,
            settings.iterations,
            {},
            self.history,
            settings.method,
            None,
            rows,
            columns=("epoch", "loss", *penalty, *measured, "step", "grad_norm", "seconds"),
            saver=None if record is None else Saver(model, record, self, resumed),
            interrupts=interrupts,
            directions=known_directions(settings.metrics),
        )
        self._predict = prediction_of(state)
        self._report: Reporter = NoProgress()
        self._last_time = time.perf_counter()

    @property
    def position(self) -> tuple[int, int, bool]:
        """The number of iterations, 0, and the end."""
        return self._loop.iteration, 0, self._has_ended

    def is_finite(self) -> bool:
        """Return whether the present iterate is finite, and between two steps."""
        return self._loop.can_be_saved

    def state_dict(self) -> StateDict:
        """Return what the next iterations depend on, except for the statistics of the model."""
        return {
            "completed": self._loop.iteration,
            "loop": self._loop.state_dict(),
            "history": self.history.state_dict(),
            "callbacks": self._callbacks.state_dict(),
            "rng": generator_state(self._settings.rng),
            "engine": self.history.engine,
            "ended": self._has_ended,
        }

    def begin(self, saved: SavedTraining | None) -> None:
        """Call the callbacks before the first iteration, and continue that of ``saved``."""
        self._before: Array | None = copied(self._state.theta)
        begin_training(self._run, self._callbacks, self._settings.rng, saved, self._load)
        if saved is not None:
            self._state.streams.restart(*saved.streams)
        self._earlier, self._model.history = self._model.history, self.history

    def _load(self, state: StateDict | None) -> str:
        self._loop = self._new_loop(None if state is None else state["loop"])
        return self.history.engine

    def _new_loop(self, state: StateDict | None) -> MinimizationLoop:
        settings = self._settings
        objective = NetworkObjective(self._state, self._data[0], settings.loss, l2=settings.l2)
        loop: MinimizationLoop = minimization.minimization_loop(
            objective,
            self._state.theta,
            settings.method,
            max_iter=settings.iterations,
            callback=self._append,
            state=state,
        )
        return loop

    def run(self) -> History:
        """Run the iterations with their callbacks; return the history."""
        history, loop = self.history, self._loop
        if history.stopped:  # by a callback, before the training was saved
            if self._settings.progress:
                print_ended(history)
            self._state.theta[...] = loop.best.x
            self._callbacks.end(self._run)
            return history
        try:
            with reporter(self._settings.progress, self._run, loop.iteration) as self._report:
                result = loop.run(self._settings.method)
        except BaseException as error:
            self._fail(error)
            if isinstance(error, ArgumentError) and self._before is not None:
                self._state.theta[...], self._model.history = self._before, self._earlier
            raise
        is_interrupted = (
            self._run.interrupts.requested or result.reason is minimization.Reason.INTERRUPTED
        )
        failure = None
        if is_interrupted:
            self._run.interrupts.requested = False
            failure = self._fail(KeyboardInterrupt())
            history.stopped = f"interrupted after iteration {loop.iteration}"
        self._state.theta[...] = result.x
        if not loop.can_be_saved:
            self._run = replace(self._run, saver=None)
        self._has_ended = not is_interrupted
        if len(history):
            self._callbacks.end(self._run)
        history.stopped = history.stopped or result.reason.value
        if failure is not None:
            raise failure
        if is_interrupted and self._settings.on_interrupt == "raise":
            raise KeyboardInterrupt
        return history

    def _fail(self, error: BaseException) -> Exception | None:
        """Call the callbacks after an exception, which may have ended an iteration."""
        saver = None if self._unfinished or not self._loop.can_be_saved else self._run.saver
        self._run = replace(self._run, saver=saver)
        return self._callbacks.exception(self._run, error)

    def _append(self, iterate: Iterate) -> bool:
        """Append the row of an iterate, and return whether the training ends there."""
        state, settings = self._state, self._settings
        self._unfinished = True
        state.theta[...] = iterate.x
        row = {"epoch": float(iterate.iteration), "loss": iterate.value}
        if self._penalty.l2:
            weights = state.theta[state.network.layout.weights]
            row["penalty"] = float(self._penalty.value(weights))
            row["loss"] -= row["penalty"]
        row |= measure(self._predict, *self._data, settings.loss, settings.metrics)
        row |= {"step": iterate.step, "grad_norm": iterate.grad_norm}
        now = time.perf_counter()
        row["seconds"], self._last_time = now - self._last_time, now
        self.history.append(row)
        self._run = replace(self._run, epoch=iterate.iteration, row=row)
        self._report.epoch(self._run)
        stopped = self._callbacks.epoch(self._run)
        self._unfinished, self._before = False, None
        return stopped or self._run.interrupts.requested
