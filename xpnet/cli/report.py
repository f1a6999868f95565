"""What a training and an evaluation print."""

from __future__ import annotations

import json
import math
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
from xpnet.plots.style import shortened


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
    "matthews": "Matthews correlation",
    "brier": "Brier score",
    "log_loss": "log loss",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
}
"""The names of metrics as text, where they differ from those of the columns."""

WIDTH = 32
"""The largest number of characters of a class name in a table."""

MAX_COLUMNS = 12
"""The largest number of classes of which the confusion matrix is printed."""

MAX_CLASSES = 40
"""The largest number of classes of which all are printed."""

N_CONFUSIONS = 10
"""The number of confusions that are printed instead of a larger matrix."""


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
    width, notes = max(14, *map(len, labels)), _notes(found, target)
    for label, (key, value) in zip(labels, shown.items(), strict=True):
        note = notes.get(key, "") if math.isfinite(value) else "not defined for these rows"
        print(f"{label:<{width}} {shown_number(value)}{f'  ({note})' if note else ''}")


def shown_number(value: float) -> str:
    """Return a number with four decimals, or as many digits as a person reads of a larger one.

    >>> [shown_number(x) for x in (0.5, 1.0, 12.3456, 43660.4, 1.7e-4, 5.458e29)]
    ['0.5000', '1.0000', '12.346', '43,660', '0.00017', '5.458e+29']
    """
    size = abs(value)
    if 0 < size < 1e-3 or size >= 1e9:
        return f"{value:.4g}"
    if size < 10:
        return f"{value:.4f}"
    return f"{value:#.5g}" if size < 1e4 else f"{value:,.0f}"


def _notes(found: Evaluation, target: str) -> dict[str, str]:
    """Return what is printed beside a metric, by its name."""
    rows = f"{found.n_rows:,} row{'' if found.n_rows == 1 else 's'}"
    if found.classification is None:
        units = f"{rows}; in the units of {target}" if target else rows
        return {"rmse": units, "loss": "relative to the variance of the training targets"}
    names = found.classification.table.names
    of = "mean over classes, one against the rest"
    if len(names) == 2:
        of = f"positive: {shortened(str(names[1]))}"
    return {"accuracy": rows, "auc": of, "average_precision": of}


def print_json(value: Any) -> None:
    """Print a JSON value, for other programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_tables(found: Evaluation) -> None:
    """Print by class, confusions and reliability of a classifier; the outputs of a regression."""
    if found.outputs:
        rows = [[str(k), *map(shown_number, row.values())] for k, row in enumerate(found.outputs)]
        print()
        show_table(("output", "RMSE", "MAE", "R²"), rows, "by output", first_number=1)
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
        [
            shortened(str(table.names[k]), WIDTH),
            *(f"{column[k]:.3f}" for column in columns),
            f"{table.support[k]:g}",
        ]
        for k in order
    ]
    for name, values in (("macro", table.macro), ("weighted", table.weighted)):
        rows.append([f"{name} average", *(f"{value:.3f}" for value in values), ""])
    show_table(("class", "precision", "recall", "F1", "rows"), rows, title, first_number=1)


def _print_matrix(names: Sequence[Any], matrix: HostArray) -> None:
    """Print a confusion matrix."""
    labels = [shortened(str(name), WIDTH // 2) for name in names]
    rows = [[name, *map(str, row)] for name, row in zip(labels, matrix.tolist(), strict=True)]
    title = "confusion matrix: true classes in rows, predicted ones in columns"
    show_table(["", *labels], rows, title, first_number=1)


def _print_confusions(names: Sequence[Any], matrix: HostArray) -> None:
    """Print the most frequent confusions of classes."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:N_CONFUSIONS]
    pairs = [divmod(int(index), len(matrix)) for index in order if wrong.flat[index] > 0]
    labels = [shortened(str(name), WIDTH) for name in names]
    rows = [[labels[i], labels[j], str(wrong[i, j])] for i, j in pairs]
    show_table(("class", "predicted as", "rows"), rows, "most frequent confusions", first_number=2)
