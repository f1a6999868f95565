"""What may happen after an epoch: stop early, save the best, or anything a function does."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from xpnet.backend import copied
from xpnet.errors import require, require_count, require_number, unknown_name
from xpnet.training.history import History


@dataclass
class Run:
    """A training run as a callback sees it, after an epoch.

    Attributes:
        model: the model in training.
        epoch: the epoch that has just ended, counted from 1.
        epochs: how many there are to be.
        row: the epoch's numbers by column.
        history: all epochs so far, this one included.
        optimizer: the optimizer, or the method of `xpnet.minimize`.
        state: the optimizer's state, as it is now.
        rows: the rows that are trained on, `xpnet.data.batching.TrainingData`.
    """

    model: Any
    epoch: int
    epochs: int
    row: dict[str, float]
    history: History
    optimizer: Any = None
    state: Any = None
    rows: Any = None

    def monitored(self, monitor: str) -> float:
        """This epoch's number in the column ``monitor``."""
        if monitor not in self.row:
            raise unknown_name("monitor", monitor, self.row)
        return self.row[monitor]


Callback: TypeAlias = Callable[[Run], bool | None]
"""A function called after every epoch; returning true stops the training."""


class EarlyStopping:
    """Stop when a column of the history has not improved for a while; restore the best weights.

    Args:
        monitor: the column to watch; default ``"val_loss"``.
        patience: how many epochs in a row may pass without improvement; at least 1, default 5.
        min_delta: by how much it must improve to count, at least 0; default 0.
        maximize: whether higher is better, as for ``"val_accuracy"``; default false.

    Raises:
        ArgumentError: if an argument is outside its range, or the history lacks ``monitor``.

    Reference: L. Prechelt, "Early stopping — but when?", 1998 (the criterion UP).

    >>> EarlyStopping(patience=0)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: patience must be an integer of at least 1; got 0.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        maximize: bool = False,
    ) -> None:
        require_count(patience, "patience")
        require_number(min_delta, "min_delta", low=0)
        self.monitor, self.patience = monitor, patience
        self.min_delta, self.maximize = min_delta, maximize

    def __call__(self, run: Run) -> bool:
        """Remember the best epoch; true when patience has run out."""
        value = run.monitored(self.monitor) * (-1 if self.maximize else 1)
        if run.epoch == 1:
            self._best, self._best_epoch = math.inf, 1
        if run.epoch == 1 or value < self._best - self.min_delta:
            self._best, self._best_epoch = value, run.epoch
            self._theta, self._statistics = copied(run.model.theta), copied(run.model.statistics)
        if run.epoch - self._best_epoch < self.patience:
            return False
        run.history.stopped = (
            f"{self.monitor} has not improved for {self.patience} epochs; "
            f"the weights of epoch {self._best_epoch} are restored"
        )
        return True

    def finish(self, run: Run) -> None:
        """Put the best weights and statistics back into the model."""
        run.model.theta[...] = self._theta
        run.model.statistics[...] = self._statistics


class Checkpoint:
    """Save the model to a file after every epoch that is the best so far.

    Args:
        path: the file, replaced as a whole each time.
        monitor: the column to watch; default ``"val_loss"``.
        maximize: whether higher is better; default false.
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


def check_functions(items: Sequence[Any], argument: str) -> None:
    """Refuse what is not a function: a value, or a class that was not made an object."""
    rule, do = "be a sequence of functions", f"Write {argument}=[...]."
    require(isinstance(items, Sequence), argument, rule, items, do)
    for item in items:
        ok = callable(item) and not isinstance(item, type)
        do = f"Write {item.__name__}(...)." if isinstance(item, type) else ""
        require(ok, argument, "hold functions, or objects that are called", item, do)
