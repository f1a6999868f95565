"""A callback that saves the best model of a training to a file."""

from __future__ import annotations

import math
import os

from xpnet.training.callbacks import Run


class Checkpoint:
    """Save the model to a file after every epoch that is the best so far.

    Args:
        path: the path of the file, which is replaced atomically.
        monitor: the column to monitor; default ``"val_loss"``.
        maximize: whether higher is better, as for ``"val_accuracy"``; default false.

    Raises:
        ArgumentError: in training, if the history lacks ``monitor``.
        OSError: in training, if the file cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], monitor: str = "val_loss", maximize: bool = False
    ) -> None:
        self.path, self.monitor, self.maximize = path, monitor, maximize
        self._best = math.inf

    def __call__(self, run: Run) -> None:
        """Save if this epoch is the best so far."""
        value = run.monitored(self.monitor) * (-1 if self.maximize else 1)
        if run.epoch == 1 or value < self._best:
            self._best = value
            run.model.save(self.path)
