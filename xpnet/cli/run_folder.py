"""Run folders: write a trained model with its configuration, and read them to predict.

A run folder holds the model, its history, its checkpoint, figures and ``config.json``, which
records how the model is trained.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet._version import __version__
from xpnet.atomic import write_atomically
from xpnet.backend import Backend, BackendName, HostArray, to_numpy
from xpnet.cli.claim import CHECKPOINT, CONFIG, FILES, HISTORY, MODEL
from xpnet.cli.data import DataSource, SplitData, is_text, require_exists
from xpnet.cli.options import TrainingOptions, options_of
from xpnet.cli.training import TrainingPlan
from xpnet.data import read_table
from xpnet.data.delimited import column_names
from xpnet.data.files import npz_names
from xpnet.errors import FileFormatError, Phrase, require, warn_caller
from xpnet.metrics.protocol import metric_name
from xpnet.model import Sequential, load
from xpnet.renamed import FORMAT_1
from xpnet.tensor_file import newer_format

FORMAT = 5
"""The format of ``config.json``: 3 added the options and the state of the run, 4 the metrics, 5 the
parts of a batch."""

TRAINING, INTERRUPTED, FINISHED = "training", "interrupted", "finished"
"""The states of a run. One that is in training although no process trains it was killed."""


def config_bytes(config: Mapping[str, Any]) -> bytes:
    """Return the content of a ``config.json``."""
    return f"{json.dumps(config, indent=2, ensure_ascii=False)}\n".encode()


def config_of(
    options: TrainingOptions,
    source: DataSource,
    plan: TrainingPlan,
    split: SplitData,
    model: Sequential,
) -> dict[str, Any]:
    """Return the configuration of a run at its beginning."""
    return {
        "format": FORMAT,
        "xpnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "status": TRAINING,
        "options": options.as_json(),
        "data_sha256": source.digest(),
        "plan": {key: _as_json(value) for key, value in vars(plan).items()},
        "layers": [repr(layer) for layer in model.layers],
        "task": "regression" if split.classes is None else "classification",
        "target": split.target,
        "feature_names": list(split.feature_names),
        "rows": {"training": len(split.X_train), "test": len(split.X_test)},
    }


def repeated(path: Path, options: TrainingOptions, given: Collection[str]) -> TrainingOptions:
    """Return the options that repeat a run, replaced by those of ``options`` that were ``given``.

    Args:
        path: the ``config.json`` of the run.
        options: the options of the command.
        given: the names of those that are written on the command line.

    Raises:
        ArgumentError: if there is no such file.
        FileFormatError: if it is damaged, or of a format without options.
    """
    require_exists(path, "--config")
    config = read_config(path)
    repeated = options.over(options_of(config, path), given)
    if "data" not in given and config.get("data_sha256") != repeated.source().digest():
        warn_caller(
            f"{repeated.data} has changed since the run of {path}; its result cannot be repeated."
        )
    first = config.get("continued_from")
    if first is not None and "epochs" not in given:
        warn_caller(
            f"{path} is of a run that was continued after {first} epochs; a run without a break "
            "may have other learning rates."
        )
    return repeated


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Replace the ``config.json`` of a run."""
    write_atomically(folder / CONFIG, config_bytes(config))


def write_results(folder: Path, model: Sequential) -> None:
    """Write the model, and its history after the end of the first epoch."""
    model.save(folder / MODEL)
    if len(model.history):
        model.history.to_csv(folder / HISTORY)


def files_in(folder: Path) -> str:
    """Return the names of the files of a run, separated by commas."""
    return ", ".join(name for name in FILES if (folder / name).exists())


def open_run(run: Path, backend: BackendName) -> tuple[Sequential, dict[str, Any]]:
    """Return the model of a run folder, or of a model file, and its configuration.

    The model of a run that was killed is that of its last checkpoint.

    Raises:
        ArgumentError: if there is no model.
        FileFormatError: if a file is damaged or of a newer format.
    """
    require(run.exists(), "RUN", "be a run folder", Phrase(f"{run}, which does not exist"))
    config = read_config(run / CONFIG if run.is_dir() else run.with_name(CONFIG))
    path = run
    if run.is_dir():
        # A process that is training, or was killed, has written a checkpoint last.
        first = CHECKPOINT if config.get("status") == TRAINING else MODEL
        path = next((run / n for n in (first, MODEL, CHECKPOINT) if (run / n).is_file()), run)
    rule = f"be a folder that xpnet train made, with {MODEL} or {CHECKPOINT}"
    require(path.is_file(), "RUN", rule, Phrase(f"{run} without one"))
    if config.get("status", FINISHED) != FINISHED:
        print(f"{run} has not finished its training; xpnet resume continues it", file=sys.stderr)
    return load(path, backend=backend), config


def read_config(path: Path) -> dict[str, Any]:
    """Return a ``config.json`` with the present names; empty if there is no such file.

    Raises:
        FileFormatError: if it is damaged, of a newer format, or of this format with a name of
            format 1.
    """
    if not os.path.exists(path):
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not _is_valid(config):
        raise FileFormatError(f"{path} must be the {CONFIG} of a run; it is damaged.")
    version = config.get("format", 1)
    if version > FORMAT:
        raise newer_format(str(path), version, config.get("xpnet"), FORMAT)
    plan = {key: _current(key, text, path, version) for key, text in config.get("plan", {}).items()}
    return config | {"plan": plan}


def _is_valid(config: Mapping[str, Any]) -> bool:
    """Return whether the entries that are read have the types that they must have."""
    names, version = config.get("feature_names", []), config.get("format", 1)
    return (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and all(isinstance(config.get(key, {}), dict) for key in ("source", "plan", "options"))
        and type(version) is int
        and version >= 1
    )


def _current(key: str, text: Any, path: Path, version: int) -> Any:
    """Return the text of an entry of the plan with the names of this format.

    Raises:
        FileFormatError: if a name of format 1 is in a file of this format.
    """
    if not isinstance(text, str):
        return text
    for old, new in FORMAT_1.get(key, {}).items():
        renamed = re.sub(rf"\b{old}(?=[=(])", new, text)
        if renamed != text and version > 1:
            raise FileFormatError(f"{path} names {old} in {key}: {old} is named {new} here.")
        text = renamed
    return text


def source_of(config: dict[str, Any], data: str, **given: Any) -> DataSource:
    """Return the source ``data``, with the settings of the training where none are given."""
    kept = config.get("options", config.get("source", {}))
    kinds = {"target": str, "data_dir": str, "test_fraction": float, "seed": int}
    settings = {
        key: kept[key] for key, kind in kinds.items() if isinstance(kept.get(key), kind)
    } | {key: value for key, value in given.items() if value is not None}
    return DataSource(data, **settings)


def features_of(source: DataSource, config: dict[str, Any]) -> HostArray:
    """Return the features of a file, with or without its target, in the order of the training."""
    path = source.data
    columns = columns_of(config, path, "FILE")
    if columns is None and is_text(path):
        columns = [name for name in column_names(Path(path)) if name != source.target]
    is_npz = path.lower().endswith(".npz")
    target = source.target if is_npz and source.target in npz_names(path) else None
    return read_table(path, target, columns=columns).X


def columns_of(config: dict[str, Any], path: str, argument: str) -> list[str] | None:
    """Return the feature columns of the training, which a file must have.

    A file may have other columns too. ``None`` if it has no column names, or the training had none.
    """
    require_exists(path, argument)
    wanted: list[str] = config.get("feature_names", [])
    if not wanted or not is_text(path):
        return None
    names = column_names(Path(path))
    rule = f"have the feature columns {', '.join(wanted)}, as in the training"
    require(set(wanted) <= set(names), path, rule, Phrase(", ".join(names)))
    return wanted


def predictions(
    model: Sequential, X: HostArray, target: str, proba: bool
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table of predictions, as text.

    Args:
        model: the model.
        X: the features, ``(m, n_in)``.
        target: the name of the predicted column.
        proba: whether to add the probability of each class.
    """
    decided = to_numpy(model.predict(X))
    columns = decided if decided.ndim == 2 else decided[:, None]
    many = columns.shape[1] > 1
    head = [f"{target}_{index}" if many else target for index in range(columns.shape[1])]
    rows = [[str(value) for value in row] for row in columns]
    if not proba:
        return head, rows
    p = to_numpy(model.predict_proba(X))
    names = model.classes or range(p.shape[1])
    head += [f"P({name})" for name in names]
    return head, [row + [f"{value:.6f}" for value in q] for row, q in zip(rows, p, strict=True)]


def _as_json(value: Any) -> Any:
    """Return a setting as JSON: numbers and lists unchanged, metrics by name, others as written."""
    if value is None or isinstance(value, (bool, int, float, str, list)):
        return value
    if isinstance(value, tuple):
        return list(map(metric_name, value))
    return str(value) if isinstance(value, Backend) else repr(value)
