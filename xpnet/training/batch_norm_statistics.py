"""Recomputation of the running statistics of batch norm for given parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xpnet.backend import Array, copied, on_device_of
from xpnet.data.batching import TrainingData, spans
from xpnet.data.prepare import as_features
from xpnet.engine.prediction import CHUNK_ROWS
from xpnet.errors import ArgumentError, describe, require
from xpnet.layers.base import is_any
from xpnet.network import Network
from xpnet.state import ModelState

STATISTICS = {"mean", "var", "count"}
"""The statistics that a layer must have to be recomputed; it may have `REST` too."""

REST = "mean_rest"


@on_device_of("model")
def recompute_statistics(model: Any, X: Array) -> None:
    """Set the running statistics of every `BatchNorm` to those of its input over all rows of ``X``.

    Parameters that are not the result of training steps, such as an average θ̂, do not match the
    running statistics. This function computes ``μ = (1/m) Σ x`` and ``σ² = 1/(m−1) Σ (x − μ)²``,
    regardless of the momentum of the layer, while earlier layers evaluate with their own
    statistics. Rows are processed in chunks, once for each `BatchNorm`, and the statistics of the
    chunks are merged without cancellation.

    Deviation from the paper: it makes one pass in training mode, in which each batch is normalized
    with its own statistics.

    Args:
        model: the model; its running statistics are overwritten, its parameters are unchanged.
        X: features ``(m, n_in)``, as for `Sequential.fit`, at least 2 rows.

    Raises:
        ArgumentError: if ``X`` is not valid for the model or has fewer than 2 rows, or a batch norm
            is inside another layer.

    Reference: P. Izmailov et al., "Averaging weights leads to wider optima and better
    generalization", UAI 2018, section 3.2; T. Chan et al., 1979, equation 2.1 (merging).

    >>> import numpy as np
    >>> from xpnet import BatchNorm, Dense, Sequential
    >>> model = Sequential([BatchNorm(), Dense(1)], n_in=1, dtype="float64")
    >>> recompute_statistics(model, np.array([[1.0], [2.0], [6.0]]))
    >>> model.statistics  # mean, variance, count, and what rounding has lost of the mean
    array([3., 7., 3., 0.])
    """
    norms = batch_norm_layers(model.network)
    spec = model.input_spec
    X = as_features(spec, X)
    require(X.shape[0] > 1, "X", "have at least 2 rows, which have a variance", X)
    for index in norms:
        parts = (spec.network_inputs(X[part, ...]) for part in spans(X.shape[0], CHUNK_ROWS))
        _measure(model.state, index, parts)


def recompute_on_rows(model: ModelState, rows: TrainingData) -> None:
    """Recompute the running statistics, as `recompute_statistics` does, on prepared data."""
    for index in batch_norm_layers(model.network):
        parts = (X for X, _, _ in rows.batches(None, CHUNK_ROWS))
        _measure(model, index, parts)


def batch_norm_layers(network: Network) -> list[int]:
    """Return the indices of the batch-norm layers of a network.

    Raises:
        ArgumentError: if a batch norm is inside another layer: its input is known only there.
    """
    indices = []
    for i, layer in enumerate(network.layers):
        if not is_any(layer, "batch_statistics"):
            continue
        prefix = f"layers.{i}."
        paths = [e.path for e in network.statistics_layout.entries if e.path.startswith(prefix)]
        names = {path.removeprefix(prefix) for path in paths}
        if not getattr(layer, "batch_statistics", False) or names - {REST} != STATISTICS:
            raise ArgumentError(
                "statistics of batch norm inside another layer cannot be recomputed; got "
                f"{describe(layer)} as layers.{i}. Make the BatchNorm a layer of the model itself."
            )
        indices.append(i)
    return indices


def _measure(model: ModelState, index: int, parts: Iterable[Array]) -> None:
    """Write the statistics of layer ``index``; those of earlier layers are computed already."""
    layers, xp = model.network.layers, model.backend.xp
    p = model.network.by_layer(model.theta)
    contexts = model.network.contexts(model.backend, model.statistics)
    n, mean, squares, first = 0, 0.0, 0.0, None
    for part in parts:
        x = part
        for layer, views, context in zip(layers[:index], p, contexts, strict=False):
            context.begin_pass()
            x, _ = layer.forward(views, x, context)
        x = xp.astype(x, xp.float64)
        if first is None:  # differences from it do not cancel where the mean is large
            first = copied(x[0, ...])
        x = x - first
        m, part_mean = x.shape[0], xp.mean(x, axis=0)
        delta = part_mean - mean
        mean = mean + delta * (m / (n + m))
        squares = squares + xp.sum((x - part_mean) ** 2, axis=0) + delta * delta * (n * m / (n + m))
        n += m
    statistics, dtype = contexts[index].statistics, model.theta.dtype
    if first is not None:
        rounded = xp.astype(first + mean, dtype)
        rest = (first - xp.astype(rounded, xp.float64)) + mean
        statistics["mean"][...] = rounded
        if REST in statistics:
            statistics[REST][...] = xp.astype(rest, dtype)
        statistics["var"][...] = xp.astype(squares / float(max(n - 1, 1)), dtype)
    statistics["count"][...] = float(n)
