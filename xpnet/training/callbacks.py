"""Callbacks, which are called after every epoch, and early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np

from xpnet.backend import Array, copied
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
        columns: the columns that ``row`` has before the callbacks add theirs.
        callbacks: the callbacks of the run, in the order in which they are called.
    """

    model: Any
    epoch: int
    epochs: int
    row: dict[str, float]
    history: History
    optimizer: Any = None
    state: Any = None
    rows: Any = None
    columns: tuple[str, ...] = ()
    callbacks: tuple[Any, ...] = ()

    def require_column(self, monitor: str) -> None:
        """Refuse a column that the history will not have.

        A callback that does not declare its columns may add any but ``val_loss``.

        Raises:
            ArgumentError: if there will be no such column.
        """
        known = list(self.columns)
        for callback in self.callbacks:
            if not hasattr(callback, "columns") and monitor != "val_loss":
                return
            known += getattr(callback, "columns", ())
        if monitor not in known:
            raise unknown_name("monitor", monitor, known)

    def monitored(self, monitor: str) -> float:
        """The number of this epoch in the column ``monitor``.

        Raises:
            ArgumentError: if there is no such column.
        """
        if monitor not in self.row:
            raise unknown_name("monitor", monitor, self.row)
        return self.row[monitor]


Callback: TypeAlias = Callable[[Run], bool | None]
"""A function called after every epoch; returning ``True``, and nothing else, stops the training.

It may have further members, all optional:

- ``begin(run)`` is called before the first step, with ``run.epoch == 0``; it raises an error if the
  callback cannot be used in this training.
- ``finish(run)`` is called after the last epoch.
- ``columns`` names the columns that it adds to ``run.row``.
- ``monitors``: if true, it is called after those that are not, because it reads their columns.
- ``snapshot(run)`` and ``restore(run, snapshot)`` copy what ``finish`` uses, for `EarlyStopping`.
"""


class EarlyStopping:
    """Stop if a column of the history no longer improves, and restore the best parameters.

    The training then counts as ended with its best epoch. Therefore `UseAverage` and
    `StochasticWeightAveraging` give the model the average of that epoch, wherever they are in the
    list of callbacks. An epoch in which the number is NaN is never the best, and does not count as
    one without improvement.

    Args:
        monitor: the column to monitor; default ``"val_loss"``.
        patience: the number of successive epochs without improvement after which training stops;
            at least 1, default 5.
        min_delta: the smallest change that counts as an improvement, at least 0; default 0.
        maximize: whether higher is better, as for ``"val_accuracy"``; default false.

    Raises:
        ArgumentError: if an argument is outside its range; before the first step, if the history
            will lack ``monitor``.

    Reference: L. Prechelt, "Early stopping — but when?", 1998 (the criterion UP).

    >>> EarlyStopping(patience=0)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: patience must be an integer of at least 1; got 0.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    monitors: ClassVar[bool] = True
    _best: float | None
    _waited: int
    _vectors: tuple[Array, Array] | None
    _snapshots: list[tuple[Any, Any]]

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
        self._reset()

    def begin(self, run: Run) -> None:
        """Refuse a column that the history will not have."""
        run.require_column(self.monitor)
        self._reset()

    def __call__(self, run: Run) -> bool:
        """Keep the parameters of the best epoch; return whether to stop."""
        value = run.monitored(self.monitor) * (-1 if self.maximize else 1)
        if run.epoch == 1:
            self._reset()
        if math.isnan(value):
            return False
        self._waited += 1
        if self._best is None or value < self._best - self.min_delta:
            self._best, self._best_epoch, self._waited = value, run.epoch, 0
            self._vectors = copied(run.model.theta), copied(run.model.statistics)
            self._snapshots = [(c, c.snapshot(run)) for c in run.callbacks if has_snapshot(c)]
        if self._waited < self.patience:
            return False
        run.history.stopped = (
            f"{self.monitor} has not improved for {self.patience} epochs; "
            f"the weights of epoch {self._best_epoch} are restored"
        )
        return True

    def finish(self, run: Run) -> None:
        """Restore the best epoch; nothing if the number was NaN in every epoch."""
        if self._vectors is not None:
            run.model.theta[...], run.model.statistics[...] = self._vectors
        for callback, snapshot in self._snapshots:
            callback.restore(run, snapshot)

    def _reset(self) -> None:
        """Forget the epochs of an earlier training."""
        self._best, self._best_epoch, self._waited = None, 0, 0
        self._vectors, self._snapshots = None, []


def has_snapshot(callback: Any) -> bool:
    """Whether a callback has a state that `EarlyStopping` restores."""
    return hasattr(callback, "snapshot") and hasattr(callback, "restore")


def begin(run: Run, callbacks: Sequence[Callback], columns: Sequence[str]) -> Run:
    """Call the method ``begin`` of every callback that has one, before the first step.

    Args:
        run: the run, before its first epoch.
        callbacks: the callbacks.
        columns: the columns of the history, except ``epoch``, ``loss`` and ``seconds``.

    Returns:
        The run with its callbacks and columns.

    Raises:
        ArgumentError: if a callback cannot be used in this training.
    """
    all_columns = ("epoch", "loss", *columns, "seconds")
    run = replace(run, columns=all_columns, callbacks=tuple(sorted(callbacks, key=_monitors)))
    for callback in run.callbacks:
        if hasattr(callback, "begin"):
            callback.begin(run)
    return run


def any_stops(run: Run) -> bool:
    """Call every callback, and return whether one of them stops the training."""
    results = [callback(run) for callback in run.callbacks]
    return any(isinstance(result, (bool, np.bool)) and bool(result) for result in results)


def finish(run: Run) -> None:
    """Call the method ``finish`` of every callback that has one, first of those that monitor.

    `EarlyStopping` restores the best epoch before another callback averages.
    """
    for callback in sorted(run.callbacks, key=_monitors, reverse=True):
        if hasattr(callback, "finish"):
            callback.finish(run)


def _monitors(callback: Callback) -> bool:
    return bool(getattr(callback, "monitors", False))


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
