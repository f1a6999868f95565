"""What there is to learn: data by name or from a file, the task, and a split."""

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
"""Integers of more distinct values than this are quantities, unless ``--task`` says otherwise."""

TASKS = ("classification", "regression")
PIXELS = {"digits": MinMax(0, 16, to=(-1, 1)), "mnist": MinMax(0, 255, to=(-1, 1))}


@dataclass(frozen=True)
class Source:
    """Where data come from.

    Attributes:
        data: a name of `DATASETS` or the path of a file.
        target: the target's column or array, or ``None``.
        data_dir: the folder of a data set's files, or ``None``.
        test_fraction: the share of the test part of data that bring none.
        seed: of the split.
    """

    data: str
    target: str | None = None
    data_dir: str | None = None
    test_fraction: float = 0.2
    seed: int = 0

    @property
    def is_named(self) -> bool:
        """Whether ``data`` is a data set's name."""
        return self.data.lower() in DATASETS

    @property
    def name(self) -> str:
        """A short name."""
        return self.data.lower() if self.is_named else Path(self.data).stem


@dataclass(frozen=True, eq=False)
class Problem:
    """Data divided in two, and what is asked of them.

    Attributes:
        X_train: features, one row a sample.
        y_train: class names, or values.
        X_test: the features of the test part.
        y_test: its targets.
        classes: the class names in order; ``None`` in a regression.
        scaling: of the features, fitted to the training part.
        feature_names: the columns of a CSV file; else empty.
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


def load_problem(source: Source, task: str | None, limit: int | None) -> Problem:
    """Read, tell the task, split, and fit the scaling to the training part.

    Raises:
        ArgumentError: if a name or number is not what it must be.
        FileFormatError: if a file is damaged.
        OSError: if it cannot be read.
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
    return Problem(X_train, y_train, X_test, y_test, classes, scaling, names, target)


def read_source(source: Source) -> Table:
    """The table of a file with a target."""
    path = source.data
    if not path.lower().endswith(SUFFIXES):
        raise ArgumentError(
            f"{unknown_name('DATA', path, DATASETS)} A file must end in {', '.join(SUFFIXES)}."
        )
    require_exists(path, "DATA")
    if path.lower().endswith(".csv") and source.target is None:
        try:
            return read_table(path, "")  # refused, with the names of the columns
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
    """Refuse a path where no file is."""
    require(os.path.isfile(path), argument, "be a file", Phrase(f"{path}, which does not exist"))


def _named(source: Source, limit: int | None) -> Problem:
    name = source.name
    if name == "digits":
        data = load_digits(source.test_fraction, source.seed)
    else:
        data = IMAGES[name](source.data_dir)
    assert data.classes is not None
    names = np.asarray(data.classes)
    X, y = _limited(data.X_train, names[data.y_train], limit, source.seed)
    scaling = PIXELS.get(name, PIXELS["mnist"])
    return Problem(X, y, data.X_test, names[data.y_test], data.classes, scaling, target="class")


def _targets(table: Table, task: str | None) -> tuple[HostArray, tuple[Any, ...] | None]:
    """The targets and the class names, ``None`` in a regression."""
    y = np.asarray(table.y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if (task or told_task(y)) == "regression":
        hint = "Words are classes: take --task classification."
        require(y.dtype.kind in "iufb", "the target", "hold numbers for a regression", y, hint)
        require(np.isfinite(y).all(), "the target", "be finite", Phrase("NaN or infinity"))
        return y.astype(np.float64), None
    require(y.ndim == 1, "the target", "be one class a row", y)
    if y.dtype.kind == "f" and np.all(y == np.floor(y)):
        y = y.astype(np.int64)
    hint = "Numbers with fractions want --task regression."
    require(y.dtype.kind in "iuUb", "the target", "hold words or integers for classes", y, hint)
    classes = tuple(np.unique(y).tolist())
    require(len(classes) >= 2, "the target", "have two classes or more", Phrase(repr(classes[0])))
    return y, classes


def told_task(y: HostArray) -> str:
    """Words and a few distinct integers are classes; other numbers are quantities.

    >>> told_task(np.array([0, 1, 0, 1])), told_task(np.array([0.5, 1.0]))
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
    """At most ``limit`` rows, drawn at random."""
    if limit is None or limit >= len(X):
        return X, y
    rows = np.sort(np.random.default_rng(seed).permutation(len(X))[:limit])
    return X[rows], y[rows]
