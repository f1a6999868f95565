"""The settings of mini-batch training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from xpnet import metrics as own_metrics  # loads its modules on first access
from xpnet.activations import Sigmoid, Softmax
from xpnet.data.batching import refuse_single_row
from xpnet.engine.accumulated_step import check_parts
from xpnet.engine.eager_step import StepSettings
from xpnet.errors import require, require_count, require_type, unknown_name, warn_caller
from xpnet.layers.base import is_any
from xpnet.losses import BinaryCrossEntropy, BinaryFocal, CrossEntropy, Focal, Loss
from xpnet.losses.base import require_all_rows
from xpnet.metrics.binding import refuse_sklearn
from xpnet.metrics.protocol import CONTEXT, metric_name
from xpnet.network import Network
from xpnet.optimizers.schedules import Schedule
from xpnet.random import Rng
from xpnet.training.callbacks import Callback, check_callbacks, check_functions
from xpnet.training.progress import ProgressMode, check_progress

TAKE_LOGITS = (CrossEntropy, Focal, BinaryCrossEntropy, BinaryFocal)
"""The losses that apply a softmax or sigmoid to the output."""

Metric: TypeAlias = Callable[..., Any]
"""A function ``(predictions, targets) -> number``; see `xpnet.metrics.metric`."""

OnInterrupt: TypeAlias = Literal["raise", "return"]
"""What ends a training after Ctrl-C: the exception, or a return as after the last epoch."""


@dataclass(frozen=True)
class Settings(StepSettings):
    """The settings of mini-batch training: arguments of `Sequential.fit`, checked.

    Attributes:
        epochs: the number of passes over the data.
        batch_size: the number of rows of a step, in all its parts.
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
        rule = f"be at most batch_size, {self.batch_size}: a part has at least one row"
        require(self.accumulate <= self.batch_size, "accumulate", rule, self.accumulate)
        if self.schedule is not None:
            do = "Derive a class from xpnet.optimizers.schedules.Schedule and define factor."
            require_type(self.schedule, Schedule, "schedule", do)
        check_metric_functions(self.metrics)
        check_callbacks(self.callbacks)


def check_metric_functions(metrics: Any) -> None:
    """Refuse what is not a sequence of functions that can be called as metrics."""
    _refuse_metric_name(metrics)
    for metric in metrics if isinstance(metrics, Sequence) else ():
        _refuse_metric_name(metric)
        refuse_sklearn(metric)
    check_functions(metrics, "metrics", ("predicted", "target"), CONTEXT)


def _refuse_metric_name(metric: Any) -> None:
    """Refuse the name of a metric, which other libraries take, with what to write."""
    if isinstance(metric, str):
        own = {kind.__name__.lower(): f"{kind.__name__}()" for kind in own_metrics.OWN_TYPES}
        own |= {
            metric_name(function): metric_name(function) for function in own_metrics.OWN_METRICS
        }
        found = own.get(metric.lower().replace("_", ""), own.get(metric.lower()))
        do = f"Write metrics=[xpnet.metrics.{found}]." if found else "See help(xpnet.metrics)."
        rule = "hold functions, or objects with a method __call__, not names"
        require(False, "metrics", rule, metric, do)


def check_on_interrupt(value: Any) -> None:
    """Refuse a value that is not one of `OnInterrupt`."""
    if value not in get_args(OnInterrupt):
        raise unknown_name("on_interrupt", value, get_args(OnInterrupt))


def warn_of_probabilities(network: Network, loss: Loss) -> None:
    """Warn of an output layer with `Softmax` or `Sigmoid` before a loss that takes logits."""
    last = network.layers[-1]
    activation = getattr(last, "activation", getattr(last, "function", None))
    if isinstance(loss, TAKE_LOGITS) and isinstance(activation, (Softmax, Sigmoid)):
        warn_caller(
            f"{loss!r} takes logits, to which it applies its own softmax or sigmoid; the network "
            f"ends with {activation!r}, so that there are two. Leave {activation!r} out; "
            "predict_proba returns probabilities."
        )


def check_batches(network: Network, n_rows: int, settings: Settings) -> None:
    """Refuse batches, or parts of them, that the network or the loss cannot take.

    Raises:
        ArgumentError: naming ``batch_size`` or ``accumulate``.
    """
    check_parts(network, settings)
    has_batches = not settings.drop_last or n_rows >= settings.batch_size
    require(has_batches, "batch_size", f"be at most the {n_rows} rows", settings.batch_size)
    require_all_rows(settings.loss, settings.batch_size, n_rows, "batch_size")
    if any(is_any(layer, "batch_statistics") for layer in network.layers):
        refuse_single_row(n_rows, settings.batch_size, settings.drop_last)
