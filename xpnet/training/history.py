"""The history of a training: one row of numbers per epoch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.atomic import StrPath, write_atomically
from xpnet.backend import HostArray
from xpnet.errors import (
    FileFormatError,
    MissingExtraError,
    Phrase,
    describe,
    require,
    unknown_name,
)
from xpnet.metrics.protocol import real_number
from xpnet.state_dict import StateDict
from xpnet.training.history_views import curves, summary, table

NO_VALUE = float("nan")
"""What a column holds for an epoch without a value; `History.to_csv` leaves its cell empty."""

MAX_PADDING = 1_000_000
"""How many values the columns of a file may lack more than they have; `append` adds them."""


@dataclass(repr=False)
class History:
    """The numbers of every finished epoch, by column.

    Its representation is one line; a notebook shows a table of the first, the best and the last
    epochs and, with Matplotlib, the curves of losses and metrics.

    Attributes:
        columns: the numbers of each column, one per epoch. ``epoch`` counts from 1; ``loss`` is the
            mean training loss over the batches of the epoch, without penalties; ``penalty`` is the
            value of the L1 and L2 penalties; ``val_loss`` and ``val_<metric>`` are measured on the
            validation data, ``<metric>`` on the training data if there is no validation data: each
            metric has one column, of all rows at once, weighted by the sample weights, but not by
            class weights, if it takes them; NaN where it is undefined;
            ``lr`` is the last learning rate, ``seconds`` the duration of the epoch. For a method
            of `xpnet.minimize` an epoch is an iteration, ``loss`` the loss of all rows at its end,
            and the columns ``step``, the step length, and ``grad_norm``, ``max_i |∂f/∂θ_i|``,
            replace ``lr``. A callback may append to a column of its own in some epochs only; the
            others get NaN when the next epoch is added.
        stopped: why training ended before its last epoch; empty if it did not. For a method of
            `xpnet.minimize` it is always the reason for stopping.
        engine: ``"replay"`` and how steps were replayed, or ``"eager"`` and why they were not.

    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 0.5})
    >>> history["loss"], len(history)
    ([0.5], 1)
    >>> history
    History(1 epoch: loss 0.5000)
    """

    columns: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = ""
    engine: str = ""
    _aligned: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def append(self, row: dict[str, float]) -> None:
        """Add the row of an epoch; columns that it lacks, and new ones before it, hold NaN."""
        n_rows = len(self)
        for name in row:
            self.columns.setdefault(name, [])
        for name, values in self.columns.items():
            values[:] = self._padded(name, n_rows)
        self._aligned.update(self.columns)
        for name, value in row.items():
            self.columns[name].append(value)

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.columns:
            raise unknown_name("a column of the history", name, self.columns)
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return len(self.columns.get("epoch", ()))

    def __repr__(self) -> str:
        return f"History({summary(self)})"

    def _repr_html_(self) -> str:
        """The table and the curves that a notebook shows."""
        return table(self)

    def _repr_png_(self) -> bytes | None:
        """The curves that a front end without HTML shows; ``None`` without Matplotlib."""
        return curves(self)

    def padded(self, name: str) -> list[float]:
        """Return a column with one value for each epoch; NaN where it has none.

        Raises:
            ArgumentError: if there is no such column.

        >>> History({"epoch": [1, 2], "norm": [3.0]}).padded("norm")
        [nan, 3.0]
        """
        return self._padded(name, len(self)) if len(self[name]) < len(self) else self[name]

    def last_row(self) -> dict[str, float]:
        """Return the numbers of the last epoch, without the columns that have no value for it.

        >>> History({"epoch": [1, 2], "loss": [0.5, 0.25]}).last_row()
        {'epoch': 2, 'loss': 0.25}
        """
        n_rows, row = len(self), {}
        for name, values in self.columns.items():
            is_late = len(values) < n_rows and name in self._aligned
            if n_rows and values and not is_late and values[-1] is not NO_VALUE:
                row[name] = values[-1]
        return row

    def rows(self) -> list[dict[str, float]]:
        """Return the numbers of every epoch, without the columns that have no value for it.

        >>> History({"epoch": [1, 2], "norm": [3.0]}).rows()
        [{'epoch': 1}, {'epoch': 2, 'norm': 3.0}]
        """
        columns = {name: self._padded(name, len(self)) for name in self.columns}
        return [
            {name: values[i] for name, values in columns.items() if values[i] is not NO_VALUE}
            for i in range(len(self))
        ]

    def to_json(self, path: StrPath | None = None) -> str:
        """Return the history as JSON, and write it to a file, completely or not at all.

        It is an object with the entries ``columns``, a list of numbers by name, ``stopped`` and
        ``engine``. ``null`` is a missing value, NaN or an infinity, which JSON does not have.
        Numbers have all their digits. ``pandas.DataFrame(json.loads(text)["columns"])`` is a table.

        Args:
            path: the file; ``None`` (default) writes none.

        Raises:
            ArgumentError: if a column has more values than there are epochs, or one that is not a
                real number.
            OSError: if the file cannot be written; an existing one remains.

        >>> History({"epoch": [1], "loss": [float("inf")]}).to_json()
        '{"columns": {"epoch": [1], "loss": [null]}, "stopped": "", "engine": ""}'
        """
        columns = {
            name: [json_number(value, name) for value in values]
            for name, values in self._table().items()
        }
        entries = {"columns": columns, "stopped": self.stopped, "engine": self.engine}
        text = json.dumps(entries, allow_nan=False, ensure_ascii=False)
        if path is not None:
            write_atomically(path, text.encode())
        return text

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with one row per epoch; NaN where there is no value.

        Raises:
            ArgumentError: if a column has more values than there are epochs, or one that is not a
                real number.
            MissingExtraError: if pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415  an optional dependency
        except ImportError:
            raise MissingExtraError(
                "History.to_pandas needs pandas. Install it: pip install pandas. to_csv and "
                "to_json need nothing."
            ) from None
        table = {name: _numbers(name, values) for name, values in self._table().items()}
        epochs = table.get("epoch")
        if epochs is not None and (epochs == np.round(epochs)).all():
            table["epoch"] = epochs.astype(np.int64)
        return pd.DataFrame(table)

    def to_csv(self, path: StrPath) -> None:
        """Write a CSV file with a header and one line per epoch, completely or not at all.

        A cell is empty where a column has no value for an epoch.

        Raises:
            ArgumentError: if a column has more values than there are epochs.
            OSError: if the file cannot be written; an existing one remains.
        """
        table = self._table()
        lines = [csv_line(table), *map(csv_line, map(csv_cells, zip(*table.values(), strict=True)))]
        write_atomically(path, "".join(lines).encode())

    def state_dict(self) -> StateDict:
        """Return the names and the numbers of the columns, and why training ended."""
        return {
            "names": list(self.columns),
            "columns": [_numbers(name, values) for name, values in self.columns.items()],
            "missing": [_missing(values) for values in self.columns.values()],
            "aligned": sorted(self._aligned),
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned.

        Raises:
            FileFormatError: if an entry has another type, or a column another length.
        """
        parts = names, columns, missing, aligned = [
            state[key] for key in ("names", "columns", "missing", "aligned")
        ]
        if not all(isinstance(part, list) for part in parts):
            raise FileFormatError("the history must have lists of names and of columns.")
        if not all(isinstance(text, str) for text in [*names, *aligned, state["stopped"]]):
            raise FileFormatError("the history must have texts as names.")
        if not len({*names}) == len(names) == len(columns) == len(missing):
            raise FileFormatError("the history must have one column for each name.")
        for values, absent in zip(columns, missing, strict=True):
            _require_column(values, absent)
        sizes = [len(values) for values in columns]
        n_rows = sizes[names.index("epoch")] if "epoch" in names else 0
        if sum(max(n_rows - size, 0) for size in sizes) > MAX_PADDING + sum(sizes):
            raise FileFormatError("the history must have columns of one length.")
        self.columns = {n: c.tolist() for n, c in zip(names, columns, strict=True)}
        for numbers, absent in zip(self.columns.values(), missing, strict=True):
            for index in () if absent is None else absent.tolist():
                numbers[index] = NO_VALUE
        self._aligned, self.stopped = set(aligned), state["stopped"]

    def _table(self) -> dict[str, list[float]]:
        """Return every column with one value for each epoch.

        Raises:
            ArgumentError: if a column has more values than there are epochs.
        """
        lengths = [len(values) for values in self.columns.values()]
        n_rows = len(self) if "epoch" in self else max(lengths, default=0)
        for name, values in self.columns.items():
            rule = f"have at most one value for each of the {n_rows} epochs"
            got = Phrase(f"{len(values)} values")
            require(len(values) <= n_rows, f"the column {name!r} of the history", rule, got)
        return {name: self._padded(name, n_rows) for name in self.columns}

    def _padded(self, name: str, n_rows: int) -> list[float]:
        """Return a column of ``n_rows`` values: one that came late is padded at its beginning."""
        values = self.columns[name]
        missing = [NO_VALUE] * (n_rows - len(values))
        return values + missing if name in self._aligned else missing + values


def csv_cells(values: Iterable[float]) -> list[str]:
    """Return numbers as the cells of a CSV file; those without a value are empty."""
    return ["" if value is NO_VALUE else format(value, ".9g") for value in values]


def csv_line(cells: Iterable[str]) -> str:
    r"""Return a line of a CSV file, with quotes where they are needed.

    >>> csv_line(["epoch", "top,1"])
    'epoch,"top,1"\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def json_number(value: Any, name: str) -> float | int | None:
    """Return a number as JSON has it: ``None`` for NaN and infinities, an integer for an epoch.

    Args:
        value: the number.
        name: the name of its column.

    Raises:
        ArgumentError: if ``value``, which a callback has added, is not a real number.
    """
    number = _number(name, value)
    if not math.isfinite(number):
        return None
    return int(number) if name == "epoch" and number == int(number) else number


def _require_column(values: Any, absent: Any) -> None:
    """Refuse a column of a file that is not float64, and indices that are outside of it.

    Raises:
        FileFormatError: naming what is expected.
    """
    if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != 1:
        raise FileFormatError(
            f"a column of the history must be float64 of shape (n,); got {describe(values)}."
        )
    if absent is None:
        return
    is_index = isinstance(absent, np.ndarray) and absent.dtype == np.int64 and absent.ndim == 1
    if not is_index or ((absent < 0) | (absent >= len(values))).any():
        raise FileFormatError(
            "the missing values of a column must be indices, int64 of shape (k,); got "
            f"{describe(absent)}."
        )


def _numbers(name: str, values: list[float]) -> HostArray:
    """A column as an array.

    Raises:
        ArgumentError: if a value, which a callback has added, is not a real number.
    """
    return np.array([_number(name, value) for value in values], np.float64)


def _number(name: str, value: Any) -> float:
    """A value of a column as a float; see `_numbers`."""
    number = real_number(value)
    require(number is not None, f"the column {name!r}", "hold real numbers", value)
    return math.nan if number is None else number


def _missing(values: list[float]) -> HostArray | None:
    """The indices at which a column has no value, or ``None`` if it has all."""
    missing = [index for index, value in enumerate(values) if value is NO_VALUE]
    return np.array(missing, np.int64) if missing else None
