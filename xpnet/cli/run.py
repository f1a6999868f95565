"""A training run: fit, measure, and keep everything in one folder; and use it again."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import metrics
from xpnet._version import __version__
from xpnet.activations import ActivationFunction
from xpnet.backend import Backend, BackendName, HostArray, to_numpy
from xpnet.cli.problem import Problem, Source, require_exists
from xpnet.data import read_table, train_test_split
from xpnet.errors import FileFormatError, MissingExtraError, Phrase, require
from xpnet.losses import MSE, CrossEntropy
from xpnet.model import MLP, Sequential, load
from xpnet.optimizers import Optimizer, Schedule
from xpnet.plots import loss_curve
from xpnet.training import History

MODEL, HISTORY, CONFIG, PICTURE = "model.safetensors", "history.csv", "config.json", "loss.png"


@dataclass(frozen=True)
class Plan:
    """What network to train, and how; names are objects already."""

    hidden: list[int]
    activation: ActivationFunction
    batch_norm: bool
    dropout: float
    optimizer: Optimizer
    schedule: Schedule
    epochs: int | None
    batch_size: int
    l2: float
    seed: int
    validation: float
    backend: Backend

    def n_epochs(self, n_rows: int) -> int:
        """The epochs asked for; else about 2000 steps, within reason."""
        if self.epochs is not None:
            return self.epochs
        return min(max(-(-2000 * self.batch_size // n_rows), 20), 200)


def build(plan: Plan, problem: Problem) -> Sequential:
    """The network of the plan, of the problem's widths."""
    n_out = problem.y_train[0].size if problem.classes is None else len(problem.classes)
    return MLP(
        problem.X_train.shape[1],
        plan.hidden,
        n_out,
        activation=plan.activation,
        batch_norm=plan.batch_norm,
        dropout=plan.dropout,
        backend=plan.backend,
        rng=plan.seed,
        preprocessing=problem.scaling,
        classes=problem.classes,
    )


def fit(model: Sequential, plan: Plan, problem: Problem, progress: bool) -> History:
    """Train on the training part, of which a share is held out to validate on.

    In a regression the targets are standardized, and then the linear output layer takes the scale
    upon itself: the model predicts in the target's own units, while the history's losses are
    shares of the target's variance.
    """
    X, y, validation = problem.X_train, problem.y_train, None
    mean, std = np.zeros(1), np.ones(1)
    if problem.classes is None:
        mean, std = y.mean(axis=0), y.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        y = (y - mean) / std
    if plan.validation > 0:
        X, X_val, y, y_val = train_test_split(X, y, plan.validation, plan.seed)
        validation = (X_val, y_val)
    last_is_single = len(X) > plan.batch_size and len(X) % plan.batch_size == 1
    history = model.fit(
        X,
        y,
        loss=MSE() if problem.classes is None else CrossEntropy(),
        optimizer=plan.optimizer,
        epochs=plan.n_epochs(len(X)),
        batch_size=plan.batch_size,
        validation=validation,
        metrics=[metrics.accuracy] if problem.classes is not None else [],
        schedule=plan.schedule,
        l2=plan.l2,
        drop_last=plan.batch_norm and last_is_single,
        progress=progress,
        rng=plan.seed,
    )
    if problem.classes is None:
        _rescale_output(model, mean, std)
    return history


def score(model: Sequential, X: HostArray, y: HostArray) -> dict[str, float]:
    """The loss, and accuracy or RMSE and R², on data in their own units."""
    wanted = (metrics.rmse, metrics.r2) if model.classes is None else (metrics.accuracy,)
    if model.classes is None and y.ndim == 1:
        y = y[:, None]
    return model.evaluate(X, y, metrics=wanted)


def write_run(
    folder: Path, model: Sequential, plan: Plan, source: Source, facts: dict[str, Any]
) -> list[str]:
    """Write the model, its history, configuration and picture; return their names."""
    model.save(folder / MODEL)
    model.history.to_csv(folder / HISTORY)
    settings = {key: _plain(value) for key, value in vars(plan).items()}
    config = {
        "xpnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "source": asdict(source),
        "plan": settings,
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
    """The model of a run folder, or of a model file, and its configuration."""
    require(run.exists(), "RUN", "be a run folder", Phrase(f"{run}, which does not exist"))
    path = run / MODEL if run.is_dir() else run
    rule = f"be a folder that xpnet train made, with {MODEL}"
    require(path.is_file(), "RUN", rule, Phrase(f"{run} without one"))
    return load(path, backend=backend), _read_config(path.with_name(CONFIG))


def source_of(config: dict[str, Any], data: str, **given: Any) -> Source:
    """Where to read ``data``, with the settings of the training where none are given."""
    kept = config.get("source", {})
    kinds = {"target": str, "data_dir": str, "test_fraction": float, "seed": int}
    settings = {
        key: kept[key] for key, kind in kinds.items() if isinstance(kept.get(key), kind)
    } | {key: value for key, value in given.items() if value is not None}
    return Source(data, **settings)


def features_of(source: Source, config: dict[str, Any]) -> HostArray:
    """The features of a file, with or without its target, in the order of the training."""
    require_exists(source.data, "FILE")
    try:
        table = read_table(source.data, source.target)
    except FileFormatError:
        raise
    except ValueError:  # no such target: all columns are features
        table = read_table(source.data)
    return in_order(table.X, table.feature_names, config, source.data)


def in_order(X: HostArray, names: tuple[str, ...], config: dict[str, Any], path: str) -> HostArray:
    """The columns of ``X`` in the order in which the model was trained on them."""
    wanted = config.get("feature_names")
    if not wanted or not names:
        return X
    rule = f"have the feature columns {', '.join(wanted)}, as in the training"
    require(set(names) == set(wanted), path, rule, Phrase(", ".join(names)))
    return X[:, [names.index(name) for name in wanted]]


def predictions(
    model: Sequential, X: HostArray, target: str, proba: bool
) -> tuple[list[str], list[list[str]]]:
    """A head and a row of text for each row of ``X``."""
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


def timed(work: Callable[[], History]) -> tuple[History, float]:
    """What ``work`` returns, and how many seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _rescale_output(model: Sequential, mean: Any, std: Any) -> None:
    """``z ↦ σz + μ``, folded into the weights of the last layer."""
    views = model.layout.views(model.theta)
    path = f"layers.{len(model.layers) - 1}"
    weight, bias = views[f"{path}.weight"], views[f"{path}.bias"]
    dtype = model.backend.dtype_name
    scale = model.backend.asarray(np.asarray(std, dtype))
    weight[...] = weight * scale
    bias[...] = bias * scale + model.backend.asarray(np.asarray(mean, dtype))


def _read_config(path: Path) -> dict[str, Any]:
    """The configuration beside a model; empty if there is none."""
    if not os.path.exists(path):
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        config = None
    names = config.get("feature_names", []) if isinstance(config, dict) else None
    ok = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not ok or not isinstance(config.get("source", {}), dict):
        raise FileFormatError(f"{path} must be the {CONFIG} of a run; it is damaged.")
    return dict(config)


def _plain(value: Any) -> Any:
    """A setting as JSON: numbers and lists as they are, values as one writes them."""
    if value is None or isinstance(value, (bool, int, float, str, list)):
        return value
    return str(value) if isinstance(value, Backend) else repr(value)
