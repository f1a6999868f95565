"""Build, train and score the network that a command describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpnet import metrics
from xpnet.activations import ActivationFunction
from xpnet.backend import Backend, HostArray
from xpnet.cli.data import SplitData
from xpnet.data import train_test_split
from xpnet.losses import MSE, CrossEntropy
from xpnet.metrics.protocol import metric_name
from xpnet.model import MLP, Sequential
from xpnet.optimizers import Optimizer, Schedule
from xpnet.training import History
from xpnet.training.callbacks import Callback
from xpnet.training.progress import ProgressMode
from xpnet.training.settings import Metric


@dataclass(frozen=True)
class TrainingPlan:
    """The options of ``xpnet train`` that describe the network and its training.

    Attributes:
        hidden: the widths of the hidden layers.
        activation: the activation of the hidden layers.
        batch_norm: whether each hidden layer is normalized.
        dropout: the probability with which a hidden unit is dropped.
        optimizer: the optimizer.
        schedule: the schedule of its learning rate.
        epochs: the number of epochs; ``None`` derives it from the number of rows.
        batch_size: the rows of a step.
        l2: the coefficient λ of the penalty ``½ λ Σ W²``.
        seed: the seed of weights, batches and dropout.
        validation: the fraction of the training rows to validate on; 0 for none.
        backend: the backend, with its dtype.
        metrics: the metrics to measure after every epoch, beside the accuracy of a classifier.
        accumulate: the number of parts in which a batch is computed.
    """

    hidden: list[int]
    activation: ActivationFunction
    batch_norm: bool
    dropout: float
    optimizer: Optimizer
    schedule: Schedule
    epochs: int | None
    batch_size: int
    l2: float
    seed: int
    validation: float
    backend: Backend
    metrics: tuple[Metric, ...] = ()
    accumulate: int = 1

    def n_epochs(self, n_rows: int) -> int:
        """Return `epochs`; if it is ``None``, about 2000 steps, within 20 to 1000 epochs."""
        if self.epochs is not None:
            return self.epochs
        return min(max(-(-2000 * self.batch_size // n_rows), 20), 1000)


def build(plan: TrainingPlan, split: SplitData) -> Sequential:
    """Return the network of ``plan``, with the input and output widths of the data."""
    n_out = split.y_train[0].size if split.classes is None else len(split.classes)
    return MLP(
        split.X_train.shape[1],
        plan.hidden,
        n_out,
        activation=plan.activation,
        batch_norm=plan.batch_norm,
        dropout=plan.dropout,
        backend=plan.backend,
        rng=plan.seed,
        preprocessing=split.scaling,
        classes=split.classes,
    )


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The rows of a training and those to validate on.

    Attributes:
        X: the features to train on.
        y: their targets.
        validation: the features and targets to validate on, or ``None``.
    """

    X: HostArray
    y: HostArray
    validation: tuple[HostArray, HostArray] | None


def hold_out(plan: TrainingPlan, split: SplitData) -> TrainingRows:
    """Return the training part of the data, divided as ``plan.validation`` says."""
    if plan.validation == 0:
        return TrainingRows(split.X_train, split.y_train, None)
    X, X_val, y, y_val = train_test_split(split.X_train, split.y_train, plan.validation, plan.seed)
    return TrainingRows(X, y, (X_val, y_val))


def fit(
    model: Sequential,
    plan: TrainingPlan,
    rows: TrainingRows,
    progress: ProgressMode,
    callbacks: Sequence[Callback] = (),
    resume: Path | None = None,
) -> History:
    """Train ``model`` on ``rows``, from the checkpoint ``resume`` on if there is one.

    Ctrl-C ends the training, and ``History.stopped`` says so.

    In a regression the targets are standardized: the model predicts in the units of the target,
    while the losses of the history are relative to the variance of the target.
    """
    X, is_regression = rows.X, model.classes is None
    given = {metric_name(metric) for metric in plan.metrics}
    own = [] if is_regression or "accuracy" in given else [metrics.accuracy]
    last_is_single = len(X) > plan.batch_size and len(X) % plan.batch_size == 1
    return model.fit(
        X,
        rows.y,
        loss=MSE() if is_regression else CrossEntropy(),
        optimizer=plan.optimizer,
        epochs=plan.n_epochs(len(X)),
        batch_size=plan.batch_size,
        validation=rows.validation,
        metrics=[*own, *plan.metrics],
        schedule=plan.schedule,
        l2=plan.l2,
        target_scaling="standardize" if is_regression else None,
        drop_last=plan.batch_norm and last_is_single,
        accumulate=plan.accumulate,
        progress=progress,
        callbacks=callbacks,
        rng=plan.seed,
        resume=resume,
        on_interrupt="return",
    )
