"""What a training step promises beside its numbers: no new arrays, the same bits, any threads."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from xpnet import MLP, Adam, CrossEntropy, ReLU, Sigmoid
from xpnet.ops.select import why_not_compiled

NETWORKS = {
    "sigmoid": {"activation": Sigmoid()},
    "relu": {"activation": ReLU()},
    "batch norm": {"activation": ReLU(), "batch_norm": True},
    "dropout": {"activation": ReLU(), "dropout": 0.3},
}
networks = pytest.mark.parametrize("name", NETWORKS)


def data(rows=64, n_in=300):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, n_in), dtype=np.float32), rng.integers(0, 10, rows)


@networks
def test_a_step_makes_no_array_of_the_size_of_a_layer(name):
    """A matrix of a layer has 64 × 200 numbers, 51 kB; what grows and goes is a fifth of it."""
    if why_not_compiled():
        pytest.skip(f"rules make arrays on their way: {why_not_compiled()}")
    model = MLP(300, [200, 200], 10, **NETWORKS[name])
    X, y = data()
    loss, optimizer = CrossEntropy(), Adam()
    state = optimizer.init(model.theta)

    def step():
        model.gradient(loss, X, y)
        optimizer.step(model.theta, model.grad, state)

    step()
    tracemalloc.start()
    step()  # what the measurement itself keeps
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < 10_000


@networks
def test_one_seed_gives_the_same_bits_twice(name):
    X, y = data(rows=500)
    thetas = []
    for _ in range(2):
        model = MLP(300, [50], 10, rng=3, **NETWORKS[name])
        settings = {"loss": CrossEntropy(), "optimizer": Adam(), "epochs": 2, "progress": False}
        model.fit(X, y, rng=4, **settings)
        thetas.append(model.theta)
    np.testing.assert_array_equal(thetas[0], thetas[1])


def test_the_number_of_threads_changes_rounding_alone(monkeypatch):
    if why_not_compiled():
        pytest.skip(f"no loop has threads: {why_not_compiled()}")
    from xpnet.ops.compiled import runner, threads  # noqa: PLC0415

    X, y = data()
    found = []
    monkeypatch.setattr(runner, "LARGE", 1000)
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "n_threads", lambda count=count: count)
        threads._pool.cache_clear()
        model = MLP(300, [200], 10)
        found.append((float(model.gradient(CrossEntropy(), X, y)), model.grad.copy()))
    threads._pool.cache_clear()
    for loss, grad in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        np.testing.assert_allclose(grad, found[0][1], rtol=1e-4, atol=1e-7)
