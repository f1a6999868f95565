"""Pictures of training; each takes ``ax=`` and returns it. They need the extra ``plots``.

Matplotlib is imported when one is drawn, and without its global state: no window is opened.
"""

from __future__ import annotations

from typing import Any

from xpnet.errors import ArgumentError, unknown_name
from xpnet.figure import new_figure
from xpnet.training.history import History


def loss_curve(history: History, ax: Any = None) -> Any:
    """Draw the training loss, and the validation loss if there is one, over the epochs.

    The axis is logarithmic where every loss is above 0.

    Args:
        history: what `Sequential.fit` returned, of at least one epoch.
        ax: Matplotlib axes; default new ones, whose picture ``ax.figure.savefig(path)`` saves.

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
        ax.set_yscale("log")
    return ax


def metric_curve(history: History, metric: str = "accuracy", ax: Any = None) -> Any:
    """Draw a column of the history over the epochs, on training and on validation data.

    Args:
        history: what `Sequential.fit` returned, of at least one epoch.
        metric: the column without ``val_``; default ``"accuracy"``.
        ax: Matplotlib axes; default new ones.

    Returns:
        The axes.

    Raises:
        ArgumentError: if the history has no epoch, or no column of that name.
        MissingExtraError: if Matplotlib is not installed.

    >>> history = History({"epoch": [1, 2], "val_accuracy": [0.8, 0.9]})
    >>> metric_curve(history).get_ylabel()
    'accuracy'
    """
    if len(history) == 0:
        raise ArgumentError("history must have at least one epoch; got an empty one.")
    columns = {"training": metric, "validation": f"val_{metric}"}
    if not any(column in history for column in columns.values()):
        known = {column.removeprefix("val_") for column in history.columns} - {"epoch"}
        raise unknown_name("metric", metric, known)
    ax = new_figure(figsize=(6, 4)).add_subplot() if ax is None else ax
    for label, column in columns.items():
        if column in history:
            ax.plot(history["epoch"], history[column], ".-", label=label, linewidth=1.4)
    ax.set(xlabel="epoch", ylabel=metric.replace("_", " "))
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return ax
