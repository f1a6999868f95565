"""The matrix products of a step, into preallocated arrays: a lower bound for this BLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Array, Case, scaled


class Floor:
    """``x W`` forward; ``xᵀ δ`` and, except in the first layer, ``δ Wᵀ`` backward."""

    def __init__(self, case: Case, parameters: list[Array]) -> None:
        self.weights = [p for p in parameters if p.ndim == 2]
        self.grads = [np.empty_like(weight) for weight in self.weights]
        rng = np.random.default_rng(0)
        self.outputs = [
            rng.standard_normal((case.batch, weight.shape[1]), np.float32)
            for weight in self.weights
        ]
        self.deltas = [x.copy() for x in self.outputs]

    def reset(self) -> None:
        """Nothing changes here."""

    def prepare(self, X: Array, y: Array) -> tuple[Array, Array]:
        """Return the batch unchanged."""
        return X, y

    def steps(self, batches: list[Any]) -> None:
        """The products, in the order of a step."""
        last = len(self.weights) - 1
        weights, grads, outputs, deltas = self.weights, self.grads, self.outputs, self.deltas
        for X, _ in batches:
            x = X
            for i, weight in enumerate(weights):
                x = np.matmul(x, weight, out=outputs[i])
            for i in range(last, -1, -1):
                np.matmul((outputs[i - 1] if i else X).T, deltas[i], out=grads[i])
                if i:
                    np.matmul(deltas[i], weights[i].T, out=deltas[i - 1])

    def predictor(self, X: Array) -> Callable[[], Array]:
        """The products of a forward pass."""
        X = scaled(X)
        outputs = [np.empty((len(X), weight.shape[1]), np.float32) for weight in self.weights]

        def products() -> Array:
            x = X
            for weight, out in zip(self.weights, outputs, strict=True):
                x = np.matmul(x, weight, out=out)
            return x

        return products


def contestant(case: Case, parameters: list[Array], variant: str) -> Floor:
    return Floor(case, parameters)
