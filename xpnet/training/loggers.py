"""Callbacks that write the numbers of every epoch to a file, which can be read in training."""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

from xpnet.atomic import StrPath, real_path, require_writable, write_atomically
from xpnet.errors import Phrase, require, require_type
from xpnet.training.callbacks import Run
from xpnet.training.history import History, csv_cells, csv_line, json_number

HEAD = 4096
"""The number of bytes of an existing file that are read to recognize it."""


class EpochLogger:
    """A callback that appends the row of each epoch to a file; see `CSVLogger`.

    Args:
        path: the file.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    stateless: ClassVar[bool] = True
    is_last: ClassVar[bool] = True
    start: ClassVar[bytes] = b""
    """What a file of this class begins with."""

    def __init__(self, path: StrPath) -> None:
        require_type(path, (str, bytes, os.PathLike), "path")
        self.path = path
        self._head: list[str] | None = None

    @property
    def is_written(self) -> bool:
        """Whether the file has been written in this training."""
        return self._head is not None

    def begin(self, run: Run) -> None:
        """Refuse a path that cannot be written, or of a file that is not a log."""
        self._head = None
        name = os.fsdecode(self.path)
        paths = [c.path for c in run.callbacks if isinstance(getattr(c, "path", None), _PATH)]
        count = [real_path(path) for path in paths].count(real_path(self.path))
        require(count == 1, "callbacks", "have different paths", Phrase(f"two with {name!r}"))
        require_writable(self.path)
        rule = f"be new, or a file of {type(self).__name__}"
        do = "Delete it, or take another name."
        require(self.is_own_file(), "path", rule, Phrase(f"{name!r}, which is another file"), do)

    def is_own_file(self) -> bool:
        """Return whether the file is new, empty, or a log."""
        try:
            with open(self.path, "rb") as file:
                head = file.read(HEAD)
        except FileNotFoundError:
            return True
        return not head or head.startswith(self.start)

    def epoch(self, run: Run) -> None:
        """Write the row of the epoch that has ended."""
        history, head = run.history, self._names(run.history)
        if head != self._head:
            self._write(history)
            self._head = head
            return
        with open(self.path, "a", encoding="utf-8", newline="") as stream:
            stream.write(self._line(history))

    def end(self, run: Run) -> None:
        """Write the file if no epoch has, because the training that is resumed had ended."""
        if self._head is None and len(run.history):
            self._write(run.history)
            self._head = self._names(run.history)

    def _names(self, history: History) -> list[str]:
        """Return what requires a new file if it changes."""
        return []

    def _line(self, history: History) -> str:
        """Return the line of the last epoch."""
        raise NotImplementedError

    def _write(self, history: History) -> None:
        """Write the file with all epochs, completely or not at all."""
        raise NotImplementedError


class CSVLogger(EpochLogger):
    """Write the row of each epoch to a CSV file, which is `History.to_csv` after every epoch.

    A line is appended and flushed after every epoch, after all other callbacks but
    `TrainingCheckpoint`. The file is written anew, atomically, in the first epoch of a process and
    if a column is added. A training that is resumed therefore continues the file at its own epoch,
    and repairs a line that a process has not completed because it was killed.

    Args:
        path: the file; an existing log is replaced.

    Raises:
        ArgumentError: before the first step, if ``path`` is a folder, the path of another callback
            or a file that is not empty and does not begin with ``epoch``.
        OSError: before the first step, if the folder of the file does not exist or cannot be
            written; in training, if the file cannot be written.

    >>> import pathlib, tempfile, xpnet
    >>> X, model = [[0.0], [1.0], [2.0], [3.0]], xpnet.MLP(1, [], 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logger = xpnet.CSVLogger(f"{folder}/log.csv")
    ...     history = model.fit(X, X, loss=xpnet.HalfMSE(), optimizer=xpnet.SGD(lr=0.1), epochs=2,
    ...         callbacks=[logger], progress=False)
    ...     lines = pathlib.Path(logger.path).read_text().splitlines()
    >>> lines[0], len(lines)
    ('epoch,loss,lr,seconds', 3)
    """

    start: ClassVar[bytes] = b"epoch"

    def _names(self, history: History) -> list[str]:
        return list(history.columns)

    def _line(self, history: History) -> str:
        row = history.last_row()
        cells = dict.fromkeys(history.columns, "")
        cells.update(zip(row, csv_cells(row.values()), strict=True))
        return csv_line(cells.values())

    def _write(self, history: History) -> None:
        history.to_csv(self.path)


class JSONLinesLogger(EpochLogger):
    """Write each epoch as a line with a JSON object, such as ``{"epoch": 1, "loss": 0.5}``.

    Numbers have all their digits. ``null`` is NaN or an infinity, which JSON does not have; a
    column without a value in an epoch is left out. The file is written as by `CSVLogger`;
    ``pandas.read_json(path, lines=True)`` reads it.

    Args:
        path: the file; an existing log is replaced.

    Raises:
        ArgumentError: before the first step, if ``path`` is a folder, the path of another callback
            or a file that is not empty and does not begin with ``{"epoch":``; in training, if a
            value is not a real number.
        OSError: before the first step, if the folder of the file does not exist or cannot be
            written; in training, if the file cannot be written.

    >>> import json, pathlib, tempfile, xpnet
    >>> X, model = [[0.0], [1.0], [2.0], [3.0]], xpnet.MLP(1, [], 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logger = xpnet.JSONLinesLogger(f"{folder}/log.jsonl")
    ...     history = model.fit(X, X, loss=xpnet.HalfMSE(), optimizer=xpnet.SGD(lr=0.1), epochs=2,
    ...         callbacks=[logger], progress=False)
    ...     lines = pathlib.Path(logger.path).read_text().splitlines()
    >>> rows = [json.loads(line) for line in lines]
    >>> [row["epoch"] for row in rows], rows[1]["loss"] == history["loss"][1]
    ([1, 2], True)
    """

    start: ClassVar[bytes] = b'{"epoch":'

    def _line(self, history: History) -> str:
        return _json_line(history.last_row())

    def _write(self, history: History) -> None:
        write_atomically(self.path, "".join(map(_json_line, history.rows())).encode())


def _json_line(row: dict[str, float]) -> str:
    numbers: dict[str, Any] = {name: json_number(value, name) for name, value in row.items()}
    return json.dumps(numbers, allow_nan=False, ensure_ascii=False) + "\n"


_PATH = str, bytes, os.PathLike
