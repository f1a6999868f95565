"""Mini-batch training: epochs of steps, with an evaluation and the callbacks after each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, Snapshot, copied, to_numpy
from xpnet.data.batching import TrainingData, spans
from xpnet.engine.captured_epochs import CapturedEpochs
from xpnet.engine.prediction import Prediction, prediction_of
from xpnet.engine.select import OneByOne, steps_for
from xpnet.engine.user_defined import user_defined
from xpnet.errors import (
    ArgumentError,
    NonFiniteError,
    Phrase,
    describe,
    plain_number,
    require,
)
from xpnet.finite import all_are_finite, first_not_finite
from xpnet.losses import Loss
from xpnet.metrics import OWN_METRICS, as_number, metric_name, real_number
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState
from xpnet.training.callbacks import Run, any_stops, begin, finish
from xpnet.training.history import History
from xpnet.training.progress import printer
from xpnet.training.settings import Metric, Settings


def train(
    model: Any,
    state: ModelState,
    data: TrainingData,
    validation: TrainingData | None,
    settings: Settings,
) -> History:
    """Train in place and return the history, which is ``model.history`` during training too.

    Args:
        model: the model that callbacks receive.
        state: its network and vectors.
        data: the training data.
        validation: the validation data, or ``None``.
        settings: the loss, the optimizer and all other settings.

    Raises:
        ArgumentError: if a callback cannot be used, or breaks a rule in the first epoch, or a
            metric does; the parameters, statistics and history of the model are as before. Also if
            a learning rate is negative or not finite; the parameters and statistics are those of
            the beginning of that epoch.
        NonFiniteError: if a loss, a parameter, a running statistic or the optimizer's state becomes
            NaN or infinite; the model is restored to the beginning of that epoch.
    """
    optimizer = settings.optimizer
    optimizer_state = optimizer.init(state.theta, state.network.layout)
    batch_size, drop_last = settings.batch_size, settings.drop_last
    steps = steps_for(
        state, data, settings, optimizer_state, batch_size=batch_size, drop_last=drop_last
    )
    history = History(engine=steps.engine)
    run = Run(model, 0, settings.epochs, {}, history, optimizer, optimizer_state, data)
    penalty = ["penalty"] if settings.penalty is not None else []
    measured = measured_columns(validation, settings.metrics)
    columns = "epoch", "loss", *penalty, *measured, "lr", "seconds"
    run = begin(run, settings.callbacks, columns)
    earlier, model.history = model.history, history
    epochs = _Epochs(state, data, validation, settings, steps, history, optimizer_state)
    try:
        return _train_epochs(epochs, run, settings)
    except (ArgumentError, NonFiniteError):
        if epochs.epoch == 1:
            epochs.restore()
            model.history = earlier
        raise


def _train_epochs(epochs: _Epochs, run: Run, settings: Settings) -> History:
    """Run the epochs with their callbacks; return the history."""
    history, report = run.history, printer() if settings.progress else None
    for epoch in range(1, settings.epochs + 1):
        row = epochs.run(epoch)
        history.append(row)
        run = replace(run, epoch=epoch, row=row)
        if report is not None:
            report(run)
        if any_stops(run):
            history.stopped = history.stopped or f"a callback stopped training in epoch {epoch}"
            break
    finish(run)
    return history


@contextmanager
def restored_if_refused(model: Any) -> Iterator[None]:
    """Restore everything but parameters and statistics of a model if a training is refused.

    A training that is refused or fails in its first epoch leaves ``model.history`` as it was;
    `train` and `train_full_batch` restore the parameters and statistics.
    """
    history, streams = model.history, model.state.streams
    before = model.input_spec, model.loss, model.classes, model.trained
    drawn = streams.drawn
    try:
        yield
    except BaseException:
        if model.history is history:
            model.input_spec, model.loss, model.classes, model.trained = before
            streams.restart(*drawn)
        raise


class _NotYetMeasuredError(Exception):
    """A schedule has read the values of an epoch that is not over."""


class _NotYetMeasured(Sequence[float]):
    """The values of the epochs while one is running: a schedule that reads them must wait."""

    def __len__(self) -> int:
        raise _NotYetMeasuredError

    def __getitem__(self, index: Any) -> Any:
        raise _NotYetMeasuredError


class _Epochs:
    """The epochs of a training.

    Args:
        model: the network and vectors that are trained.
        data: the training data.
        validation: the validation data, or ``None``.
        settings: the settings of the training.
        steps: the engine that runs the steps.
        history: the history, for the schedule and for errors.
        optimizer_state: the state of the optimizer.
    """

    def __init__(
        self,
        model: ModelState,
        data: TrainingData,
        validation: TrainingData | None,
        settings: Settings,
        steps: CapturedEpochs | OneByOne,
        history: History,
        optimizer_state: OptimizerState,
    ) -> None:
        self.optimizer_state = optimizer_state
        self.model, self.data, self.validation = model, data, validation
        self.settings, self.steps, self.history = settings, steps, history
        self.epoch, self.xp = 0, operations_for(model.theta).xp
        self.epoch_start = Snapshot([model.theta, model.statistics])
        self.predict, self.drawn = prediction_of(model), model.streams.drawn
        # The rate of the optimizer and those of the next epoch, if they are known already.
        self._upcoming_rates: tuple[float | None, list[float]] = None, []

    def run(self, epoch: int) -> dict[str, float]:
        """Take every step of an epoch and measure; return the row of the history."""
        start, settings = time.perf_counter(), self.settings
        self.epoch = epoch
        if epoch > 1:
            self.epoch_start.take()
        self.drawn = self.model.streams.drawn
        with np.errstate(all="ignore"):  # a loss that is not finite is reported by _check
            row, lr = self._steps()
        self.history.engine = self.steps.engine  # the first step may change it
        sets = self.data, self.validation
        row |= measure(self.predict, *sets, settings.loss, settings.metrics) | {"lr": lr}
        row["seconds"] = time.perf_counter() - start
        return row

    def restore(self) -> None:
        """Restore parameters, statistics and random streams of the beginning of the epoch."""
        self.epoch_start.restore()
        self.model.streams.restart(*self.drawn)

    def _steps(self) -> tuple[dict[str, float], float]:
        """Take every step; return the epoch's number, mean loss and penalty, and the last lr."""
        columns, (lr, lrs) = self.history.columns, self._upcoming_rates
        if lr != self.settings.optimizer.lr:  # a callback may have changed it
            values = columns.get("val_loss", columns.get("loss", []))
            lrs = self._learning_rates(self.epoch, values)
        self._upcoming_rates = None, []
        streams = self.model.streams
        order = streams.row_order(self.data.n_rows) if self.settings.shuffle else None
        if isinstance(self.steps, CapturedEpochs):
            values, counts, X = self.steps.epoch(order, lrs, self._prepare_next)
        else:
            values, counts, X = self._one_by_one(self.steps, order, lrs)
        self._check(values, X)
        row = {"epoch": float(self.epoch), "loss": _mean(values, counts)}
        penalty = self.settings.penalty
        if penalty is not None:
            weights = self.model.network.layout.weights
            row["penalty"] = float(penalty.value(self.model.theta[weights]))
        return row, lrs[-1]

    def _one_by_one(
        self, step: OneByOne, order: HostArray | None, lrs: list[float]
    ) -> tuple[list[float], list[float], Array]:
        """Take the steps one by one; return losses, weights and the last batch."""
        settings, model = self.settings, self.model
        losses, counts = [], []
        for number, (X, y, weight) in enumerate(
            self.data.batches(order, settings.batch_size, settings.drop_last), start=1
        ):
            value = step.gradient(X, y, weight)
            if model.backend.is_host:
                value = float(value)
                if not math.isfinite(value):
                    self._fail(number, step.value_and_grad.first_not_finite(X))
            try:
                step.update(lrs[number - 1])
            except NonFiniteError:
                self._check_numbers(number)
                raise
            losses.append(value)
            counts.append(X.shape[0] if weight is None else self.xp.sum(weight))
        return self._read(losses), self._read(counts), X

    def _read(self, numbers: list[Any]) -> list[float]:
        """Numbers as floats; those of a device in one transfer, because each one synchronizes."""
        if self.model.backend.is_host or isinstance(numbers[0], int):
            return list(map(float, numbers))
        floats: list[float] = to_numpy(self.xp.stack(numbers)).tolist()
        return floats

    def _prepare_next(self) -> None:
        """Let the engine prepare the next epoch, if its learning rates are known already."""
        settings, n_rows = self.settings, self.data.n_rows
        if self.epoch == settings.epochs or user_defined(settings.schedule):
            return
        try:
            lrs = self._learning_rates(self.epoch + 1, _NotYetMeasured())
        except (_NotYetMeasuredError, ArgumentError):  # the next epoch raises it again
            return
        self._upcoming_rates = settings.optimizer.lr, lrs
        order = self.model.streams.upcoming_order(n_rows) if settings.shuffle else None
        assert isinstance(self.steps, CapturedEpochs)
        self.steps.prepare(order, lrs)

    def _learning_rates(self, epoch: int, values: Sequence[float]) -> list[float]:
        """The learning rate of each step of an epoch.

        Args:
            epoch: the number of the epoch.
            values: the monitored quantity of each epoch before it, for the schedule.

        Raises:
            ArgumentError: if one is negative or not finite, before a step of the epoch is taken.
        """
        settings, n_rows = self.settings, self.data.n_rows
        lrs = []
        for step, _ in enumerate(spans(n_rows, settings.batch_size, settings.drop_last)):
            given: Any = 1.0
            if settings.schedule is not None:
                time = epoch - 1 + step / math.ceil(n_rows / settings.batch_size)
                given = plain_number(settings.schedule.factor(time, settings.epochs, values))
            factor = real_number(given)
            lr = math.nan if factor is None else settings.optimizer.lr * factor
            if not 0 <= lr < math.inf:
                self._refuse_rate(step + 1, given)
            lrs.append(lr)
        return lrs

    def _refuse_rate(self, step: int, factor: Any) -> None:
        """Raise an error about the learning rate of a step of this epoch."""
        lr, schedule = self.settings.optimizer.lr, self.settings.schedule
        at, rule = f"in epoch {self.epoch}, step {step}", "finite and at least 0"
        do = f"The parameters are those of the beginning of epoch {self.epoch}."
        if schedule is None:
            require(False, "optimizer.lr", f"be {rule}", Phrase(f"{describe(lr)} {at}"), do)
        got = Phrase(f"the factor {describe(factor)} of {describe(lr)} by {schedule!r} {at}")
        require(False, "schedule", f"give learning rates that are {rule}", got, do)

    def _check(self, losses: list[float], X: Array) -> None:
        """Raise an error if a loss or a number of the model or optimizer is not finite.

        The layer is determined on the last batch ``X``: parameters that became NaN stay NaN.
        """
        for step, value in enumerate(losses, start=1):
            if not math.isfinite(value):
                self._fail(step, self.steps.value_and_grad.first_not_finite(X))
        self._check_numbers(len(losses))

    def _check_numbers(self, step: int) -> None:
        """Raise an error if a parameter, slot or running statistic is not finite after a step."""
        model = self.model
        if all_are_finite([model.theta, model.statistics, *self.optimizer_state.slots]):
            return
        index = first_not_finite(model.theta)
        if index is not None:
            self._fail(step, f"the parameter {model.network.layout.where(index)}")
        self._check_state(step)
        index = first_not_finite(model.statistics)
        if index is not None:
            where = model.network.statistics_layout.where(index)
            self._fail(step, f"the running statistic {where}")

    def _check_state(self, step: int) -> None:
        """Restore the parameters and raise `NonFiniteError` if the optimizer's state holds NaN."""
        try:
            layout = self.model.network.layout
            self.settings.optimizer.check_finite(self.optimizer_state, layout)
        except NonFiniteError as error:
            text = (
                f"{error} It was found in epoch {self.epoch}, step {step}; the parameters of the "
                f"beginning of epoch {self.epoch} are restored."
            )
            raise self._restored(text, step, error.layer) from None

    def _fail(self, step: int, layer: str) -> None:
        """Restore the model of the beginning of the epoch and raise `NonFiniteError`."""
        place = "every layer's output is finite"
        if layer != "loss":
            place = f"first not finite: {layer}"
        text = (
            f"the loss became NaN or infinite in epoch {self.epoch}, step {step} ({place}). The "
            f"parameters of the beginning of epoch {self.epoch} are restored. A smaller learning "
            "rate, ClipByNorm, or scaled inputs and targets usually help."
        )
        raise self._restored(text, step, layer)

    def _restored(self, text: str, step: int, layer: str) -> NonFiniteError:
        """Restore the model of the beginning of the epoch and return the error of a step."""
        self.restore()
        return NonFiniteError(text, epoch=self.epoch, step=step, layer=layer, history=self.history)


def _mean(values: list[float], counts: list[float]) -> float:
    """The mean loss of the batches, weighted by their numbers of rows or sums of weights."""
    total = sum(v * c for v, c in zip(values, counts, strict=True))
    return total / (sum(counts) or 1.0)  # if all weights are 0, so is the loss


def measured_columns(validation: TrainingData | None, metrics: Sequence[Metric]) -> list[str]:
    """The names of the columns that `measure` returns."""
    names = list(map(metric_name, metrics))
    return names if validation is None else [f"val_{name}" for name in ("loss", *names)]


def measure(
    predict: Prediction,
    data: TrainingData,
    validation: TrainingData | None,
    loss: Loss,
    metrics: Sequence[Metric],
) -> dict[str, float]:
    """The columns that the evaluation adds to the row of an epoch."""
    if validation is not None:
        measured = evaluate(predict, validation, loss, metrics)
        return {f"val_{name}": value for name, value in measured.items()}
    if metrics:
        measured = evaluate(predict, data, loss, metrics)
        del measured["loss"]
        return measured
    return {}


def evaluate(
    predict: Prediction, data: TrainingData, loss: Loss, metrics: Sequence[Metric]
) -> dict[str, float]:
    """The loss and the metrics on the data in evaluation mode, by name."""
    output = predict(*data.features)
    row = {"loss": float(loss.value(output, data.y, data.weight))}
    predicted = data.spec.predictions(output, loss)
    for metric in metrics:
        given = predicted, data.metric_targets
        if metric not in OWN_METRICS:  # it may change what it is given
            given = copied(given[0]), copied(given[1])
        row[metric_name(metric)] = as_number(metric(*given), metric)
    return row
