"""Readers of tables: CSV, ``.npy`` and ``.npz`` files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpnet.backend import HostArray
from xpnet.data.checks import check_features, check_same_length
from xpnet.data.delimited import SUFFIXES as TEXT_SUFFIXES
from xpnet.data.delimited import TargetType, read_columns
from xpnet.data.files import StrPath, npz_names, read_npy, read_npz, require_file
from xpnet.errors import require, unknown_name

SUFFIXES = (".npy", ".npz", *TEXT_SUFFIXES)
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


def read_table(
    path: StrPath,
    target: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    target_type: TargetType = "infer",
) -> Table:
    r"""Read features and an optional target from a ``.csv``, ``.tsv``, ``.npy`` or ``.npz`` file.

    - ``.csv`` and ``.tsv``, also followed by ``.gz``: UTF-8 text with a header line of distinct
      names. The delimiter is the comma, semicolon or tab that divides the header into the most
      cells; numbers in a file with semicolons may have decimal commas. Features are numbers;
      ``true`` and ``false`` are 1 and 0. A first column without a name is an index and is ignored;
      so are empty cells after the last column, blank lines, and rows of empty cells at the end.
    - ``.npy``: one array, the features. The file is memory-mapped, so float64 features may be
      larger than memory.
    - ``.npz``: the features are the array ``X`` or ``x_train``. The target is the array named by
      ``target``, or by default ``y`` or ``y_train`` if the file contains it.

    Samples of more than one dimension, such as images, are flattened to rows.

    Args:
        path: the file; its suffix determines the format.
        target: the name of the target column or array. ``None`` (default): all columns of a CSV
            file are features.
        columns: the names of the columns of a CSV file to read as features, in this order; the
            others may hold anything. ``None`` (default): all columns but ``target``.
        target_type: ``"text"``: the target of a CSV file is read as strings, as they are in the
            file. ``"number"``: as float64. ``"infer"`` (default): as int64, float64 or strings. A
            column is refused if some of its cells are numbers and others are not, so that a
            mistyped number does not become a class. Integers with leading zeros or plus signs are
            codes, and are read as strings.

    Returns:
        The table.

    Raises:
        ArgumentError: if the suffix or a column is unknown (the message suggests the closest
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
    if path.name.lower().endswith(TEXT_SUFFIXES):
        X, y, names = read_columns(path, target, columns, target_type)
        return Table(X, y, names, target)
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
