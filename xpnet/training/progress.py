"""One line per epoch: coloured on a terminal if rich is installed, else plain text."""

from __future__ import annotations

import sys
from collections.abc import Callable

from xpnet.training.callbacks import Run
from xpnet.training.history import History


def printer() -> Callable[[Run], None]:
    """The function that prints an epoch's line to standard output."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415
        except ImportError:
            return _plain
        console = Console(highlight=False)
        return lambda run: console.print(line(run, "[bold cyan]{}[/]", "[dim]{}[/] [bold]{}[/]"))
    return _plain


def print_ended(history: History) -> None:
    """Print that a training that is resumed had ended already, because no epoch follows."""
    reason = f" ({history.stopped})" if history.stopped else ""
    print(
        f"the training ended after {len(history)} epochs{reason}; a larger number of epochs "
        "continues it",
        flush=True,
    )


def line(run: Run, head: str = "{}", cell: str = "{} {}") -> str:
    """The epoch's numbers as text.

    >>> from xpnet.training.history import History
    >>> line(Run(None, 3, 20, {"epoch": 3, "loss": 0.25, "seconds": 1.5}, History()))
    'epoch  3/20  loss 0.2500  1.50 s'
    """
    width = len(str(run.epochs))
    parts = [head.format(f"epoch {run.epoch:>{width}}/{run.epochs}")]
    for name, value in run.row.items():
        if name == "seconds":
            parts.append(f"{value:.2f} s")
        elif name != "epoch":
            text = f"{value:.3g}" if name == "lr" or abs(value) < 1e-3 else f"{value:.4f}"
            parts.append(cell.format(name, text))
    return "  ".join(parts)


def _plain(run: Run) -> None:
    print(line(run), flush=True)
