"""What a training and an evaluation print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import HostArray
from xpnet.cli.data import DataSource, SplitData, is_text
from xpnet.cli.evaluation import Evaluation
from xpnet.cli.show import show_table
from xpnet.cli.training import TrainingPlan, TrainingRows
from xpnet.data import MinMax
from xpnet.data.delimited import delimiters_in
from xpnet.metrics import ClassificationTable
from xpnet.model import Sequential


def print_task(
    source: DataSource, plan: TrainingPlan, split: SplitData, rows: TrainingRows, model: Sequential
) -> None:
    """Print the data, the network and the settings of a training."""
    n_held = 0 if rows.validation is None else len(rows.validation[0])
    n_classes = 0 if split.classes is None else len(split.classes)
    task = f"classification of {n_classes} classes" if n_classes else "regression"
    held = f" ({n_held:,} of them to validate on)" if n_held else ""
    print(
        f"{source.name}: {task} by {model.n_in} features; "
        f"{len(split.X_train):,} training rows{held}, {len(split.X_test):,} test rows"
    )
    if not source.is_named and is_text(source.data):
        delimiters = delimiters_in(Path(source.data))
        if delimiters != "commas":
            print(f"{source.data}: cells are separated by {delimiters}", file=sys.stderr)
    scaling = "MinMax" if isinstance(split.scaling, MinMax) else "Standardize"
    print(f"\n{model.summary()}\n")
    print(f"backend        {plan.backend}")
    print(f"optimizer      {plan.optimizer}, {plan.schedule}")
    print(f"scaling        {scaling}{'' if n_classes else '; losses relative to the variance'}\n")


LABELS = {
    "auc": "AUC",
    "brier": "Brier score",
    "log_loss": "log loss",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
}
"""The names of metrics as text, where they differ from those of the columns."""

MAX_COLUMNS = 12
"""The largest number of classes of which the confusion matrix is printed."""

MAX_CLASSES = 40
"""The largest number of classes of which all are printed."""

N_CONFUSIONS = 10
"""The number of confusions that are printed in place of a larger matrix."""


def print_measured(part: str, found: Evaluation, target: str) -> None:
    """Print the metrics of an evaluation.

    Args:
        part: what the rows are, such as ``"test"``; may be empty.
        found: the evaluation.
        target: the name of the target, which has the units of a regression.
    """
    shown = {key: value for key, value in found.measured.items() if key != "loss"}
    if found.classification is None:
        shown["loss"] = found.measured["loss"]
    labels = [f"{part} {LABELS.get(key, key.replace('_', ' '))}".strip() for key in shown]
    width = max(14, *map(len, labels))
    for label, (key, value) in zip(labels, shown.items(), strict=True):
        note = f"  ({found.n_rows:,} rows)" if key in ("accuracy", "rmse") else ""
        if key == "rmse" and target:
            note = f"  ({found.n_rows:,} rows; in the units of {target})"
        print(f"{label:<{width}} {value:.4g}{note}")


def print_json(value: Any) -> None:
    """Print a JSON value, for other programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_tables(found: Evaluation) -> None:
    """Print the tables of the evaluation of a classifier: by class, confusions, reliability."""
    if found.classification is None:
        return
    table, matrix = found.classification.table, found.classification.matrix
    print()
    _print_classes(table)
    print()
    if len(matrix) <= MAX_COLUMNS:
        _print_matrix(table.names, matrix)
    else:
        _print_confusions(table.names, matrix)
    print(f"\nreliability\n{found.classification.reliability}")


def _print_classes(table: ClassificationTable) -> None:
    """Print precision, recall and F1 of each class; of many classes those with the lowest F1."""
    columns = table.precision, table.recall, table.f1
    order, title = range(len(table.names)), "by class"
    if len(order) > MAX_CLASSES:
        order = np.argsort(table.f1, kind="stable")[:MAX_CLASSES].tolist()
        title = f"by class: the {MAX_CLASSES} of {len(table.names)} with the lowest F1"
    rows = [
        [str(table.names[k]), *(f"{column[k]:.3f}" for column in columns), f"{table.support[k]:g}"]
        for k in order
    ]
    for name, values in (("macro", table.macro), ("weighted", table.weighted)):
        rows.append([f"{name} average", *(f"{value:.3f}" for value in values), ""])
    show_table(("class", "precision", "recall", "F1", "rows"), rows, title, first_number=1)


def _print_matrix(names: Sequence[Any], matrix: HostArray) -> None:
    """Print a confusion matrix."""
    head = ["", *map(str, names)]
    rows = [[str(name), *map(str, row)] for name, row in zip(names, matrix.tolist(), strict=True)]
    title = "confusion matrix: true classes in rows, predicted ones in columns"
    show_table(head, rows, title, first_number=1)


def _print_confusions(names: Sequence[Any], matrix: HostArray) -> None:
    """Print the most frequent confusions of classes."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:N_CONFUSIONS]
    pairs = [divmod(int(index), len(matrix)) for index in order if wrong.flat[index] > 0]
    rows = [[str(names[i]), str(names[j]), str(wrong[i, j])] for i, j in pairs]
    show_table(("class", "predicted as", "rows"), rows, "most frequent confusions", first_number=2)
