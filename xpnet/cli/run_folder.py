"""Run folders: write a trained model with its configuration, and read them to predict.

A run folder holds the model, its history, a picture of the losses and ``config.json``, which
records how the model was trained.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from xpnet._version import __version__
from xpnet.backend import Backend, BackendName, HostArray, to_numpy
from xpnet.cli.data import DataSource, is_text, require_exists
from xpnet.cli.training import TrainingPlan
from xpnet.data import read_table
from xpnet.data.delimited import column_names
from xpnet.data.files import npz_names
from xpnet.errors import FileFormatError, MissingExtraError, Phrase, require
from xpnet.model import Sequential, load
from xpnet.plots import loss_curve
from xpnet.renamed import FORMAT_1
from xpnet.serialization import FORMAT
from xpnet.tensor_file import newer_format

MODEL, HISTORY, CONFIG, PICTURE = "model.safetensors", "history.csv", "config.json", "loss.png"


def default_folder(name: str) -> Path:
    """Return ``runs/<name>-<time>``, followed by a number if that exists."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, count = Path("runs") / stem, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{stem}-{count}"
    return folder


def write_run(
    folder: Path, model: Sequential, plan: TrainingPlan, source: DataSource, facts: dict[str, Any]
) -> list[str]:
    """Write the model, its history, configuration and picture; return the names of the files.

    Args:
        folder: an existing folder.
        model: the trained model.
        plan: the options of its training.
        source: the origin of the data.
        facts: further entries of the configuration, as JSON.
    """
    model.save(folder / MODEL)
    model.history.to_csv(folder / HISTORY)
    config = {
        "format": FORMAT,
        "xpnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "source": asdict(source),
        "plan": {key: _as_json(value) for key, value in vars(plan).items()},
        "layers": [repr(layer) for layer in model.layers],
        **facts,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    names = [MODEL, HISTORY, CONFIG]
    try:
        loss_curve(model.history).figure.savefig(folder / PICTURE, dpi=150)
    except MissingExtraError:
        return names
    return [*names, PICTURE]


def open_run(run: Path, backend: BackendName) -> tuple[Sequential, dict[str, Any]]:
    """Return the model of a run folder, or of a model file, and its configuration.

    Raises:
        ArgumentError: if there is no model.
        FileFormatError: if a file is damaged or of a newer format.
    """
    require(run.exists(), "RUN", "be a run folder", Phrase(f"{run}, which does not exist"))
    path = run / MODEL if run.is_dir() else run
    rule = f"be a folder that xpnet train made, with {MODEL}"
    require(path.is_file(), "RUN", rule, Phrase(f"{run} without one"))
    return load(path, backend=backend), read_config(path.with_name(CONFIG))


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
        and all(isinstance(config.get(key, {}), dict) for key in ("source", "plan"))
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
    kept = config.get("source", {})
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
    """Return a setting as JSON: numbers and lists unchanged, objects by their expression."""
    if value is None or isinstance(value, (bool, int, float, str, list)):
        return value
    return str(value) if isinstance(value, Backend) else repr(value)
