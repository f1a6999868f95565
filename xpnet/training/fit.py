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
from xpnet.state import ModelState
from xpnet.state_dict import StateDict
from xpnet.training.callbacks import Callbacks, Run
from xpnet.training.epochs import Epochs
from xpnet.training.evaluation import measured_columns
from xpnet.training.generators import generator_state, set_generator_state
from xpnet.training.history import History
from xpnet.training.interrupts import Interrupts
from xpnet.training.progress import printer
from xpnet.training.resuming import SavedTraining
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
    with Interrupts() as interrupts:
        training = _MiniBatchTraining(model, state, data, validation, settings, interrupts, record)
        training.begin(saved)
        history = training.run()
        if settings.on_interrupt == "return":
            interrupts.requested = False  # a Ctrl-C after the last step has nothing to end
        return history


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
    ) -> None:
        self._model, self._state, self._settings, self._record = model, state, settings, record
        self._callbacks = Callbacks(settings.callbacks)
        self.optimizer_state = settings.optimizer.init(state.theta, state.network.layout)
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
            saver=None if record is None else Saver(model, record, self),
            interrupts=interrupts,
        )
        callbacks, run = self._callbacks, self._run
        self._epochs = Epochs(state, data, validation, settings, steps, callbacks, run)

    @property
    def position(self) -> tuple[int, int]:
        """The numbers of completed epochs, and of steps taken in the next one."""
        return self._epochs.completed, self._epochs.taken

    def state_dict(self) -> StateDict:
        """Return what the next steps depend on, except for the vectors of the model."""
        return self._epochs.state_dict() | {
            "history": self.history.state_dict(),
            "callbacks": self._callbacks.state_dict(),
            "rng": generator_state(self._settings.rng),
            "engine": self._epochs.steps.engine,
        }

    def begin(self, saved: SavedTraining | None) -> None:
        """Call the callbacks before the first step, and continue at the position of ``saved``."""
        self._callbacks.begin(self._run)
        if self._record is not None:
            self._callbacks.require_states()
            generator_state(self._settings.rng)  # refuses one that cannot be saved
        if saved is not None:
            with saved.started(self._state) as state:
                self.history.load_state_dict(state["history"])
                self._callbacks.load_state_dict(state["callbacks"])
                self._epochs.load_state_dict(state)
                set_generator_state(self._settings.rng, state["rng"])
            saved.warn_of_environment(self._state.backend, self._epochs.steps.engine)
            saved.forget()
        self._callbacks.first(self._run)
        self._earlier, self._model.history = self._model.history, self.history
        self._epoch = self._epochs.epoch

    def run(self) -> History:
        """Run the epochs with their callbacks; return the history."""
        try:
            self._train()
        except KeyboardInterrupt as error:
            self._fail(error)
            self.history.stopped = f"interrupted {self._place()}"
            self._callbacks.end(self._run)
            if self._settings.on_interrupt == "raise":
                raise
            return self.history
        except BaseException as error:
            self._fail(error)
            if self._epoch == 1 and isinstance(error, (ArgumentError, NonFiniteError)):
                self._epochs.restore()
                self._model.history = self._earlier
            raise
        self._callbacks.end(self._run)
        return self.history

    def _fail(self, error: BaseException) -> None:
        """Tell the callbacks of an exception, after which a step may be incomplete."""
        epochs = self._epochs
        saver = None if epochs.unfinished else self._run.saver
        epoch = epochs.completed + bool(epochs.taken)
        self._run = replace(self._run, epoch=epoch, step=epochs.taken, saver=saver)
        self._callbacks.exception(self._run, error)

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
        history, epochs = self.history, self._epochs
        report = printer() if self._settings.progress else None
        while epochs.completed < self._settings.epochs and not history.stopped:
            self._epoch = epochs.epoch
            row = epochs.take()
            if row is None:
                return
            history.append(row)
            epochs.run.row, epochs.run.loss = row, math.nan
            self._run = replace(epochs.run)
            if report is not None:
                report(self._run)
            epochs.unfinished = True
            self._callbacks.epoch(self._run)
            epochs.unfinished = False
            self._run.interrupts.raise_if_requested()


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
