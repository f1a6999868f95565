"""Plots of losses, metrics and learning rates by epoch, and of a learning-rate range test."""

from __future__ import annotations

from typing import Any

from xpnet.errors import ArgumentError, require, unknown_name
from xpnet.plots.style import BLUE, axes_or_new, logarithmic
from xpnet.training.history import History
from xpnet.training.history_views import draw_column, draw_line
from xpnet.training.learning_rate_range import LearningRateRange


def loss_curve(history: History, ax: Any = None) -> Any:
    """Plot the training loss, and the validation loss if there is one, by epoch.

    The y axis is logarithmic if all losses are positive.

    Args:
        history: the result of `Sequential.fit`, of at least one epoch.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if the history has no epoch.
        MissingExtraError: if Matplotlib is not installed.

    >>> history = History({"epoch": [1, 2], "loss": [1.0, 0.1], "val_loss": [1.1, 0.3]})
    >>> [line.get_label() for line in loss_curve(history).get_lines()]
    ['training', 'validation']
    """
    ax = metric_curve(history, "loss", ax)
    if all(value > 0 for line in ax.get_lines() for value in line.get_ydata()):
        logarithmic(ax)
    return ax


def metric_curve(history: History, metric: str = "accuracy", ax: Any = None) -> Any:
    """Plot a metric on training and validation data by epoch.

    Args:
        history: the result of `Sequential.fit`, of at least one epoch.
        metric: the name of the column without the prefix ``val_``; default ``"accuracy"``.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if the history has no epoch, or no column of this name.
        MissingExtraError: if Matplotlib is not installed.

    >>> history = History({"epoch": [1, 2], "val_accuracy": [0.8, 0.9]})
    >>> metric_curve(history).get_ylabel()
    'accuracy'
    """
    _require_epochs(history)
    if metric not in history and f"val_{metric}" not in history:
        known = {column.removeprefix("val_") for column in history.columns} - {"epoch"}
        raise unknown_name("metric", metric, known)
    ax = axes_or_new(ax)
    draw_column(history, metric, ax)
    return ax


def learning_rate_curve(history: History, ax: Any = None) -> Any:
    """Plot the learning rate at the end of each epoch.

    The y axis is logarithmic if the maximum is at least 10 times the minimum.

    Args:
        history: the result of `Sequential.fit`, of at least one epoch.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if the history has no epoch, or no column ``lr``.
        MissingExtraError: if Matplotlib is not installed.

    >>> history = History({"epoch": [1, 2], "lr": [0.1, 0.001]})
    >>> learning_rate_curve(history).get_yscale()
    'log'
    """
    _require_epochs(history)
    rates = history["lr"]
    ax = axes_or_new(ax)
    draw_line(history, "lr", ax, color=BLUE)
    if min(rates) > 0 and max(rates) >= 10 * min(rates):
        logarithmic(ax)
    ax.set(xlabel="epoch", ylabel="learning rate")
    return ax


def learning_rate_range(found: LearningRateRange, ax: Any = None) -> Any:
    """Plot the losses of a learning-rate range test over the learning rates.

    The losses of the batches are grey, their exponential mean is blue, and a dot marks the
    suggested rate, if there is one. Losses far above those of the first quarter are cut off where
    the loss diverged.

    Args:
        found: the result of `xpnet.learning_rate_range`.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if ``found`` is something else.
        MissingExtraError: if Matplotlib is not installed.

    >>> import numpy as np
    >>> found = LearningRateRange(np.array([0.1, 1.0]), np.ones(2), np.ones(2), False)
    >>> learning_rate_range(found).get_xscale()
    'log'
    """
    rule = "be the result of xpnet.learning_rate_range"
    require(isinstance(found, LearningRateRange), "found", rule, found)
    return found.plot(axes_or_new(ax))


def _require_epochs(history: History) -> None:
    if len(history) == 0:
        raise ArgumentError("history must have at least one epoch; got an empty one.")
