"""Reader of CSV and TSV files, also gzipped, as spreadsheets and data frames write them."""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from xpnet.backend import HostArray
from xpnet.data.files import require_file
from xpnet.errors import FileFormatError, unknown_name

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

TargetType: TypeAlias = Literal["infer", "text", "number"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_WRITTEN_AS_USUAL = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_BOOLEANS = {"true": 1.0, "false": 0.0}
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-")


def column_names(path: Path) -> list[str]:
    """Return the names of the columns in the header of a file.

    Raises:
        FileFormatError: if it has no header, or the header is not valid.
        OSError: if the file cannot be opened.
    """
    with _open(path) as (reader, _):
        return _Header(next(reader, []), path).names


def delimiters_in(path: Path) -> str:
    """Return the delimiters of a file in words, such as ``"commas"``.

    Raises:
        FileFormatError: if the first line is not text.
        OSError: if the file cannot be opened.
    """
    with _open(path) as (_, delimiter):
        return DELIMITERS[delimiter]


def read_columns(
    path: Path, target: str | None, columns: Sequence[str] | None, target_type: TargetType
) -> tuple[HostArray, HostArray | None, tuple[str, ...]]:
    """Return the features, the target and the names of the features; see `read_table`."""
    with _open(path) as (reader, delimiter):
        header = _Header(next(reader, []), path)
        for name in (*(columns or ()), *([] if target is None else [target])):
            if name not in header.names:
                raise unknown_name("target" if name == target else "columns", name, header.names)
        features = tuple(header.names if columns is None else columns)
        features = tuple(name for name in features if name != target)
        require_file(features, path, "have a column of features", f"only {target!r}")
        parse = NumberParser(decimal_comma=delimiter == ";")
        labels = None if target is None else _Labels(target, target_type, parse, path)
        rows = _rows(reader, header, DELIMITERS[delimiter], path)
        numbers = _feature_rows(rows, header, features, labels, parse, path)
        X = np.fromiter(numbers, np.dtype((np.float64, (len(features),))))
    require_file(len(X), path, "have a row below its header", "none")
    return X, None if labels is None else labels.values(), features


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield a reader of the cells of each line, and the delimiter that the header has."""
    line_num, name, reader = 0, "commas", None
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8-sig") as stream:
        try:
            lines = [stream.readline(), stream.readline()]
            is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
            delimiter = "\t" if is_tsv else delimiter_of(*lines)
            name = DELIMITERS[delimiter]
            reader = csv.reader(chain(lines, stream), delimiter=delimiter, strict=True)
            yield reader, delimiter
        except (csv.Error, UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            line_num = 0 if reader is None else reader.line_num
            rule = f"be UTF-8 text of cells separated by {name}"
            got = f"{error} after line {line_num}"
            raise FileFormatError(f"{path} must {rule}; got {got}.") from None


def delimiter_of(header: str, row: str = "") -> str:
    """Return the delimiter of two lines: the one that divides the header into the most cells.

    Of two such delimiters it is the one that divides the row into as many, and then the one that
    numbers and names contain less often: a tab, then a semicolon. The default is a comma.

    >>> delimiter_of("length, mm;width, mm;species", "5,1;3,5;setosa")
    ';'
    """
    best, most = ",", (1, True)
    for delimiter in DELIMITERS:
        counts = [len(next(csv.reader([x], delimiter=delimiter), [])) for x in (header, row)]
        found = counts[0], counts[0] == counts[1]
        if found[0] > 1 and found >= most:
            best, most = delimiter, found
    return best


class NumberParser:
    """Numbers as files hold them: ASCII digits, no separators of thousands, and true and false.

    Args:
        decimal_comma: whether the decimal mark may be a comma. All numbers of a file have the same
            mark.

    >>> parse = NumberParser(decimal_comma=True)
    >>> parse("1,5"), parse(" -2e3 "), parse("TRUE"), parse("1_000"), parse("1.5")
    (1.5, -2000.0, 1.0, None, None)
    """

    def __init__(self, decimal_comma: bool = False) -> None:
        self._decimal_comma, self._mark = decimal_comma, ""

    def __call__(self, cell: str) -> float | None:
        """Return the number in a cell; ``None`` if there is none, or it is not finite."""
        text = cell.strip()
        if self._decimal_comma:
            found = "," if "," in text else "." if "." in text else ""
            if found and self._mark not in ("", found):
                return None
            number = _finite("" if found == "," and "." in text else text.replace(",", ".", 1))
            if number is not None:
                self._mark = self._mark or found
            return number
        return _finite(text)

    def row(self, cells: Sequence[str]) -> list[float] | None:
        """Return the number in each cell; ``None`` if they have to be read one by one."""
        if self._decimal_comma:
            return None
        try:
            numbers = list(map(float, cells))
        except ValueError:
            return None
        text = "".join(cells)  # Python reads 1_000 and other digits than ASCII too
        usual = math.isfinite(sum(numbers)) and "_" not in text and text.isascii()
        return numbers if usual else None

    def advice(self, cell: str) -> str:
        """Return what to do about a cell that should be a number."""
        text = cell.strip()
        if text.lower() in _MISSING:
            return "Fill in the missing number, or leave out the row or the column."
        if self._decimal_comma and _finite(text.replace(",", ".", 1)) is not None:
            return "Write every number with the same decimal mark, a point or a comma."
        if _finite(text.replace("_", "").replace(",", "")) is not None:
            return "Write a number without separators of thousands, with a decimal point."
        return "Encode words as numbers, such as a column of 0 and 1 for each, or leave them out."


def _finite(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return _BOOLEANS.get(text.lower())
    number = float(text)
    return number if math.isfinite(number) else None


class _Header:
    """The columns of a file.

    A first column without a name is an index, as pandas and R write it, and is ignored. Cells
    without a name at the end come from trailing delimiters.

    Attributes:
        names: the names of the columns.
        start: the index of the cell of the first one.
        n_cells: the number of cells of each row.
    """

    def __init__(self, cells: list[str], path: Path) -> None:
        names = [cell.strip() for cell in cells]
        while names and not names[-1]:
            names.pop()
        rule = "start with a header line of column names"
        require_file(names, path, rule, "an empty first line")
        numeric = all(_NUMBER.fullmatch(name) for name in names)
        require_file(not numeric, path, rule, f"the numbers {', '.join(names)}")
        self.n_cells, self.start = len(names), int(not names[0])
        self.names = names[self.start :]
        for position, name in enumerate(self.names):
            index = position + self.start
            require_file(name, path, "name every column", f"no name for column {index + 1}")
            repeated = name in self.names[:position]
            require_file(not repeated, path, "have distinct column names", f"{name!r} twice")

    def index(self, name: str) -> int:
        """Return the index of the cell of a column."""
        return self.names.index(name) + self.start


def _rows(
    reader: Any, header: _Header, delimiters: str, path: Path
) -> Iterator[tuple[str, list[str]]]:
    """Yield the position in words and the cells of each row.

    Blank lines are ignored, and at the end so are rows of empty cells, which spreadsheets write.
    """
    row, empty, n_cells = 0, "", header.n_cells
    for cells in reader:
        if len(cells) <= 1 and not "".join(cells).strip():
            continue
        row += 1
        where = f"row {row} (line {reader.line_num})"
        if not cells[0].strip() and not any(map(str.strip, cells)):
            empty = empty or where
            continue
        if empty:
            do = "Remove it."
            require_file(False, path, "have no row of empty cells before others", empty, do)
        if len(cells) != n_cells:
            extra = any(map(str.strip, cells[n_cells:]))  # else these are trailing delimiters
            rule, do = f"have {n_cells} cells in every row", f"They are separated by {delimiters}."
            ok = len(cells) > n_cells and not extra
            require_file(ok, path, rule, f"{len(cells)} in {where}", do)
        yield where, cells


def _feature_rows(
    rows: Iterator[tuple[str, list[str]]],
    header: _Header,
    features: tuple[str, ...],
    labels: _Labels | None,
    parse: NumberParser,
    path: Path,
) -> Iterator[list[float]]:
    """Yield the features of each row, and add the cells of the target to ``labels``."""
    indices = [header.index(name) for name in features]
    target = 0 if labels is None else header.index(labels.name)
    for where, cells in rows:
        if labels is not None:
            labels.add(cells[target].strip(), where)
        chosen = [cells[index] for index in indices]
        numbers = parse.row(chosen)
        if numbers is None:
            numbers = _one_by_one(chosen, features, where, parse, path)
        yield numbers


def _one_by_one(
    cells: list[str], features: tuple[str, ...], where: str, parse: NumberParser, path: Path
) -> list[float]:
    """Return the number in each cell of the features, or refuse the first without one."""
    numbers = []
    for cell, name in zip(cells, features, strict=True):
        number = parse(cell)
        if number is None:
            rule = "have a finite number in every cell of a feature"
            got = f"{cell!r} in {where}, column {name!r}"
            require_file(False, path, rule, got, parse.advice(cell))
        numbers.append(cast(float, number))
    return numbers


class _Labels:
    """The cells of a target column.

    Args:
        name: the name of the column.
        target_type: what its cells are; see `read_table`.
        parse: reads a number.
        path: the file, for error messages.
    """

    def __init__(self, name: str, target_type: TargetType, parse: NumberParser, path: Path) -> None:
        self.name, self._type, self._parse, self._path = name, target_type, parse, path
        self._cells: list[str] = []
        self._numeric = target_type == "number"

    def add(self, cell: str, where: str) -> None:
        """Add a cell, after validating it."""
        is_word = self._type == "text" or cell.lower() in _BOOLEANS
        is_number = not is_word and self._parse(cell) is not None
        if not self._cells and self._type == "infer":
            self._numeric = is_number
        if not cell or is_number != self._numeric:
            self._refuse(cell, where)
        self._cells.append(cell)

    def _refuse(self, cell: str, where: str) -> None:
        rules = {
            "text": "have no empty cell",
            "number": "have only numbers",
            "infer": "have only numbers or only strings",
        }
        names = "Words are classes" if self._type == "number" else "If its cells are names"
        do = f"{names}: use --task classification, or target_type='text'." if cell else ""
        rule = f"{rules[self._type]} in its target column {self.name!r}"
        require_file(False, self._path, rule, f"{cell!r} in {where}", do)

    def values(self) -> HostArray:
        """Return the column as int64, float64 or strings."""
        if not self._numeric:
            return np.array(self._cells)
        if self._type == "infer":
            integers = integers_of(self._cells)
            if integers is not None:
                return integers
            if all(map(_INTEGER.fullmatch, self._cells)) and not all(
                map(_WRITTEN_AS_USUAL.fullmatch, self._cells)
            ):
                return np.array(self._cells)  # codes, such as 007
        return np.array([self._parse(cell) for cell in self._cells], dtype=np.float64)


def integers_of(labels: Sequence[str]) -> HostArray | None:
    """Return labels as int64 if that keeps how they are written, else ``None``.

    >>> integers_of(["10", "-3"]), integers_of(["10", "007"])
    (array([10, -3]), None)
    """
    if not all(map(_WRITTEN_AS_USUAL.fullmatch, labels)):
        return None
    try:
        return np.array([int(label) for label in labels], dtype=np.int64)
    except (ValueError, OverflowError):
        return None


def numbers_of(labels: Sequence[str]) -> HostArray | None:
    """Return labels as float64 if all of them are finite numbers, else ``None``.

    >>> numbers_of(["1", "1.5"]), numbers_of(["1", "E11"])
    (array([1. , 1.5]), None)
    """
    numbers = [_finite(label) for label in labels if label.lower() not in _BOOLEANS]
    if len(numbers) < len(labels) or None in numbers:
        return None
    return np.array(numbers, dtype=np.float64)
