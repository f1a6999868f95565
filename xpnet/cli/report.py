"""What a training and an evaluation print."""

from __future__ import annotations

import sys
from pathlib import Path

from xpnet.cli.data import DataSource, SplitData, is_text
from xpnet.cli.training import TrainingPlan, TrainingRows
from xpnet.data import MinMax
from xpnet.data.delimited import delimiters_in
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


def print_score(part: str, measured: dict[str, float], n_rows: int) -> None:
    """Print the metrics that were measured on ``n_rows`` rows."""
    words = {"accuracy": "accuracy", "rmse": "RMSE", "r2": "R²", "loss": "loss"}
    for key in ("accuracy", "rmse", "r2", "loss"):
        if key in measured:
            label = f"{part} {words[key]}".strip()
            rows = f"  ({n_rows:,} rows)" if key in ("accuracy", "rmse") else ""
            print(f"{label:<14} {measured[key]:.4g}{rows}")
