"""A callback that saves a training to a file, from which it can be resumed."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import ClassVar

from xpnet.atomic import StrPath, real_path, require_writable
from xpnet.errors import (
    ArgumentError,
    Phrase,
    require,
    require_count,
    require_number,
    require_type,
    warn_caller,
)
from xpnet.training.background_write import BackgroundWrite
from xpnet.training.callbacks import Run
from xpnet.training.training_file import Progress, progress_of

PREVIOUS = ".previous"
"""The end of the name of a file whose training a new one has replaced."""

STEPS_ON_HOST, STEPS_ON_DEVICE = 16, 256
"""After how many steps the clock is read, on the CPU and on a GPU, which the host waits for."""


class TrainingCheckpoint:
    """Save the complete training to a file at intervals, so that it can be resumed.

    The file holds the parameters, the statistics of batch norm, the state of the optimizer and of
    the callbacks, the history, the position within the epoch and the random streams, and a record
    of the settings, the data and the environment. Resume the training with the same arguments::

        settings = {"loss": CrossEntropy(), "optimizer": Adam(), "epochs": 50,
                    "callbacks": [TrainingCheckpoint("run.safetensors", epochs=1)]}
        model.fit(X, y, **settings)
        model.fit(X, y, **settings, resume="run.safetensors")  # in another process

    or without them, by ``model = xpnet.resume("run.safetensors", X, y)``. On the same CPU, with the
    same versions, number of BLAS threads and engine, the training then ends with the same bits as
    without an interruption. `xpnet.load` reads the model of the file as it is at that point.

    The file is written before the first step, at the given interval, when Ctrl-C ends the training,
    and at the end. Each write replaces it atomically: a process that is killed leaves the previous
    file. The training waits for a copy of its vectors only, which a thread writes to disk; an error
    of the disk is raised at the next interval.

    A script that may be started again passes ``resume=path if os.path.exists(path) else None``.
    Without it a new training replaces the file; if that holds a training that has not ended, it is
    kept beside it with ``.previous`` after its name, and a warning says so.

    `Checkpoint` saves the best model instead.

    Args:
        path: the path of the file.
        epochs: the number of epochs from one file to the next (for a method of `xpnet.minimize`
            iterations), at least 1.
        steps: the number of steps, at least 1; for a method iterations.
        seconds: the number of seconds, above 0; the clock is read every few steps.

    Raises:
        ArgumentError: if not exactly one of the intervals is given, or one is out of its range;
            before the first step, if ``path`` is a folder or the path of another callback, or the
            training has a part whose state cannot be saved.
        OSError: before the first step, if the folder of the file does not exist or cannot be
            written; in training, if the file cannot be written.

    >>> import tempfile, xpnet
    >>> X, model = [[0.0], [1.0], [2.0], [3.0]], xpnet.MLP(1, [], 1)
    >>> settings = {"loss": xpnet.HalfMSE(), "optimizer": xpnet.SGD(lr=0.1), "progress": False}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run.safetensors"
    ...     checkpoint = TrainingCheckpoint(path, epochs=1)
    ...     _ = model.fit(X, X, epochs=3, callbacks=[checkpoint], **settings)
    ...     history = xpnet.MLP(1, [], 1).fit(X, X, epochs=5, resume=path, **settings)
    >>> history["epoch"]
    [1.0, 2.0, 3.0, 4.0, 5.0]
    """

    columns: ClassVar[tuple[str, ...]] = ()
    saves_training: ClassVar[bool] = True
    stateless: ClassVar[bool] = True

    def __init__(
        self,
        path: StrPath,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
    ) -> None:
        require_type(path, (str, bytes, os.PathLike), "path")
        given = {"epochs": epochs, "steps": steps, "seconds": seconds}
        names = [name for name, value in given.items() if value is not None]
        if len(names) != 1:
            raise ArgumentError(
                "TrainingCheckpoint must have exactly one of epochs, steps and seconds; got "
                f"{' and '.join(names) or 'none'}. Write TrainingCheckpoint(path, epochs=1)."
            )
        for name in ("epochs", "steps"):
            if given[name] is not None:
                require_count(given[name], name)
        if seconds is not None:
            require_number(seconds, "seconds", above=0)
        self.path, self.epochs, self.steps, self.seconds = path, epochs, steps, seconds
        self.every: int | None = steps

    def begin(self, run: Run) -> None:
        """Refuse a path that cannot be written."""
        paths = [
            real_path(c.path) for c in run.callbacks if isinstance(getattr(c, "path", None), _PATH)
        ]
        got, rule = Phrase(f"two with {os.fsdecode(self.path)!r}"), "have different paths"
        require(paths.count(real_path(self.path)) == 1, "callbacks", rule, got)
        require_writable(self.path)
        self._is_new = self._is_replaced(run)
        if self.seconds is not None:
            self.every = STEPS_ON_HOST if run.model.backend.is_host else STEPS_ON_DEVICE
        self._last: tuple[int, int, bool] | None = None
        self._clock = time.monotonic()
        self._write: BackgroundWrite | None = None

    def save_initial(self, run: Run) -> None:
        """Save before the first step, unless this is the file that is resumed; after `begin`."""
        if self._is_new:
            self._keep_earlier()
            self.save(run)
            self.wait()

    def step(self, run: Run) -> None:
        """Save if the interval of steps or seconds is over."""
        if self.steps is not None or self._is_due():
            self.save(run)

    def epoch(self, run: Run) -> None:
        """Save if the interval of epochs or seconds is over."""
        iterations = self.steps if run.n_steps == 0 else None
        interval = self.epochs or iterations
        if self._is_due() or (interval is not None and run.epoch % interval == 0):
            self.save(run)

    def exception(self, run: Run, error: BaseException) -> None:
        """Save if the training was interrupted between two steps."""
        if isinstance(error, KeyboardInterrupt):
            self.save(run)
            self.wait()
        else:
            with suppress(OSError):  # the training has an error of its own
                self.wait()

    def end(self, run: Run) -> None:
        """Save the end of the training."""
        self.save(run)
        self.wait()

    def save(self, run: Run) -> None:
        """Begin to write the file, unless it is of this position, or a step is not complete.

        Nothing is written if a number is NaN or infinite, of which the training will raise an error
        after the epoch: the previous file remains.
        """
        if run.saver is None or run.saver.training.position == self._last:
            return
        if run.saver.training.is_finite():
            self.wait()
            self._write = BackgroundWrite(run.saver.snapshot(), self.path)
            self._last, self._clock = run.saver.training.position, time.monotonic()

    def wait(self) -> None:
        """Wait until the file is written."""
        if self._write is not None:
            try:
                self._write.wait()
            finally:
                if self._write.has_ended:  # unless Ctrl-C has interrupted the wait
                    self._write = None

    def _is_replaced(self, run: Run) -> bool:
        """Return whether the file is new, or of another training; refuse files of others.

        Raises:
            ArgumentError: if the file is not one of `TrainingCheckpoint`.
        """
        name = os.fsdecode(self.path)
        resumed = None if run.saver is None else run.saver.resumed
        self._earlier: Progress | None = None
        if not os.path.exists(name) or os.path.getsize(name) == 0:
            return True
        if resumed is not None and real_path(resumed) == real_path(self.path):
            return False
        found = progress_of(name)
        rule = "be new, or a file of TrainingCheckpoint"
        require(found is not None, "path", rule, Phrase(f"{name!r}, which is another file"))
        if found is not None and not found.ended and (found.completed or found.taken):
            self._earlier = found
        return True

    def _keep_earlier(self) -> None:
        """Rename the file of a training that has not ended, and warn of that."""
        if self._earlier is None:
            return
        name = os.fsdecode(self.path)
        os.replace(name, name + PREVIOUS)
        done = f"{self._earlier.completed} of {self._earlier.epochs} epochs"
        warn_caller(
            f"{name!r} held a training that had not ended, after {done}; it is kept as "
            f"{name + PREVIOUS!r}. Pass resume={name!r} to continue the training of a file."
        )

    def _is_due(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._clock >= self.seconds


_PATH = str, bytes, os.PathLike
