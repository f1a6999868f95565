"""States that overflow: an error that names slot and step, in every way to take a step."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import MLP, HalfMSE, NonFiniteError, TrainingStep
from xpnet.errors import ArgumentError
from xpnet.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    AdamW,
    AMSGrad,
    Averaged,
    Momentum,
    Nadam,
    RAdam,
    Resumed,
    RMSProp,
)
from xpnet.optimizers.schedules import Schedule

SQUARES = {
    "Adam": (Adam(), "slot 1 'v'"),
    "AdamW": (AdamW(), "slot 1 'v'"),
    "AMSGrad": (AMSGrad(), "slot 1 'v'"),
    "Nadam": (Nadam(), "slot 1 'v'"),
    "RAdam": (RAdam(), "slot 1 'v'"),
    "RMSProp": (RMSProp(), "slot 0 'v'"),
    "RMSProp centered": (RMSProp(centered=True), "slot 1"),
    "AdaGrad": (AdaGrad(), "slot 0 'r'"),
    "AdaDelta": (AdaDelta(), "slot 0 'v'"),
    "Averaged": (Averaged(Adam()), "slot 1 'v'"),
    "Resumed": (Resumed(Adam(), Adam().init(np.zeros(4, "float32"))), "slot 1 'v'"),
}


@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.parametrize("before", [0, 5, 200])
def test_overflow_names_slot_and_step(name, before):
    optimizer, slot = SQUARES[name]
    theta = np.zeros(4, "float32")
    state = optimizer.init(theta)
    for _ in range(before):
        optimizer.step(theta, np.ones(4, "float32"), state)
    grad = np.array([1, 1, 1e22, 1], "float32")

    def continue_training():
        for _ in range(64):
            optimizer.step(theta, grad, state)
            grad[...] = 1

    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=slot) as caught:
        continue_training()
    assert before < caught.value.step <= before + 64
    assert "at index 2" in str(caught.value)


def test_overflow_is_found_on_every_backend(place32):
    theta, grad = (place32.backend.asarray(np.full(4, x, "float32")) for x in (0, 1e22))
    optimizer = Adam()
    state = optimizer.init(theta)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="slot 1 'v' at index 0"):
        optimizer.step(theta, grad, state)


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Adam(), RMSProp()])
def test_large_gradients_that_fit_are_no_error(optimizer):
    theta, grad = np.zeros(4, "float32"), np.full(4, 1e18, "float32")
    state = optimizer.init(theta)
    for _ in range(130):
        optimizer.step(theta, grad, state)
    assert state.step == 130


def explosive(rng):
    """Rows with one whose gradient overflows when it is squared, though the loss is finite."""
    X = rng.standard_normal((64, 4)).astype("float32")
    y = X[:, :1].copy()
    X[5], y[5] = 1e4, 1e18
    return X, y


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_fit_restores_the_epoch_after_overflow(rng, engine):
    model = MLP(4, [], 1)
    before = model.theta.copy()
    settings = {"loss": HalfMSE(), "optimizer": RMSProp(), "progress": False, "engine": engine}
    with pytest.raises(NonFiniteError, match=r"slot 0 'v'.*beginning of epoch 1") as caught:
        model.fit(*explosive(rng), epochs=3, batch_size=16, **settings)
    assert (caught.value.epoch, caught.value.step) == (1, 4)
    assert len(caught.value.history) == 0
    np.testing.assert_array_equal(model.theta, before)


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_training_step_reports_overflow(rng, engine):
    step = TrainingStep(MLP(4, [], 1), HalfMSE(), RMSProp(), engine=engine)
    with pytest.raises(NonFiniteError, match="slot 0 'v'"):
        [step(*explosive(rng)) for _ in range(64)]


class OwnSchedule(Schedule):
    """A user-defined schedule with given factors."""

    def __init__(self, *factors):
        self.factors = factors

    def factor(self, epoch, n_epochs, values=()):
        return self.factors[min(int(epoch), len(self.factors) - 1)]


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize("factor", [-1.0, -1e-9, np.nan, np.inf, -np.inf])
def test_invalid_rates_of_schedules_are_refused(rng, engine, factor):
    X = rng.standard_normal((32, 4))
    settings = {"loss": HalfMSE(), "optimizer": SGD(), "progress": False, "engine": engine}
    model, expected = MLP(4, [], 1), MLP(4, [], 1)
    with pytest.raises(ArgumentError, match=r"the learning rate of .* at least 0"):
        model.fit(X, X[:, :1], epochs=3, schedule=OwnSchedule(1.0, factor), **settings)
    expected.fit(X, X[:, :1], epochs=1, **settings)
    np.testing.assert_array_equal(model.theta, expected.theta)
    assert len(model.history) == 1
