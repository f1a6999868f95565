"""Every loss and every activation goes into a captured step: nothing of theirs reads the host."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.fake_device import DeviceArray, FakeCapture, fake_backend, fake_operations

import xpnet
from xpnet import MLP, activations, losses
from xpnet.engine import select as engines
from xpnet.ops import select


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """Put the fake device in the place of CUDA, with the operations of the reference."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=False))
    monkeypatch.setattr(engines, "why_not_captured", lambda backend: "")
    monkeypatch.setattr(engines, "CudaCapture", FakeCapture)


def targets(rng, kind, n_out):
    """Of 30 rows, as a loss of this kind takes them."""
    return {
        "classes": rng.integers(0, n_out, 30),
        "binary": rng.integers(0, 2, (30, n_out)),
        "signs": rng.choice([-1.0, 1.0], (30, n_out)),
        "values": rng.integers(0, 4, (30, n_out)).astype(float),
    }[kind]


def assert_captured(y, loss, n_out, rng, **network):
    """Train by captured steps and on the plain path, with weights, and compare."""
    X, weight, ends = rng.normal(size=(30, 4)), rng.uniform(0.5, 2, 30), []
    for backend, engine in ((fake_backend("float64"), "replay"), ("numpy", "eager")):
        model = MLP(4, [5], n_out, backend=backend, dtype="float64", **network)
        how = {"optimizer": xpnet.SGD(0.01), "sample_weight": weight, "batch_size": 8}
        history = model.fit(X, y, loss=loss, epochs=2, engine=engine, progress=False, **how)
        assert history.engine.partition(":")[0] == engine
        ends.append([*np.array(model.theta), *history["loss"]])
    assert not np.array_equal(ends[0][:5], MLP(4, [5], n_out, dtype="float64", **network).theta[:5])
    np.testing.assert_allclose(*ends, rtol=1e-11, atol=1e-12)


LOSSES = [
    *(losses.HalfMSE(), losses.MSE(), losses.MAE(), losses.Huber(0.5), losses.PoissonNLL()),
    *(losses.CrossEntropy(), losses.CrossEntropy(label_smoothing=0.1), losses.Hinge()),
    *(losses.BinaryCrossEntropy(), losses.PerceptronLoss(), losses.GaussianNLL()),
    losses.Distillation(),
]


def test_no_loss_and_no_activation_is_left_out():
    kinds = {type(loss).__name__ for loss in LOSSES}
    assert set(losses.__all__) - kinds == {"Loss"}
    kinds = {type(activation) for activation in ACTIVATIONS}
    known = {kind for kind in vars(activations).values() if isinstance(kind, type)}
    left_out = {kind for kind in known - kinds if issubclass(kind, activations.ActivationFunction)}
    assert left_out == {activations.ActivationFunction, activations.Step}  # steps have no backward


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_every_loss(loss, rng):
    n_out = 2
    y = targets(rng, loss.target_kind, 1 if isinstance(loss, losses.GaussianNLL) else n_out)
    if isinstance(loss, losses.Distillation):
        y = np.column_stack([rng.normal(size=(30, n_out)), y])
    assert_captured(y, loss, n_out, rng)


ACTIVATIONS = [
    *(activations.Affine(2.0, 1.0), activations.Sigmoid(), activations.Tanh(), activations.ReLU()),
    *(activations.LeakyReLU(), activations.ELU(), activations.SELU(), activations.Softplus()),
    *(activations.GELU(), activations.GELUTanh(), activations.SiLU(), activations.HardSigmoid()),
    *(activations.Exponential(), activations.Softmax(), activations.Identity()),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_activation(activation, rng):
    assert_captured(
        targets(rng, "classes", 3), losses.CrossEntropy(), 3, rng, activation=activation
    )
