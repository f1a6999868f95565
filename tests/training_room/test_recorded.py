"""The recorded step gives what the plain one gives, bit for bit, whatever is put together."""

from __future__ import annotations

import numpy as np
import pytest
from test_graph import AROUND, NETWORKS, OPTIMIZERS

import xpnet
from xpnet import MLP, Adam, ClipByNorm, CrossEntropy
from xpnet.losses import MSE, Huber
from xpnet.ops import why_not_recorded

needs_numba = pytest.mark.skipif(
    bool(why_not_recorded(np.zeros(1))), reason=why_not_recorded(np.zeros(1)) or "it is there"
)
pytestmark = needs_numba
N_IN = 4


@pytest.fixture
def task(rng):
    X = rng.normal(size=(50, N_IN))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def train(engine, task, network=None, dtype="float32", n_out=3, **settings):
    """A model trained for three epochs, and what was reported."""
    arguments = {"loss": CrossEntropy(), "optimizer": Adam(0.01), "epochs": 3}
    arguments |= {"batch_size": 16, "progress": False, "rng": 5, "engine": engine} | settings
    model = MLP(N_IN, [6, 5], n_out, dtype=dtype, **(network or {}))
    return model, model.fit(*task, **arguments)


def assert_same(task, network=None, **settings):
    """Train both ways and compare everything, bit for bit."""
    eager, expected = train("eager", task, network, **settings)
    model, actual = train("graph", task, network, **settings)
    assert (expected.engine, actual.engine) == ("eager", "graph")
    np.testing.assert_array_equal(model.theta, eager.theta)
    np.testing.assert_array_equal(model.statistics, eager.statistics)
    assert list(actual.columns) == list(expected.columns)
    for name in set(actual.columns) - {"seconds"}:
        np.testing.assert_array_equal(actual[name], expected[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer(optimizer, dtype, task):
    assert_same(task, optimizer=optimizer, dtype=dtype)


@pytest.mark.parametrize("name", AROUND)
def test_what_composes_around_a_step(name, task):
    assert_same(task, **AROUND[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer(name, task):
    assert_same(task, NETWORKS[name], clip=ClipByNorm(0.05), l2=0.1)


@pytest.mark.parametrize("activation", [xpnet.Tanh(), xpnet.SELU(), xpnet.SiLU(), xpnet.GELUTanh()])
def test_activations(activation, task):
    assert_same(task, {"activation": activation})


@pytest.mark.parametrize("loss", [MSE(), Huber(), xpnet.losses.GaussianNLL()], ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_values(loss, weighted, task):
    y = task[0][:, :1] @ np.ones((1, 2))
    weight = {"sample_weight": np.linspace(0.1, 2, 50)} if weighted else {}
    n_out = 4 if isinstance(loss, xpnet.losses.GaussianNLL) else 2
    assert_same((task[0], y), loss=loss, n_out=n_out, **weight)
