"""The history of a training as a CSV file, which grows by a line in every epoch."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from xpnet.training import History
from xpnet.training.callbacks import Run
from xpnet.training.history import NO_VALUE


class HistoryFile:
    """A callback that appends the row of each epoch to a file, and flushes it.

    The file is that of `History.to_csv` after every epoch. It is written anew in the first epoch of
    a process, which repairs a line that a killed one has left incomplete, and if a column is added.

    Args:
        path: the file; an existing one is replaced.
    """

    stateless = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head: list[str] | None = None

    @property
    def is_written(self) -> bool:
        """Whether the file has been written."""
        return self._head is not None

    def epoch(self, run: Run) -> None:
        """Write the row of the epoch that has ended."""
        head = list(run.history.columns)
        if head != self._head:
            run.history.to_csv(self.path)
            self._head = head
            return
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(last_line(run.history))


def last_line(history: History) -> str:
    r"""Return the last line of the file that `History.to_csv` writes.

    >>> last_line(History({"epoch": [1, 2], "loss": [0.5, 0.25]}))
    '2,0.25\n'
    """
    text, n_rows = io.StringIO(), len(history)
    columns = history.columns.values()
    values = (column[-1] if len(column) == n_rows else NO_VALUE for column in columns)
    csv.writer(text, lineterminator="\n").writerow(
        "" if value is NO_VALUE else format(value, ".9g") for value in values
    )
    return text.getvalue()
