"""What a training prints: a progress bar, one line per epoch, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TypeAlias

from xpnet.errors import MissingExtraError, plain_number, require
from xpnet.training.callbacks import Run
from xpnet.training.history import History
from xpnet.training.progress_bar import ProgressBar, Screen, line, line_parts
from xpnet.training.screens import (
    NotebookScreen,
    TerminalScreen,
    coloured,
    global_console,
    is_notebook,
    is_redirected,
    is_terminal,
)

ProgressMode: TypeAlias = bool | int | Literal["bar", "lines"]
"""What a training prints; see `Sequential.fit`."""

RULE = 'be True, False, "bar", "lines", or an integer k of at least 1 for a line every k epochs'


def check_progress(value: Any) -> None:
    """Refuse a value that is not a `ProgressMode`, and a bar that cannot be drawn.

    Raises:
        ArgumentError: naming ``progress``.
        MissingExtraError: for ``"bar"`` outside of a notebook, if rich is not installed.
    """
    plain = plain_number(value)
    is_word = isinstance(plain, str) and plain in ("bar", "lines")
    is_count = type(plain) is int and plain >= 1
    require(is_word or is_count or isinstance(plain, bool), "progress", RULE, value)
    if plain == "bar" and not is_notebook() and global_console() is None:
        raise MissingExtraError(
            "progress='bar' needs rich. Install it: pip install 'xpnet[cli]'. "
            "progress='lines' needs nothing."
        )


class LinePrinter:
    """Prints a line for every ``every``-th epoch and for the last one.

    Args:
        every: the number of epochs from one line to the next.
        show: prints the line of an epoch.
    """

    after_step = None

    def __init__(self, every: int, show: Callable[[Run], None]) -> None:
        self._every, self._show = every, show
        self._waiting: Run | None = None

    def __enter__(self) -> LinePrinter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Print the line of the last epoch, unless it has been printed."""
        if self._waiting is not None:
            self._show(self._waiting)

    def epoch(self, run: Run) -> None:
        """Print the line of the epoch that has ended, if it is due."""
        self._waiting = None if run.epoch % self._every == 0 else run
        if self._waiting is None:
            self._show(run)


class NoProgress:
    """Prints nothing."""

    after_step = None

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to remove."""

    def epoch(self, run: Run) -> None:
        """Print nothing."""


Reporter: TypeAlias = LinePrinter | ProgressBar | NoProgress
"""A context that shows a training.

``epoch(run)`` is called after every epoch, before its callbacks; ``after_step``, if it is not
``None``, after every step with the number of steps taken in the epoch and their losses.
"""


def reporter(progress: ProgressMode, run: Run, completed: int) -> Reporter:
    """Return what shows a training.

    Args:
        progress: the argument of `Sequential.fit`; ``True`` is ``"bar"`` in a notebook, and on a
            terminal if rich is installed, and else ``"lines"``.
        run: the training before its next step.
        completed: the number of epochs that are over.
    """
    progress = plain_number(progress)
    if progress is False:
        return NoProgress()
    if progress is True or progress == "bar":
        screen = _screen(is_asked=progress == "bar")
        if screen is not None:
            return ProgressBar(screen, run, completed)
    return LinePrinter(progress if type(progress) is int else 1, printer())


def _screen(is_asked: bool) -> Screen | None:
    """Return where a bar is drawn; ``None`` where it is not asked for and lines are better."""
    if is_notebook():
        return NotebookScreen()
    console = global_console() if is_asked or is_terminal(sys.stdout) else None
    if console is None or (not is_asked and console.is_dumb_terminal):
        return None
    return TerminalScreen(console)


def printer() -> Callable[[Run], None]:
    """The function that prints an epoch's line to standard output."""
    is_coloured = is_terminal(sys.stdout) and not is_redirected()
    console = global_console() if is_coloured else None
    if console is None:
        return _plain
    return lambda run: console.print(coloured(line_parts(run)), soft_wrap=True)


def print_ended(history: History) -> None:
    """Print that a training that is resumed had ended already, because no epoch follows."""
    reason = f" ({history.stopped})" if history.stopped else ""
    print(
        f"the training ended after {len(history)} epochs{reason}; a larger number of epochs "
        "continues it",
        flush=True,
    )


def _plain(run: Run) -> None:
    print(line(run), flush=True)
