"""States that overflow: an error that names slot, parameter and step, in every way to step."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from helpers import fake_device
from helpers.training_cases import ENGINES

import xpnet
from xpnet import MLP, HalfMSE, NonFiniteError, TrainingStep, optimizers
from xpnet.optimizers import (
    SAM,
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Averaged,
    ClipByNorm,
    Frozen,
    Grouped,
    Lion,
    Lookahead,
    Momentum,
    Muon,
    Nadam,
    Nesterov,
    Optimizer,
    RAdam,
    Resumed,
    RMSProp,
    Rprop,
    ScheduleFreeAdam,
)

# The targets that overflow a state are far from the scale of a fresh network.
pytestmark = pytest.mark.filterwarnings("ignore:the targets are far from the scale")

SQUARES = {
    "Adam": (Adam(), "v"),
    "AdamW": (AdamW(), "v"),
    "AMSGrad": (AMSGrad(), "v"),
    "Nadam": (Nadam(), "v"),
    "RAdam": (RAdam(), "v"),
    "RMSProp": (RMSProp(), "v"),
    "RMSProp centered": (RMSProp(centered=True), "v"),
    "RMSProp norm": (RMSProp(norm=True), "v"),
    "AdaGrad": (AdaGrad(), "r"),
    "AdaGrad norm": (AdaGrad(norm=True), "r"),
    "AdaDelta": (AdaDelta(), "v"),
    "Averaged": (Averaged(Adam()), "v"),
    "SAM": (SAM(Adam()), "v"),
    "ScheduleFreeAdam": (ScheduleFreeAdam(), "v"),
    "Resumed": (Resumed(Adam(), Adam().init(np.zeros(4, "float32"))), "v"),
}
LINEAR = {
    "Momentum": (Momentum(lr=10.0), "v"),
    "Nesterov": (Nesterov(lr=10.0), "v"),
    "Lion": (Lion(), "m"),
    "Adamax": (Adamax(), "m"),
    "Rprop": (Rprop(), "previous"),
    "Lookahead": (Lookahead(Momentum(lr=10.0)), "v"),
    "slow of Lookahead": (Lookahead(SGD(lr=10.0), k=1), "slow"),
    "mean of Averaged": (Averaged(SGD(lr=10.0)), "mean"),
}
"""Optimizers without squares: a gradient overflows them if it is infinite, or with a large lr."""

SETTINGS = {"loss": HalfMSE(), "progress": False, "batch_size": 16, "shuffle": False, "epochs": 3}


def steps(optimizer, theta, state, *grads):
    with np.errstate(all="ignore"):
        for grad in grads:
            optimizer.step(theta, grad, state)


def test_every_optimizer_with_slots_is_tried():
    tried = {type(optimizer) for optimizer, _ in (*SQUARES.values(), *LINEAR.values())}
    classes = {c for c in vars(optimizers).values() if inspect.isclass(c)}
    known = {c for c in classes if issubclass(c, Optimizer)} - {
        Optimizer,
        SGD,
        Frozen,
        Grouped,
        Muon,
    }
    assert tried == known


@pytest.mark.parametrize("name", SQUARES)
@pytest.mark.parametrize("before", [0, 5, 200])
def test_overflow_names_slot_and_step(name, before):
    optimizer, slot = SQUARES[name]
    theta = np.zeros(4, "float32")
    state = optimizer.init(theta)
    ones = np.ones(4, "float32")
    steps(optimizer, theta, state, *[ones] * before)
    large = np.array([1, 1, 1e22, 1], "float32")
    with pytest.raises(NonFiniteError, match=f"The slot {slot} of the optimizer") as caught:
        steps(optimizer, theta, state, large, *[ones] * 64)
    assert before < caught.value.step <= before + 64
    assert f"index {0 if 'norm' in name else 2}:" in str(caught.value)
    assert caught.value.step == 1 or before > 0


@pytest.mark.parametrize("name", LINEAR)
def test_overflow_of_a_linear_slot_is_named(name):
    optimizer, slot = LINEAR[name]
    theta, grad = np.zeros(4, "float32"), np.full(4, 3e38, "float32")
    if name in ("Lion", "Adamax", "Rprop"):
        grad[:] = np.inf
    with pytest.raises(NonFiniteError, match=f"The slot {slot} of the optimizer"):
        steps(optimizer, theta, optimizer.init(theta), *[grad] * 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_are_found(value):
    theta, optimizer = np.zeros(4), Adam()
    with pytest.raises(NonFiniteError, match=r"The slot m of the optimizer .* by step 1, at index"):
        steps(optimizer, theta, optimizer.init(theta), np.full(4, value))


def test_overflow_is_found_on_every_backend(place32):
    theta, grad = (place32.backend.asarray(np.full(4, x, "float32")) for x in (0, 1e22))
    optimizer = Adam()
    state = optimizer.init(theta)

    def step_and_check():
        steps(optimizer, theta, state, grad)
        optimizer.check_finite(state)  # a step does not check a state on a device

    with pytest.raises(NonFiniteError, match=r"The slot v .* by step 1, at index 0"):
        step_and_check()


def test_layout_names_the_parameter():
    model = MLP(4, [3], 2)
    frozen = Frozen(Adam(), model.layout, [0])
    for optimizer in (frozen, Averaged(frozen), Averaged(Adam())):
        state = optimizer.init(model.theta, model.layout)
        state.slots[1][-1] = np.inf
        with pytest.raises(NonFiniteError, match=r"at layers\.1\.bias\[1\]"):
            optimizer.check_finite(state, model.layout)


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_on_a_device_read_nothing(rng, engine, monkeypatch):
    """A device reads in ``fit`` only, after an epoch."""
    fake_device.use_fake_device(monkeypatch)
    monkeypatch.setattr(Optimizer, "check_finite", lambda *args: pytest.fail("a step has read"))
    model = MLP(4, [], 1, backend=fake_device.fake_backend("float32"))
    settings = SETTINGS | {"batch_size": 4, "engine": engine}
    X = rng.standard_normal((256, 4)).astype("float32")
    history = model.fit(X, X[:, :1], optimizer=Adam(), **settings)
    assert len(history) == 3


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Adam(), RMSProp()])
def test_large_gradients_that_fit_are_no_error(optimizer):
    theta, grad = np.zeros(4, "float32"), np.full(4, 1e18, "float32")
    state = optimizer.init(theta)
    for _ in range(130):
        optimizer.step(theta, grad, state)
    assert state.step == 130


def test_skipped_steps_leave_a_finite_state():
    """Loss scaling skips the steps of which the gradients overflow."""
    theta, optimizer = np.zeros(4, "float32"), Adam()
    state = optimizer.init(theta)
    infinite, skip = np.full(4, np.inf, "float32"), np.ones(1, "float32")
    with np.errstate(invalid="ignore"):  # as in `fit`
        for _ in range(40):
            optimizer.step(theta, infinite, state, skip=skip)
    assert state.step == 40
    optimizer.check_finite(state)


def test_infinite_state_is_not_resumed():
    theta = np.zeros(2)
    state = Adam().init(theta)
    state.slots[1][0] = np.inf
    with pytest.raises(NonFiniteError, match="The slot v"):
        Resumed(Adam(), state).init(theta)


def explosive(rng):
    """Rows of which one has a finite loss and a gradient that overflows when it is squared."""
    X = rng.standard_normal((64, 4)).astype("float32")
    y = X[:, :1].copy()
    X[37], y[37] = 1e4, 1e18
    return X, y


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", [RMSProp(), Averaged(RMSProp())], ids=["plain", "averaged"])
def test_fit_restores_the_epoch_after_overflow(rng, engine, optimizer):
    model = MLP(4, [], 1)
    before = model.theta.copy()
    message = r"The slot v .* at layers\.0\.weight\[\d, 0\].*beginning of epoch 1 are restored"
    with pytest.raises(NonFiniteError, match=message) as caught:
        model.fit(*explosive(rng), optimizer=optimizer, engine=engine, **SETTINGS)
    assert (caught.value.epoch, caught.value.step) == (1, 4)
    assert len(caught.value.history) == 0
    np.testing.assert_array_equal(model.theta, before)


def test_fit_finds_overflow_on_every_backend(rng, place32):
    model = MLP(4, [], 1, backend=place32.backend)
    with pytest.raises(NonFiniteError, match=r"The slot v .* epoch 1"), np.errstate(all="ignore"):
        model.fit(*explosive(rng), optimizer=RMSProp(), **SETTINGS)


@pytest.mark.parametrize("engine", ENGINES)
def test_fit_on_a_device_finds_overflow(rng, engine, monkeypatch):
    fake_device.use_fake_device(monkeypatch)
    model = MLP(4, [], 1, backend=fake_device.fake_backend("float32"))
    with pytest.raises(NonFiniteError, match=r"The slot v .* epoch 1, step 4") as caught:
        model.fit(*explosive(rng), optimizer=RMSProp(), engine=engine, **SETTINGS)
    assert len(caught.value.history) == 0


def test_fit_finds_running_statistics_that_overflow(rng):
    model = MLP(4, [3], 1, batch_norm=True)
    X = rng.standard_normal((64, 4)).astype("float32")
    model.layout.views(model.theta)["layers.0.weight"][...] = 1e25
    message = r"the running statistic layers\.1\.var\[0\]"
    with pytest.raises(NonFiniteError, match=message), np.errstate(all="ignore"):
        model.fit(X, X[:, :1], optimizer=SGD(), **SETTINGS)


@pytest.mark.parametrize("engine", ENGINES)
def test_training_step_reports_overflow(rng, engine):
    step = TrainingStep(MLP(4, [], 1), HalfMSE(), RMSProp(), engine=engine)
    batch = explosive(rng)
    with (
        pytest.raises(NonFiniteError, match=r"The slot v .* at layers\.0"),
        np.errstate(all="ignore"),
    ):
        [step(*batch) for _ in range(64)]


def test_clipped_gradients_do_not_overflow(rng):
    model = MLP(4, [], 1)
    model.fit(*explosive(rng), optimizer=RMSProp(), clip=ClipByNorm(1.0), **SETTINGS)
    assert np.isfinite(model.theta).all()


def test_minimizers_stop_at_overflow():
    def steep(x):
        return 1e160 * x @ x, 2e160 * x

    result = xpnet.minimize.minimize(steep, np.ones(2), Adam(lr=0.1))
    assert not result.success
    assert "The slot v of the optimizer became NaN or infinite" in result.detail
