"""Networks of each layer stay replayed, give the eager numbers and allocate no arrays."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers.training_cases import NETWORKS, REPLAY, hidden_layers

from xpnet import MLP, Adam, CrossEntropy, Dense, Sequential, TrainingStep, layers
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.layers.base import components
from xpnet.ops.select import why_not_compiled

N = 64
HIDDEN = hidden_layers(N)
every_network = pytest.mark.parametrize("name", HIDDEN)


def built(name, n_in=N, dtype="float32"):
    return Sequential([*HIDDEN[name], Dense(10)], n_in, dtype=dtype, rng=1)


@pytest.fixture
def task(rng):
    return rng.normal(size=(150, N)), rng.integers(0, 10, 150)


def test_tables_hold_every_layer():
    networks = [MLP(2, [2], 2, **settings).layers for settings in NETWORKS.values()]
    known = {
        type(part) for network in (*networks, *HIDDEN.values()) for part in components(network)
    }
    exported = {getattr(layers, name) for name in layers.__all__}
    assert {x for x in exported if hasattr(x, "backward_jvp")} - known == {layers.TangentLayer}


@every_network
@pytest.mark.parametrize("engine", [REPLAY])
def test_small_networks_are_replayed_by_default(name, engine, task):
    """The last batch is shorter, so that a step of each size is recorded."""
    ends = []
    for given in ("eager", None):
        model = built(name, dtype="float64")
        settings = {"optimizer": Adam(0.01), "epochs": 3, "batch_size": 64, "rng": 3}
        history = model.fit(*task, loss=CrossEntropy(), engine=given, progress=False, **settings)
        ends.append((history.engine, model.theta, history["loss"]))
    assert [engine for engine, *_ in ends] == ["eager", f"{engine}: a list of compiled calls"]
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(ends[1][2], ends[0][2], rtol=1e-11)


@every_network
@pytest.mark.parametrize("engine", [REPLAY])
def test_replayed_steps_call_no_python(name, engine, task):
    """A Python call between two lists of compiled calls takes longer than a layer."""
    X, y = task
    step = TrainingStep(built(name), CrossEntropy(), Adam(0.01), engine=engine)
    for _ in range(2):
        step(X[:64].astype("float32"), y[:64])
    assert [len(program._stages) for program in step._step.programs] == [1, 1]


@every_network
def test_eager_passes_allocate_no_array(name, rng):
    """An output of a layer has 200 × 64 numbers, 51 kB."""
    if why_not_compiled():
        pytest.skip(f"rules make arrays on their way: {why_not_compiled()}")
    value_and_grad = ValueAndGrad(built(name).state)
    X, y = rng.normal(size=(200, N)).astype("float32"), rng.integers(0, 10, 200)
    value_and_grad(CrossEntropy(), X, y)
    tracemalloc.start()
    value_and_grad(CrossEntropy(), X, y)  # memory that the measurement itself keeps
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(3):
        value_and_grad(CrossEntropy(), X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - before < 10_000
