"""Readers of tables: CSV, ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import HostArray
from xpnet.data.checks import check_features, check_same_length
from xpnet.data.files import StrPath, npz_names, read_npy, read_npz, require_file
from xpnet.errors import FileFormatError, require, unknown_name

SUFFIXES = (".csv", ".npy", ".npz")
X_NAMES = ("X", "x", "X_train", "x_train")
Y_NAMES = ("y", "Y", "y_train", "Y_train")


@dataclass(frozen=True, eq=False)
class Table:
    """The features and the target in a file; the result of `read_table`.

    Attributes:
        X: finite float64 features of shape (m, n).
        y: the target of shape (m,), or ``None``: int64, float64 or strings from a CSV file; with
            the stored dtype from an ``.npz`` file.
        feature_names: the n column names of a CSV file; empty for ``.npy`` and ``.npz`` files.
        target_name: the name of the target column or array; ``None`` without a target.
    """

    X: HostArray
    y: HostArray | None
    feature_names: tuple[str, ...]
    target_name: str | None


def read_table(path: StrPath, target: str | None = None) -> Table:
    r"""Read features and an optional target from a ``.csv``, ``.npy`` or ``.npz`` file.

    - ``.csv``: UTF-8 text separated by commas, with a header line of distinct names. Features are
      numbers. A target column holds only integers (int64), only numbers (float64) or only strings,
      so that a mistyped number is refused and does not become a class. Blank lines are ignored.
    - ``.npy``: one array, the features. The file is memory-mapped, so float64 features may be
      larger than memory.
    - ``.npz``: the features are the array ``X`` or ``x_train``. The target is the array named by
      ``target``, or by default ``y`` or ``y_train`` if the file contains it.

    Samples of more than one dimension, such as images, are flattened to rows.

    Args:
        path: the file; its suffix determines the format.
        target: the name of the target column or array. ``None`` (default): all columns of a CSV
            file are features.

    Returns:
        The table.

    Raises:
        ArgumentError: if the suffix or ``target`` is unknown (the message suggests the closest
            name), an array does not hold finite real numbers, or X and y differ in length.
        FileFormatError: if the file is empty, damaged or contains Python objects; a header is
            missing or repeats a name; a row has too few or too many cells; or a cell is missing or
            not a finite number. The message names the row, line and column. Rows are counted from
            1, starting below the header.
        OSError: if the file cannot be opened.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "iris.csv"
    ...     _ = file.write_text("length,width,species\n5.1,3.5,setosa\n6.2,3.4,virginica\n")
    ...     table = read_table(file, target="species")
    >>> table.X.tolist(), table.y.tolist(), table.feature_names
    ([[5.1, 3.5], [6.2, 3.4]], ['setosa', 'virginica'], ('length', 'width'))
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path, target)
    if suffix == ".npy":
        do = "A .npy file has no names: keep the target in an .npz file."
        require(target is None, "target", "be None for a .npy file", target, do)
        return Table(_features(read_npy(path), path), None, (), None)
    if suffix == ".npz":
        return _read_npz(path, target)
    raise unknown_name("the suffix of path", suffix, SUFFIXES)


def _read_npz(path: Path, target: str | None) -> Table:
    names = npz_names(path)
    x_name = next((name for name in X_NAMES if name in names), None)
    found = ", ".join(names) or "no array"
    require_file(x_name is not None, path, "hold an array named X or x_train", found)
    if target is not None and target not in names:
        raise unknown_name("target", target, names)
    y_name = target or next((name for name in Y_NAMES if name in names), None)
    arrays = read_npz(path, [name for name in (x_name, y_name) if name is not None])
    X = _features(arrays[0], path)
    if y_name is None:
        return Table(X, None, (), None)
    check_same_length(X, arrays[1], f"X of {path}", f"{y_name} of {path}")
    return Table(X, arrays[1], (), y_name)


def _features(array: HostArray, path: Path) -> HostArray:
    argument = f"X of {path}"
    do = "Save it with a first dimension of rows."
    require(array.ndim >= 2, argument, "have shape (rows, columns) or more dimensions", array, do)
    require(array.size >= 1, argument, "not be empty", array)
    flat = array.reshape(array.shape[0], -1)
    check_features(flat, argument=argument)
    return np.asarray(flat, dtype=np.float64)


def _read_csv(path: Path, target: str | None) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        try:
            names = _read_header(next(reader, []), path)
            if target is not None and target not in names:
                raise unknown_name("target", target, names)
            features = tuple(name for name in names if name != target)
            require_file(features, path, "have a column of features", f"only {target!r}")
            labels: list[str] = []
            numbers = _feature_rows(_rows(reader, len(names), path), names, target, labels, path)
            X = np.fromiter(numbers, np.dtype((np.float64, (len(features),))))
        except (csv.Error, UnicodeDecodeError) as error:
            rule = "be UTF-8 text of cells separated by commas"
            got = f"{error} after line {reader.line_num}"
            raise FileFormatError(f"{path} must {rule}; got {got}.") from None
    require_file(len(X), path, "have a row below its header", "none")
    return Table(X, _target(labels) if target is not None else None, features, target)


def _read_header(cells: list[str], path: Path) -> list[str]:
    names = [cell.strip() for cell in cells]
    rule = "start with a header line of column names"
    require_file(names, path, rule, "an empty first line")
    require_file(not all(map(_is_number, names)), path, rule, f"the numbers {', '.join(names)}")
    for position, name in enumerate(names):
        require_file(name, path, "name every column", f"no name for column {position + 1}")
        repeated = name in names[:position]
        require_file(not repeated, path, "have distinct column names", f"{name!r} twice")
    return names


def _rows(reader: Any, n_cells: int, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the position in words and the cells of each row that is not blank."""
    row = 0
    for cells in reader:
        if cells:
            row += 1
            where = f"row {row} (line {reader.line_num})"
            if len(cells) != n_cells:
                require_file(
                    False, path, f"have {n_cells} cells in every row", f"{len(cells)} in {where}"
                )
            yield where, cells


def _feature_rows(
    rows: Iterator[tuple[str, list[str]]],
    names: list[str],
    target: str | None,
    labels: list[str],
    path: Path,
) -> Iterator[list[float]]:
    """Yield the features of each row, and append the cells of the target to ``labels``."""
    features = [name for name in names if name != target]
    for where, cells in rows:
        if target is not None:
            label = cells.pop(names.index(target)).strip()
            labels.append(label)
            if not label or _is_number(label) != _is_number(labels[0]):
                rule = f"have only numbers or only strings in its target column {target!r}"
                require_file(False, path, rule, f"{label!r} in {where}")
        yield _numbers(cells, features, where, path)


def _numbers(cells: list[str], names: list[str], where: str, path: Path) -> list[float]:
    try:
        numbers = list(map(float, cells))
    except ValueError:
        numbers = [math.nan]
    if not math.isfinite(sum(numbers)):  # a sum of finite numbers may overflow: check each
        rule = "have a finite number in every cell of a feature"
        for name, cell in zip(names, cells, strict=True):
            require_file(_is_number(cell), path, rule, f"{cell!r} in {where}, column {name!r}")
    return numbers


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _target(labels: list[str]) -> HostArray:
    """Return a target column as int64 if all cells are integers, else as float64 or strings."""
    if not _is_number(labels[0]):
        return np.array(labels)
    try:
        return np.array([int(label) for label in labels], dtype=np.int64)
    except (ValueError, OverflowError):
        return np.array([float(label) for label in labels])
