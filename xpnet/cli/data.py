"""Load the data of a command: a data set or a file, its task, and a split into two parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import HostArray
from xpnet.cli.names import DATASETS, IMAGES
from xpnet.data import MinMax, Standardize, load_digits, read_table, train_test_split
from xpnet.data.delimited import SUFFIXES as TEXT_SUFFIXES
from xpnet.data.delimited import TargetType, column_names, integers_of, numbers_of
from xpnet.data.tables import SUFFIXES, Table
from xpnet.errors import ArgumentError, Phrase, require, unknown_name

MAX_CLASSES = 20
"""Integer targets with more distinct values are a regression, unless ``--task`` says otherwise."""

TASKS = ("classification", "regression")
TARGET_TYPES: dict[str | None, TargetType] = {
    None: "infer",
    "classification": "text",
    "regression": "number",
}
LARGEST = 1e150
"""The largest feature of which the square, and so the variance, is finite in float64."""

PIXELS = {"digits": MinMax(0, 16, to=(-1, 1)), "mnist": MinMax(0, 255, to=(-1, 1))}


MIN_ROWS = 20
"""From this number of rows on, a target of strings that are all different is refused."""


@dataclass(frozen=True)
class DataSource:
    """The origin of data, as the command's arguments name it.

    Attributes:
        data: a name of `DATASETS`, or the path of a file.
        target: the column or array of the target, or ``None``.
        data_dir: the folder with the files of a data set, or ``None``.
        test_fraction: the fraction of the rows to test on, for data without a test part.
        seed: the seed of the split.
    """

    data: str
    target: str | None = None
    data_dir: str | None = None
    test_fraction: float = 0.2
    seed: int = 0

    @property
    def is_named(self) -> bool:
        """Whether ``data`` is the name of a data set."""
        return self.data.lower() in DATASETS

    def digest(self) -> str | None:
        """Return the SHA-256 of the file in hexadecimal digits; ``None`` if there is none."""
        if self.is_named or not os.path.isfile(self.data):
            return None
        with open(self.data, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @property
    def name(self) -> str:
        """The name of the data set, or of the file without its folder and suffix."""
        if self.is_named:
            return self.data.lower()
        name = Path(self.data).name
        found = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
        return name[: len(name) - len(found)] or name


@dataclass(frozen=True, eq=False)
class SplitData:
    """Data split into a training and a test part.

    Attributes:
        X_train: the features to train on, one row per sample.
        y_train: their class names or values.
        X_test: the features to test on.
        y_test: their class names or values.
        classes: the class names in order; ``None`` for a regression.
        scaling: the scaling of the features, fitted to the training part.
        feature_names: the columns of a CSV file; empty for other data.
        target: the name of the target, ``"y"`` if it has none.
    """

    X_train: HostArray
    y_train: HostArray
    X_test: HostArray
    y_test: HostArray
    classes: tuple[Any, ...] | None
    scaling: Standardize | MinMax
    feature_names: tuple[str, ...] = ()
    target: str = "y"


def load_data(source: DataSource, task: str | None, limit: int | None) -> SplitData:
    """Read ``source``, infer the task, split the rows and fit the scaling to the training part.

    Args:
        source: the origin of the data.
        task: one of `TASKS`; ``None`` infers it from the target.
        limit: the largest number of training rows, drawn at random; ``None`` keeps all.

    Raises:
        ArgumentError: if an argument is out of its range, or the target does not fit the task.
        FileFormatError: if a file is damaged.
        OSError: if a file cannot be read.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("--task", task, TASKS)
    if source.is_named:
        require(task != "regression", "--task", f"be classification for {source.name}", task)
        return _named(source, limit)
    table = read_source(source, task)
    y, classes = _targets(table, task)
    counts = np.unique(y, return_counts=True)[1] if classes else np.zeros(1)
    X_train, X_test, y_train, y_test = train_test_split(
        table.X, y, source.test_fraction, source.seed, stratify=bool(counts.min() >= 2)
    )
    X_train, y_train = _limited(X_train, y_train, limit, source.seed)
    names, target = table.feature_names, table.target_name or "y"
    _require_variance(X_train, names)
    scaling = Standardize.fit(X_train)
    return SplitData(X_train, y_train, X_test, y_test, classes, scaling, names, target)


def read_source(
    source: DataSource, task: str | None, columns: Sequence[str] | None = None
) -> Table:
    """Return the table of a file that has a target.

    Args:
        source: the file.
        task: one of `TASKS`, which determines how the target of a CSV file is read; ``None`` infers
            it.
        columns: the feature columns of a CSV file; ``None`` reads all of them.
    """
    path = source.data
    if not path.lower().endswith(SUFFIXES):
        raise ArgumentError(
            f"{unknown_name('DATA', path, DATASETS)} A file must end in {', '.join(SUFFIXES)}."
        )
    require_exists(path, "DATA")
    if is_text(path) and source.target is None:
        known = ", ".join(column_names(Path(path)))
        raise ArgumentError(f"--target must name the column to predict, one of {known}; got none.")
    table = read_table(path, source.target, columns=columns, target_type=TARGET_TYPES[task])
    hint = "Save it in an .npz file as the array y, or name its array with --target."
    require(table.y is not None, "DATA", "hold a target", Phrase(f"{path} without one"), hint)
    return table


def is_text(path: str) -> bool:
    """Return whether a file has columns with names."""
    return path.lower().endswith(TEXT_SUFFIXES)


def require_exists(path: str | os.PathLike[str], argument: str) -> None:
    """Refuse a path at which there is no file."""
    is_folder = os.path.isdir(path)
    got = Phrase(f"{path}, which {'is a folder' if is_folder else 'does not exist'}")
    require(os.path.exists(path) and not is_folder, argument, "be a file", got)


def _named(source: DataSource, limit: int | None) -> SplitData:
    """Return the data set that ``source`` names."""
    name = source.name
    if name == "digits":
        data = load_digits(source.test_fraction, source.seed)
    else:
        data = IMAGES[name](source.data_dir)
    assert data.classes is not None
    names = np.asarray(data.classes)
    X, y = _limited(data.X_train, names[data.y_train], limit, source.seed)
    scaling = PIXELS.get(name, PIXELS["mnist"])
    return SplitData(X, y, data.X_test, names[data.y_test], data.classes, scaling, target="class")


def _targets(table: Table, task: str | None) -> tuple[HostArray, tuple[Any, ...] | None]:
    """Return the targets and the class names, which are ``None`` for a regression."""
    y = np.asarray(table.y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if (task or infer_task(y)) == "regression":
        hint = "Words are classes: use --task classification."
        require(y.dtype.kind in "iufb", "the target", "hold numbers for a regression", y, hint)
        require(np.isfinite(y).all(), "the target", "be finite", Phrase("NaN or infinity"))
        return y.astype(np.float64), None
    require(y.ndim == 1, "the target", "be one class per row", y)
    if y.dtype.kind == "f" and np.all(y == np.floor(y)):
        y = y.astype(np.int64)
    hint = "Numbers with fractions need --task regression."
    if y.dtype.kind == "U":
        integers = integers_of(y.tolist())
        y = y if integers is None else integers
        distinct = np.unique(y)
        numbers = numbers_of(distinct.tolist()) if y.dtype.kind == "U" else None
        fractions = numbers is not None and bool((numbers != numbers.round()).any())
        values = fractions and 2 * len(distinct) > len(y)
        got = Phrase(f"{len(distinct)} different numbers in {len(y)} rows")
        require(not values, "the target", "hold words or integers for classes", got, hint)
    require(y.dtype.kind in "iuUb", "the target", "hold words or integers for classes", y, hint)
    classes = tuple(np.unique(y).tolist())
    if y.dtype.kind == "U" and len(y) >= MIN_ROWS:
        got = Phrase(f"{len(classes)} different strings in {len(y)} rows, such as {classes[0]!r}")
        do = "If these are numbers, leave out currencies and separators of thousands."
        require(len(classes) < len(y), "the target", "have a class of two rows or more", got, do)
    require(len(classes) >= 2, "the target", "have two classes or more", Phrase(repr(classes[0])))
    return y, classes


def labels_of(y: HostArray, classes: tuple[Any, ...]) -> HostArray:
    """Return the target of a file as names of the classes of a model.

    Args:
        y: strings from a CSV file, or an array from an ``.npz`` file.
        classes: the class names, all strings or all numbers.

    >>> labels_of(np.array(["007", "7"]), (7, 8)), labels_of(np.array(["7"]), ("007", "7"))
    (array([7, 7]), array(['7'], dtype='<U1'))
    """
    if y.dtype.kind == "U" and not any(isinstance(name, str) for name in classes):
        for numbers in (integers_of(y.tolist()), numbers_of(y.tolist())):
            if numbers is not None:
                y = numbers
                break
    whole = y.dtype.kind == "f" and (y == y.round()).all()
    return y.astype(np.int64) if whole else y


def _require_variance(X: HostArray, names: tuple[str, ...]) -> None:
    """Refuse features with a variance that overflows, naming the column."""
    largest = np.maximum(X.max(axis=0), -X.min(axis=0))
    worst = int(largest.argmax())
    column = f"the column {names[worst]!r}" if names else f"column {worst} of X"
    got, do = Phrase(f"{largest[worst]:g}"), "Divide the column by a power of ten."
    rule = f"have magnitudes of at most {LARGEST:g}, to be standardized"
    require(largest[worst] <= LARGEST, column, rule, got, do)


def infer_task(y: HostArray) -> str:
    """Return ``"classification"`` for words and few distinct integers, else ``"regression"``.

    >>> infer_task(np.array([0, 1, 0, 1])), infer_task(np.array([0.5, 1.0]))
    ('classification', 'regression')
    """
    if y.ndim == 2 or y.dtype.kind not in "iuUb":
        return TASKS[1]
    n_distinct = len(np.unique(y))
    few = n_distinct <= MAX_CLASSES and 2 * n_distinct <= len(y)
    return TASKS[0] if few or y.dtype.kind in "Ub" else TASKS[1]


def _limited(
    X: HostArray, y: HostArray, limit: int | None, seed: int
) -> tuple[HostArray, HostArray]:
    """Return at most ``limit`` rows, drawn at random, in their order."""
    if limit is None or limit >= len(X):
        return X, y
    rows = np.sort(np.random.default_rng(seed).permutation(len(X))[:limit])
    return X[rows], y[rows]
