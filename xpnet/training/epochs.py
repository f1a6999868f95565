"""The epochs of mini-batch training: steps, the evaluation after them, and their position."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from xpnet.backend import Array, HostArray, Snapshot, to_numpy, write
from xpnet.data.batching import TrainingData, spans
from xpnet.engine.accumulated_step import AccumulatedStep
from xpnet.engine.captured_epochs import CapturedEpochs
from xpnet.engine.prediction import prediction_of
from xpnet.engine.select import OneByOne
from xpnet.engine.user_defined import user_defined
from xpnet.errors import (
    ArgumentError,
    FileFormatError,
    NonFiniteError,
)
from xpnet.finite import all_are_finite, first_not_finite
from xpnet.losses import Loss
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState
from xpnet.state_dict import StateDict
from xpnet.state_entries import (
    drawn_of,
    require_array,
    require_float,
    require_whole,
)
from xpnet.training.averages import own_point
from xpnet.training.callbacks import Callbacks, Run
from xpnet.training.evaluation import measure
from xpnet.training.learning_rates import learning_rates
from xpnet.training.settings import Settings


class _NotYetMeasuredError(Exception):
    """A schedule has read the values of an epoch that is not over."""


class _NotYetMeasured(Sequence[float]):
    """The values of the epochs while one is running: a schedule that reads them must wait."""

    def __len__(self) -> int:
        raise _NotYetMeasuredError

    def __getitem__(self, index: Any) -> Any:
        raise _NotYetMeasuredError


class Epochs:
    """The epochs of a training, and how far it has come.

    Args:
        model: the network and vectors that are trained.
        data: the training data.
        validation: the validation data, or ``None``.
        settings: the settings of the training.
        steps: the engine that runs the steps.
        callbacks: what is called after steps.
        run: the argument of these calls, which has the history.

    Attributes:
        completed: the number of completed epochs, with their evaluation.
        unfinished: whether a step, an evaluation or the call of callbacks has begun and not ended.
        after_step: what is called after every step with the number of steps taken in the epoch, or
            enqueued on a device, and their losses; ``None`` for nothing.
    """

    def __init__(
        self,
        model: ModelState,
        data: TrainingData,
        validation: TrainingData | None,
        settings: Settings,
        steps: CapturedEpochs | OneByOne,
        callbacks: Callbacks,
        run: Run,
    ) -> None:
        self.model, self.data, self.validation = model, data, validation
        self.settings, self.steps, self.callbacks, self.run = settings, steps, callbacks, run
        self.optimizer_state: OptimizerState = run.state
        self.completed, self.unfinished = 0, False
        self.after_step: Callable[[int, Sequence[Any]], None] | None = None
        self.xp, self.predict = operations_for(model.theta).xp, prediction_of(model)
        self._earlier: tuple[list[float], list[float], float] = [], [], 0.0
        self._losses: list[Any] = []
        self._counts: list[Any] = []
        self._order: HostArray | None = None
        self._begin = time.perf_counter()
        self._start_taken = Snapshot([model.theta, model.statistics])
        self._drawn, self._began_at = model.streams.drawn, 0
        # The rate of the optimizer and those of the next epoch, if they are known already.
        self._upcoming_rates: tuple[float | None, list[float]] = None, []

    @property
    def epoch(self) -> int:
        """The number of the epoch that is running, counted from 1."""
        return self.completed + 1

    @property
    def taken(self) -> int:
        """The number of steps taken in this epoch."""
        return len(self._earlier[0]) + len(self._losses)

    def take(self) -> dict[str, float] | None:
        """Take every step of the next epoch and measure.

        Returns:
            The row of the history, or ``None`` if a callback has stopped the training in the epoch.

        Raises:
            KeyboardInterrupt: after a step, if the training has been asked to end.
        """
        settings, self._begin = self.settings, time.perf_counter()
        if self.completed or self.taken:
            self._start_taken.take()
        self._drawn, self._began_at = self.model.streams.drawn, self.taken
        with np.errstate(all="ignore"):  # a loss that is not finite is reported by _check
            lrs, X, stopped = self._steps()
            if not stopped:
                self._check(X)
        self.run.history.engine = self.engine  # the first step may change it
        if stopped:
            return None
        self.unfinished = True  # until the callbacks have been called
        losses, counts = self._measured()
        row = {"epoch": float(self.epoch), "loss": _mean(losses, counts)}
        if settings.penalty is not None:
            weights = self.model.network.layout.weights
            row["penalty"] = float(settings.penalty.value(self.model.theta[weights]))
        sets, average = (self.data, self.validation), own_point(self.run)
        is_measured = self.validation is not None or len(settings.metrics) > 0
        with average.applied(self.run) if average and is_measured else nullcontext():
            row |= measure(self.predict, *sets, settings.loss, settings.metrics)
        row["lr"] = lrs[-1]
        row["seconds"] = self._seconds()
        self.completed = self.epoch
        self._forget()
        return row

    def is_finite(self) -> bool:
        """Return whether θ, statistics, slots of the optimizer and losses are finite."""
        return self._vectors_are_finite() and all(map(math.isfinite, self._measured()[0]))

    def _vectors_are_finite(self) -> bool:
        model = self.model
        return all_are_finite([model.theta, model.statistics, *self.optimizer_state.slots])

    def restore(self) -> None:
        """Restore parameters, statistics and random streams of the beginning of the epoch.

        After a training was resumed within an epoch, those of where it was resumed.
        """
        self._start_taken.restore()
        self.model.streams.restart(*self._drawn)

    def state_dict(self) -> StateDict:
        """The position and the numbers of this epoch, the random streams and the optimizer."""
        seed, orders, masks = self.model.streams.drawn
        if self.taken and self.settings.shuffle:
            orders -= 1  # that of this epoch is drawn again
        losses, counts = self._measured()
        scaling = self.steps.value_and_grad.scaling
        return {
            "completed": self.completed,
            "taken": self.taken,
            "losses": np.array(losses, np.float64),
            "counts": np.array(counts, np.float64),
            "seconds": self._seconds() if self.taken else 0.0,
            "streams": [seed, orders, masks],
            "optimizer": self.optimizer_state.state_dict(),
            "scale": None if scaling is None else scaling.state,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned, and the parameters of the beginning to the present ones.

        Raises:
            FileFormatError: if it is not the state of such a training.
        """
        position = EpochPosition.of(state, self.n_steps)
        scaling = self.steps.value_and_grad.scaling
        saved = state.get("scale")
        if (saved is None) != (scaling is None):
            raise FileFormatError("the scale of a loss must be that of the precision.")
        if scaling is not None:
            require_array(saved, scaling.state, "the scale of the loss", finite=True)
        optimizer = self.settings.optimizer
        optimizer.load_state(self.optimizer_state, state["optimizer"])
        if not all_are_finite(self.optimizer_state.slots):
            raise FileFormatError("the slots of the optimizer must be finite.")
        if scaling is not None:
            write(to_numpy(saved), scaling.state)
        self.completed = position.completed
        self._earlier = position.losses, position.counts, position.seconds
        self.model.streams.restart(*position.streams)
        self._start_taken.take()
        self._drawn, self._began_at = self.model.streams.drawn, self.taken

    @property
    def engine(self) -> str:
        """The engine, and what callbacks after steps cost on a device."""
        intervals = self.callbacks.intervals
        if not intervals or not isinstance(self.steps, CapturedEpochs):
            return self.steps.engine
        steps = " and ".join(map(str, intervals))
        return f"{self.steps.engine}; the host waits after every {steps} steps, for callbacks"

    @property
    def _shuffles(self) -> bool:
        """Whether each epoch has a new order; a loss that is no mean over rows may need theirs."""
        return self.settings.shuffle and self.settings.loss.row_mean

    @property
    def n_steps(self) -> int:
        """The number of steps of an epoch."""
        settings = self.settings
        return len(list(spans(self.data.n_rows, settings.batch_size, settings.drop_last)))

    def _steps(self) -> tuple[list[float], Array, bool]:
        """Take every step; return the learning rates, the last batch, and whether one stopped."""
        history, (lr, lrs) = self.run.history, self._upcoming_rates
        if lr != self.settings.optimizer.lr:  # a callback may have changed it
            columns = history.columns
            values = columns.get("val_loss", columns.get("loss", []))
            lrs = learning_rates(self.settings, self.data.n_rows, self.epoch, values)
        self._upcoming_rates = None, []
        streams = self.model.streams
        self._order = streams.row_order(self.data.n_rows) if self._shuffles else None
        self.run.epoch, self.run.n_steps = self.epoch, len(lrs)
        self.unfinished = True
        if isinstance(self.steps, CapturedEpochs):
            X, stopped = self._captured(self.steps, lrs)
        else:
            X, stopped = self._one_by_one(self.steps, lrs)
        self.unfinished = False
        if self.taken < len(lrs):
            self.run.interrupts.raise_if_requested()
        return lrs, X, stopped

    def _one_by_one(self, step: OneByOne, lrs: list[float]) -> tuple[Array, bool]:
        """Take the steps one by one; return the last batch, and whether a callback has stopped."""
        is_host, interrupts = self.model.backend.is_host, self.run.interrupts
        intervals, losses, counts = self.callbacks.intervals, self._losses, self._counts
        first, before, after_step = self.taken, self.completed * len(lrs), self.after_step
        X, stopped = None, False
        with closing(self._gradients(step, first)) as gradients:
            for number, (loss, count, X) in enumerate(gradients, start=first + 1):
                value = float(loss) if is_host else loss
                if is_host and not math.isfinite(value):
                    self._fail(number, step.value_and_grad.first_not_finite(X))
                try:
                    step.update(lrs[number - 1])
                except NonFiniteError:
                    self._check_numbers(number)
                    raise
                losses.append(value)
                counts.append(count)
                if intervals and is_due(before + number, intervals):
                    stopped = self._call(float(value))
                if after_step is not None:
                    after_step(number, losses)
                if stopped or interrupts.requested:
                    break
        return X, stopped

    def _gradients(
        self, step: OneByOne, first: int
    ) -> Generator[tuple[Array, Any, Array], None, None]:
        """Compute the gradient of each batch; yield the loss, the weight and the last rows."""
        settings = self.settings
        given, drop_last = (self._order, settings.batch_size), settings.drop_last
        if isinstance(step, AccumulatedStep):
            n_parts = settings.accumulate
            with closing(
                self.data.batches_in_parts(*given, n_parts, drop_last, first)
            ) as batches_in_parts:
                for parts in batches_in_parts:
                    yield step.gradient(parts)
            return
        with closing(self.data.batches(*given, drop_last, first)) as batches:
            for X, y, weight in batches:
                value = step.gradient(X, y, weight)
                yield value, X.shape[0] if weight is None else self.xp.sum(weight), X

    def _captured(self, steps: CapturedEpochs, lrs: list[float]) -> tuple[Array, bool]:
        """Replay the captured steps; return the last batch, and whether a callback has stopped."""
        first, before, stopped = self.taken, self.completed * len(lrs), False
        intervals = self.callbacks.intervals
        counts = steps.counts(self._order) if intervals else []

        def between(taken: int) -> bool:
            nonlocal stopped
            if is_due(before + taken, intervals):
                self._losses += steps.settle(self.taken, taken)
                self._counts = counts[first:taken]
                stopped = self._call(self._losses[-1])
            if self.after_step is not None:
                self.after_step(taken, ())
            return stopped or self.run.interrupts.requested

        self._losses, self._counts, X = steps.epoch(
            self._order,
            lrs,
            self._prepare_next,
            first=first,
            before=before,
            intervals=intervals,
            between=between,
        )
        return X, stopped

    def _call(self, loss: float) -> bool:
        """Call the callbacks after a step; return whether one stops the training."""
        self.run.step, self.run.loss = self.taken, loss
        return self.callbacks.step(self.run)

    def _measured(self) -> tuple[list[float], list[float]]:
        """The losses and the weights of the steps of this epoch."""
        losses, counts, _ = self._earlier
        return losses + self._read(self._losses), counts + self._read(self._counts)

    def _read(self, numbers: list[Any]) -> list[float]:
        """Numbers as floats; those of a device in one transfer, because each one synchronizes."""
        if not numbers or self.model.backend.is_host or isinstance(numbers[0], (int, float)):
            return list(map(float, numbers))
        floats: list[float] = to_numpy(self.xp.stack(numbers)).tolist()
        return floats

    def _seconds(self) -> float:
        """The duration of this epoch, without that of an interruption."""
        return self._earlier[2] + time.perf_counter() - self._begin

    def _forget(self) -> None:
        """Forget the numbers of an epoch that is over."""
        self._earlier, self._losses, self._counts = ([], [], 0.0), [], []

    def _prepare_next(self) -> None:
        """Let the engine prepare the next epoch, if its learning rates are known already."""
        settings, n_rows = self.settings, self.data.n_rows
        if self.epoch == settings.epochs or user_defined(settings.schedule):
            return
        try:
            lrs = learning_rates(settings, n_rows, self.epoch + 1, _NotYetMeasured())
        except (_NotYetMeasuredError, ArgumentError):  # the next epoch raises it again
            return
        self._upcoming_rates = settings.optimizer.lr, lrs
        order = self.model.streams.upcoming_order(n_rows) if self._shuffles else None
        assert isinstance(self.steps, CapturedEpochs)
        self.steps.prepare(order, lrs)

    def _check(self, X: Array) -> None:
        """Raise an error if a loss or a number of the model or optimizer is not finite.

        The layer is determined on the last batch ``X``: parameters that became NaN stay NaN.
        """
        for step, value in enumerate(self._measured()[0], start=1):
            if not math.isfinite(value):
                self._fail(step, self.steps.value_and_grad.first_not_finite(X))
        self._check_numbers(self.taken)

    def _check_numbers(self, step: int) -> None:
        """Raise an error if a parameter, slot or running statistic is not finite after a step."""
        if self._vectors_are_finite():
            return
        model = self.model
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
                f"{error} It was found in epoch {self.epoch}, step {step}; the parameters "
                f"{self._start} are restored."
            )
            raise self._restored(text, step, error.layer) from None

    def _fail(self, step: int, layer: str) -> NoReturn:
        """Restore the model of the beginning of the epoch and raise `NonFiniteError`."""
        place, do = "every layer's output is finite", self.settings.loss.if_infinite
        if layer != "loss":
            place, do = f"first not finite: {layer}", Loss.if_infinite
        text = (
            f"the loss became NaN or infinite in epoch {self.epoch}, step {step} ({place}). The "
            f"parameters {self._start} are restored. {do}"
        )
        raise self._restored(text, step, layer)

    @property
    def _start(self) -> str:
        """Where the parameters that an error restores are from."""
        if self._began_at:
            return f"after step {self._began_at}, with which the training was resumed,"
        return f"of the beginning of epoch {self.epoch}"

    def _restored(self, text: str, step: int, layer: str) -> NonFiniteError:
        """Restore the model of the beginning of the epoch and return the error of a step."""
        self.restore()
        history = self.run.history
        return NonFiniteError(text, epoch=self.epoch, step=step, layer=layer, history=history)


@dataclass(frozen=True)
class EpochPosition:
    """The position of a training as a file holds it, validated.

    Attributes:
        completed: the number of epochs that are over.
        taken: the number of steps taken in the next one.
        losses: the loss of each of these steps.
        counts: the weight of each of these steps.
        seconds: their duration.
        streams: the seed and the counts of the random streams.
    """

    completed: int
    taken: int
    losses: list[float]
    counts: list[float]
    seconds: float
    streams: tuple[int, int, int]

    @classmethod
    def of(cls, state: StateDict, n_steps: int) -> EpochPosition:
        """Return the position of a state dictionary.

        Raises:
            FileFormatError: if an entry is missing or of another type or length.
        """
        completed = require_whole(state.get("completed"), "the number of completed epochs")
        taken = require_whole(state.get("taken"), "the number of steps taken")
        if taken > n_steps:
            raise FileFormatError(f"the steps taken must be at most {n_steps}; got {taken}.")
        like = np.empty(taken)
        for key in ("losses", "counts"):
            require_array(state.get(key), like, f"the {key} of the steps", finite=True)
        return cls(
            completed,
            taken,
            state["losses"].tolist(),
            state["counts"].tolist(),
            require_float(state.get("seconds"), "the seconds of an epoch"),
            drawn_of(state.get("streams")),
        )


def is_due(number: int, intervals: Sequence[int]) -> bool:
    """Return whether a number of steps is a multiple of one of the intervals."""
    return any(not number % interval for interval in intervals)


def _mean(values: list[float], counts: list[float]) -> float:
    """The mean loss of the batches, weighted by their numbers of rows or sums of weights."""
    total = sum(v * c for v, c in zip(values, counts, strict=True))
    return total / (sum(counts) or 1.0)  # if all weights are 0, so is the loss
