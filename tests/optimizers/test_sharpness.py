"""SAM: two gradients a step, with the same masks and one update of statistics, in every engine."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device
from helpers.training_cases import ENGINES

import xpnet
from xpnet import MLP, BatchNorm, ClipByNorm, CrossEntropy, HalfMSE, TrainingStep
from xpnet.engine.eager_step import EagerStep, StepSettings
from xpnet.engine.loss_scaling import LossScaling
from xpnet.errors import ArgumentError
from xpnet.minimize import minimize
from xpnet.optimizers import (
    SAM,
    SGD,
    Adam,
    Averaged,
    ByRole,
    Frozen,
    Grouped,
    Lookahead,
    Momentum,
    Muon,
    Nadam,
    Penalty,
    Resumed,
)

NETWORKS = {
    "plain": {},
    "dropout": {"dropout": 0.4},
    "batch norm": {"batch_norm": True},
    "cumulative batch norm": {"batch_norm": BatchNorm(momentum=None), "dropout": 0.2},
    "nested batch norm": {"hidden": [6, 6], "batch_norm": True, "residual": True},
}


def batch(rng, n=12):
    return rng.standard_normal((n, 3)), rng.integers(0, 3, n)


def model_of(network=None, **more):
    settings = {"hidden": [6], "n_out": 3, "dtype": "float64", "rng": 1}
    return MLP(3, **settings | (network or {}) | more)


def textbook_step(model, X, y, rho, rate):
    """Foret et al. 2021, algorithm 1: two backward passes of the model's own method."""
    theta, drawn = model.theta.copy(), model.state.masks.step
    value, grad = model.value_and_grad(X, y, CrossEntropy())
    value, grad, after = float(value), grad.copy(), model.statistics.copy()
    model.theta[...] = theta + rho * grad / np.linalg.norm(grad)
    model.state.masks.step = drawn
    second = model.value_and_grad(X, y, CrossEntropy())[1]
    model.statistics[...] = after
    model.theta[...] = theta - rate * second
    return value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_ten_steps_agree_with_the_paper(name, engine, rng):
    model, other = (model_of(NETWORKS[name]) for _ in range(2))
    step = TrainingStep(model, CrossEntropy(), SAM(SGD(0.5), rho=0.3), engine=engine)
    plain, differs = model_of(NETWORKS[name]), False
    plain_step = TrainingStep(plain, CrossEntropy(), SGD(0.5), engine=engine)
    for _ in range(10):
        X, y = batch(rng)
        assert float(step(X, y)) == pytest.approx(textbook_step(other, X, y, 0.3, 0.5), rel=1e-10)
        plain_step(X, y)
        np.testing.assert_allclose(model.theta, other.theta, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.statistics, other.statistics, rtol=1e-9, atol=1e-12)
        differs = differs or not np.allclose(plain.theta, model.theta, rtol=1e-4)
    assert step.engine.startswith(engine)
    assert model.state.masks.step == other.state.masks.step
    assert differs


@pytest.mark.parametrize("name", NETWORKS)
def test_captured_steps_equal_eager_ones(name, rng, monkeypatch):
    device = use_fake_device(monkeypatch)
    X, y = batch(rng, 50)
    optimizer, ends = Averaged(SAM(Nadam(0.05), rho=0.3)), []
    for backend, engine in ((fake_backend("float64"), "replay"), ("numpy", "eager")):
        model = model_of(NETWORKS[name], backend=backend)
        more = {"epochs": 3, "batch_size": 16, "progress": False, "rng": 2, "l2": 0.1}
        history = model.fit(
            X,
            y,
            loss=CrossEntropy(),
            optimizer=optimizer,
            engine=engine,
            clip=ClipByNorm(0.2),
            **more,
        )
        ends.append([np.asarray(model.theta), np.asarray(model.statistics), history["loss"]])
    assert device.replayed > 0
    for actual, expected in zip(*ends, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


def test_penalty_and_clip_apply_to_the_second_gradient(rng):
    (X, y), model = batch(rng), model_of()
    theta, rho = model.theta.copy(), 0.3
    grad = model.value_and_grad(X, y, CrossEntropy())[1].copy()
    model.theta[...] = theta + rho * grad / np.linalg.norm(grad)
    second = model.value_and_grad(X, y, CrossEntropy())[1].copy()
    Penalty(0.0, 0.5).add_grad(theta[model.layout.weights], second[model.layout.weights])
    ClipByNorm(0.1).apply(second)
    model.theta[...] = theta
    step = TrainingStep(
        model, CrossEntropy(), SAM(SGD(1.0), rho), clip=ClipByNorm(0.1), l2=0.5, engine="eager"
    )
    step(X, y)
    np.testing.assert_allclose(model.theta, theta - second, rtol=1e-12)


def test_first_point_is_restored_bit_for_bit(place32, rng):
    model = MLP(3, [6], 3, batch_norm=True, backend=place32.backend, rng=1)
    X, y = (place32.backend.asarray(a) for a in batch(rng))
    X = place32.array(place32.host(X))
    before = place32.host(model.theta).copy()
    step = TrainingStep(model, CrossEntropy(), SAM(SGD(0.1)))
    step(X, y, lr=0.0)
    np.testing.assert_array_equal(place32.host(model.theta), before)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("network", [{}, {"batch_norm": True, "dropout": 0.2}], ids=str)
def test_interrupted_second_pass_leaves_theta(network, engine, rng):
    (X, y), (model, other), calls = batch(rng), (model_of(network) for _ in range(2)), []

    class Interrupted(CrossEntropy):
        replayable = True

        def value_and_grad(self, *args, **kwargs):
            calls.append(None)
            if len(calls) == 2:
                np.testing.assert_array_equal(model.theta, before)
                raise KeyboardInterrupt
            return super().value_and_grad(*args, **kwargs)

    before = model.theta.copy()
    step = TrainingStep(model, Interrupted(), SAM(SGD(0.1)), engine=engine)
    with pytest.raises(KeyboardInterrupt):
        step(X, y)
    np.testing.assert_array_equal(model.theta, before)
    model.state.masks.step, model.statistics[...] = 0, other.statistics
    TrainingStep(other, CrossEntropy(), SAM(SGD(0.1)), engine=engine)(X, y)
    step(X, y)
    np.testing.assert_allclose(model.theta, other.theta, rtol=1e-12)
    np.testing.assert_array_equal(model.statistics, other.statistics)


def test_replayed_step_is_one_compiled_call(rng):
    """A Python function between the ascent and the update would cost more than a pass."""
    (X, y), model = batch(rng), model_of()
    step = TrainingStep(model, CrossEntropy(), SAM(Adam()), engine="replay")
    for _ in range(2):
        step(X, y)
    (recorded,) = step._step._passes.values()
    assert len(recorded.step._stages) == 1


@pytest.mark.parametrize("bad_pass", [1, 2])
def test_overflow_in_either_pass_skips_the_step(bad_pass, rng):
    """Loss scaling on a host, where fp16 products do not exist: one pass is made to overflow."""
    (X, y), model, calls = batch(rng), model_of(), []

    class Overflowing(CrossEntropy):
        def value_and_grad(self, *args, **kwargs):
            calls.append(None)
            value, grad = super().value_and_grad(*args, **kwargs)
            if len(calls) == bad_pass:
                grad = grad * np.inf
            return value, grad

    state = SAM(SGD(0.1)).init(model.theta)
    step = EagerStep(model.state, StepSettings(Overflowing(), SAM(SGD(0.1))), state)
    scaling = step.value_and_grad.scaling = LossScaling(model.grad, start=8.0)
    before = model.theta.copy()
    with np.errstate(all="ignore"):
        step(X, y, None, 0.1)
    np.testing.assert_array_equal(model.theta, before)
    assert float(scaling.state[0]) == 4.0
    step(X, y, None, 0.1)
    assert (model.theta != before).any()
    assert float(scaling.state[0]) == 4.0


def test_own_loop_equals_training_step(place, rng):
    sam, layers = SAM(Momentum(0.1), rho=0.3), {"backend": place.backend, "rng": 1}
    one, other = (MLP(3, [6], 3, **layers) for _ in range(2))
    step, state = TrainingStep(one, CrossEntropy(), sam), sam.init(other.theta)
    for _ in range(3):
        X, y = batch(rng)
        X, y = place.array(X), place.backend.asarray(y)
        step(X, y)
        theta = place.writable(place.host(other.theta))
        grad = other.value_and_grad(X, y, CrossEntropy())[1]
        other.theta[...] = sam.ascended(theta, grad)
        grad = other.value_and_grad(X, y, CrossEntropy())[1]
        other.theta[...] = theta
        sam.step(other.theta, grad, state)
    np.testing.assert_allclose(place.host(one.theta), place.host(other.theta), rtol=1e-10)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_ascent_has_the_length_rho(scale, place32, rng):
    grad = scale * rng.standard_normal(9)
    theta = place32.array(np.zeros(9))
    step = place32.host(SAM(SGD(), rho=0.3).ascended(theta, place32.array(grad)))
    expected = 0.3 * grad / np.linalg.norm(grad) if scale else np.zeros(9)
    np.testing.assert_allclose(step, expected, rtol=1e-5)


def test_wrappers_ask_for_the_ascent():
    sam = SAM(Adam(), rho=0.2)
    state = sam.init(np.zeros(2))
    wrapped = Averaged(sam), Lookahead(sam), Resumed(sam, state)
    assert [optimizer.ascent for optimizer in (sam, *wrapped, Adam())] == [0.2] * 4 + [0.0]


def test_training_is_resumed(rng, tmp_path):
    (X, y), path = batch(rng, 40), tmp_path / "training.safetensors"
    whole, model = (model_of(NETWORKS["batch norm"]) for _ in range(2))
    more = {"loss": CrossEntropy(), "optimizer": SAM(Adam(0.05)), "progress": False, "rng": 2}
    whole.fit(X, y, epochs=4, **more)
    model.fit(X, y, epochs=2, callbacks=[xpnet.TrainingCheckpoint(path, epochs=1)], **more)
    resumed = xpnet.resume(path, X, y, epochs=4, progress=False)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    np.testing.assert_array_equal(resumed.statistics, whole.statistics)


LAYOUT = model_of().layout
BAD = {
    "rho must be a finite number, above 0; got 0": lambda: SAM(SGD(), rho=0),
    "optimizer must be an Optimizer; got 'sgd'": lambda: SAM("sgd"),
    r"Put Resumed outside: Resumed\(SAM": lambda: SAM(Resumed(SGD(), SGD().init(np.zeros(2)))),
    r"SAM must be outside of SAM, not inside; .* Leave one out": lambda: SAM(Averaged(SAM(SGD()))),
    r"SAM must be outside of Frozen.* Write SAM\(Frozen": lambda: Frozen(SAM(SGD()), LAYOUT, [0]),
    r"SAM must be outside of Grouped": lambda: Grouped([(ByRole("bias"), SAM(SGD()))]),
    r"SAM must be outside of Grouped, not": lambda: Grouped([(ByRole("bias"), SGD())], SAM(SGD())),
    r"SAM must be outside of Muon": lambda: Muon(others=SAM(SGD())),
    "accumulate must be 1 with SAM, .* whole batch; got 2": lambda: TrainingStep(
        model_of(), CrossEntropy(), Averaged(SAM(SGD())), accumulate=2
    ),
    "optimizer must need one gradient a step here; got SAM": lambda: minimize(
        lambda x: x @ x, np.ones(2), SAM(SGD())
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()


def test_regression_trains(rng):
    X = rng.standard_normal((100, 3))
    model, optimizer = MLP(3, [8], 1, rng=1), SAM(Adam(0.01))
    history = model.fit(X, X[:, :1], loss=HalfMSE(), optimizer=optimizer, progress=False)
    assert history["loss"][-1] < 0.2 * history["loss"][0]
