"""A callback that saves the best model of a training to a file."""

from __future__ import annotations

import math
import os
import tempfile
from typing import ClassVar

from xpnet.errors import require_number
from xpnet.training.callbacks import Run


class Checkpoint:
    """Save the model to a file after every epoch that is the best so far.

    The best number is that of all trainings with this object. Pass `best` of an earlier process
    to continue there without replacing a better file by a worse one. An epoch in which the number
    is NaN is never the best. The parameters saved are those that the steps train, not an average
    (`UseAverage`).

    Args:
        path: the path of the file, which is replaced atomically.
        monitor: the column to monitor; default ``"val_loss"``.
        maximize: whether higher is better, as for ``"val_accuracy"``; default false.
        best: the number that the first saved epoch must improve, or ``None`` (default): the first
            epoch is saved.

    Attributes:
        best: the number of the epoch in the file, or ``None``.

    Raises:
        ArgumentError: before the first step, if the history will lack ``monitor`` or the model
            cannot be saved.
        OSError: before the first step, if the folder of the file does not exist or ``path`` is a
            folder; in training, if the file cannot be written.

    >>> checkpoint = Checkpoint("best.safetensors", monitor="loss", best=0.25)
    >>> checkpoint.best
    0.25
    """

    columns: ClassVar[tuple[str, ...]] = ()
    monitors: ClassVar[bool] = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        maximize: bool = False,
        best: float | None = None,
    ) -> None:
        if best is not None:
            require_number(best, "best")
        self.path, self.monitor, self.maximize, self.best = path, monitor, maximize, best

    def begin(self, run: Run) -> None:
        """Refuse a column that the history will not have, and a model that cannot be saved."""
        run.require_column(self.monitor)
        folder = os.path.dirname(os.path.abspath(os.fspath(self.path)))
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"path must be in a folder that exists; there is no folder {folder!r}. "
                "Make it first, as with os.makedirs."
            )
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"path must be a file; got the folder {self.path!r}.")
        with tempfile.TemporaryDirectory() as other:
            run.model.save(os.path.join(other, "model"))

    def __call__(self, run: Run) -> None:
        """Save if this epoch is the best so far."""
        value = run.monitored(self.monitor)
        if math.isnan(value):
            return
        if self.best is None or (value > self.best if self.maximize else value < self.best):
            self.best = value
            run.model.save(self.path)
