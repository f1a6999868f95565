"""The network of `textbook.py`, trained by a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Array, Case, scaled
from benchmarks.peers.textbook import Adam, Network

ORDER = "W", "gamma", "b", "beta"


class TextbookContestant:
    """The network and its Adam."""

    def __init__(self, case: Case, parameters: list[Array]) -> None:
        self.case, self.first = case, parameters
        self.reset()

    def reset(self) -> None:
        """A new network with the initial parameters."""
        left = iter(self.first)
        layers: list[dict[str, Array]] = []
        n_layers = len(self.case.widths) - 1
        for i in range(n_layers):
            normed = self.case.batch_norm and i < n_layers - 1
            names = ("W", "gamma", "beta") if normed else ("W", "b")
            layers.append({name: next(left).copy() for name in names})
        self.network = Network(layers, self.case.activation)
        self.adam = Adam(layers)

    def prepare(self, X: Array, y: Array) -> tuple[Array, Array]:
        """Return the batch unchanged."""
        return X, y

    def steps(self, batches: list[Any]) -> None:
        """Gradients, then Adam."""
        for X, y in batches:
            _, grads = self.network.gradients(X, y)
            self.adam.step(self.network.layers, grads)

    def parameters(self) -> list[Array]:
        """Layer by layer."""
        return [layer[name] for layer in self.network.layers for name in ORDER if name in layer]

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """Scale once, permute every epoch, index every batch."""
        X, rng = scaled(X), np.random.default_rng(0)
        for _ in range(epochs):
            order = rng.permutation(len(X))
            for start in range(0, len(X), batch):
                rows = order[start : start + batch]
                self.steps([(X[rows], y[rows])])

    def predictor(self, X: Array) -> Callable[[], Array]:
        """A forward pass."""
        X = scaled(X)
        return lambda: self.network.predict(X)


def contestant(case: Case, parameters: list[Array], variant: str) -> TextbookContestant:
    return TextbookContestant(case, parameters)
