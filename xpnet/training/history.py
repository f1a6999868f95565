"""The history of a training: one row of numbers per epoch."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.atomic import StrPath, write_atomically
from xpnet.backend import HostArray
from xpnet.errors import FileFormatError, Phrase, describe, require, unknown_name
from xpnet.metrics.protocol import real_number
from xpnet.state_dict import StateDict

NO_VALUE = float("nan")
"""What a column holds for an epoch without a value; `History.to_csv` leaves its cell empty."""

MAX_PADDING = 1_000_000
"""How many values the columns of a file may lack more than they have; `append` adds them."""


@dataclass
class History:
    """The numbers of every finished epoch, by column.

    Attributes:
        columns: the numbers of each column, one per epoch. ``epoch`` counts from 1; ``loss`` is the
            mean training loss over the batches of the epoch, without penalties; ``penalty`` is the
            value of the L1 and L2 penalties; ``val_loss`` and ``val_<metric>`` are measured on the
            validation data, ``<metric>`` on the training data if there is no validation data;
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

    def to_csv(self, path: StrPath) -> None:
        """Write a CSV file with a header and one line per epoch, completely or not at all.

        A cell is empty where a column has no value for an epoch.

        Raises:
            ArgumentError: if a column has more values than there are epochs.
            OSError: if the file cannot be written; an existing one remains.
        """
        lengths = [len(values) for values in self.columns.values()]
        n_rows = len(self) if "epoch" in self else max(lengths, default=0)
        for name, values in self.columns.items():
            rule = f"have at most one value for each of the {n_rows} epochs"
            got = Phrase(f"{len(values)} values")
            require(len(values) <= n_rows, f"the column {name!r} of the history", rule, got)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        columns = [self._padded(name, n_rows) for name in self.columns]
        for row in zip(*columns, strict=True):
            writer.writerow("" if v is NO_VALUE else format(v, ".9g") for v in row)
        write_atomically(path, text.getvalue().encode())

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

    def _padded(self, name: str, n_rows: int) -> list[float]:
        """Return a column of ``n_rows`` values: one that came late is padded at its beginning."""
        values = self.columns[name]
        missing = [NO_VALUE] * (n_rows - len(values))
        return values + missing if name in self._aligned else missing + values


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
    numbers = [real_number(value) for value in values]
    for number, value in zip(numbers, values, strict=True):
        require(number is not None, f"the column {name!r}", "hold real numbers", value)
    return np.array(numbers, np.float64)


def _missing(values: list[float]) -> HostArray | None:
    """The indices at which a column has no value, or ``None`` if it has all."""
    missing = [index for index, value in enumerate(values) if value is NO_VALUE]
    return np.array(missing, np.int64) if missing else None
