"""Callbacks, which are called after every epoch, and early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from xpnet.backend import copied
from xpnet.errors import require, require_count, require_number, unknown_name
from xpnet.training.history import History


@dataclass
class Run:
    """The argument of callbacks: a training run at the end of an epoch.

    Attributes:
        model: the model in training.
        epoch: the number of the epoch that has ended, counted from 1.
        epochs: the number of epochs requested.
        row: the numbers of the epoch by column.
        history: the history up to and including this epoch.
        optimizer: the optimizer, or the method of `xpnet.minimize`.
        state: the current state of the optimizer; ``None`` for a method of `xpnet.minimize`.
        rows: the training data, `xpnet.data.batching.TrainingData`.
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
        """The number of this epoch in the column ``monitor``.

        Raises:
            ArgumentError: if there is no such column.
        """
        if monitor not in self.row:
            raise unknown_name("monitor", monitor, self.row)
        return self.row[monitor]


Callback: TypeAlias = Callable[[Run], bool | None]
"""A function called after every epoch; returning true stops the training."""


class EarlyStopping:
    """Stop if a column of the history no longer improves, and restore the best parameters.

    Args:
        monitor: the column to monitor; default ``"val_loss"``.
        patience: the number of successive epochs without improvement after which training stops;
            at least 1, default 5.
        min_delta: the smallest change that counts as an improvement, at least 0; default 0.
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
        """Keep the parameters of the best epoch; return whether to stop."""
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
        """Restore the parameters and statistics of the best epoch."""
        run.model.theta[...] = self._theta
        run.model.statistics[...] = self._statistics


def check_functions(items: Sequence[Any], argument: str) -> None:
    """Refuse an argument that is not a sequence of functions; a class is not a function.

    Raises:
        ArgumentError: naming ``argument``.
    """
    rule, do = "be a sequence of functions", f"Write {argument}=[...]."
    require(isinstance(items, Sequence), argument, rule, items, do)
    for item in items:
        ok = callable(item) and not isinstance(item, type)
        do = f"Write {item.__name__}(...)." if isinstance(item, type) else ""
        require(ok, argument, "hold functions, or objects with a method __call__", item, do)
