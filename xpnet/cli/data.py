"""Load the data of a command: a data set or a file, its task, and a split into two parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import HostArray
from xpnet.cli.names import DATASETS, IMAGES
from xpnet.data import MinMax, Standardize, load_digits, read_table, train_test_split
from xpnet.data.tables import SUFFIXES, Table
from xpnet.errors import ArgumentError, Phrase, require, unknown_name

MAX_CLASSES = 20
"""Integer targets with more distinct values are a regression, unless ``--task`` says otherwise."""

TASKS = ("classification", "regression")
PIXELS = {"digits": MinMax(0, 16, to=(-1, 1)), "mnist": MinMax(0, 255, to=(-1, 1))}


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

    @property
    def name(self) -> str:
        """The name of the data set, or of the file without its folder and suffix."""
        return self.data.lower() if self.is_named else Path(self.data).stem


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
    table = read_source(source)
    y, classes = _targets(table, task)
    counts = np.unique(y, return_counts=True)[1] if classes else np.zeros(1)
    X_train, X_test, y_train, y_test = train_test_split(
        table.X, y, source.test_fraction, source.seed, stratify=bool(counts.min() >= 2)
    )
    X_train, y_train = _limited(X_train, y_train, limit, source.seed)
    scaling = Standardize.fit(X_train)
    names, target = table.feature_names, table.target_name or "y"
    return SplitData(X_train, y_train, X_test, y_test, classes, scaling, names, target)


def read_source(source: DataSource) -> Table:
    """Return the table of a file that has a target."""
    path = source.data
    if not path.lower().endswith(SUFFIXES):
        raise ArgumentError(
            f"{unknown_name('DATA', path, DATASETS)} A file must end in {', '.join(SUFFIXES)}."
        )
    require_exists(path, "DATA")
    if path.lower().endswith(".csv") and source.target is None:
        try:
            return read_table(path, "")  # raises an error that names the columns
        except ArgumentError as error:
            known = str(error).partition("one of ")[2].partition("; got")[0]
            raise ArgumentError(
                f"--target must name the column to predict, one of {known}; got none."
            ) from None
    table = read_table(path, source.target)
    hint = "Save it in an .npz file as the array y, or name its array with --target."
    require(table.y is not None, "DATA", "hold a target", Phrase(f"{path} without one"), hint)
    return table


def require_exists(path: str | os.PathLike[str], argument: str) -> None:
    """Refuse a path at which there is no file."""
    require(os.path.isfile(path), argument, "be a file", Phrase(f"{path}, which does not exist"))


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
    require(y.dtype.kind in "iuUb", "the target", "hold words or integers for classes", y, hint)
    classes = tuple(np.unique(y).tolist())
    require(len(classes) >= 2, "the target", "have two classes or more", Phrase(repr(classes[0])))
    return y, classes


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
