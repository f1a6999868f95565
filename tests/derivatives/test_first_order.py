"""First derivatives of networks on every backend: the three modes against each other."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import (
    ELU,
    GELU,
    MLP,
    SELU,
    Activation,
    Affine,
    ArgumentError,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    Exponential,
    GELUTanh,
    HalfMSE,
    HardSigmoid,
    Identity,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from xpnet.derivatives import (
    check_gradients,
    gradient,
    hessian,
    input_jacobian,
    jvp,
    parameter_jacobian,
    vjp,
)
from xpnet.random import MaskStream

M, N, K = 4, 3, 3

ACTIVATIONS = {
    type(phi).__name__: [Dense(5, phi), Dense(K)]
    for phi in (
        *(Identity(), Affine(2.0, -0.5), Sigmoid(), Tanh(), ReLU(), LeakyReLU(0.1), ELU(0.7)),
        *(SELU(), Softplus(), GELU(), GELUTanh(), SiLU(), HardSigmoid(), Exponential(), Softmax()),
    )
}
# Batch norm is invariant to shifts and scales of its input, so a layer precedes it.
LAYERS = {
    "linear": [Dense(K)],
    "no bias, activation in output layer": [
        Dense(5, bias=False),
        Activation(GELU()),
        Dense(K, Tanh()),
    ],
    "batch norm": [Dense(5, bias=False), BatchNorm(), Activation(Tanh()), Dense(K)],
    "batch norm first": [BatchNorm(momentum=None), Activation(Softmax()), Dense(K)],
    "dropout": [Dense(6, Tanh()), Dropout(0.4), Dense(K)],
    "dropout first": [Dropout(0.4), Activation(SiLU()), Dense(K, Sigmoid())],
    "all": [
        Dense(6, GELU()),
        BatchNorm(),
        Dropout(0.3),
        Dense(4, Sigmoid()),
        BatchNorm(),
        Dense(K),
    ],
}
NETWORKS = ACTIVATIONS | LAYERS
PASSES = [
    (name, training) for name in NETWORKS for training in (False, True)[: 1 + (name in LAYERS)]
]
every_network = pytest.mark.parametrize("name", NETWORKS)
every_pass = pytest.mark.parametrize(
    ("name", "training"),
    PASSES,
    ids=[f"{n}-{'training' if t else 'evaluation'}" for n, t in PASSES],
)


class Numpy:
    """NumPy in float64, for tests that need no other backend."""

    backend = "numpy"
    array = staticmethod(np.array)
    writable = staticmethod(np.array)


def network(name, place, dtype="float64"):
    """Return a model with random biases, γ, β and statistics, since defaults would hide errors."""
    rng = np.random.default_rng(3)
    model = Sequential(NETWORKS[name], N, backend=place.backend, dtype=dtype)
    model.theta = rng.normal(scale=0.7, size=model.layout.size)
    model.statistics[...] = place.writable(rng.uniform(0.5, 2.0, model.statistics.shape))
    return model


def drawn(place, *shape, seed=0):
    return place.array(np.random.default_rng(100 + seed).normal(size=shape))


def close(got, expected, tolerance):
    """Compare with a tolerance relative to the largest expected element."""
    scale = max(1e-3, np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


# --- forward and reverse mode ---------------------------------------------------------------------


@every_pass
def test_forward_and_reverse_mode_agree(name, training, place):
    model = network(name, place)
    X, dX, dy = (drawn(place, M, n, seed=i) for i, n in enumerate((N, N, K)))
    v = drawn(place, model.layout.size, seed=9)
    options = {"training": training, "seed": 6}
    directional = place.host(jvp(model, X, dX, v, **options))
    back_X, back_theta = (place.host(g) for g in vjp(model, X, dy, **options))
    forward = np.sum(place.host(dy) * directional)
    reverse = np.sum(back_X * place.host(dX)) + np.sum(back_theta * place.host(v))
    assert directional.shape == (M, K)
    assert forward == pytest.approx(reverse, rel=1e-12, abs=1e-12)


@every_pass
def test_forward_mode_agrees_with_differences(name, training, place):
    model = network(name, place)
    X, dX = drawn(place, M, N), drawn(place, M, N, seed=1)
    v = drawn(place, model.layout.size, seed=9)
    options = {"training": training, "seed": 6}
    directional = place.host(jvp(model, X, dX, v, **options))
    h = 1e-5
    ends = [place.host(output_of(model, X + s * dX, model.theta + s * v, options)) for s in (h, -h)]
    close(directional, (ends[0] - ends[1]) / (2 * h), 1e-7)


def output_of(model, X, theta, options):
    """Return the output in either mode, without updating the running statistics."""
    contexts = model.network.contexts(
        model.backend,
        model.statistics,
        training=options["training"],
        update_statistics=False,
        masks=MaskStream(options["seed"]),
    )
    return model.network.forward(model.network.by_layer(theta), X, contexts)[0]


@every_pass
def test_gradient_agrees_with_forward_mode(name, training, place):
    """Spec §1: forward mode gives the gradient of backpropagation, one direction at a time."""
    model, loss = network(name, place), CrossEntropy()
    X, y = drawn(place, M, N), place.array([0, 2, 1, 2])
    options = {"training": training, "seed": 6}
    reverse = place.host(gradient(model, X, y, loss, **options))
    _, dy = loss.value_and_grad(output_of(model, X, model.theta, options), y)
    size = model.layout.size
    some = range(size) if place.backend.name == "numpy" else range(0, size, 5)
    for j in some:
        directional = jvp(model, X, dtheta=place.array(np.eye(size)[j]), **options)
        forward = np.sum(place.host(dy) * place.host(directional))
        assert forward == pytest.approx(reverse[j], rel=1e-12, abs=1e-13)


@every_pass
def test_gradient_agrees_with_differences(name, training, place):
    model = network(name, place)
    X, y, weight = drawn(place, M, N), place.array([0, 2, 1, 2]), place.array([0.0, 2, 0.5, 1])
    entries = None if place.backend.name == "numpy" else 4
    report = check_gradients(
        model, X, y, CrossEntropy(), weight=weight, training=training, seed=6, entries=entries
    )
    report.raise_if_wrong()


@pytest.mark.parametrize("name", [n for n in NETWORKS if "dropout" not in n and n != "all"])
def test_gradient_equals_that_of_training(name, place):
    """Without dropout, since training draws a new mask in each call."""
    model, loss = network(name, place), CrossEntropy()
    X, y, weight = drawn(place, M, N), place.array([0, 2, 1, 2]), place.array([0.0, 2, 0.5, 1])
    found = gradient(model, X, y, loss, weight=weight, training=True)
    _, expected = model.value_and_grad(X, y, loss, weight=weight)
    close(place.host(found), place.host(expected), 1e-14)


# --- Jacobians ------------------------------------------------------------------------------------


@every_network
def test_input_jacobian_modes_agree(name, place):
    model, X = network(name, place), drawn(place, M, N)
    reverse, forward, numerical = (
        place.host(input_jacobian(model, X, mode)) for mode in ("reverse", "forward", "numerical")
    )
    assert reverse.shape == (M, K, N)
    close(forward, reverse, 1e-12)
    close(numerical, reverse, 1e-8)


@every_network
def test_parameter_jacobian_modes_agree(name, place):
    model, X = network(name, place), drawn(place, M, N)
    reverse = place.host(parameter_jacobian(model, X))
    assert reverse.shape == (M, K, model.layout.size)
    dy, v = drawn(place, M, K, seed=1), drawn(place, model.layout.size, seed=2)
    along = np.einsum("ikp,p->ik", reverse, place.host(v))
    close(place.host(jvp(model, X, dtheta=v)), along, 1e-12)
    back = np.einsum("ik,ikp->p", place.host(dy), reverse)
    close(place.host(vjp(model, X, dy)[1]), back, 1e-12)
    if place.backend.name == "numpy" or name in LAYERS:
        close(place.host(parameter_jacobian(model, X, "forward")), reverse, 1e-12)
        close(place.host(parameter_jacobian(model, X, "numerical")), reverse, 1e-8)


def test_input_jacobian_is_product_over_layers(place):
    """Spec §1: ``diag φ'(z^L) W^Lᵀ … diag φ'(z^1) W^1ᵀ`` for each row."""
    model = Sequential([Dense(4, Tanh()), Dense(2, Sigmoid())], N, backend=place.backend)
    rng = np.random.default_rng(1)
    W1, b1, W2, b2 = (rng.normal(size=s) for s in ((N, 4), (4,), (4, 2), (2,)))
    model.theta = np.concatenate([W1.ravel(), W2.ravel(), b1, b2])
    X = rng.normal(size=(M, N))
    for row, jacobian in zip(X, place.host(input_jacobian(model, place.array(X))), strict=True):
        a1 = np.tanh(row @ W1 + b1)
        a2 = 1 / (1 + np.exp(-(a1 @ W2 + b2)))
        expected = np.diag(a2 * (1 - a2)) @ W2.T @ np.diag(1 - a1**2) @ W1.T
        close(jacobian, expected, 1e-14)


def test_input_jacobian_agrees_with_pytorch(torch):
    model = network("Tanh", Numpy)
    X = drawn(Numpy, M, N)
    W1, W2, b1, b2 = (
        torch.tensor(model.layout.views(model.theta)[f"layers.{i}.{name}"])
        for name in ("weight", "bias")
        for i in (0, 1)
    )

    def f(x):
        return torch.tanh(x @ W1 + b1) @ W2 + b2

    for row, jacobian in zip(X, input_jacobian(model, X), strict=True):
        expected = torch.autograd.functional.jacobian(f, torch.tensor(row))
        close(jacobian, expected.numpy(), 1e-14)


# --- side effects ---------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_model_is_not_modified(training, place):
    model = network("all", place)
    X, y = drawn(place, M, N), place.array([0, 2, 1, 2])
    before = [place.host(x).copy() for x in (model.theta, model.grad, model.statistics)]
    first = gradient(model, X, y, CrossEntropy(), training=training)
    second = gradient(model, X, y, CrossEntropy(), training=training)
    check_gradients(model, X, y, CrossEntropy(), training=training, entries=1)
    after = [place.host(x) for x in (model.theta, model.grad, model.statistics)]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert first is not second
    np.testing.assert_array_equal(place.host(first), place.host(second))


def test_theta_and_seed_are_used(place):
    model, y = network("dropout", place), place.array([0, 2, 1, 2])
    X, theta = drawn(place, M, N), drawn(place, model.layout.size, seed=4)
    there = place.host(gradient(model, X, y, CrossEntropy(), theta))
    here = place.host(gradient(model, X, y, CrossEntropy()))
    model.theta = theta
    np.testing.assert_array_equal(there, place.host(gradient(model, X, y, CrossEntropy())))
    assert not np.allclose(there, here)
    a, b = (place.host(jvp(model, X, dtheta=theta, training=True, seed=seed)) for seed in (0, 1))
    assert not np.allclose(a, b)


def test_float32_results_are_float32(place32):
    model, wide = network("all", place32, "float32"), network("all", Numpy)
    X, dX, dy = (np.random.default_rng(i).normal(size=(M, n)) for i, n in enumerate((N, N, K)))
    v = np.random.default_rng(5).normal(size=model.layout.size)
    pairs = [
        (jvp(model, X, dX, v), jvp(wide, X, dX, v)),
        *zip(vjp(model, X, dy), vjp(wide, X, dy), strict=True),
        (input_jacobian(model, X), input_jacobian(wide, X)),
        (
            gradient(model, X, [0, 1, 2, 0], CrossEntropy()),
            gradient(wide, X, [0, 1, 2, 0], CrossEntropy()),
        ),
    ]
    for got, expected in pairs:
        assert got.dtype == place32.backend.dtype
        close(place32.host(got), expected, 1e-4)


def test_network_without_parameters(place):
    model = Sequential([Activation(Tanh())], N, backend=place.backend)
    X, dX = drawn(place, M, N), drawn(place, M, N, seed=1)
    derivative = 1 - np.tanh(place.host(X)) ** 2
    close(place.host(jvp(model, X, dX)), derivative * place.host(dX), 1e-14)
    assert place.host(jvp(model, X)).tolist() == np.zeros((M, N)).tolist()
    assert vjp(model, X, dX)[1].shape == (0,)
    for mode in ("reverse", "forward", "numerical"):
        assert parameter_jacobian(model, X, mode).shape == (M, N, 0)
        diagonal = np.einsum("ijk,jk->ijk", np.stack([derivative] * N, axis=2), np.eye(N))
        close(place.host(input_jacobian(model, X, mode)), diagonal, 1e-8)
    assert hessian(model, X, dX, HalfMSE()).shape == (0, 0)


def test_results_do_not_alias_arguments(place):
    """Also for layers that do nothing: writing to a result must not modify an argument."""
    model = Sequential([Activation(Identity()), Dropout(0.5)], N, backend=place.backend)
    X, given = drawn(place, M, N), place.writable(np.ones((M, N)))
    for result in (jvp(model, X, given), vjp(model, X, given)[0]):
        result[...] = 7
        assert place.host(given).tolist() == np.ones((M, N)).tolist()


# --- invalid input --------------------------------------------------------------------------------

MODEL = MLP(N, [], K, dtype="float64")
X0, Y0, V0 = np.ones((M, N)), np.zeros(M, dtype=int), np.zeros(12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gradient("mlp", X0, Y0, CrossEntropy()),
            "model must be a model with parameters, such as MLP(...); got 'mlp'.",
        ),
        (
            lambda: gradient(MODEL.network, X0, Y0, CrossEntropy()),
            "model must be a model with parameters, such as MLP(...); got a Network. "
            "Give the model: a network alone has no parameters.",
        ),
        (
            lambda: gradient(MODEL, X0[:, :2], Y0, CrossEntropy()),
            "X must have 3 columns, as many as the input has; got a float64 array of shape (4, 2).",
        ),
        (
            lambda: gradient(MODEL, X0 * np.nan, Y0, CrossEntropy()),
            "X must be finite; got nan in row 0, column 0.",
        ),
        (
            lambda: gradient(MODEL, X0, Y0[:3], CrossEntropy()),
            "y must have the shape (4,) or (4, 3); got an int64 array of shape (3,). "
            "It needs one row for each row of X.",
        ),
        (
            lambda: gradient(MODEL, X0, Y0, CrossEntropy),
            "loss must be a Loss; got <class 'xpnet.losses.classification.CrossEntropy'>. "
            "Write CrossEntropy() to make one.",
        ),
        (
            lambda: gradient(MODEL, X0, Y0, CrossEntropy(), weight=[1, 1, -1, 1]),
            "weight must be at least 0; got -1 in row 2.",
        ),
        (
            lambda: gradient(MODEL, X0, Y0, CrossEntropy(), np.zeros(3)),
            "theta must have the shape (12,), one number a parameter; "
            "got a float64 array of shape (3,).",
        ),
        (
            lambda: jvp(MODEL, X0, dtheta=np.zeros((12, 1))),
            "dtheta must have the shape (12,), one number a parameter; "
            "got a float64 array of shape (12, 1).",
        ),
        (
            lambda: jvp(MODEL, X0, np.zeros(3)),
            "dX must have the shape of X, (4, 3); got a float64 array of shape (3,).",
        ),
        (
            lambda: vjp(MODEL, X0, np.zeros((4, 2))),
            "dy must have the shape of the output, (4, 3); got a float64 array of shape (4, 2).",
        ),
        (
            lambda: input_jacobian(MODEL, X0, "revers"),
            "mode must be one of forward, numerical, reverse; got 'revers'. "
            "Did you mean 'reverse'?",
        ),
        (
            lambda: input_jacobian(MODEL, X0, max_bytes=100),
            "the Jacobians must fit into 100 bytes; got 4 × 3 × 3 numbers, 288 bytes. "
            "Take fewer rows, or products with jvp and vjp. Or allow more with max_bytes=.",
        ),
        (
            lambda: parameter_jacobian(MLP(784, [2000], 1000), np.zeros((64, 784))),
            "the Jacobians must fit into 1 GiB; got 64 × 1,000 × 3,571,000 numbers, 851 GiB. "
            "Take fewer rows, or products with jvp and vjp. Or allow more with max_bytes=.",
        ),
        (
            lambda: gradient(Sequential([Dense(2, Step())], N), X0, Y0, CrossEntropy()),
            "activation must be differentiable to train; got Step(), with a derivative of 0 almost "
            "everywhere. Use Sigmoid() or ReLU(), or the perceptron's own rule.",
        ),
        (
            lambda: jvp(
                Sequential([BatchNorm(), Dense(2)], N), X0[:1], dtheta=np.zeros(14), training=True
            ),
            "a training batch must have at least 2 rows under batch norm, which normalizes by the "
            "batch; got 1 row. Use larger batches, or drop the last short one (drop_last=True).",
        ),
    ],
)
def test_invalid_argument_raises(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value) == message
