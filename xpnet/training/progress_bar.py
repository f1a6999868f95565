"""The state of a progress bar, which is drawn between steps and costs below 1 % of a training."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol

from xpnet.metrics.protocol import real_number
from xpnet.training.callbacks import Run
from xpnet.training.history_views import best_of, short_number

INTERVAL = 0.5
"""The least number of seconds from one drawing to the next."""

REST = 200
"""The time without a drawing after one, in durations of one: all take at most 0.5 % of the time."""

RECENT = 100
"""The number of latest steps of which the mean loss is shown, on the CPU."""


@dataclass(frozen=True)
class BarView:
    """What a bar shows.

    Attributes:
        head: the number of the epoch, such as ``"epoch  3/20"``.
        fraction: the part of the training that is over, in ``[0, 1]``.
        steps: the steps of the epoch, such as ``"41/120"``; empty if there are none.
        left: the time that is left, such as ``"0:12 left"``; empty if it is not known.
        numbers: the names and texts of the numbers.
    """

    head: str
    fraction: float
    steps: str
    left: str
    numbers: tuple[tuple[str, str], ...]


class Screen(Protocol):
    """Where a bar is drawn."""

    def show(self, view: BarView) -> None:
        """Draw the bar, and remove the one before."""

    def end(self, summary: str | None) -> None:
        """Remove the bar; leave ``summary``, unless it is ``None``."""


class ProgressBar:
    """Shows the position of a training, the time left, the loss and the monitored number.

    It is drawn by the thread that trains, between steps or epochs, at most every `INTERVAL`
    seconds, and more rarely where drawing takes long. It reads no number of a device. The
    monitored number is that of the first callback with an attribute ``monitor``, else the
    validation loss, else the loss.

    Args:
        screen: where it is drawn.
        run: the training before its next step.
        completed: the number of epochs that are over.
    """

    def __init__(self, screen: Screen, run: Run, completed: int) -> None:
        self._screen, self._run, self._completed = screen, run, completed
        self._monitor, self._maximize = monitored_column(run)
        self._first: float | None = None
        self._start = self._due = time.perf_counter()
        self._has_epoch, self._cost = False, math.inf

    def __enter__(self) -> ProgressBar:
        self._screen.show(self.view(self._run.step, (), 0.0))  # which may import rich
        self._due = time.perf_counter() + INTERVAL
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Replace the bar by one line, if an epoch has ended."""
        self._screen.end(self.summary() if self._has_epoch else None)

    def after_step(self, taken: int, losses: Sequence[Any]) -> None:
        """Draw the bar if it is due.

        Args:
            taken: the number of steps taken in the epoch, or enqueued on a device.
            losses: the losses of steps of this epoch; those of a device are not read.
        """
        if time.perf_counter() >= self._due:
            self._draw(taken, losses)

    def epoch(self, run: Run) -> None:
        """Draw the bar after an epoch if it is due."""
        self._run, self._completed, self._has_epoch = run, run.epoch, True
        if time.perf_counter() >= self._due:
            self._draw(0, ())

    def _draw(self, taken: int, losses: Sequence[Any]) -> None:
        begin = time.perf_counter()
        self._screen.show(self.view(taken, losses, begin - self._start))
        now = time.perf_counter()
        self._cost = min(self._cost, now - begin)  # another one may have waited for a processor
        self._due = now + max(INTERVAL, REST * self._cost)

    def view(self, taken: int, losses: Sequence[Any], seconds: float) -> BarView:
        """Return what to show after so many steps of the epoch and seconds of the training."""
        run, n_steps = self._run, self._run.n_steps
        done = self._completed + (taken / n_steps if n_steps else 0.0)
        if self._first is None:
            self._first = done
        left, epochs = "", max(run.epochs, 1)
        if done > self._first:
            left = f"{clock((run.epochs - done) * seconds / (done - self._first))} left"
        number = min(self._completed + 1, run.epochs)
        head = f"epoch {number:>{len(str(run.epochs))}}/{run.epochs}"
        steps = f"{taken:>{len(str(n_steps))}}/{n_steps}" if n_steps else ""
        return BarView(head, min(done / epochs, 1.0), steps, left, self._numbers(losses))

    def _numbers(self, losses: Sequence[Any]) -> tuple[tuple[str, str], ...]:
        """Return the names and texts of the loss and of the monitored number."""
        found, history = [], self._run.history
        recent = [value for value in losses[-RECENT:] if type(value) is float]
        loss = sum(recent) / len(recent) if recent else self._run.row.get("loss")
        if loss is not None:
            found.append(("loss", number_text("loss", loss)))
        name = self._monitor
        latest = history.columns.get(name)
        if latest and name != "loss":
            found.append((name, number_text(name, latest[-1])))
        best = self._best()
        return (*found, best) if best is not None else tuple(found)

    def _best(self) -> tuple[str, str] | None:
        best = best_of(self._run.history, self._monitor, self._maximize)
        if best is None:
            return None
        value, epoch = best
        name = self._monitor
        return f"best {name}", f"{number_text(name, value)} in epoch {epoch}"

    def summary(self) -> str:
        """Return the line that remains of the bar: the last epoch, the best one, and the time."""
        run = self._run
        row = {name: value for name, value in run.row.items() if name != "seconds"}
        best, text = self._best(), line(replace(run, row=row))
        if best is not None and len(run.history) > 1:
            text += "  {} {}".format(*best)
        seconds = time.perf_counter() - self._start
        return f"{text}  in {clock(seconds) if seconds >= 60 else f'{seconds:.1f} s'}"


def monitored_column(run: Run) -> tuple[str, bool]:
    """Return the column that a bar shows, and whether higher is better."""
    for callback in run.callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str):
            chosen = getattr(callback, "maximize", None)
            return monitor, bool(run.known_direction(monitor) if chosen is None else chosen)
    return "val_loss" if "val_loss" in run.columns else "loss", False


def line(run: Run) -> str:
    """Return the epoch's numbers as text.

    >>> from xpnet.training.history import History
    >>> line(Run(None, 3, 20, {"epoch": 3, "loss": 0.25, "seconds": 1.5}, History()))
    'epoch  3/20  loss 0.2500  1.50 s'
    """
    return "  ".join(f"{name} {text}" if name else text for name, text in line_parts(run))


def line_parts(run: Run) -> list[tuple[str, str]]:
    """Return the names and texts of an epoch's numbers; those that explain themselves lack a name.

    >>> from xpnet.training.history import History
    >>> line_parts(Run(None, 3, 20, {"epoch": 3, "loss": 0.25}, History()))
    [('', 'epoch  3/20'), ('loss', '0.2500')]
    """
    width = len(str(run.epochs))
    parts = [("", f"epoch {run.epoch:>{width}}/{run.epochs}")]
    for name, value in run.row.items():
        if name == "seconds":
            parts.append(("", f"{value:.2f} s"))
        elif name != "epoch":
            parts.append((name, number_text(name, value)))
    return parts


def number_text(name: str, value: Any) -> str:
    """Return a number of the column ``name`` as a line shows it.

    >>> number_text("loss", 0.25), number_text("lr", 0.25), number_text("of a callback", "text")
    ('0.2500', '0.25', 'text')
    """
    number = real_number(value)
    if number is None:
        return f"{value!s:.20}"
    return f"{number:.3g}" if name == "lr" else short_number(number)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, and hours if there are any.

    >>> clock(72.4), clock(3_700)
    ('1:12', '1:01:40')
    """
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
