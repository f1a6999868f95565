"""Mini-batch training: epochs of steps, with an evaluation and the callbacks after each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from xpnet.data.batching import TrainingData
from xpnet.engine.select import steps_for
from xpnet.errors import ArgumentError, NonFiniteError
from xpnet.generators import generator_state
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState
from xpnet.state_dict import StateDict
from xpnet.training.averages import UseAverage
from xpnet.training.callbacks import Callbacks, Run
from xpnet.training.epochs import Epochs
from xpnet.training.evaluation import known_directions, measured_columns
from xpnet.training.history import History
from xpnet.training.interrupts import Interrupts
from xpnet.training.progress import print_ended, reporter
from xpnet.training.resuming import SavedTraining, begin_training
from xpnet.training.saving import Saver
from xpnet.training.settings import Settings


def train(
    model: Any,
    state: ModelState,
    data: TrainingData,
    validation: TrainingData | None,
    settings: Settings,
    saved: SavedTraining | None = None,
    record: Mapping[str, Any] | None = None,
) -> History:
    """Train in place and return the history, which is ``model.history`` during training too.

    Args:
        model: the model that callbacks receive.
        state: its network and vectors.
        data: the training data.
        validation: the validation data, or ``None``.
        settings: the loss, the optimizer and all other settings.
        saved: the training that is resumed, or ``None``.
        record: the settings, the data and the environment as a checkpoint records them, or
            ``None`` if there is no checkpoint.

    Raises:
        ArgumentError: if a callback cannot be used, or breaks a rule in the first epoch, or a
            metric does; the parameters, statistics and history of the model are as before. Also if
            a learning rate is negative or not finite; the parameters and statistics are those of
            the beginning of that epoch.
        NonFiniteError: if a loss, a parameter, a running statistic or the optimizer's state becomes
            NaN or infinite; the model is restored to the beginning of that epoch.
        KeyboardInterrupt: after Ctrl-C, unless ``settings.on_interrupt`` is ``"return"``.
    """
    with Interrupts(raises=settings.on_interrupt == "raise") as interrupts:
        sets, resumed = (data, validation), None if saved is None else saved.name
        training = _MiniBatchTraining(model, state, *sets, settings, interrupts, record, resumed)
        training.begin(saved)
        return training.run()


class _MiniBatchTraining:
    """A mini-batch training with its callbacks and history; see `train` for the arguments."""

    def __init__(
        self,
        model: Any,
        state: ModelState,
        data: TrainingData,
        validation: TrainingData | None,
        settings: Settings,
        interrupts: Interrupts,
        record: Mapping[str, Any] | None,
        resumed: str | None,
    ) -> None:
        self._model, self._settings, self._has_ended = model, settings, False
        self.optimizer_state = settings.optimizer.init(state.theta, state.network.layout)
        self._callbacks = _callbacks(settings, state, self.optimizer_state)
        steps = steps_for(
            state,
            data,
            settings,
            self.optimizer_state,
            batch_size=settings.batch_size,
            drop_last=settings.drop_last,
            divided=self._callbacks.take_steps or record is not None,
        )
        self.history = History(engine=steps.engine)
        self._run = Run(
            model,
            0,
            settings.epochs,
            {},
            self.history,
            settings.optimizer,
            self.optimizer_state,
            data,
            columns=_columns(settings, validation),
            saver=None if record is None else Saver(model, record, self, resumed),
            interrupts=interrupts,
            directions=known_directions(settings.metrics),
        )
        self._epochs = Epochs(state, data, validation, settings, steps, self._callbacks, self._run)

    @property
    def position(self) -> tuple[int, int, bool]:
        """The numbers of completed epochs and of steps taken in the next one, and the end."""
        return self._epochs.completed, self._epochs.taken, self._has_ended

    def is_finite(self) -> bool:
        """Return whether the vectors of the model and the optimizer are finite."""
        return self._epochs.is_finite()

    def state_dict(self) -> StateDict:
        """Return what the next steps depend on, except for the vectors of the model."""
        return self._epochs.state_dict() | {
            "history": self.history.state_dict(),
            "callbacks": self._callbacks.state_dict(),
            "rng": generator_state(self._settings.rng),
            "engine": self._epochs.steps.engine,
            "ended": self._has_ended,
        }

    def begin(self, saved: SavedTraining | None) -> None:
        """Call the callbacks before the first step, and continue at the position of ``saved``."""
        begin_training(self._run, self._callbacks, self._settings.rng, saved, self._load)
        self._earlier, self._model.history = self._model.history, self.history
        self._epoch, self._is_resumed = self._epochs.epoch, saved is not None

    def _load(self, state: StateDict | None) -> str:
        if state is not None:
            self._epochs.load_state_dict(state)
        return self._epochs.steps.engine

    def run(self) -> History:
        """Run the epochs with their callbacks; return the history."""
        try:
            self._train()
        except KeyboardInterrupt as error:
            failure = self._fail(error)
            self.history.stopped = f"interrupted {self._place()}"
            self._callbacks.end(self._run)
            if failure is not None:
                raise failure from error
            if self._settings.on_interrupt == "raise":
                raise
            return self.history
        except BaseException as error:
            self._fail(error)
            is_first = self._epoch == 1 and not self._is_resumed
            if is_first and isinstance(error, (ArgumentError, NonFiniteError)):
                self._epochs.restore()
                self._model.history = self._earlier
            raise
        self._has_ended = True
        self._callbacks.end(self._run)
        return self.history

    def _fail(self, error: BaseException) -> Exception | None:
        """Call the callbacks after an exception, maybe within a step; return their error."""
        epochs = self._epochs
        saver = None if epochs.unfinished else self._run.saver
        epoch = epochs.completed + bool(epochs.taken)
        self._run = replace(self._run, epoch=epoch, step=epochs.taken, saver=saver)
        return self._callbacks.exception(self._run, error)

    def _place(self) -> str:
        """Where the training is."""
        epochs = self._epochs
        if epochs.unfinished and self._epoch == epochs.completed:  # by a callback
            return f"within the callbacks of epoch {epochs.completed}"
        if epochs.unfinished:  # by a second Ctrl-C
            return f"within epoch {epochs.epoch}, after step {epochs.taken}"
        if not epochs.taken:
            return f"after epoch {epochs.completed}"
        return f"in epoch {epochs.epoch}, step {epochs.taken}"

    def _train(self) -> None:
        """Run the epochs that are left, until a callback stops the training."""
        history, epochs, settings = self.history, self._epochs, self._settings
        if history.stopped or epochs.completed >= settings.epochs:
            if settings.progress:
                print_ended(history)
            return
        start = replace(epochs.run, step=epochs.taken, n_steps=epochs.n_steps)
        with reporter(settings.progress, start, epochs.completed) as report:
            epochs.after_step = report.after_step
            while epochs.completed < settings.epochs and not history.stopped:
                self._epoch = epochs.epoch
                row = epochs.take()
                if row is None:
                    return
                history.append(row)
                epochs.run.row, epochs.run.loss = row, math.nan
                self._run = replace(epochs.run)
                report.epoch(self._run)
                self._callbacks.epoch(self._run)
                epochs.unfinished = False
                self._run.interrupts.raise_if_requested()


def _callbacks(settings: Settings, state: ModelState, optimizer_state: OptimizerState) -> Callbacks:
    """The callbacks, with `UseAverage` if the optimizer is evaluated at another point than θ."""
    given = settings.callbacks
    point = settings.optimizer.evaluation_point(state.theta, optimizer_state)
    if point is not state.theta and not any(isinstance(c, UseAverage) for c in given):
        given = [*given, UseAverage.of_fit()]
    return Callbacks(given)


def _columns(settings: Settings, validation: TrainingData | None) -> tuple[str, ...]:
    """The columns of the history before callbacks add theirs."""
    penalty = ["penalty"] if settings.penalty is not None else []
    measured = measured_columns(validation, settings.metrics)
    return "epoch", "loss", *penalty, *measured, "lr", "seconds"


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
