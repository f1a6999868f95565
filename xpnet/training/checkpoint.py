"""A callback that saves the best model of a training to a file."""

from __future__ import annotations

import json
import math
import os
from contextlib import nullcontext
from typing import Any, ClassVar

from safetensors import SafetensorError, safe_open

from xpnet.atomic import StrPath, real_path, require_writable
from xpnet.errors import Phrase, require, require_type, warn_caller
from xpnet.serialization import model_config, write_model
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries
from xpnet.training.averages import UseAverage
from xpnet.training.callbacks import Run

KEY = "xpnet-checkpoint"
"""The key of the checkpoint in the metadata of its file."""


class Checkpoint:
    """Save the model to a file after every epoch that is the best so far.

    The file also holds the best number and its column. A training that begins with a file of the
    same column and architecture replaces it by a better epoch only, also with another `Checkpoint`
    or in another process: the best of all trainings is kept, and a training without a better epoch
    warns. Any other file is replaced after the first epoch. To start anew, as for other data,
    delete the file or use another path.

    An epoch in which the number is NaN is never the best, and of equal numbers the first counts. A
    training that saves nothing, because the number is NaN in every epoch, warns.

    The file holds the parameters θ that the steps train, in any order of the list of callbacks, not
    an average; but if ``monitor`` is a column of `UseAverage`, such as ``"avg_loss"``, it holds the
    average with its batch-norm statistics.

    Args:
        path: the path of the file, which is replaced atomically.
        monitor: the column to monitor; default ``"val_loss"``.
        maximize: whether higher is better; ``None`` (default) takes the direction of the metric,
            and lower is better where it is unknown.

    Attributes:
        best: the number of the epoch in the file, or ``None`` before one is saved.

    Raises:
        ArgumentError: before the first step, if the history will lack ``monitor``, ``path`` is a
            folder or the path of another `Checkpoint`, or the model has a user-defined layer or
            loss that cannot be saved.
        OSError: before the first step, if the folder of the file does not exist or cannot be
            written; in training, if the file cannot be written.

    >>> import tempfile, xpnet
    >>> X, model = [[0.0], [1.0], [2.0], [3.0]], xpnet.MLP(1, [], 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = xpnet.Checkpoint(f"{folder}/best.safetensors", monitor="loss")
    ...     history = model.fit(X, X, loss=xpnet.HalfMSE(), optimizer=xpnet.SGD(lr=0.1),
    ...         callbacks=[checkpoint], progress=False)
    ...     saved = xpnet.load(f"{folder}/best.safetensors")
    >>> checkpoint.best == min(history["loss"])
    True
    """

    columns: ClassVar[tuple[str, ...]] = ()
    best: float | None

    def __init__(
        self, path: StrPath, monitor: str = "val_loss", maximize: bool | None = None
    ) -> None:
        require_type(path, (str, bytes, os.PathLike), "path")
        require_type(monitor, str, "monitor", 'Write the name of a column, such as "val_loss".')
        self.path, self.monitor = path, monitor
        self.maximize = None if maximize is None else bool(maximize)
        self.best = None

    def begin(self, run: Run) -> None:
        """Refuse what cannot be monitored or saved, and read the best number of the file."""
        self._is_maximized = run.direction(self.monitor, self.maximize)
        paths = [real_path(c.path) for c in run.callbacks if isinstance(c, Checkpoint)]
        got = Phrase(f"two with {os.fsdecode(self.path)!r}")
        rule = "hold Checkpoints of different paths"
        require(paths.count(real_path(self.path)) == 1, "callbacks", rule, got)
        config = model_config(run.model)  # raises an error if the model cannot be saved
        require_writable(self.path)
        self.best = self._best_of_file(json.loads(json.dumps(config)))
        self._has_saved = self._is_lost = self._was_nan = False

    def epoch(self, run: Run) -> None:
        """Save if this epoch is the best so far."""
        if self._is_lost:
            self._is_lost = False
            warn_caller(
                f"{os.fsdecode(self.path)!r} is not the file of the training that is resumed: the "
                "best epoch from here on is saved."
            )
        value, best = run.monitored(self.monitor), self.best
        if math.isnan(value):
            self._was_nan = True
            return
        if best is None or (value > best if self._is_maximized else value < best):
            entry = {"monitor": self.monitor, "maximize": self._is_maximized, "best": value}
            averages = [c for c in run.callbacks if isinstance(c, UseAverage)]
            monitored = [
                average
                for average in averages
                if average.is_own_point or self.monitor in average.columns
            ]
            with monitored[0].applied(run) if monitored else nullcontext():
                write_model(run.model, self.path, {KEY: json.dumps(entry)})
            self.best, self._has_saved = value, True

    def end(self, run: Run) -> None:
        """Warn if no epoch was better than the file of an earlier training, or none was saved."""
        if self.best is None and self._was_nan:
            warn_caller(
                f"{os.fsdecode(self.path)!r} was not written: {self.monitor} was NaN in every "
                "epoch, as AUC is without rows of a class. Monitor another column."
            )
        if self.best is not None and not self._has_saved:
            warn_caller(
                f"{os.fsdecode(self.path)!r} keeps the model of an earlier training, with "
                f"{self.monitor} = {self.best:.6g}: no epoch of this one was better. Delete the "
                "file to start anew, as for other data."
            )

    def state_dict(self) -> StateDict:
        """The best number, and whether this training has saved it."""
        return {"best": self.best, "has_saved": self._has_saved}

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; after `begin`.

        Raises:
            FileFormatError: if an entry has another type.
        """
        entries = Entries(state, "Checkpoint", "best", "has_saved")
        has_saved = entries.flag("has_saved")
        best = None if entries["best"] is None else entries.number("best", finite=False)
        if best is not None and self.best is None:  # what `begin` has found in the file
            best, has_saved, self._is_lost = None, False, True
        self.best, self._has_saved = best, has_saved

    def _best_of_file(self, model: dict[str, Any]) -> float | None:
        """Return the best number of the file, or ``None`` if it is of another model or column."""
        try:
            with safe_open(os.fsdecode(self.path), framework="numpy") as file:
                metadata = file.metadata() or {}
            entry, saved = (json.loads(metadata[key]) for key in (KEY, "xpnet"))
            best, column = entry["best"], (entry["monitor"], entry["maximize"])
            same = all(saved[key] == value for key, value in model.items())
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
            return None
        valid = type(best) in (int, float) and not math.isnan(best)
        return best if valid and same and column == (self.monitor, self._is_maximized) else None
