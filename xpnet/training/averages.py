"""Averages in `fit`: of the iterates of an `Averaged` optimizer, and of epochs (SWA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpnet.backend import Array, copied
from xpnet.errors import ArgumentError, require, require_count
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers import Averaged, OptimizerState, Resumed
from xpnet.training.batch_norm_statistics import batch_norm_layers, recompute_on_rows
from xpnet.training.callbacks import Run


class UseAverage:
    """Train on θ, evaluate on θ̂: a callback for an `Averaged` optimizer.

    At the end θ̂ is put into the model, with batch-norm statistics recomputed for it on the
    training rows::

        optimizer = Averaged(SGD(lr=0.1), ExponentialAverage(0.99))
        model.fit(X, y, loss=CrossEntropy(), optimizer=optimizer, callbacks=[UseAverage()])
        model.save("averaged.safetensors")

    To go on, put ``callback.theta`` into the model and `xpnet.Resumed` with ``callback.state``
    around the optimizer.

    Args:
        validation: ``(X, y)`` on which θ̂ is evaluated after every epoch: columns ``avg_loss`` and
            ``avg_<metric>`` of the history, beside those of θ; default none.
        metrics: functions of predictions and targets (`xpnet.metrics`).

    Attributes:
        theta: the last iterate θ, from the end of training on.
        state: the optimizer's state then; `xpnet.save_state` writes it to a file.

    Raises:
        ArgumentError: in training, if the optimizer keeps no average, or a batch norm is inside
            another layer.

    >>> from xpnet import MLP, SGD, Averaged, HalfMSE
    >>> import numpy as np
    >>> model, use = MLP(1, [], 1), UseAverage()
    >>> X = np.linspace(-1.0, 1.0, 64)[:, None]
    >>> how = {"loss": HalfMSE(), "optimizer": Averaged(SGD(lr=0.1)), "progress": False}
    >>> _ = model.fit(X, 2 * X, callbacks=[use], **how)
    >>> bool((model.theta == how["optimizer"].mean(use.state)).all())
    True
    """

    theta: Array
    state: OptimizerState

    def __init__(
        self,
        validation: tuple[Any, Any] | None = None,
        metrics: Sequence[Callable[[Array, Array], Any]] = (),
    ) -> None:
        ok = validation is None or (isinstance(validation, (tuple, list)) and len(validation) == 2)
        require(ok, "validation", "be a pair (X, y)", validation)
        self.validation, self.metrics = validation, tuple(metrics)

    def __call__(self, run: Run) -> None:
        """Evaluate θ̂ if ``validation`` was given."""
        batch_norm_layers(run.model.network)  # raises an error in the first epoch, not the last
        mean = _average_of(run)
        if self.validation is None:
            return
        model, rows = run.model, run.rows
        kept = [copied(vector) for vector in (model.theta, model.statistics)]
        model.theta[...] = mean
        try:
            recompute_on_rows(model.state, rows)
            measured = model.evaluate(*self.validation, metrics=self.metrics)
        finally:
            model.theta[...], model.statistics[...] = kept
        for name, value in measured.items():
            run.row[f"avg_{name}"] = value
            run.history.columns.setdefault(f"avg_{name}", []).append(value)

    def finish(self, run: Run) -> None:
        """Put θ̂ and its statistics into the model."""
        mean = _average_of(run)
        self.theta, self.state = copied(run.model.theta), run.state
        run.model.theta[...] = mean
        recompute_on_rows(run.model.state, run.rows)


class StochasticWeightAveraging:
    """SWA: the mean of θ at the ends of the later epochs, a callback.

    At the end the mean is put into the model, with batch-norm statistics recomputed for it on the
    training rows. It wants a learning rate that stays large enough to move about, constant or
    cyclic, after training has nearly converged.

    Args:
        start: the first epoch whose end is averaged, at least 1; the paper starts after three
            quarters of the usual number of epochs.
        every: how many epochs lie between two that are averaged, the cycle of a cyclic learning
            rate; at least 1, default 1.

    Attributes:
        n_averaged: how many epochs are in the mean. If training stops before ``start``, none are,
            and the model keeps its last parameters.

    Raises:
        ArgumentError: if an argument is not an integer of at least 1; in training, if ``start`` is
            after the last epoch, or a batch norm is inside another layer.

    Reference: P. Izmailov et al., "Averaging weights leads to wider optima and better
    generalization", UAI 2018, algorithm 1.

    >>> from xpnet import MLP, SGD, HalfMSE
    >>> import numpy as np
    >>> swa, X = StochasticWeightAveraging(start=3), np.linspace(-1.0, 1.0, 64)[:, None]
    >>> how = {"loss": HalfMSE(), "optimizer": SGD(lr=0.1), "epochs": 5, "progress": False}
    >>> _ = MLP(1, [], 1).fit(X, 2 * X, callbacks=[swa], **how)
    >>> swa.n_averaged
    3
    """

    def __init__(self, start: int, every: int = 1) -> None:
        require_count(start, "start")
        require_count(every, "every")
        self.start, self.every, self.n_averaged = start, every, 0

    def __call__(self, run: Run) -> None:
        """Take this epoch's θ into the mean."""
        require(
            self.start <= run.epochs, "start", f"be at most the {run.epochs} epochs", self.start
        )
        batch_norm_layers(run.model.network)  # raises an error in the first epoch, not the last
        if run.epoch == 1:
            self.n_averaged = 0
        if run.epoch < self.start or (run.epoch - self.start) % self.every:
            return
        theta = run.model.theta
        self.n_averaged += 1
        if self.n_averaged == 1:
            self._mean = copied(theta)
            return
        new = 1.0 / self.n_averaged
        operations_for(theta).update(rules.average, (self._mean,), (theta,), (1.0 - new, new))

    def finish(self, run: Run) -> None:
        """Put the mean and its statistics into the model."""
        if self.n_averaged:
            run.model.theta[...] = self._mean
            recompute_on_rows(run.model.state, run.rows)


def _average_of(run: Run) -> Array:
    optimizer = run.optimizer
    if isinstance(optimizer, Resumed):
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, Averaged):
        raise ArgumentError(
            f"optimizer must be Averaged(...) for UseAverage; got {optimizer!r}. "
            "Write optimizer=Averaged(SGD(lr=0.1))."
        )
    return optimizer.mean(run.state)
