"""The networks to measure, with the initial parameters and data that all libraries share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

N_BATCHES = 16
"""Number of batches in rotation: a network that has fitted a single batch has subnormal numbers in
Adam's state, which are slow in every library."""

CLASS_MEANS = 0.5
"""Distance between the classes of the synthetic images, in standard deviations of a pixel."""


@dataclass(frozen=True)
class Case:
    """A network for classification, trained by Adam with its usual settings in float32.

    Attributes:
        name: its name in tables.
        widths: of the input, the hidden layers and the output.
        activation: of the hidden layers, ``"sigmoid"`` or ``"relu"``.
        batch: rows per step.
        batch_norm: whether each hidden layer is ``x W → batch norm → activation``.
    """

    name: str
    widths: tuple[int, ...]
    activation: str
    batch: int
    batch_norm: bool = False

    @property
    def n_parameters(self) -> int:
        """The size of θ."""
        return sum(p.size for p in initial_parameters(self))


CASES = {
    case.name: case
    for case in (
        Case("784-200-10, batch 64", (784, 200, 10), "sigmoid", 64),
        Case("784-512-512-10, batch 256", (784, 512, 512, 10), "relu", 256),
        Case("784-512-512-10, batch norm", (784, 512, 512, 10), "relu", 256, batch_norm=True),
        Case("32-64-64-2, batch 32", (32, 64, 64, 2), "relu", 32),
        Case("1024-2048-2048-1000, batch 1024", (1024, 2048, 2048, 1000), "relu", 1024),
    )
}
REFERENCE = CASES["784-200-10, batch 64"]
"""The network of the reference experiment, of whole trainings and of predictions."""


def initial_parameters(case: Case) -> list[Array]:
    """Initial parameters by layer: weight and bias; weight, scale and shift of normalized layers.

    Weights are ``(n_in, n_out)``, uniform as Glorot and Bengio draw them.
    """
    rng = np.random.default_rng(1)
    arrays: list[Array] = []
    last = len(case.widths) - 2
    for i, (n_in, n_out) in enumerate(zip(case.widths[:-1], case.widths[1:], strict=True)):
        bound = (6 / (n_in + n_out)) ** 0.5
        arrays.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(np.float32))
        if case.batch_norm and i < last:
            arrays.append(np.ones(n_out, np.float32))
        arrays.append(np.zeros(n_out, np.float32))
    return arrays


def batches(case: Case, n_batches: int = N_BATCHES) -> list[tuple[Array, Array]]:
    """Different batches of normally distributed features, with labels independent of them."""
    rng = np.random.default_rng(2)
    shape = case.batch, case.widths[0]
    return [
        (rng.standard_normal(shape, np.float32), rng.integers(0, case.widths[-1], case.batch))
        for _ in range(n_batches)
    ]


def images(rows: int, data_dir: str | None) -> tuple[Array, Array]:
    """Bytes ``(rows, 784)`` and labels: Fashion-MNIST from a folder, or blobs of its size."""
    rng = np.random.default_rng(3)
    if data_dir is not None:
        from xpnet.data import load_fashion_mnist  # noqa: PLC0415  not every peer needs xpnet

        data = load_fashion_mnist(data_dir)
        chosen = rng.permutation(len(data.X_train))[:rows]
        return data.X_train[chosen], data.y_train[chosen]
    labels = rng.integers(0, 10, rows)
    means = rng.uniform(60, 190, (10, 784))
    X = means[labels] + 65 / CLASS_MEANS * rng.standard_normal((rows, 784), np.float32)
    return X.clip(0, 255).astype(np.uint8), labels


def scaled(X: Array) -> Array:
    """Bytes to float32 in [−1, 1]."""
    return X.astype(np.float32) * np.float32(2 / 255) - np.float32(1)


def accuracy(case: Case, parameters: list[Array], X: Array, y: Array) -> float:
    """The accuracy of a network without batch norm."""
    for i in range(0, len(parameters), 2):
        X = X @ parameters[i] + parameters[i + 1]
        if i < len(parameters) - 2:
            X = np.maximum(X, 0) if case.activation == "relu" else 1 / (1 + np.exp(-X))
    return float(np.mean(X.argmax(axis=1) == y))
