"""Build, train and score the network that a command describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import metrics
from xpnet.activations import ActivationFunction
from xpnet.backend import Backend, HostArray
from xpnet.cli.data import SplitData
from xpnet.data import train_test_split
from xpnet.errors import Phrase, require
from xpnet.losses import MSE, CrossEntropy
from xpnet.model import MLP, Sequential
from xpnet.optimizers import Optimizer, Schedule
from xpnet.training import History

MAX_RESOLUTION = 0.01
"""The largest distance of two neighboring outputs, in standard deviations of the target."""


@dataclass(frozen=True)
class TrainingPlan:
    """The options of ``xpnet train`` that describe the network and its training.

    Attributes:
        hidden: the widths of the hidden layers.
        activation: the activation of the hidden layers.
        batch_norm: whether each hidden layer is normalized.
        dropout: the probability with which a hidden unit is dropped.
        optimizer: the optimizer.
        schedule: the schedule of its learning rate.
        epochs: the number of epochs; ``None`` derives it from the number of rows.
        batch_size: the rows of a step.
        l2: the coefficient λ of the penalty ``½ λ Σ W²``.
        seed: the seed of weights, batches and dropout.
        validation: the fraction of the training rows to validate on; 0 for none.
        backend: the backend, with its dtype.
    """

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
        """Return `epochs`; if it is ``None``, about 2000 steps, within 20 to 200 epochs."""
        if self.epochs is not None:
            return self.epochs
        return min(max(-(-2000 * self.batch_size // n_rows), 20), 200)


def build(plan: TrainingPlan, split: SplitData) -> Sequential:
    """Return the network of ``plan``, with the input and output widths of the data."""
    n_out = split.y_train[0].size if split.classes is None else len(split.classes)
    return MLP(
        split.X_train.shape[1],
        plan.hidden,
        n_out,
        activation=plan.activation,
        batch_norm=plan.batch_norm,
        dropout=plan.dropout,
        backend=plan.backend,
        rng=plan.seed,
        preprocessing=split.scaling,
        classes=split.classes,
    )


def fit(model: Sequential, plan: TrainingPlan, split: SplitData, progress: bool) -> History:
    """Train ``model`` on the training part, a fraction of which is held out for validation.

    In a regression the targets are standardized for the training. Their mean and standard
    deviation are then folded into the linear output layer: the model predicts in the units of the
    target, while the losses of the history are relative to the variance of the target.
    """
    X, y, validation = split.X_train, split.y_train, None
    mean, std = np.zeros(1), np.ones(1)
    if split.classes is None:
        mean, std = y.mean(axis=0), y.std(axis=0)
        std = np.where(std > 0, std, 1.0)
        _require_resolution(mean, std, plan.backend.dtype_name)
        y = (y - mean) / std
    if plan.validation > 0:
        X, X_val, y, y_val = train_test_split(X, y, plan.validation, plan.seed)
        validation = (X_val, y_val)
    last_is_single = len(X) > plan.batch_size and len(X) % plan.batch_size == 1
    history = model.fit(
        X,
        y,
        loss=MSE() if split.classes is None else CrossEntropy(),
        optimizer=plan.optimizer,
        epochs=plan.n_epochs(len(X)),
        batch_size=plan.batch_size,
        validation=validation,
        metrics=[metrics.accuracy] if split.classes is not None else [],
        schedule=plan.schedule,
        l2=plan.l2,
        drop_last=plan.batch_norm and last_is_single,
        progress=progress,
        rng=plan.seed,
    )
    if split.classes is None:
        _rescale_output(model, mean, std)
    return history


def _require_resolution(mean: HostArray, std: HostArray, dtype: str) -> None:
    """Refuse targets that differ by little more than the resolution of the outputs near them."""
    steps = np.abs(mean) * np.finfo(dtype).eps
    worst = int((steps / std).argmax()) if np.ndim(mean) else ()
    rule = f"vary by more than {1 / MAX_RESOLUTION:g} times the resolution of {dtype}"
    got = Phrase(f"a standard deviation of {std[worst]:.3g} around {mean[worst]:.6g}")
    do = "Use --dtype float64." if dtype == "float32" else "Subtract a constant from the target."
    require(steps[worst] <= MAX_RESOLUTION * std[worst], "the target", rule, got, do)


def score(model: Sequential, X: HostArray, y: HostArray) -> dict[str, float]:
    """Return the loss, and the accuracy or RMSE and R², of unscaled data."""
    wanted = (metrics.rmse, metrics.r2) if model.classes is None else (metrics.accuracy,)
    if model.classes is None and y.ndim == 1:
        y = y[:, None]
    return model.evaluate(X, y, metrics=wanted)


def _rescale_output(model: Sequential, mean: Any, std: Any) -> None:
    """Fold ``z ↦ σz + μ`` into the weights of the last layer."""
    views = model.layout.views(model.theta)
    path = f"layers.{len(model.layers) - 1}"
    weight, bias = views[f"{path}.weight"], views[f"{path}.bias"]
    dtype = model.backend.dtype_name
    scale = model.backend.asarray(np.asarray(std, dtype))
    weight[...] = weight * scale
    bias[...] = bias * scale + model.backend.asarray(np.asarray(mean, dtype))
