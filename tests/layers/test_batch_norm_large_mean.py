"""Batch norm of columns with a mean far above their standard deviation, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import SGD, BatchNorm, Dense, HalfMSE, Sequential, TrainingStep, to_numpy
from xpnet.ops import operations_for

# The mean and the standard deviation of each column.
MEANS = np.array([1e6, -1e6, 3e5, 0.0, 100.0, 1e6])
STDS = np.array([1.0, 1.0, 0.5, 1.0, 1e-2, 30.0])
ROWS = 4096


@pytest.fixture
def rows(rng):
    """float32 numbers, and the mean and standard deviation of them in float64."""
    X = (MEANS + STDS * rng.standard_normal((ROWS, len(MEANS)))).astype("float32")
    exact = X.astype("float64")
    return X, exact.mean(axis=0), exact.std(axis=0)


def test_output_and_moments_are_those_of_float64(rows, place32):
    X, mean, std = rows
    one, zero = np.ones(len(mean), "float32"), np.zeros(len(mean), "float32")
    X32, scale, shift = (place32.backend.asarray(array) for array in (X, one, zero))
    y, x_hat, found, var = map(to_numpy, operations_for(X32).batch_norm(X32, scale, shift, 1e-12))
    np.testing.assert_allclose(var, std**2, rtol=1e-4)
    np.testing.assert_allclose(found, mean, rtol=1e-7, atol=1e-3)
    for output in (y, x_hat):
        np.testing.assert_allclose(output, (X - mean) / std, atol=2e-3)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
@pytest.mark.parametrize("engine", ["eager", None])
def test_running_statistics_converge(rows, place32, momentum, engine):
    """200 steps on the same rows; a running mean in float32 used to stop 0.3 σ before it."""
    X, mean, std = rows
    n, backend = len(mean), place32.backend
    model = Sequential([BatchNorm(momentum=momentum), Dense(1)], n, backend=backend)
    step = TrainingStep(model, HalfMSE(), SGD(lr=1e-12), engine=engine)
    batch = backend.asarray(X), backend.asarray(np.zeros((ROWS, 1), "float32"))
    for _ in range(2 if momentum is None else 200):
        step(*batch)
    statistics = to_numpy(model.statistics)
    factor = ROWS / (ROWS - 1) if momentum is not None else 2 * ROWS / (2 * ROWS - 1)
    np.testing.assert_allclose(statistics[n : 2 * n], std**2 * factor, rtol=1e-4)
    assert np.abs((statistics[:n] - mean) / std).max() < 0.05


def test_evaluation_subtracts_before_it_scales(rows, place32):
    X, mean, std = rows
    model = Sequential([BatchNorm(momentum=None, eps=1e-12)], len(mean), backend=place32.backend)
    xpnet.recompute_statistics(model, place32.backend.asarray(X))
    output = to_numpy(model.forward(place32.backend.asarray(X)))
    np.testing.assert_allclose(output, (X - mean) / std, atol=0.05)


@pytest.mark.parametrize("value", [0.0, 1e6, -3e38, 1e-30])
def test_constant_columns_have_no_variance(place32, value):
    X = place32.backend.asarray(np.full((64, 3), value, "float32"))
    ones = place32.backend.asarray(np.ones(3, "float32"))
    y, x_hat, mean, var = map(to_numpy, operations_for(X).batch_norm(X, ones, ones, 1e-5))
    np.testing.assert_array_equal(var, 0)
    np.testing.assert_array_equal(x_hat, 0)
    np.testing.assert_array_equal(y, 1)
    np.testing.assert_array_equal(mean, np.float32(value))


def test_columns_of_two_neighbours_are_normalized(place32):
    """The variance is a quarter of the squared distance, and no difference of large numbers."""
    low = np.float32(1e6)
    high = np.nextafter(low, np.float32(2e6))
    X = np.where(np.arange(64)[:, None] % 2, high, low).astype("float32")
    ones = np.ones(1, "float32")
    X32, scale = place32.backend.asarray(X), place32.backend.asarray(ones)
    _, x_hat, _, var = map(to_numpy, operations_for(X32).batch_norm(X32, scale, scale, 1e-12))
    np.testing.assert_allclose(var, ((high - low) / 2) ** 2, rtol=1e-5)
    np.testing.assert_allclose(np.abs(x_hat), 1.0, rtol=1e-5)
