"""Parameter averages in `fit`: over the steps of an `Averaged` optimizer, or over epochs (SWA)."""

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
    """Train θ, but evaluate the average θ̂: a callback for an `Averaged` optimizer.

    At the end of the training the model gets θ̂ as its parameters, with batch-norm statistics that
    are recomputed for θ̂ on the training rows::

        optimizer = Averaged(SGD(lr=0.1), ExponentialAverage(0.99))
        model.fit(X, y, loss=CrossEntropy(), optimizer=optimizer, callbacks=[UseAverage()])
        model.save("averaged.safetensors")

    To continue the training, set ``model.theta = callback.theta``, and pass the optimizer as
    ``Resumed(optimizer, callback.state)`` (`xpnet.Resumed`).

    Args:
        validation: ``(X, y)`` on which θ̂ is evaluated after every epoch, which adds the columns
            ``avg_loss`` and ``avg_<metric>`` to the history; ``None`` (default): no evaluation.
        metrics: functions of predictions and targets (`xpnet.metrics`); default none.

    Attributes:
        theta: the last iterate θ, set at the end of the training.
        state: the optimizer's state, set at the end of the training; `xpnet.save_state` writes it
            to a file.

    Raises:
        ArgumentError: if ``validation`` is not a pair; in training, if the optimizer is not
            `Averaged`, or a batch norm is inside another layer.

    >>> from xpnet import MLP, SGD, Averaged, HalfMSE
    >>> import numpy as np
    >>> model, use = MLP(1, [], 1), UseAverage()
    >>> X = np.linspace(-1.0, 1.0, 64)[:, None]
    >>> optimizer = Averaged(SGD(lr=0.1))
    >>> _ = model.fit(
    ...     X, 2 * X, loss=HalfMSE(), optimizer=optimizer, callbacks=[use], progress=False
    ... )
    >>> bool((model.theta == optimizer.mean(use.state)).all())
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
        """Evaluate θ̂ on ``validation``, and restore θ."""
        batch_norm_layers(run.model.network)  # raises an error in the first epoch, not the last
        mean = _average_of(run)
        if self.validation is None:
            return
        model, rows = run.model, run.rows
        before = [copied(vector) for vector in (model.theta, model.statistics)]
        model.theta[...] = mean
        try:
            recompute_on_rows(model.state, rows)
            measured = model.evaluate(*self.validation, metrics=self.metrics)
        finally:
            model.theta[...], model.statistics[...] = before
        for name, value in measured.items():
            run.row[f"avg_{name}"] = value
            run.history.columns.setdefault(f"avg_{name}", []).append(value)

    def finish(self, run: Run) -> None:
        """Set the parameters of the model to θ̂, and recompute its statistics."""
        mean = _average_of(run)
        self.theta, self.state = copied(run.model.theta), run.state
        run.model.theta[...] = mean
        recompute_on_rows(run.model.state, run.rows)


class StochasticWeightAveraging:
    """Stochastic weight averaging (SWA): a callback that averages θ over the ends of later epochs.

    At the end of the training the model gets the mean as its parameters, with batch-norm
    statistics that are recomputed for it on the training rows. SWA needs a constant or cyclic
    learning rate, large enough that θ still varies after the training has nearly converged.

    Args:
        start: the first epoch that is averaged, at least 1; the paper starts after three quarters
            of the usual number of epochs.
        every: the number of epochs from one that is averaged to the next, such as the period of a
            cyclic learning rate; at least 1, default 1.

    Attributes:
        n_averaged: the number of epochs in the mean. If training stops before ``start``, it is 0,
            and the model keeps its last parameters.

    Raises:
        ArgumentError: if an argument is not an integer of at least 1; in training, if ``start`` is
            after the last epoch, or a batch norm is inside another layer.

    Reference: P. Izmailov et al., "Averaging weights leads to wider optima and better
    generalization", UAI 2018, algorithm 1.

    >>> from xpnet import MLP, SGD, HalfMSE
    >>> import numpy as np
    >>> swa, X = StochasticWeightAveraging(start=3), np.linspace(-1.0, 1.0, 64)[:, None]
    >>> settings = {"loss": HalfMSE(), "optimizer": SGD(lr=0.1), "epochs": 5, "progress": False}
    >>> _ = MLP(1, [], 1).fit(X, 2 * X, callbacks=[swa], **settings)
    >>> swa.n_averaged
    3
    """

    def __init__(self, start: int, every: int = 1) -> None:
        require_count(start, "start")
        require_count(every, "every")
        self.start, self.every, self.n_averaged = start, every, 0

    def __call__(self, run: Run) -> None:
        """Add the θ of this epoch to the mean."""
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
        """Set the parameters of the model to the mean, and recompute its statistics."""
        if self.n_averaged:
            run.model.theta[...] = self._mean
            recompute_on_rows(run.model.state, run.rows)


def _average_of(run: Run) -> Array:
    """The average θ̂ that the optimizer of a run keeps.

    Raises:
        ArgumentError: if it is not `Averaged`.
    """
    optimizer = run.optimizer
    if isinstance(optimizer, Resumed):
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, Averaged):
        raise ArgumentError(
            f"optimizer must be Averaged(...) for UseAverage; got {optimizer!r}. "
            "Write optimizer=Averaged(SGD(lr=0.1))."
        )
    return optimizer.mean(run.state)
