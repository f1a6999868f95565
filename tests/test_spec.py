"""Numbers of the specification, and errors of the literature that the library corrects.

The expected values are computed here, not by the library. Numbers of the tables of initializers,
activations and penalties are tested with those.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import xpnet
from xpnet import (
    ELU,
    MLP,
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    BatchNorm,
    BinaryCrossEntropy,
    CrossEntropy,
    Dense,
    HalfMSE,
    HardSigmoid,
    LeakyReLU,
    MinMax,
    Momentum,
    Nesterov,
    ReLU,
    RMSProp,
    Sequential,
    Sigmoid,
    Standardize,
    initializers,
)
from xpnet.data import Dataset
from xpnet.derivatives import numerical_gradient
from xpnet.minimize.functions import Bowl
from xpnet.ops import operations_for

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def value_of(phi, z):
    return phi.forward(operations_for(z), z)


# Models and their derivatives


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (LeakyReLU().alpha, 0.01),
        (ELU().alpha, 1.0),
        (initializers.Uniform().b, 1.0),
        (initializers.Normal().std, 1.0),
        (initializers.GlorotUniform().gain, 1.0),
        (initializers.GlorotNormal().gain, 1.0),
        (initializers.Orthogonal().gain, 1.0),
        (BatchNorm().momentum, 0.9),
    ],
)
def test_defaults_are_those_of_the_specification(setting, value):
    assert setting == value


def test_hard_sigmoid_is_constant_beyond_2_5():
    z = np.array([[-2.6, -2.5, -1.0, 0.0, 1.0, 2.5, 2.6]])
    np.testing.assert_allclose(value_of(HardSigmoid(), z), [[0, 0, 0.3, 0.5, 0.7, 1, 1]])


def test_sigmoid_derivative_is_at_most_a_quarter():
    z = np.linspace(-5, 5, 1001)[None, :]
    a = value_of(Sigmoid(), z)
    derivative = Sigmoid().backward(operations_for(z), a, np.ones_like(z))
    np.testing.assert_allclose(derivative, a * (1 - a), rtol=1e-12)
    assert derivative.max() == derivative[0, 500] == 0.25


def test_gradients_are_means_over_the_batch(rng):
    """The loss has the factor 1/m, so the gradient is the mean of those of equal parts."""
    model, loss = MLP(3, [4], 2, dtype="float64"), CrossEntropy()
    X, y = rng.normal(size=(8, 3)), rng.integers(0, 2, 8)
    whole = model.value_and_grad(X, y, loss)[1].copy()
    parts = [
        model.value_and_grad(X[i : i + 2], y[i : i + 2], loss)[1].copy() for i in range(0, 8, 2)
    ]
    np.testing.assert_allclose(whole, np.mean(parts, axis=0), rtol=1e-12)


def test_difference_step_of_1e_8_loses_half_the_digits():
    def error(**step):
        return np.max(
            np.abs(numerical_gradient(lambda v: np.sum(np.exp(v)), x, **step) / derivative - 1)
        )

    x = np.linspace(0.5, 2.0, 20)
    derivative = np.exp(x)
    assert 1e-9 < error(h=1e-8) < 1e-6  # eight of sixteen digits remain
    assert error() < 1e-9
    assert error() < error(h=1e-8) / 100


def test_difference_step_is_the_scaled_root_of_eps(place):
    seen = []

    def fun(x):
        seen.append(place.host(x).copy())
        return place.xp.sum(x)

    x = np.array([0.01, 1.0, -300.0])
    numerical_gradient(fun, place.array(x))
    steps = np.max(np.abs(np.array(seen) - x), axis=0)
    h = np.finfo(np.float64).eps ** (1 / 3)
    np.testing.assert_allclose(steps, h * np.maximum(1, np.abs(x)), rtol=1e-6)


# Initial values


def test_biases_start_at_zero():
    model = MLP(5, [6, 7], 3, rng=4)
    views = model.layout.views(model.theta)
    biases = [view for path, view in views.items() if path.endswith("bias")]
    assert len(biases) == 3
    assert not any(np.any(bias) for bias in biases)


def test_truncation_at_two_std_leaves_0_8796(rng):
    z = rng.standard_normal(400_000)
    assert np.std(z[np.abs(z) <= 2]) == pytest.approx(0.8796, abs=0.003)
    drawn = initializers.HeNormal(truncated=True).draw(rng, (400, 1000))
    assert np.var(drawn) == pytest.approx(2 / 400, rel=0.01)
    assert np.max(np.abs(drawn)) <= 2 / 0.8796 * math.sqrt(2 / 400)


def test_fan_in_uniform_has_a_third_of_the_variance(rng):
    drawn = initializers.FanInUniform().draw(rng, (100, 4000))
    assert np.max(np.abs(drawn)) <= 1 / math.sqrt(100)
    assert np.var(drawn) == pytest.approx(1 / (3 * 100), rel=0.01)
    for lecun in (initializers.LecunNormal(), initializers.LecunUniform()):
        assert np.var(lecun.draw(rng, (100, 4000))) == pytest.approx(1 / 100, rel=0.01)


# Batch normalization


def batch_norm_of(*columns):
    """Return rows, a batch norm in float64, and the views of its parameters."""
    X = np.array(columns).T
    model = Sequential([BatchNorm(eps=1e-12)], X.shape[1], dtype="float64")
    return X, model, model.layout.views(model.theta)


def test_running_variance_is_unbiased():
    X, model, _ = batch_norm_of([1.0, 3.0])  # biased variance 1, unbiased variance 2
    model.value_and_grad(X, np.zeros((2, 1)), HalfMSE())
    statistics = model.network.statistics_layout.views(model.statistics)
    assert statistics["layers.0.mean"][0] == pytest.approx(0.9 * 0 + 0.1 * 2)
    assert statistics["layers.0.var"][0] == pytest.approx(0.9 * 1 + 0.1 * 2)
    loss, _ = model.value_and_grad(X, np.array([[-1.0], [1.0]]), HalfMSE())
    assert float(loss) == pytest.approx(0, abs=1e-12)  # x̂ = −1, 1


def test_gamma_and_beta_are_numbers_of_each_feature():
    X, model, part = batch_norm_of([1.0, 3.0], [-5.0, 5.0], [0.0, 0.1])
    np.testing.assert_array_equal(part["layers.0.scale"], [1, 1, 1])
    np.testing.assert_array_equal(part["layers.0.shift"], [0, 0, 0])
    part["layers.0.scale"][...] = [1, 2, 3]
    part["layers.0.shift"][...] = [0, 10, 20]
    target = np.array([[-1.0, 8.0, 17.0], [1.0, 12.0, 23.0]])
    assert float(model.value_and_grad(X, target, HalfMSE())[0]) == pytest.approx(0, abs=1e-9)


# Losses and penalties


def test_cross_entropy_has_no_factor_of_one_half(rng):
    z, t = rng.normal(size=(5, 4)), rng.integers(0, 4, 5)
    p = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    value, grad = CrossEntropy().value_and_grad(z, t)
    assert float(value) == pytest.approx(-np.mean(np.log(p[np.arange(5), t])), rel=1e-12)
    np.testing.assert_allclose(grad, (p - np.eye(4)[t]) / 5, rtol=1e-12)
    assert float(CrossEntropy().value(np.zeros((2, 10)), np.array([3, 7]))) == math.log(10)


def test_gradient_of_binary_loss_is_sigma_minus_t(rng):
    z, t = rng.normal(size=(5, 1)), rng.integers(0, 2, 5)
    _, grad = BinaryCrossEntropy().value_and_grad(z, t)
    np.testing.assert_allclose(grad, (1 / (1 + np.exp(-z)) - t[:, None]) / 5, rtol=1e-12)


def test_half_mse_has_the_factor_of_one_half():
    value, grad = HalfMSE().value_and_grad(np.array([[3.0, -1.0]]), np.array([[1.0, 0.0]]))
    assert float(value) == 0.5 * (4 + 1)
    np.testing.assert_array_equal(grad, [[2.0, -1.0]])


def test_l2_penalty_decays_weights_only(rng):
    """The penalty changes a step of SGD by −lr λ W, and not for biases, γ and β."""
    X, y, after = rng.normal(size=(8, 3)), rng.integers(0, 2, 8), []
    for l2 in (0.0, 0.3):
        model = MLP(3, [4], 2, batch_norm=True, dtype="float64")
        model.theta += 0.5
        before = model.theta.copy()
        how = {"loss": CrossEntropy(), "optimizer": SGD(0.1), "batch_size": 8, "progress": False}
        model.fit(X, y, epochs=1, l2=l2, **how)
        after.append(model.theta.copy())
    expected = np.zeros_like(before)
    expected[model.layout.weights] = -0.1 * 0.3 * before[model.layout.weights]
    np.testing.assert_allclose(after[1] - after[0], expected, rtol=1e-10, atol=1e-14)


# Optimizers


def test_adam_corrects_each_moment_by_its_own_rate():
    """For a constant gradient both corrected moments are exact, so every step has length lr."""
    theta, optimizer = np.zeros(2), Adam(lr=0.1, beta1=0.5, beta2=0.999, eps=1e-12)
    state = optimizer.init(theta)
    for step in range(1, 6):
        optimizer.step(theta, np.array([3.0, -0.02]), state)
        np.testing.assert_allclose(theta, [-0.1 * step, 0.1 * step], rtol=1e-9)


def test_nesterov_stores_the_look_ahead_point():
    """On f = θ²/2, ``φ = θ + μv`` with the classical rule, which has the gradient at θ + μv."""
    lr, momentum = 0.1, 0.9
    theta, v = 1.0, 0.0
    phi, optimizer = np.array([1.0]), Nesterov(lr, momentum)
    state = optimizer.init(phi)
    for _ in range(5):
        v = momentum * v - lr * (theta + momentum * v)
        theta = theta + v
        optimizer.step(phi, phi.copy(), state)
        assert phi[0] == pytest.approx(theta + momentum * v, rel=1e-12)
        assert optimizer.read_back(phi, state)[0] == pytest.approx(theta, rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (AdaGrad(lr=0.1, eps=0.5), -0.1 * (2 / 2.5 + 1 / (0.5 + math.sqrt(5)))),
        (
            RMSProp(lr=0.1, rho=0.9, eps=0.5),
            -0.1 * (2 / (math.sqrt(0.4) + 0.5) + 1 / (math.sqrt(0.46) + 0.5)),
        ),
    ],
    ids=repr,
)
def test_eps_is_outside_of_the_root(optimizer, expected):
    theta = np.zeros(1)
    state = optimizer.init(theta)
    for grad in (2.0, 1.0):
        optimizer.step(theta, np.array([grad]), state)
    assert theta[0] == pytest.approx(expected, rel=1e-12)


def test_adadelta_has_eps_inside_of_both_roots():
    theta, r, d, expected = np.zeros(1), 0.0, 0.0, 0.0
    optimizer = AdaDelta(rho=0.95, eps=0.1)
    state = optimizer.init(theta)
    for grad in (2.0, 1.0, -3.0):
        r = 0.95 * r + 0.05 * grad**2
        step = math.sqrt(d + 0.1) / math.sqrt(r + 0.1) * grad
        d = 0.95 * d + 0.05 * step**2
        expected -= step
        optimizer.step(theta, np.array([grad]), state)
    assert theta[0] == pytest.approx(expected, rel=1e-12)


# Batches, scaling and test functions


def test_short_last_batch_is_kept():
    sizes = [len(y) for _, y in xpnet.batches(np.zeros((10, 1)), np.arange(10), 4)]
    assert sizes == [4, 4, 2]


def test_constant_column_becomes_zero():
    X = np.array([[7.0, 1.0], [7.0, 3.0]])
    np.testing.assert_array_equal(Standardize.fit(X).apply(X), [[0, -1], [0, 1]])


def test_bowl_is_x_squared_over_20_plus_y_squared():
    value, gradient = Bowl().value_and_grad(np.array([-7.0, 2.0]))
    assert float(value) == pytest.approx(49 / 20 + 4)
    np.testing.assert_allclose(gradient, [-0.7, 4.0])


# The experiments


def example(name: str) -> ModuleType:
    """Return a script of the examples as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def experiment(monkeypatch):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no report")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield example("reference_experiment")
    sys.modules.pop("reference_report", None)


def test_vanishing_gradients_experiment(monkeypatch):
    """Five layers of width 100, sigmoid or relu, 1000 rows, θ of 0, N(0, 1) and N(0, 0.01)."""
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no pictures")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    classical = example("inside_the_layers")
    tried = [init for init, batch_norm in classical.SETTINGS.values() if not batch_norm]
    for init in (initializers.Zeros(), initializers.Normal(1), initializers.Normal(0.1)):
        assert init in tried
    for activation in (Sigmoid(), ReLU()):
        model = classical.network(activation, initializers.Normal(1), False)
        assert model.n_in == 100
        assert {(layer.n_out, layer.activation) for layer in model.layers} == {(100, activation)}
        assert len(model.layers) == 5
    text = (EXAMPLES / "inside_the_layers.py").read_text(encoding="utf-8")
    assert re.search(r"arguments\(.*rows=1000\)", text)


def test_optimizers_of_the_reference_experiment(experiment):
    expected = {
        "SGD": SGD(lr=0.01),
        "Momentum": Momentum(lr=0.01, momentum=0.95),
        "AdaGrad": AdaGrad(lr=0.01),
        "RMSProp": RMSProp(lr=0.001, rho=0.95),
        "AdaDelta": AdaDelta(rho=0.95),
        "Adam": Adam(lr=0.001),
    }
    assert expected == experiment.OPTIMIZERS


def test_protocol_of_the_reference_experiment(experiment, rng, monkeypatch):
    """784 inputs in [−1, 1], 200 sigmoid units, then batch norm, 10 outputs, batches of 64."""
    seen = {}

    def fit(self, X, y, **settings):
        seen.update(settings, model=self, X=X)
        self.loss = settings["loss"]
        return xpnet.History({"epoch": [1.0], "loss": [1.0]})

    monkeypatch.setattr(Sequential, "fit", fit)
    images = rng.integers(0, 256, (30, 784), dtype=np.uint8)
    data = Dataset(images, np.arange(30) % 10, images[:5], np.arange(5), name="none")
    options = argparse.Namespace(rows=20, epochs=20)
    for batch_norm in (False, True):
        experiment.train(data, "SGD", batch_norm, 0, options)
        middle = (BatchNorm(),) if batch_norm else ()
        assert seen["model"].layers == (Dense(200, Sigmoid()), *middle, Dense(10))
        assert (seen["model"].n_in, seen["batch_size"], seen["epochs"]) == (784, 64, 20)
        assert (seen["loss"], seen["optimizer"]) == (CrossEntropy(), SGD(lr=0.01))
        scaled = seen["model"].preprocessing.apply(np.array([[0, 255]] * 2, dtype=np.uint8))
        np.testing.assert_array_equal(scaled, [[-1, 1]] * 2)
        assert isinstance(seen["model"].preprocessing, MinMax)
        assert len({tuple(row) for row in seen["X"]}) == 20  # drawn without replacement


def test_defaults_of_the_reference_experiment():
    text = (EXAMPLES / "reference_experiment.py").read_text(encoding="utf-8")
    for option, value in (("rows", 20000), ("epochs", 20)):
        assert re.search(rf'"--{option}", type=int, default={value}\b', text)


def test_figures_of_the_source_on_mnist(experiment):
    report = sys.modules["reference_report"]
    assert report.SOURCE_ON_MNIST == {
        "SGD": "0.8951",
        "Momentum": "0.9604",
        "AdaGrad": "0.9503",
        "RMSProp": "0.9614",
        "AdaDelta": "0.9624",
        "Adam": "0.9667",
        "SGD + BN": "0.9258",
    }


@pytest.mark.parametrize(
    ("optimizer", "once"),
    [
        ("SGD", 0.812),
        ("Momentum", 0.858),
        ("AdaGrad", 0.861),
        ("RMSProp", 0.836),
        ("AdaDelta", 0.866),
        ("Adam", 0.867),
    ],
)
def test_fashion_mnist_agrees_with_the_source(optimizer, once):
    """The documented means of three seeds; two seeds differ by up to 0.016."""
    text = (ROOT / "docs" / "reference_experiment.md").read_text(encoding="utf-8")
    mean = float(re.search(rf"^\| {optimizer} \| \*\*([\d.]+)\*\*", text, re.MULTILINE)[1])
    assert mean > once - 0.008


def test_batch_norm_helps_sgd_on_fashion_mnist():
    text = (ROOT / "docs" / "reference_experiment.md").read_text(encoding="utf-8")
    plain, normalized = re.findall(r"^\| SGD(?: \+ BN)? \| \*\*([\d.]+)\*\*", text, re.MULTILINE)
    assert float(normalized) > float(plain)
