"""The running statistics of batch norm, recomputed for the parameters as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xpnet.backend import Array
from xpnet.data.batching import TrainingData, spans
from xpnet.data.prepare import as_features
from xpnet.engine.prediction import CHUNK_ROWS
from xpnet.errors import require
from xpnet.state import ModelState


def recompute_statistics(model: Any, X: Array) -> None:
    """Give every `BatchNorm` the exact mean and variance of its input over the rows of ``X``.

    For parameters that no step of training has led to, such as an average θ̂, the running
    statistics belong to other parameters. Here each layer's are those over all rows at once, with
    the layers before it as they evaluate: ``μ = mean``, ``σ² = 1/(m−1) Σ (x − μ)²``, whatever the
    layer's momentum is. Rows are read in parts, once for each `BatchNorm`, and merged without loss
    of digits. The paper on SWA makes one pass in training mode instead, whose batches still
    normalize by their own statistics.

    Args:
        model: the model; its statistics are changed in place, nothing else.
        X: features ``(m, n_in)``, as `Sequential.fit` takes them, at least 2 rows.

    Raises:
        ArgumentError: if ``X`` is not what the model takes, or has one row.

    Reference: P. Izmailov et al., "Averaging weights leads to wider optima and better
    generalization", UAI 2018, section 3.2; T. Chan et al., 1979, equation 2.1, for the merging.

    >>> import numpy as np
    >>> from xpnet import BatchNorm, Dense, Sequential
    >>> model = Sequential([BatchNorm(), Dense(1)], n_in=1, dtype="float64")
    >>> recompute_statistics(model, np.array([[1.0], [2.0], [6.0]]))
    >>> model.statistics  # mean, variance and count
    array([3., 7., 3.])
    """
    spec = model.input_spec
    X = as_features(spec, X)
    require(X.shape[0] > 1, "X", "have at least 2 rows, which have a variance", X)
    for index in _norms(model.state):
        parts = (spec.network_inputs(X[part, ...]) for part in spans(X.shape[0], CHUNK_ROWS))
        _measure(model.state, index, parts)


def recompute_on_rows(model: ModelState, rows: TrainingData) -> None:
    """`recompute_statistics` on prepared training data."""
    for index in _norms(model):
        parts = (X for X, _, _ in rows.batches(None, CHUNK_ROWS))
        _measure(model, index, parts)


def _norms(model: ModelState) -> list[int]:
    layers = enumerate(model.network.layers)
    return [i for i, layer in layers if getattr(layer, "batch_statistics", False)]


def _measure(model: ModelState, index: int, parts: Iterable[Array]) -> None:
    """Write the statistics of layer ``index``, whose predecessors have theirs already."""
    layers, xp = model.network.layers, model.backend.xp
    p = model.network.by_layer(model.theta)
    contexts = model.network.contexts(model.backend, model.statistics)
    n, mean, squares = 0, 0.0, 0.0
    for part in parts:
        x = part
        for layer, views, context in zip(layers[:index], p, contexts, strict=False):
            context.begin_pass()
            x, _ = layer.forward(views, x, context)
        m, part_mean = x.shape[0], xp.mean(x, axis=0)
        delta = part_mean - mean
        mean = mean + delta * (m / (n + m))
        squares = squares + xp.sum((x - part_mean) ** 2, axis=0) + delta * delta * (n * m / (n + m))
        n += m
    statistics = contexts[index].statistics
    statistics["mean"][...] = mean
    statistics["var"][...] = squares / float(max(n - 1, 1))
    statistics["count"][...] = float(n)
