"""Training by a method of `xpnet.minimize`: every iteration sees all rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpnet import minimize as minimization  # which loads its parts when they are first used
from xpnet.data.batching import TrainingData
from xpnet.errors import require, require_count, require_type
from xpnet.layers import Dropout
from xpnet.losses import Loss
from xpnet.minimize.dense import require_dense_fits
from xpnet.minimize.method import Method
from xpnet.training.callbacks import Callback, Run, check_functions
from xpnet.training.fit import Metric, Trainable, any_stops, finish, measure
from xpnet.training.history import History
from xpnet.training.objective import NetworkObjective, require_statistics
from xpnet.training.progress import printer

if TYPE_CHECKING:
    from xpnet.minimize.result import Iterate


@dataclass(frozen=True)
class FullBatch:
    """How to train by a method of `xpnet.minimize`; the arguments of `Sequential.fit`, checked.

    Raises:
        ArgumentError: naming the argument, its rule and what was received.
    """

    loss: Loss
    method: Method
    iterations: int = 20
    metrics: Sequence[Metric] = ()
    l2: float = 0.0
    callbacks: Sequence[Callback] = ()
    progress: bool = True

    def __post_init__(self) -> None:
        require_type(self.loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        require_count(self.iterations, "epochs")
        check_functions(self.metrics, "metrics")
        check_functions(self.callbacks, "callbacks")


def refuse_mini_batch_arguments(method: Method, l1: float, **given: object) -> None:
    """Refuse what has no meaning where every iteration sees all rows.

    Args:
        method: the method, for the message.
        l1: the rate of the L1 penalty, which has no gradient at 0.
        **given: arguments that must be ``None`` or false.

    Raises:
        ArgumentError: naming the argument.
    """
    do = "Leave it out, or take a first-order optimizer such as Adam(lr=1e-3)."
    for name, value in given.items():
        rule = f"be left out for {type(method).__name__}, which sees all rows in every iteration"
        require(value is None or value is False, name, rule, value, do)
    rule = f"be 0 for {type(method).__name__}, which needs a gradient everywhere"
    require(l1 == 0, "l1", rule, l1, "Take l2, or a first-order optimizer such as Adam(lr=1e-3).")


def check_method(model: Trainable, method: Method) -> None:
    """Refuse networks that a method cannot train: too large for it, random, or not prepared.

    Raises:
        ArgumentError: with what to use instead.
    """
    require_statistics(model)
    if method.dense:
        size = model.network.layout.size
        require_dense_fits(size, method, model.backend, argument="optimizer")
    for index, layer in enumerate(model.network.layers):
        drops = isinstance(layer, Dropout) and layer.p > 0
        rule = f"be a first-order one, such as Adam(lr=1e-3), for {layer!r} in layer {index}"
        do = "Dropout is random, and a line search needs a function that is not."
        require(not drops, "optimizer", rule, method, do)


def train_full_batch(
    model: Trainable, rows: TrainingData, validation: TrainingData | None, how: FullBatch
) -> History:
    """Minimize the loss over all rows in θ, in place, and return the history.

    The model ends with the best θ that was met, unless a callback puts back another. Ctrl-C ends
    the training with that too.
    """
    objective = NetworkObjective(model, rows, how.loss, l2=how.l2)
    history = model.history = History()
    watch = _Watch(model, rows, validation, how, objective)
    result = minimization.minimize(
        objective, model.theta, how.method, max_iter=how.iterations, callback=watch.see
    )
    model.theta[...] = result.x
    history.stopped = history.stopped or result.reason.value
    if len(history):
        finish(how.callbacks, watch.run)
    return history


class _Watch:
    """Writes the history's row of every iterate, and shows it to the callbacks."""

    def __init__(
        self,
        model: Trainable,
        rows: TrainingData,
        validation: TrainingData | None,
        how: FullBatch,
        objective: NetworkObjective,
    ) -> None:
        self.model, self.rows, self.validation, self.how = model, rows, validation, how
        self.penalty = objective.penalty
        self._rest = how.method, None, rows
        self.run = Run(model, 0, how.iterations, {}, model.history, *self._rest)
        self._report = printer() if how.progress else None
        self._start = time.perf_counter()

    def see(self, iterate: Iterate) -> bool:
        """Take one iterate; whether a callback asks to stop."""
        model, how = self.model, self.how
        model.theta[...] = iterate.x
        row = {"epoch": float(iterate.iteration), "loss": iterate.value}
        if self.penalty.l2:
            weights = model.theta[model.network.layout.weights]
            row["penalty"] = float(self.penalty.value(weights))
            row["loss"] -= row["penalty"]
        row |= measure(model, self.rows, self.validation, how.loss, how.metrics)
        row |= {"step": iterate.step, "grad_norm": iterate.grad_norm}
        now = time.perf_counter()
        row["seconds"], self._start = now - self._start, now
        model.history.append(row)
        number = iterate.iteration
        self.run = Run(model, number, how.iterations, row, model.history, *self._rest)
        if self._report is not None:
            self._report(self.run)
        if not any_stops(how.callbacks, self.run):
            return False
        sentence = f"a callback stopped training in epoch {iterate.iteration}"
        model.history.stopped = model.history.stopped or sentence
        return True
