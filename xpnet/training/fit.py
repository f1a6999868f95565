"""The training loop: epochs of mini-batch steps, what is measured after each, and when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import numpy as np

from xpnet.backend import Array, HostArray, Saved, namespace_of, to_numpy
from xpnet.data.batching import TrainingData, refuse_single_row
from xpnet.data.checks import first_not_finite
from xpnet.engine.cuda_graph import CapturedSteps
from xpnet.engine.eager import ENGINES, Clip, Engine
from xpnet.engine.select import OneByOne, steps_for
from xpnet.engine.value_and_grad import Gradient, Model
from xpnet.errors import NonFiniteError, require, require_count, require_type, unknown_name
from xpnet.layers import BatchNorm
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.ops.operations import Precision
from xpnet.optimizers import Optimizer, Penalty
from xpnet.optimizers.schedules import Schedule
from xpnet.training.callbacks import Callback, Run, check_functions
from xpnet.training.history import History
from xpnet.training.progress import printer

PRECISIONS = get_args(Precision)
Metric = Callable[[Array, Array], Any]


class Trainable(Model, Protocol):
    """What the loop needs of a model."""

    history: History

    @property
    def grad(self) -> Array:
        """The flat gradient."""
        ...

    @property
    def gradient(self) -> Gradient:
        """Fills ``grad`` for a batch."""
        ...


@dataclass(frozen=True)
class Settings:
    """How to train; the arguments of `Sequential.fit`, checked.

    Raises:
        ArgumentError: naming the argument, its rule and what was received.
    """

    loss: Loss
    optimizer: Optimizer
    epochs: int = 20
    batch_size: int = 64
    metrics: Sequence[Metric] = ()
    schedule: Schedule | None = None
    clip: Clip | None = None
    penalty: Penalty | None = None
    callbacks: Sequence[Callback] = ()
    shuffle: bool = True
    drop_last: bool = False
    progress: bool = True
    engine: Engine | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require_type(self.loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        do = "Take one of xpnet.optimizers, such as Adam(lr=1e-3)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        require_count(self.epochs, "epochs")
        require_count(self.batch_size, "batch_size")
        if self.schedule is not None:
            require_type(self.schedule, Schedule, "schedule")
        if self.clip is not None:
            do = f"Write {self.clip.__name__}(...)." if isinstance(self.clip, type) else ""
            ok = hasattr(self.clip, "apply") and not do
            require(ok, "clip", "be a ClipByNorm or ClipByValue", self.clip, do)
        check_functions(self.metrics, "metrics")
        check_functions(self.callbacks, "callbacks")
        if self.engine is not None and self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)


def check_batches(network: Network, n_rows: int, how: Settings) -> None:
    """Refuse a division into batches that leaves none, or one of one row under batch norm."""
    keeps_one = not how.drop_last or n_rows >= how.batch_size
    require(keeps_one, "batch_size", f"be at most the {n_rows} rows", how.batch_size)
    if any(isinstance(layer, BatchNorm) for layer in network.layers):
        refuse_single_row(n_rows, how.batch_size, how.drop_last)


def train(
    model: Trainable,
    rows: TrainingData,
    validation: TrainingData | None,
    how: Settings,
    rng: np.random.Generator,
) -> History:
    """Train ``model`` in place and return the history, which is ``model.history`` meanwhile too.

    Raises:
        NonFiniteError: if a loss or a parameter becomes NaN or infinite; the model is put back to
            the beginning of that epoch.
    """
    model.gradient.multiply_in(how.precision)
    try:
        return _train(model, rows, validation, how, rng)
    finally:
        model.gradient.multiply_in("float32")  # whoever steps by hand later skips no step


def _train(
    model: Trainable,
    rows: TrainingData,
    validation: TrainingData | None,
    how: Settings,
    rng: np.random.Generator,
) -> History:
    history = model.history = History()
    state = how.optimizer.init(model.theta, model.network.layout)
    model.gradient.reseed(int(rng.integers(2**32)))
    steps = steps_for(model, rows, how, state)
    history.engine = steps.engine
    report = printer() if how.progress else None
    run = Run(model, 0, how.epochs, {}, history, how.optimizer, state, rows)
    good = Saved([model.theta, model.statistics])
    for epoch in range(1, how.epochs + 1):
        start = time.perf_counter()
        if epoch > 1:
            good.take()
        with np.errstate(all="ignore"):  # a loss that is not finite is reported below
            row, lr = _Epoch(model, rows, how, steps, epoch, good).run(rng)
        history.engine = steps.engine  # the first step may have changed it
        row |= measure(model, rows, validation, how.loss, how.metrics) | {"lr": lr}
        row["seconds"] = time.perf_counter() - start
        history.append(row)
        run = Run(model, epoch, how.epochs, row, history, how.optimizer, state, rows)
        if report is not None:
            report(run)
        if any_stops(how.callbacks, run):
            history.stopped = history.stopped or f"a callback stopped training in epoch {epoch}"
            break
    finish(how.callbacks, run)
    return history


def any_stops(callbacks: Sequence[Callback], run: Run) -> bool:
    """Call every callback, also after one has asked to stop."""
    return sum(bool(callback(run)) for callback in callbacks) > 0


def finish(callbacks: Sequence[Callback], run: Run) -> None:
    """Let every callback that has something to do at the end do it."""
    for callback in callbacks:
        if hasattr(callback, "finish"):
            callback.finish(run)


class _Epoch:
    """One pass over the training rows."""

    def __init__(
        self,
        model: Trainable,
        rows: TrainingData,
        how: Settings,
        steps: CapturedSteps | OneByOne,
        epoch: int,
        good: Saved,
    ) -> None:
        self.model, self.rows, self.how, self.steps, self.epoch = model, rows, how, steps, epoch
        self.xp, self.good = namespace_of(model.theta), good

    def run(self, rng: np.random.Generator) -> tuple[dict[str, float], float]:
        """Take every step; return the epoch's number, mean loss and penalty, and the last lr."""
        order = rng.permutation(self.rows.n_rows) if self.how.shuffle else None
        if isinstance(self.steps, CapturedSteps):
            lrs = [self._lr(step) for step in range(self.steps.n_steps)]
            values, counts, X = self.steps.epoch(order, lrs)
            lr = lrs[-1]
        else:
            values, counts, lr, X = self._one_by_one(self.steps, order)
        self._check(values, X)
        row = {"epoch": float(self.epoch), "loss": _mean(values, counts)}
        penalty = self.how.penalty
        if penalty is not None:
            row["penalty"] = float(penalty.value(self.model.theta[self._weights]))
        return row, lr

    def _one_by_one(
        self, take: OneByOne, order: HostArray | None
    ) -> tuple[list[float], list[float], float, Array]:
        """Take the steps one by one: their losses and weights, the last lr and the last batch."""
        how, model = self.how, self.model
        losses, counts = [], []
        lr = how.optimizer.lr
        for step, (X, y, weight) in enumerate(
            self.rows.batches(order, how.batch_size, how.drop_last), start=1
        ):
            value = take.gradient(X, y, weight)
            if model.backend.reads_are_free:
                value = float(value)
                if not math.isfinite(value):
                    self._fail(step, model.gradient.first_not_finite(X))
            lr = self._lr(step - 1)
            take.update(lr)
            losses.append(value)
            counts.append(X.shape[0] if weight is None else self.xp.sum(weight))
        return self._read(losses), self._read(counts), lr, X

    def _read(self, numbers: list[Any]) -> list[float]:
        """Numbers as the host's; those of a device all at once, for each reading waits for it."""
        if self.model.backend.reads_are_free or isinstance(numbers[0], int):
            return list(map(float, numbers))
        found: list[float] = to_numpy(self.xp.stack(numbers)).tolist()
        return found

    @property
    def _weights(self) -> slice:
        return self.model.network.layout.weights

    def _lr(self, step: int) -> float:
        """The learning rate of a step of this epoch, counted from 0."""
        how = self.how
        if how.schedule is None:
            return how.optimizer.lr
        columns = self.model.history.columns
        values = columns.get("val_loss", columns.get("loss", []))
        fraction = step / math.ceil(self.rows.n_rows / how.batch_size)
        return how.optimizer.lr * how.schedule.factor(self.epoch - 1 + fraction, how.epochs, values)

    def _check(self, losses: list[float], X: Array) -> None:
        """Find a loss or a parameter that is not finite, after the epoch.

        The layer is that for the last batch ``X``: what was not finite has stayed so since.
        """
        for step, value in enumerate(losses, start=1):
            if not math.isfinite(value):
                self._fail(step, self.model.gradient.first_not_finite(X))
        index = first_not_finite(self.model.theta)
        if index is not None:
            self._fail(len(losses), f"the parameter {self.model.network.layout.where(index)}")

    def _fail(self, step: int, layer: str) -> None:
        """Put the last good parameters back and raise."""
        self.good.restore()
        what = "every layer's output is finite" if layer == "loss" else f"first not finite: {layer}"
        raise NonFiniteError(
            f"the loss became NaN or infinite in epoch {self.epoch}, step {step} ({what}). The "
            f"parameters of the beginning of epoch {self.epoch} are restored. A smaller learning "
            "rate, ClipByNorm or scaled inputs usually help.",
            epoch=self.epoch,
            step=step,
            layer=layer,
            history=self.model.history,
        )


def _mean(values: list[float], counts: list[float]) -> float:
    """The mean of the batches' losses, each by its rows or by the sum of their weights."""
    total = sum(v * c for v, c in zip(values, counts, strict=True))
    return total / (sum(counts) or 1.0)  # no weight at all: no loss


def measure(
    model: Trainable,
    rows: TrainingData,
    validation: TrainingData | None,
    loss: Loss,
    metrics: Sequence[Metric],
) -> dict[str, float]:
    """The columns that evaluation adds to an epoch's row."""
    if validation is not None:
        measured = evaluate(model, validation, loss, metrics)
        return {f"val_{name}": value for name, value in measured.items()}
    if metrics:
        measured = evaluate(model, rows, loss, metrics)
        del measured["loss"]
        return measured
    return {}


def evaluate(
    model: Trainable, rows: TrainingData, loss: Loss, metrics: Sequence[Metric]
) -> dict[str, float]:
    """The loss and the metrics on ``rows`` in evaluation mode, by name."""
    output = model.evaluation(*rows.features)
    row = {"loss": float(loss.value(output, rows.y, rows.weight))}
    predicted = loss.decide(output)
    for metric in metrics:
        name = getattr(metric, "__name__", type(metric).__name__.lower())
        row[name] = float(metric(predicted, rows.y))
    return row
