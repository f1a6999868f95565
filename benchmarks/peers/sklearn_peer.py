"""scikit-learn's `MLPClassifier`; a step is a call of ``partial_fit`` with one batch.

It has no batch norm, and one output for two classes. ``partial_fit`` initializes the parameters,
so `reset` writes into its arrays afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.cases import Array, Case, scaled


class SklearnContestant:
    """A classifier for steps; a new one for each `fit`."""

    def __init__(self, case: Case, parameters: list[Array]) -> None:
        self.case, self.first = case, parameters
        self.model = self._new(case.batch, 1)
        self.classes = np.arange(case.widths[-1])
        rng = np.random.default_rng(0)
        X = rng.standard_normal((case.batch, case.widths[0]), np.float32)
        y = self.classes[np.arange(case.batch) % len(self.classes)]
        self.model.partial_fit(X, y, classes=self.classes)
        self.reset()

    def _new(self, batch: int, epochs: int) -> Any:
        return MLPClassifier(
            self.case.widths[1:-1],
            activation="relu" if self.case.activation == "relu" else "logistic",
            alpha=0.0,
            batch_size=batch,
            max_iter=epochs,
            n_iter_no_change=epochs + 1,
            random_state=0,
        )

    def reset(self) -> None:
        """Restore the parameters whose shapes match, and the initial state of Adam."""
        arrays = [
            a for pair in zip(self.model.coefs_, self.model.intercepts_, strict=True) for a in pair
        ]
        for array, first in zip(arrays, self.first, strict=True):
            array[...] = first[..., : array.shape[-1]]
        optimizer = self.model._optimizer
        for moment in (*optimizer.ms, *optimizer.vs):
            moment[...] = 0
        optimizer.t = 0

    def prepare(self, X: Array, y: Array) -> tuple[Array, Array]:
        """Return the batch unchanged."""
        return X, y

    def steps(self, batches: list[Any]) -> None:
        """One call each."""
        for X, y in batches:
            self.model.partial_fit(X, y)

    def parameters(self) -> list[Array]:
        """Layer by layer."""
        model = self.model
        pairs = zip(model.coefs_, model.intercepts_, strict=True)
        return [array.copy() for pair in pairs for array in pair]

    def fit(self, X: Array, y: Array, epochs: int, batch: int) -> None:
        """Call ``fit`` and ignore its warning that it stopped at the maximum of epochs."""
        self.model = self._new(batch, epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(scaled(X), y)

    def predictor(self, X: Array) -> Callable[[], Array]:
        """Its ``predict``."""
        X = scaled(X)
        return lambda: np.asarray(self.model.predict(X))


def contestant(case: Case, parameters: list[Array], variant: str) -> SklearnContestant:
    return SklearnContestant(case, parameters)
