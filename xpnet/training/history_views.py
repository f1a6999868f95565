"""What a history shows: a line, a table in HTML, and a picture of its curves."""

from __future__ import annotations

import html
import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from xpnet.errors import MissingExtraError
from xpnet.figure import BLUE, ORANGE, logarithmic, new_figure, png_of, tidy
from xpnet.metrics.protocol import real_number

if TYPE_CHECKING:
    from xpnet.training.history import History

SHOWN = 5
"""The number of first and of last epochs in a table; the best one is between them."""

PANELS = 4
"""The largest number of panels in a picture."""

TIMES = ("epoch", "seconds", "lr", "step", "grad_norm", "penalty")
"""Columns that a picture does not show."""


def best_of(history: History, column: str, maximize: bool = False) -> tuple[float, int] | None:
    """Return the best number of a column and the number of its epoch; NaN is never the best.

    Args:
        history: the history.
        column: the name of the column.
        maximize: whether higher is better; default false.

    Returns:
        The first of the best numbers, or ``None`` if there is none.

    >>> from xpnet import History
    >>> best_of(History({"epoch": [1, 2, 3], "loss": [0.5, 0.25, float("nan")]}), "loss")
    (0.25, 2)
    """
    found = _best(history, column, maximize)
    if found is None:
        return None
    row, value = found
    epoch = real_number(history["epoch"][row])
    return value, row + 1 if epoch is None or not math.isfinite(epoch) else int(epoch)


def _best(history: History, column: str, maximize: bool = False) -> tuple[int, float] | None:
    """Return the index of the epoch with the best number of a column, and it; see `best_of`."""
    if column not in history:
        return None
    found = None
    for row, value in enumerate(history.padded(column)[: len(history)]):
        number = real_number(value)
        if number is None or math.isnan(number):
            continue
        if found is None or (number > found[1] if maximize else number < found[1]):
            found = row, number
    return found


def summary(history: History) -> str:
    """Return the history as one line.

    >>> from xpnet import History
    >>> summary(History({"epoch": [1, 2, 3], "loss": [0.5, 0.4, 0.3], "val_loss": [0.6, 0.4, 0.5]}))
    '3 epochs: loss 0.5000 → 0.3000, val_loss 0.6000 → 0.5000, best val_loss 0.4000 in epoch 2'
    """
    n = len(history)
    text = f"{n} epoch{'' if n == 1 else 's'}"
    parts = []
    for name in ("loss", "val_loss"):
        values = history.columns.get(name)
        if values:
            ends = values[:1] if n == 1 else [values[0], values[-1]]
            parts.append(f"{name} {' → '.join(map(_text, ends))}")
    column = _judged(history)
    best = best_of(history, column)
    if best is not None and n > 1:
        parts.append(f"best {column} {_text(best[0])} in epoch {best[1]}")
    if history.stopped:
        parts.append(history.stopped)
    return f"{text}: {', '.join(parts)}" if parts else text


def table(history: History) -> str:
    """Return the first, the best and the last epochs as a table in HTML, above the curves.

    The picture is in the HTML, because a notebook shows either the one or the other.
    """
    names, n = list(history.columns), len(history)
    best = _best(history, _judged(history))
    found = history.rows()
    marked = None if best is None else best[0]
    shown = [i for i in range(n) if i < SHOWN or i >= n - SHOWN or i == marked]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows, previous = [], -1
    for i in shown:
        if i > previous + 1:
            rows.append(f"<tr>{'<td>⋮</td>' * len(names)}<td></td></tr>")
        row = found[i]
        cells = [html.escape(_cell(name, row[name])) if name in row else "" for name in names]
        style, note = (' style="font-weight:bold"', "best") if i == marked else ("", "")
        rows.append(f"<tr{style}>{''.join(f'<td>{c}</td>' for c in cells)}<td>{note}</td></tr>")
        previous = i
    picture = curves(history)
    image = ""
    if picture is not None:
        image = f'<img alt="curves" src="data:image/png;base64,{b64encode(picture).decode()}">'
    return (
        f"<div>{html.escape(summary(history))}</div>"
        f"<table><thead><tr>{head}<th></th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"{image}"
    )


def curves(history: History) -> bytes | None:
    """Return a PNG of the losses and of the metrics by epoch.

    Returns:
        The file; ``None`` without an epoch or without Matplotlib.
    """
    names = dict.fromkeys(name.removeprefix("val_") for name in history.columns)
    shown = [name for name in names if name not in TIMES][:PANELS]
    if not shown or not len(history):
        return None
    try:
        figure = new_figure(figsize=(3.6 * len(shown), 2.7))
    except MissingExtraError:
        return None
    for ax, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        draw_column(history, name, ax)
        values = [value for line in ax.get_lines() for value in line.get_ydata()]
        if "loss" in name and any(v > 0 for v in values) and not any(v <= 0 for v in values):
            logarithmic(ax)
    return png_of(figure)


def draw_column(history: History, metric: str, ax: Any) -> None:
    """Draw a column and the one with the prefix ``val_`` by epoch, with a legend.

    Args:
        history: a history of at least one epoch that has one of the columns.
        metric: the name without the prefix.
        ax: Matplotlib axes.
    """
    columns = {"training": (metric, BLUE, "-"), "validation": (f"val_{metric}", ORANGE, "--")}
    for label, (column, colour, style) in columns.items():
        if column in history:
            draw_line(history, column, ax, label=label, color=colour, linestyle=style)
    ax.set(xlabel="epoch", ylabel=metric.replace("_", " "))
    ax.legend(frameon=False)


def draw_line(history: History, column: str, ax: Any, **style: Any) -> None:
    """Draw a column by epoch, with markers for up to 50 epochs."""
    marker = "." if len(history) <= 50 else ""
    values = history.padded(column)[: len(history)]
    ax.plot(history["epoch"], values, marker=marker, linewidth=1.4, **style)
    ax.xaxis.get_major_locator().set_params(integer=True)
    tidy(ax)


def _judged(history: History) -> str:
    """Return the column that says which epoch is the best."""
    return "val_loss" if "val_loss" in history else "loss"


def short_number(number: float) -> str:
    """Return a number as a line shows it: with four decimals, unless it is very small or large.

    >>> short_number(0.25), short_number(1.5e-5), short_number(123456.78), short_number(2e30)
    ('0.2500', '1.5e-05', '123457', '2e+30')
    """
    size = abs(number)
    if size < 1e-3:
        return f"{number:.3g}"
    return f"{number:.4f}" if size < 1e4 else f"{number:.6g}"


def _text(value: Any) -> str:
    number = real_number(value)
    return repr(value) if number is None else short_number(number)


def _cell(name: str, value: Any) -> str:
    """Return a number of the table."""
    number = real_number(value)
    if number is None:
        return repr(value)
    return f"{number:g}" if name == "epoch" else f"{number:.4g}"
