"""xpnet: `TrainingStep`, `fit` and `predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import xpnet
from benchmarks.cases import Array, Case, scaled
from xpnet import Adam, CrossEntropy, MinMax, ReLU, Sigmoid

SCALING = MinMax(0, 255, to=(-1, 1))


class XpnetContestant:
    """A model, the state of Adam, and copies to restore both."""

    def __init__(self, case: Case, parameters: list[Array]) -> None:
        activation = ReLU() if case.activation == "relu" else Sigmoid()
        n_in, *hidden, n_out = case.widths
        self.model = xpnet.MLP(
            n_in,
            hidden,
            n_out,
            activation=activation,
            batch_norm=case.batch_norm,
            loss=CrossEntropy(),
        )
        self.views = in_layer_order(self.model)
        for view, array in zip(self.views, parameters, strict=True):
            view[...] = array
        self.first = self.model.theta.copy(), self.model.statistics.copy()
        self.adam, self.loss = Adam(), CrossEntropy()
        self.step = xpnet.TrainingStep(self.model, self.loss, self.adam)
        self.reset()

    def reset(self) -> None:
        """Restore the initial parameters and the initial state of Adam."""
        self.model.theta[...], self.model.statistics[...] = self.first
        for slot in self.step.state.slots:
            slot[...] = 0.0
        self.step.state.step = 0

    def prepare(self, X: Array, y: Array) -> tuple[Array, Array]:
        """Return the batch unchanged."""
        return X, y

    def steps(self, batches: list[Any]) -> None:
        """Take steps like `fit`, without its checks once an epoch."""
        step = self.step
        for X, y in batches:
            step(X, y, check=False)

    def parameters(self) -> list[Array]:
        """Copies of the views."""
        return [view.copy() for view in self.views]

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """`Sequential.fit` on the bytes."""
        self.model.preprocessing = SCALING
        self.model.fit(
            X,
            y,
            loss=self.loss,
            optimizer=self.adam,
            epochs=epochs,
            batch_size=batch,
            progress=False,
        )

    def predictor(self, X: Array) -> Callable[[], Array]:
        """`Sequential.predict`."""
        X = scaled(X)
        return lambda: np.asarray(self.model.predict(X))


def in_layer_order(model: xpnet.Sequential) -> list[Array]:
    """The views of the parameters: layer by layer, and in each as its layer names them."""
    views = model.layout.views(model.theta)
    order = {"weight": 0, "scale": 1, "bias": 2, "shift": 2}

    def place(path: str) -> tuple[int, int]:
        _, layer, name = path.split(".")
        return int(layer), order[name]

    return [views[path] for path in sorted(views, key=place)]


def contestant(case: Case, parameters: list[Array], variant: str) -> XpnetContestant:
    return XpnetContestant(case, parameters)
