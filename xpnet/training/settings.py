"""The settings of mini-batch training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from xpnet.backend import Array, copied
from xpnet.data.batching import TrainingData, refuse_single_row
from xpnet.engine.eager_step import StepSettings
from xpnet.errors import require, require_count, require_type, unknown_name
from xpnet.layers.base import is_any
from xpnet.losses import Loss
from xpnet.metrics import OWN_METRICS, as_number, check_metric_names
from xpnet.network import Network
from xpnet.optimizers.schedules import Schedule
from xpnet.random import Rng
from xpnet.training.callbacks import Callback, check_callbacks, check_functions
from xpnet.training.hidden_state import holds_state
from xpnet.training.progress import ProgressMode, check_progress

Metric: TypeAlias = Callable[[Array, Array], Any]
"""A function ``(predictions, targets) -> number``."""

OnInterrupt: TypeAlias = Literal["raise", "return"]
"""What ends a training after Ctrl-C: the exception, or a return as after the last epoch."""

METRIC_ARGUMENTS = "predicted", "target"
"""The positional arguments of a `Metric`."""

PROBE_ROWS = 64
"""The number of rows on which a user-defined metric is tried before the first step."""


@dataclass(frozen=True)
class Settings(StepSettings):
    """The settings of mini-batch training: arguments of `Sequential.fit`, checked.

    Attributes:
        epochs: the number of passes over the data.
        batch_size: the number of rows of a step.
        metrics: functions of predictions and targets.
        schedule: the schedule of the learning rate, or ``None``.
        callbacks: functions called after each epoch.
        shuffle: whether each epoch has a new random order.
        drop_last: whether a shorter last batch is left out.
        progress: what is printed, a `ProgressMode`.
        on_interrupt: ``"raise"`` or ``"return"``, what ends a training after Ctrl-C.
        rng: the seed or the generator that the caller has passed, or ``None``.

    Raises:
        ArgumentError: naming the argument, its rule and the value received.
    """

    epochs: int = 20
    batch_size: int = 64
    metrics: Sequence[Metric] = ()
    schedule: Schedule | None = None
    callbacks: Sequence[Callback] = ()
    shuffle: bool = True
    drop_last: bool = False
    progress: ProgressMode = True
    on_interrupt: OnInterrupt = "raise"
    rng: Rng | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_on_interrupt(self.on_interrupt)
        check_progress(self.progress)
        require_count(self.epochs, "epochs")
        require_count(self.batch_size, "batch_size")
        if self.schedule is not None:
            do = "Derive a class from xpnet.optimizers.schedules.Schedule and define factor."
            require_type(self.schedule, Schedule, "schedule", do)
        check_functions(self.metrics, "metrics", METRIC_ARGUMENTS)
        check_callbacks(self.callbacks)


def check_on_interrupt(value: Any) -> None:
    """Refuse a value that is not one of `OnInterrupt`."""
    if value not in get_args(OnInterrupt):
        raise unknown_name("on_interrupt", value, get_args(OnInterrupt))


def check_batches(network: Network, n_rows: int, settings: Settings) -> None:
    """Refuse batches if there would be none, or one of a single row under batch norm.

    Raises:
        ArgumentError: naming ``batch_size``.
    """
    has_batches = not settings.drop_last or n_rows >= settings.batch_size
    require(has_batches, "batch_size", f"be at most the {n_rows} rows", settings.batch_size)
    if any(is_any(layer, "batch_statistics") for layer in network.layers):
        refuse_single_row(n_rows, settings.batch_size, settings.drop_last)


def check_metrics(metrics: Sequence[Metric], loss: Loss, data: TrainingData) -> None:
    """Refuse metrics of one name, and user-defined metrics that do not return one number.

    Each user-defined metric that holds no state (`holds_state`) is called once, with the decisions
    of an output of zeros for the first rows. An exception that it raises there is ignored: these
    rows may lack a class. Other metrics are checked at their first evaluation.

    Args:
        metrics: functions of predictions and targets.
        loss: the loss, which makes predictions of outputs.
        data: the data on which the metrics will be evaluated.

    Raises:
        ArgumentError: naming the metric.
    """
    check_metric_names(metrics)
    user_defined = [metric for metric in metrics if metric not in OWN_METRICS]
    tried = [metric for metric in user_defined if not holds_state(metric)]
    if not tried:
        return
    target = data.metric_targets[: min(PROBE_ROWS, data.n_rows), ...]
    output = data.backend.zeros(target.shape[0], data.spec.n_out)
    predicted = data.spec.predictions(output, loss)
    for metric in tried:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                value = metric(copied(predicted), copied(target))
            except Exception:  # it may need other rows than these
                continue
        as_number(value, metric)
