"""What a metric is: its name, its result, and the columns of a history that are no metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from xpnet.errors import ArgumentError, Phrase, describe, require

OTHER_COLUMNS = ("epoch", "loss", "val_loss", "penalty", "lr", "step", "grad_norm", "seconds")
"""Columns of a history that are not metrics."""


def metric_name(metric: Callable[..., Any]) -> str:
    """Return the name of a metric, which is its column of a history.

    >>> from xpnet.metrics import accuracy
    >>> metric_name(accuracy)
    'accuracy'
    """
    return str(getattr(metric, "__name__", type(metric).__name__.lower()))


def check_metric_names(metrics: Sequence[Callable[..., Any]]) -> None:
    """Refuse two metrics of one name, and a metric that has the name of another column.

    Raises:
        ArgumentError: naming the metric.

    >>> from xpnet.metrics import rmse
    >>> check_metric_names([rmse, rmse])
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: metrics must have distinct names, which are columns of the \
history; got 2 with the name 'rmse'. Write each one as a function with a name of its own.
    """
    do = "Write each one as a function with a name of its own."
    for name, count in Counter(map(metric_name, metrics)).items():
        got = Phrase(f"{count} with the name {name!r}")
        rule = "have distinct names, which are columns of the history"
        require(count == 1, "metrics", rule, got, do)
        rule = f"have other names than {', '.join(OTHER_COLUMNS)}"
        require(name not in OTHER_COLUMNS, "metrics", rule, name, do)


def as_number(value: Any, metric: Callable[..., Any]) -> float:
    """Return the result of a metric as a number.

    Raises:
        ArgumentError: if it is not one real number; the message names the metric.

    >>> import numpy as np
    >>> from xpnet.metrics import accuracy
    >>> as_number(np.float64(0.5), accuracy)
    0.5
    """
    number = real_number(value)
    if number is None:
        name = metric_name(metric)
        raise ArgumentError(f"metric {name!r} must return one number; got {describe(value)}.")
    return number


def real_number(value: Any) -> float | None:
    """Return a real number, also one in an array of shape (), as a float; else ``None``.

    >>> import numpy as np
    >>> real_number(np.array(0.5)), real_number("0.5"), real_number([0.5])
    (0.5, None, None)
    """
    if getattr(value, "shape", ()) != () or isinstance(value, (str, bytes, complex)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
