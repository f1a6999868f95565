"""Parameter averages in `fit`: over the steps of an `Averaged` optimizer, or over epochs (SWA)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from xpnet.backend import Array, copied
from xpnet.data.prepare import prepare
from xpnet.errors import ArgumentError, FileFormatError, Phrase, require, require_count
from xpnet.finite import all_are_finite
from xpnet.metrics.binding import check_metric_names
from xpnet.metrics.protocol import metric_name
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers import Averaged, Lookahead, Optimizer, OptimizerState, Resumed
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries
from xpnet.training.batch_norm_statistics import batch_norm_layers, recompute_on_rows
from xpnet.training.callbacks import Run
from xpnet.training.evaluation import checked_metrics
from xpnet.training.settings import check_metric_functions


class UseAverage:
    """Train θ, but evaluate the average θ̂: a callback for `Averaged` and `Lookahead`.

    For `ScheduleFreeAdam`, θ̂ is its point x; ``fit`` then adds this callback if there is none.

    At the end of the training the model gets θ̂ as its parameters, with batch-norm statistics that
    are recomputed for θ̂ on the training rows::

        optimizer = Averaged(SGD(lr=0.1), ExponentialAverage(0.99))
        model.fit(X, y, loss=CrossEntropy(), optimizer=optimizer, callbacks=[UseAverage()])
        model.save("averaged.safetensors")

    Together with `EarlyStopping`, in any order of the list of callbacks, the model gets the θ̂ of
    the epoch that is restored, and ``theta`` and ``state`` are those of that epoch. `EarlyStopping`
    and `Checkpoint` may monitor ``avg_loss`` and ``avg_<metric>``.

    To continue the training, set ``model.theta = callback.theta``, and pass the optimizer as
    ``Resumed(optimizer, callback.state)`` (`xpnet.Resumed`).

    Args:
        validation: ``(X, y)`` or ``(X, y, weight)`` on which θ̂ is evaluated after every epoch,
            which adds the columns ``avg_loss`` and ``avg_<metric>`` to the history; ``None``
            (default): no evaluation.
        metrics: metrics (`xpnet.metrics`), as for `Sequential.fit`; default none.

    Attributes:
        theta: the last iterate θ, or that of the restored epoch, set at the end of the training.
        state: the optimizer's state, set at the end of the training; `xpnet.save_state` writes it
            to a file.
        is_own_point: whether θ̂ is the evaluation point of the optimizer, at which ``fit`` computes
            the other columns too; set before the first step.

    Raises:
        ArgumentError: if ``validation`` has another form; before the first step, if the optimizer
            has no average, ``validation`` does not fit the model, a batch norm is inside another
            layer, or another callback averages too.

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

    stateless: ClassVar[bool] = True  # the average is in the optimizer's state
    theta: Array
    state: OptimizerState

    def __init__(
        self,
        validation: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
        metrics: Sequence[Callable[[Array, Array], Any]] = (),
    ) -> None:
        is_sequence = isinstance(validation, (tuple, list))
        ok = validation is None or (is_sequence and len(validation) in (2, 3))
        require(ok, "validation", "be a pair (X, y), or (X, y, weight)", validation)
        check_metric_functions(metrics)
        check_metric_names(metrics)
        self.validation, self.metrics = validation, tuple(metrics)
        self.is_own_point, self._of_fit = False, False

    @classmethod
    def of_fit(cls) -> UseAverage:
        """The callback that ``fit`` adds for an optimizer that is evaluated at another point."""
        callback = cls()
        callback._of_fit = True
        return callback

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it adds to the history."""
        if self.validation is None:
            return ()
        return tuple(f"avg_{name}" for name in ("loss", *map(metric_name, self.metrics)))

    def begin(self, run: Run) -> None:
        """Refuse a training without an average, and ``validation`` that does not fit the model."""
        _check_average(run)
        optimizer = _averaging(run.optimizer)
        if optimizer is None or self._of_fit:
            if _point(run) is run.model.theta:
                raise ArgumentError(
                    f"optimizer must be Averaged(...) for UseAverage; got {run.optimizer!r}. "
                    "Write optimizer=Averaged(SGD(lr=0.1))."
                )
            self.is_own_point = True
        if self.validation is not None:
            model, (X, y, *weight) = run.model, self.validation
            given = {"sample_weight": weight[0] if weight else None, "classes": model.classes}
            rows = prepare(model.input_spec, X, y, model.loss, **given).data
            for metric in checked_metrics(self.metrics, model.loss, rows, model.classes):
                if metric.higher_is_better is not None:
                    run.directions[metric.name] = metric.higher_is_better

    def epoch(self, run: Run) -> None:
        """Evaluate θ̂ on ``validation``, and restore θ."""
        if self.validation is None:
            return
        with self.applied(run):
            X, y, *weight = self.validation
            weights = {"sample_weight": weight[0]} if weight else {}
            measured = run.model.evaluate(X, y, metrics=self.metrics, **weights)
        for name, value in measured.items():
            run.row[f"avg_{name}"] = value
            run.history.columns.setdefault(f"avg_{name}", []).append(value)

    @contextmanager
    def applied(self, run: Run) -> Iterator[None]:
        """Give the model θ̂ and the statistics recomputed for it, and restore its own at the end."""
        model = run.model
        before = [copied(vector) for vector in (model.theta, model.statistics)]
        try:
            self._apply(run)
            yield
        finally:
            model.theta[...], model.statistics[...] = before

    def snapshot(self, run: Run) -> StateDict:
        """A copy of the optimizer's state, which holds θ̂."""
        state: OptimizerState = run.state
        return state.copy().state_dict()

    def restore(self, run: Run, snapshot: StateDict) -> None:
        """Set the optimizer's state to a copy."""
        run.optimizer.load_state(run.state, snapshot)
        if not all_are_finite(run.state.slots):  # of a hostile file
            raise FileFormatError("the slots of the optimizer in a snapshot must be finite.")

    def end(self, run: Run) -> None:
        """Set the parameters of the model to θ̂, and recompute its statistics."""
        self.theta, self.state = copied(run.model.theta), run.state
        self._apply(run)

    def _apply(self, run: Run) -> None:
        optimizer, theta = _averaging(run.optimizer), run.model.theta
        if optimizer is None or self.is_own_point:
            theta[...] = _point(run)
        else:
            theta[...] = optimizer.mean(run.state)
        recompute_on_rows(run.model.state, run.rows)


class StochasticWeightAveraging:
    """Stochastic weight averaging (SWA): a callback that averages θ over the ends of later epochs.

    At the end of the training the model gets the mean as its parameters, with batch-norm
    statistics that are recomputed for it on the training rows. SWA needs a constant or cyclic
    learning rate, large enough that θ still varies after the training has nearly converged.

    Together with `EarlyStopping`, in any order of the list of callbacks, the mean ends with the
    epoch that is restored.

    Args:
        start: the first epoch that is averaged, at least 1; the paper starts after three quarters
            of the usual number of epochs.
        every: the number of epochs from one that is averaged to the next, such as the period of a
            cyclic learning rate; at least 1, default 1.

    Attributes:
        n_averaged: the number of epochs in the mean. If training stops before ``start``, it is 0,
            and the model keeps the parameters of the last or the restored epoch.

    Raises:
        ArgumentError: if an argument is not an integer of at least 1; before the first step, if
            ``start`` is after the last epoch, a batch norm is inside another layer, or another
            callback averages too.

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

    columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, start: int, every: int = 1) -> None:
        require_count(start, "start")
        require_count(every, "every")
        self.start, self.every, self.n_averaged = start, every, 0

    def begin(self, run: Run) -> None:
        """Refuse a training that ends before the first epoch to be averaged."""
        _check_average(run)
        rule = f"be at most the {run.epochs} epochs"
        require(self.start <= run.epochs, "start", rule, self.start)
        self.n_averaged, self._like = 0, run.model.theta

    def epoch(self, run: Run) -> None:
        """Add the θ of this epoch to the mean."""
        if run.epoch < self.start or (run.epoch - self.start) % self.every:
            return
        theta = run.model.theta
        self.n_averaged += 1
        if self.n_averaged == 1:
            self._mean = copied(theta)
            return
        new = 1.0 / self.n_averaged
        operations_for(theta).update(rules.average, (self._mean,), (theta,), (1.0 - new, new))

    def state_dict(self) -> StateDict:
        """The mean, and the number of epochs in it."""
        return {"n_averaged": self.n_averaged, "mean": self._mean if self.n_averaged else None}

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; after `begin`.

        Raises:
            FileFormatError: if it does not fit the model.
        """
        entries = Entries(state, "StochasticWeightAveraging", "n_averaged", "mean")
        n_averaged = entries.count("n_averaged")
        if n_averaged:
            self._mean = entries.array("mean", self._like, finite=True)
        self.n_averaged = n_averaged

    def snapshot(self, run: Run) -> StateDict:
        """A copy of the state."""
        mean = copied(self._mean) if self.n_averaged else None
        return {"n_averaged": self.n_averaged, "mean": mean}

    def restore(self, run: Run, snapshot: StateDict) -> None:
        """Set the state to a snapshot."""
        self.load_state_dict(snapshot)

    def end(self, run: Run) -> None:
        """Set the parameters of the model to the mean, and recompute its statistics."""
        if self.n_averaged:
            run.model.theta[...] = self._mean
            recompute_on_rows(run.model.state, run.rows)


def _check_average(run: Run) -> None:
    """Refuse a training in which no average, or more than one, can be computed."""
    batch_norm_layers(run.model.network)
    found = [c for c in run.callbacks if isinstance(c, (UseAverage, StochasticWeightAveraging))]
    names = Phrase(" and ".join(type(callback).__name__ for callback in found))
    rule = "hold at most one that averages parameters, with which the model ends"
    require(len(found) == 1, "callbacks", rule, names)


def _averaging(optimizer: Any) -> Averaged | Lookahead | None:
    """An optimizer without `Resumed`, if it has an average."""
    while isinstance(optimizer, Resumed):
        optimizer = optimizer.optimizer
    return optimizer if isinstance(optimizer, (Averaged, Lookahead)) else None


def _point(run: Run) -> Array:
    """The evaluation point of the optimizer; θ for a method of `xpnet.minimize`."""
    if not isinstance(run.optimizer, Optimizer):
        return run.model.theta
    return run.optimizer.evaluation_point(run.model.theta, run.state)


def own_point(run: Run) -> UseAverage | None:
    """The callback that applies the evaluation point of the optimizer, if there is one."""
    found = [c for c in run.callbacks if isinstance(c, UseAverage) and c.is_own_point]
    return found[0] if found else None
