"""Repeated predictions of few rows are replayed and equal eager predictions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.training_cases import ACTIVATIONS, NETWORKS

import xpnet
from xpnet import MLP, Dense
from xpnet.engine.prediction import (
    CALLS_BEFORE_RECORDING,
    MAX_COPIED_BYTES,
    NEVER,
    Prediction,
)
from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(f"nothing is compiled: {why_not_compiled()}", allow_module_level=True)

X = np.random.default_rng(0).normal(size=(40, 4))


def plain(model, rows):
    """The output of an eager prediction."""
    return Prediction(model.state)(rows, model.input_spec.network_inputs)


def asked_often(model, rows):
    for _ in range(CALLS_BEFORE_RECORDING + 1):
        model.forward(rows)
    assert isinstance(model._predict._own.__dict__[len(rows)], tuple)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_replayed_network_equals_eager(network, dtype):
    model = MLP(4, [6, 5], 3, dtype=dtype, **network)
    for m in (1, 3, 1):
        asked_often(model, X[:m])
    for rows in (X[5:6], X[::-1][:3], np.asfortranarray(X[7:10]), X[:3]):
        np.testing.assert_allclose(model.forward(rows), plain(model, rows), rtol=2e-6, atol=1e-6)
    model.theta[...] *= 1.5
    model.statistics[...] += 0.25
    np.testing.assert_allclose(model.forward(X[:3]), plain(model, X[:3]), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_in", [4, MAX_COPIED_BYTES // 4 + 1])
def test_one_row_is_that_of_eager_prediction_exactly(n_in, dtype, rng):
    model = MLP(n_in, [16, 5], 3, dtype=dtype)
    rows = rng.normal(size=(8, n_in)).astype(dtype)
    asked_often(model, rows[:1])
    for i in (3, 5, 5, 0):
        row = rows[i : i + 1]
        np.testing.assert_array_equal(model.forward(row), plain(model, row))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_replayed_activation_equals_eager(activation):
    model = MLP(4, [6], 3, activation=activation, dtype="float64")
    asked_often(model, X[:2])
    np.testing.assert_allclose(model.forward(X[8:10]), plain(model, X[8:10]), rtol=1e-12)


def test_replayed_results_are_new_arrays():
    model = MLP(4, [6], 3, dtype="float64")
    asked_often(model, X[:1])
    first = model.forward(X[:1])
    kept = first.copy()
    model.forward(X[1:2])
    np.testing.assert_array_equal(first, kept)
    first[...] = 0
    np.testing.assert_array_equal(model.forward(X[:1]), kept)


def test_other_parameters_are_not_replayed():
    model = MLP(4, [6], 3, dtype="float64")
    asked_often(model, X[:1])
    np.testing.assert_array_equal(model.forward(X[:1], theta=0 * model.theta), np.zeros((1, 3)))


def test_threads_predict_their_own_rows():
    model = MLP(4, [64, 64], 3, dtype="float64")
    expected = plain(model, X)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda i: model.forward(X[i % 40 : i % 40 + 1]), range(2000)))
    for i, row in enumerate(rows):
        np.testing.assert_allclose(row[0], expected[i % 40], rtol=1e-12)


class Looks(Dense):
    """A layer with control flow on array values."""

    def forward(self, p, x, ctx):
        y, saved = super().forward(p, x, ctx)
        return (y * 2.0 if float(x[0, 0]) > 0 else y), saved


class Draws(Dense):
    """A layer that draws random numbers, which a replay would freeze."""

    def forward(self, p, x, ctx):
        return super().forward(p, x + RNG.normal(size=x.shape), ctx)


RNG = np.random.default_rng(1)


def test_layer_that_reads_values_is_not_replayed(monkeypatch):
    monkeypatch.setattr(Looks, "__module__", "xpnet.layers")  # as if xpnet defined it
    model = xpnet.Sequential([Looks(5), Dense(3)], 4, dtype="float64")
    for _ in range(CALLS_BEFORE_RECORDING + 3):
        for rows in (X[:1], -X[:1]):
            np.testing.assert_allclose(model.forward(rows), plain(model, rows), rtol=1e-12)
    assert model._predict._own.__dict__[1] < NEVER + 100


def test_user_defined_layer_is_not_replayed():
    model = xpnet.Sequential([Draws(5), Dense(3)], 4)
    found = {model.forward(X[:1]).tobytes() for _ in range(CALLS_BEFORE_RECORDING + 5)}
    assert len(found) == CALLS_BEFORE_RECORDING + 5
