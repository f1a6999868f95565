"""Batch norm of columns with a mean far above their standard deviation, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.training_cases import REPLAY

import xpnet
from xpnet import MLP, SGD, BatchNorm, CrossEntropy, Dense, HalfMSE, Sequential, to_numpy
from xpnet.backend import get_backend
from xpnet.ops import operations_for
from xpnet.ops.operations import Operations
from xpnet.training import TrainingStep

MEANS = np.array([1e6, -1e6, 3e5, 0.0, 100.0, 1e6, 1e6, 1e6, -1e7, 0.0, 1e15])
STDS = np.array([1.0, 1.0, 0.5, 1.0, 1e-2, 30.0, 0.1, 1e3, 3.0, 1e12, 1e12])
N, ROWS, EPS = len(MEANS), 1024, 1e-12
HALF_ULP = np.spacing(np.abs(MEANS).astype("float32")).astype("float64") / 2
RESULTS = "y", "x_hat", "mean", "var", "dx", "d_scale", "d_shift"


def normal(rng, m):
    return MEANS + STDS * rng.standard_normal((m, N))


def with_outlier(rng, m):
    """The first row, from which differences are taken, is far from the others."""
    X = normal(rng, m)
    X[0] = MEANS + 1e6 * STDS
    return X


def with_zeros(rng, m):
    """Missing numbers, the first row among them, are 0."""
    return np.where(np.arange(m)[:, None] % 100 == 0, 0.0, normal(rng, m))


def of_two_values(rng, m):
    return np.where(np.arange(m)[:, None] % 3 == 0, MEANS, MEANS + 3 * STDS)


CASES = {
    "normal": (normal, ROWS),
    "of a long batch": (normal, 60_000),
    "of a short batch": (normal, 7),
    "of two rows": (normal, 2),
    "outlier in the first row": (with_outlier, ROWS),
    "outlier in a long batch": (with_outlier, 60_000),
    "zeros": (with_zeros, ROWS),
    "of two values": (of_two_values, 5001),
}


@pytest.fixture
def rows(rng):
    """float32 numbers, and the mean and standard deviation of them in float64."""
    X = normal(rng, ROWS).astype("float32")
    exact = X.astype("float64")
    return X, exact.mean(axis=0), exact.std(axis=0)


def passes(ops, X, dy, scale, shift, place=np.asarray):
    """The outputs of the forward and the backward pass by name."""
    n = X.shape[1]
    X, dy, scale, shift = map(place, (X, dy, scale, shift))
    y, x_hat, mean, var, rest = ops.batch_norm(X, scale, shift, EPS)
    d_scale, d_shift = place(np.zeros(n, "float32")), place(np.zeros(n, "float32"))
    dx = ops.batch_norm_backward(dy, x_hat, scale, var, EPS, d_scale, d_shift)
    found = (y, x_hat, mean, var, dx, d_scale, d_shift, rest)
    names = *RESULTS, "rest"
    return {k: to_numpy(v).astype("float64") for k, v in zip(names, found, strict=True)}


def expected_passes(X, dy, scale, shift):
    """Those of float64 on the same float32 numbers."""
    X, dy, scale, shift = (array.astype("float64") for array in (X, dy, scale, shift))
    mean, var, m = X.mean(axis=0), X.var(axis=0), len(X)
    root = np.sqrt(var + EPS)
    x_hat = (X - mean) / root
    d_scale, d_shift = (dy * x_hat).sum(axis=0), dy.sum(axis=0)
    dx = scale / root * (dy - d_shift / m - x_hat * d_scale / m)
    y = x_hat * scale + shift
    return dict(zip(RESULTS, (y, x_hat, mean, var, dx, d_scale, d_shift), strict=True))


def check_passes(ops, given, place=np.asarray):
    expected, found = expected_passes(*given), passes(ops, *given, place)
    std, m = np.sqrt(expected["var"] + EPS), len(given[0])
    np.testing.assert_allclose(found["var"], expected["var"], rtol=1e-4)
    error = np.abs(found["mean"] - expected["mean"])
    assert (error <= 1.01 * HALF_ULP + 1e-3 * std).all()
    np.testing.assert_array_less(
        np.abs(found["mean"] + found["rest"] - expected["mean"]), 1e-3 * std + 1e-30
    )
    for name in ("y", "x_hat"):
        np.testing.assert_allclose(found[name], expected[name], atol=2e-3, rtol=1e-3)
    for name, size in (("dx", 1 / std), ("d_scale", m), ("d_shift", m)):
        np.testing.assert_allclose(found[name] / size, expected[name] / size, atol=5e-3)


@pytest.fixture(params=CASES)
def given(request, rng):
    make, m = CASES[request.param]
    X = make(rng, m).astype("float32")
    dy, scale, shift = rng.standard_normal((m, N)), rng.uniform(0.5, 2, N), rng.standard_normal(N)
    return X, *(array.astype("float32") for array in (dy, scale, shift))


def test_both_passes_are_those_of_float64(given, place32):
    check_passes(operations_for(place32.backend.asarray(given[0])), given, place32.backend.asarray)


def test_plain_passes_are_those_of_float64(given):
    """NumPy without compiled loops."""
    check_passes(Operations(np), given)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
@pytest.mark.parametrize("engine", ["eager", None])
def test_running_statistics_converge(rows, place32, momentum, engine):
    """On the same rows; a rounded running mean must not stop 0.3 σ before that of the batch."""
    X, mean, std = rows
    backend = place32.backend
    model = Sequential([BatchNorm(momentum=momentum), Dense(1)], N, backend=backend)
    step = TrainingStep(model, HalfMSE(), SGD(lr=1e-37), engine=engine)
    batch = backend.asarray(X), backend.asarray(np.zeros((ROWS, 1), "float32"))
    for _ in range(200 if momentum else 2):
        step(*batch)
    statistics = to_numpy(model.statistics)
    factor = ROWS / (ROWS - 1) if momentum is not None else 2 * ROWS / (2 * ROWS - 1)
    np.testing.assert_allclose(statistics[N : 2 * N], std**2 * factor, rtol=1e-4)
    assert (np.abs(statistics[:N] - mean) <= 0.01 * std + 1.01 * HALF_ULP).all()
    output = to_numpy(model.layers[0].forward(*evaluation_of(model, batch[0]))[0])
    np.testing.assert_allclose(output, (X - mean) / np.sqrt(std**2 + 1e-5), atol=0.05, rtol=1e-4)


MANY = 2048
ENGINES = {None: "replayed", "eager": "eager"}


def after_batches(X, size, momentum, place, engine):
    """The statistics by name and the outputs in evaluation, after six epochs of mini-batches."""
    model = Sequential([BatchNorm(momentum=momentum), Dense(1)], 8, backend=place)
    step = TrainingStep(model, HalfMSE(), SGD(lr=1e-37), engine=engine)
    X, y = place.asarray(X, place.dtype), place.asarray(np.zeros((size, 1)), place.dtype)
    for epoch in range(6):
        order = np.random.default_rng(epoch).permutation(MANY).reshape(-1, size)
        for rows in order:
            step(place.xp.take(X, place.asarray(rows), axis=0), y)
    views = model.statistics_layout.views(to_numpy(model.statistics).astype("float64"))
    output = model.layers[0].forward(*evaluation_of(model, X))[0]
    return {path.rpartition(".")[2]: view for path, view in views.items()}, to_numpy(output)


@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
@pytest.mark.parametrize("size", [32, 256])
@pytest.mark.parametrize("engine", ENGINES, ids=ENGINES.get)
def test_small_batches_give_those_of_float64(rng, place32, size, momentum, engine):
    """Mean 1e6 and σ 1, where rounding the running mean in each step would lose 0.1 σ."""
    offset = np.array([1e6, -1e6, 3e5, 0.0, 100.0, 1e6, 1e6, -1e6])
    X = (offset + rng.standard_normal((MANY, 8))).astype("float32")
    double = get_backend("numpy", dtype="float64")
    expected, right = after_batches(X.astype("float64"), size, momentum, double, "eager")
    found, output = after_batches(X, size, momentum, place32.backend, engine)
    np.testing.assert_allclose(found["var"], expected["var"], rtol=1e-4)
    means, exact = (each["mean"] + each["mean_rest"] for each in (found, expected))
    np.testing.assert_allclose(means, exact, rtol=0, atol=0.01)
    np.testing.assert_allclose(output, right, rtol=1e-6, atol=0.05)


def evaluation_of(model, X):
    """The arguments of the first layer in evaluation."""
    views = model.network.by_layer(model.theta)[0]
    return views, X, model.network.contexts(model.backend, model.statistics)[0]


def test_batches_are_merged_as_one(rng, place32):
    """Batches of which the means are float32 numbers: rounding the running mean loses nothing."""
    half = np.round(rng.standard_normal((64, 3)) * 16) / 16
    X = (2.0**20 + np.concatenate([half, -half, 3 * half, -3 * half])).astype("float32")
    model = Sequential([BatchNorm(momentum=None), Dense(1)], 3, backend=place32.backend)
    step = TrainingStep(model, HalfMSE(), SGD(lr=1e-12))
    for part in np.split(X, 2):
        step(place32.backend.asarray(part), place32.backend.asarray(np.zeros((128, 1), "float32")))
    exact = X.astype("float64")
    found = to_numpy(model.statistics)
    np.testing.assert_array_equal(found[:3], exact.mean(axis=0))
    np.testing.assert_allclose(found[3:6], exact.var(axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("m", [2, 3000, 30_000])
def test_evaluation_subtracts_before_it_scales(rng, place32, m):
    X = normal(rng, m).astype("float32")
    exact = X.astype("float64")
    mean, std = exact.mean(axis=0), exact.std(axis=0, ddof=1)
    model = Sequential([BatchNorm(momentum=None, eps=EPS)], N, backend=place32.backend)
    xpnet.recompute_statistics(model, place32.backend.asarray(X))
    output = to_numpy(model.forward(place32.backend.asarray(X)))
    np.testing.assert_allclose(output, (exact - mean) / np.sqrt(std**2 + EPS), atol=0.05, rtol=1e-4)
    np.testing.assert_allclose(to_numpy(model.statistics)[N : 2 * N], std**2, rtol=1e-4)


@pytest.mark.parametrize("engine", ["eager", REPLAY])
def test_networks_learn_columns_of_large_mean(rng, engine):
    """The sign of a column with the mean 1e6 and σ 1, behind a hidden layer that passes it on."""
    noise = rng.standard_normal((2000, 3))
    X, y = (1e6 + noise).astype("float32"), (noise[:, 0] > 0).astype(int)
    model = Sequential([BatchNorm(), *MLP(3, [8], 2, batch_norm=True).layers], 3, rng=0)
    settings = {"optimizer": xpnet.Adam(0.01), "progress": False, "engine": engine}
    model.fit(X, y, loss=CrossEntropy(), epochs=15, batch_size=100, **settings)
    assert model.evaluate(X, y, metrics=[xpnet.metrics.accuracy])["accuracy"] > 0.95


@pytest.mark.parametrize("value", [0.0, 1e6, -3e38, 1e-30])
def test_constant_columns_have_no_variance(place32, value):
    X = place32.backend.asarray(np.full((64, 3), value, "float32"))
    ones = place32.backend.asarray(np.ones(3, "float32"))
    y, x_hat, mean, var, rest = map(to_numpy, operations_for(X).batch_norm(X, ones, ones, 1e-5))
    np.testing.assert_array_equal(rest, 0)
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
    _, x_hat, _, var, _ = map(to_numpy, operations_for(X32).batch_norm(X32, scale, scale, 1e-12))
    np.testing.assert_allclose(var, ((high - low) / 2) ** 2, rtol=1e-5)
    np.testing.assert_allclose(np.abs(x_hat), 1.0, rtol=1e-5)
