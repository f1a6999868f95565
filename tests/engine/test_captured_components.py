"""Every loss, activation and layer runs in a captured step: none of them reads the host."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device
from helpers.training_cases import ACTIVATIONS, LOSSES, hidden_layers, targets, width_of

import xpnet
from xpnet import MLP, Dense, Sequential, activations, losses


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """The fake device with the plain operations."""
    use_fake_device(monkeypatch)


def assert_captured(y, loss, n_out, rng, **network):
    """Train by captured steps and by eager steps on NumPy, with row weights, and compare."""
    X, weight, ends = rng.normal(size=(30, 4)), rng.uniform(0.5, 2, 30), []

    def built(backend):
        if "layers" in network:
            return Sequential(network["layers"], 4, backend=backend, dtype="float64")
        return MLP(4, [5], n_out, backend=backend, dtype="float64", **network)

    for backend, engine in ((fake_backend("float64"), "replay"), ("numpy", "eager")):
        model = built(backend)
        settings = {"optimizer": xpnet.SGD(0.01), "sample_weight": weight, "batch_size": 8}
        history = model.fit(X, y, loss=loss, epochs=2, engine=engine, progress=False, **settings)
        assert history.engine.partition(":")[0] == engine
        ends.append([*np.array(model.theta), *history["loss"]])
    assert not np.array_equal(ends[0][:5], built("numpy").theta[:5])
    np.testing.assert_allclose(*ends, rtol=1e-11, atol=1e-12)


def test_tables_hold_every_loss_and_activation():
    kinds = {type(loss).__name__ for loss in LOSSES}
    assert set(losses.__all__) - kinds == {"Loss"}
    kinds = {type(activation) for activation in ACTIVATIONS}
    known = {kind for kind in vars(activations).values() if isinstance(kind, type)}
    left_out = {kind for kind in known - kinds if issubclass(kind, activations.ActivationFunction)}
    assert left_out == {activations.ActivationFunction, activations.Step}  # steps have no backward


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_captured_loss_equals_eager(loss, rng):
    n_out = width_of(loss, 2)
    assert_captured(targets(rng, loss, n_out), loss, n_out, rng)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_captured_activation_equals_eager(activation, rng):
    loss = losses.CrossEntropy()
    assert_captured(targets(rng, loss, 3), loss, 3, rng, activation=activation)


@pytest.mark.parametrize("name", hidden_layers(5))
def test_captured_layer_equals_eager(name, rng):
    loss = losses.CrossEntropy()
    assert_captured(targets(rng, loss, 3), loss, 3, rng, layers=[*hidden_layers(5)[name], Dense(3)])
