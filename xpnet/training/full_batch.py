"""Training by a method of `xpnet.minimize`, which uses all rows in every iteration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xpnet import minimize as minimization  # loads its modules on first access
from xpnet.backend import copied
from xpnet.data.batching import TrainingData
from xpnet.engine.prediction import prediction_of
from xpnet.errors import ArgumentError, require, require_count, require_type
from xpnet.layers.base import is_any
from xpnet.losses import Loss
from xpnet.minimize.method import Method, require_dense_fits
from xpnet.optimizers import Penalty
from xpnet.state import ModelState
from xpnet.training.callbacks import Callback, Callbacks, Run, check_callbacks, check_functions
from xpnet.training.evaluation import measure, measured_columns
from xpnet.training.history import History
from xpnet.training.objective import NetworkObjective, require_statistics
from xpnet.training.progress import printer
from xpnet.training.resuming import SavedTraining
from xpnet.training.settings import METRIC_ARGUMENTS, Metric, OnInterrupt, check_on_interrupt

if TYPE_CHECKING:
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
        progress: whether to print one line per iteration.
        on_interrupt: ``"raise"`` or ``"return"``, what ends a training after Ctrl-C.

    Raises:
        ArgumentError: naming the argument, its rule and the value received.
    """

    loss: Loss
    method: Method
    iterations: int = 20
    metrics: Sequence[Metric] = ()
    l2: float = 0.0
    callbacks: Sequence[Callback] = ()
    progress: bool = True
    on_interrupt: OnInterrupt = "raise"

    def __post_init__(self) -> None:
        require_type(self.loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        require_count(self.iterations, "epochs")
        check_functions(self.metrics, "metrics", METRIC_ARGUMENTS)
        check_callbacks(self.callbacks)
        check_on_interrupt(self.on_interrupt)


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

    The model ends with the best θ found, unless a callback restores another. Ctrl-C ends the
    training in the same way.

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
    """
    objective = NetworkObjective(state, rows, settings.loss, l2=settings.l2)
    history = History(engine=f"full batch: {type(settings.method).__name__}")
    monitor = _Monitor(model, state, rows, validation, settings, objective.penalty, history)
    start, earlier = copied(state.theta), model.history
    model.history = history
    try:
        result = minimization.minimize(
            objective,
            state.theta,
            settings.method,
            max_iter=settings.iterations,
            callback=monitor.append,
        )
    except ArgumentError:
        if monitor.iteration <= 1:
            state.theta[...], model.history = start, earlier
        raise
    state.theta[...] = result.x
    history.stopped = history.stopped or result.reason.value
    if len(history):
        monitor.callbacks.end(monitor.run)
    return history


class _Monitor:
    """Appends a row to the history for every iterate, and calls the callbacks."""

    def __init__(
        self,
        model: Any,
        state: ModelState,
        rows: TrainingData,
        validation: TrainingData | None,
        settings: FullBatchSettings,
        penalty: Penalty,
        history: History,
    ) -> None:
        self._state, self._settings, self._history = state, settings, history
        self._penalty, self._data = penalty, (rows, validation)
        self.iteration = 0
        measured = measured_columns(validation, settings.metrics)
        columns = "epoch", "loss", *(["penalty"] if penalty.l2 else []), *measured
        run = Run(model, 0, settings.iterations, {}, history, settings.method, None, rows)
        run.columns = (*columns, "step", "grad_norm", "seconds")
        self.run, self.callbacks = run, Callbacks(settings.callbacks)
        self.callbacks.begin(run)
        self._predict = prediction_of(state)
        self._report = printer() if settings.progress else None
        self._start = time.perf_counter()

    def append(self, iterate: Iterate) -> bool:
        """Append the row of an iterate, and return whether a callback stops the training."""
        state, settings, history = self._state, self._settings, self._history
        self.iteration = iterate.iteration
        state.theta[...] = iterate.x
        row = {"epoch": float(iterate.iteration), "loss": iterate.value}
        if self._penalty.l2:
            weights = state.theta[state.network.layout.weights]
            row["penalty"] = float(self._penalty.value(weights))
            row["loss"] -= row["penalty"]
        row |= measure(self._predict, *self._data, settings.loss, settings.metrics)
        row |= {"step": iterate.step, "grad_norm": iterate.grad_norm}
        now = time.perf_counter()
        row["seconds"], self._start = now - self._start, now
        history.append(row)
        self.run = replace(self.run, epoch=iterate.iteration, row=row)
        if self._report is not None:
            self._report(self.run)
        return self.callbacks.epoch(self.run)
