"""Early stopping: end a training that no longer improves, with its best epoch."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from xpnet.backend import Array, copied
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries, require_array
from xpnet.training.callbacks import Run


class EarlyStopping:
    """Stop if a column of the history no longer improves, and restore the best epoch.

    The training then counts as one that ended with its best epoch, even if it was not stopped
    early. Therefore `UseAverage` and `StochasticWeightAveraging` give the model the average of that
    epoch, in any order of the list of callbacks.

    An epoch in which the number is NaN is never the best, and counts as one without improvement. If
    the number was NaN in every epoch, the model keeps the parameters that it would have without
    this callback.

    Args:
        monitor: the column to monitor; default ``"val_loss"``.
        patience: the number of successive epochs without improvement after which training stops;
            at least 1, default 5.
        min_delta: the smallest change that counts as an improvement, at least 0; default 0.
        maximize: whether higher is better; ``None`` (default) takes the direction of the metric,
            and lower is better where it is unknown.

    Raises:
        ArgumentError: if an argument is outside its range; before the first step, if the history
            will lack ``monitor`` or there is another `EarlyStopping`.

    Reference: L. Prechelt, "Early stopping — but when?", 1998 (the criterion UP).

    >>> EarlyStopping(patience=0)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: patience must be an integer of at least 1; got 0.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    restores_epoch: ClassVar[bool] = True
    _best: float
    _waited: int
    _vectors: tuple[Array, ...] | None
    _snapshots: list[Any]
    _run: Run | None

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        maximize: bool | None = None,
    ) -> None:
        require_type(monitor, str, "monitor", 'Write the name of a column, such as "val_loss".')
        require_count(patience, "patience")
        require_number(min_delta, "min_delta", low=0)
        self.monitor, self.patience = monitor, patience
        self.min_delta = min_delta
        self.maximize = None if maximize is None else bool(maximize)
        self._reset()

    def begin(self, run: Run) -> None:
        """Refuse a column that the history will not have, and a second `EarlyStopping`."""
        self._is_maximized = run.direction(self.monitor, self.maximize)
        n = sum(isinstance(callback, EarlyStopping) for callback in run.callbacks)
        rule = "hold at most one EarlyStopping, which determines the epoch that is restored"
        require(n == 1, "callbacks", rule, n)
        self._reset()
        self._run = run

    def epoch(self, run: Run) -> bool:
        """Keep the parameters of the best epoch; return whether to stop."""
        value = run.monitored(self.monitor) * (-1 if self._is_maximized else 1)
        first = self._vectors is None and not math.isnan(value)
        self._waited += 1
        if first or value < self._best - self.min_delta:
            self._best, self._best_epoch, self._waited = value, run.epoch, 0
            self._vectors = copied(run.model.theta), copied(run.model.statistics)
            self._snapshots = [c.snapshot(run) for c in _with_snapshots(run)]
        if self._waited < self.patience:
            return False
        run.history.stopped = self._reason(run)
        return True

    def end(self, run: Run) -> None:
        """Restore the best epoch, unless the number was NaN in all of them."""
        if self._vectors is not None:
            run.model.theta[...], run.model.statistics[...] = self._vectors
        if self._snapshots:
            for callback, snapshot in zip(_with_snapshots(run), self._snapshots, strict=True):
                callback.restore(run, snapshot)
        self._reset()  # releases the memory

    def state_dict(self) -> StateDict:
        """The best epoch with its parameters and snapshots, and the epochs since."""
        return {
            "best": self._best,
            "best_epoch": self._best_epoch,
            "waited": self._waited,
            "vectors": None if self._vectors is None else list(self._vectors),
            "snapshots": self._snapshots,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; after `begin`.

        Raises:
            FileFormatError: if it does not fit the training.
        """
        run, names = self._run, ("best", "best_epoch", "waited", "vectors", "snapshots")
        assert run is not None
        entries = Entries(state, "EarlyStopping", *names)
        best, best_epoch = entries.number("best", finite=False), entries.count("best_epoch")
        waited, vectors = entries.count("waited"), None
        if entries["vectors"] is not None:
            likes = run.model.theta, run.model.statistics
            found = entries.items("vectors", 2)
            for value, like in zip(found, likes, strict=True):
                require_array(value, like, "a vector of EarlyStopping", finite=True)
            vectors = tuple(map(run.model.backend.asarray, found))
        callbacks = [] if vectors is None else _with_snapshots(run)
        snapshots = entries.items("snapshots", len(callbacks))
        _try_snapshots(callbacks, snapshots, run)
        self._best, self._waited, self._vectors = best, waited, vectors
        self._best_epoch, self._snapshots = best_epoch, snapshots

    def _reset(self) -> None:
        """Forget the epochs of an earlier training."""
        self._best, self._best_epoch, self._waited = math.inf, 0, 0
        self._vectors, self._snapshots, self._run = None, [], None

    def _reason(self, run: Run) -> str:
        """Why training stopped, and with which parameters the model ends."""
        if self._vectors is None:
            kept = "last epoch" if run.state is not None else "lowest loss"  # minimize's own rule
            return (
                f"{self.monitor} was NaN for {self.patience} epochs; "
                f"the weights of the {kept} are kept"
            )
        restored = "weights and averages" if self._snapshots else "weights"
        return (
            f"{self.monitor} has not improved for {self.patience} epochs; "
            f"the {restored} of epoch {self._best_epoch} are restored"
        )


def _with_snapshots(run: Run) -> list[Any]:
    """The callbacks with a state that `EarlyStopping` restores."""
    names = "snapshot", "restore"
    return [c for c in run.callbacks if all(callable(getattr(c, n, None)) for n in names)]


def _try_snapshots(callbacks: list[Any], snapshots: list[Any], run: Run) -> None:
    """Restore each snapshot of a file and the present one, so that the last epoch cannot fail."""
    for callback, snapshot in zip(callbacks, snapshots, strict=True):
        if not type(callback).__module__.startswith("xpnet."):
            continue  # it may not be able to make a snapshot before its first epoch
        before = callback.snapshot(run)
        try:
            callback.restore(run, snapshot)
        finally:
            callback.restore(run, before)
