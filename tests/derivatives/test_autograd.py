"""PyTorch differentiates `Sequential.forward` on its backend, also derivatives of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpnet
from xpnet import (
    GELU,
    MLP,
    MSE,
    Activation,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from xpnet.derivatives import gradient, hvp, jvp, vjp

pytestmark = pytest.mark.backend("torch")

LAYERS = {
    "tanh": [Dense(8, Tanh()), Dense(7, Tanh()), Dense(2)],
    "smooth": [Dense(8, SiLU()), Dense(7, GELU()), Dense(6, Softplus()), Dense(5, Sigmoid())],
    "norm": [Dense(8, Tanh()), BatchNorm(), Dropout(0.3), xpnet.LayerNorm(), Dense(2)],
    "gates": [xpnet.GatedDense(6), xpnet.Maxout(4), xpnet.PReLU(), xpnet.Scale(), Dense(3)],
    "no parameters": [Activation(Tanh())],
}
every_network = pytest.mark.parametrize("name", LAYERS)


def model_of(name, **settings):
    model = Sequential(LAYERS[name], 3, **{"backend": "torch", "dtype": "float64"} | settings)
    rng = np.random.default_rng(5)
    model.theta = 0.5 * rng.normal(size=model.layout.size)
    if name == "norm":
        model.statistics[...] = model.backend.asarray(rng.uniform(0.5, 2.0, model.statistics.shape))
    return model


def tensors(torch, *shapes):
    """Random tensors, of which a part of the first row is 0."""
    rng = np.random.default_rng(6)
    found = [torch.tensor(rng.normal(size=shape)) for shape in shapes]
    found[0][0, :2] = 0.0
    return found


def close(one, other, tolerance=1e-12):
    np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), tolerance, tolerance)


@every_network
@pytest.mark.parametrize("rows", [5, 65, 5000])  # without buffers, with buffers, in chunks
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_vjp(name, rows, training, torch):
    model = model_of(name)
    X, dy = tensors(torch, (rows, 3), (rows, model.n_out))
    X.requires_grad_()
    theta = model.theta.clone().requires_grad_()
    output = model.forward(X, theta=theta, training=training, seed=3)
    found = torch.autograd.grad(output, [X, theta], dy, allow_unused=True)
    expected = vjp(model, X, dy, training=training, seed=3)
    for one, other in zip(found, expected, strict=True):
        if other.shape[0]:
            close(one, other)
    plain = model.forward(X.detach(), training=training, seed=3)
    close(output, plain)
    assert not plain.requires_grad
    assert not model.theta.requires_grad


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "no parameters"])
@pytest.mark.parametrize("loss", [MSE(), CrossEntropy()])
def test_second_derivatives_are_those_of_hvp(name, loss, torch):
    model = model_of(name)
    X, y, v = tensors(torch, (20, 3), (20, model.n_out), (model.layout.size,))
    if isinstance(loss, CrossEntropy):
        y = torch.arange(20) % model.n_out
    theta = model.theta.clone().requires_grad_()
    value = loss.value(model.forward(X, theta=theta), y)
    (grad,) = torch.autograd.grad(value, theta, create_graph=True)
    (product,) = torch.autograd.grad(grad @ v, theta)
    close(grad, gradient(model, X, y, loss))
    close(product, hvp(model, X, y, loss, v))


@every_network
def test_forward_mode_by_two_backward_passes(name, torch):
    model = model_of(name)
    X, dX, dy = tensors(torch, (6, 3), (6, 3), (6, model.n_out))
    X.requires_grad_()
    dy.requires_grad_()
    (back,) = torch.autograd.grad(model.forward(X), X, dy, create_graph=True)
    (found,) = torch.autograd.grad(back, dy, dX)
    close(found, jvp(model, X, dX=dX))


def by_hand(torch, model, theta, x, functions):
    """The output of `Dense` layers, computed by PyTorch's functions."""
    views = model.layout.views(theta)
    for i, function in enumerate(functions):
        x = function(x @ views[f"layers.{i}.weight"] + views[f"layers.{i}.bias"])
    return x


CASES = {
    "tanh": (Tanh(), "tanh"),
    "sigmoid": (Sigmoid(), "sigmoid"),
    "softplus": (Softplus(), "softplus"),
    "silu": (SiLU(), "silu"),
    "gelu": (GELU(), "gelu"),
}


@pytest.mark.parametrize("name", CASES)
def test_residual_of_a_differential_equation(name, torch):
    """``∇_θ mean (u_t + u u_x − ν u_xx)²``, a third derivative, beside PyTorch's own network.

    The biases are 0 and so is a point, as at the start of a training.
    """
    activation, function = CASES[name]
    model = MLP(2, [6, 5], 1, activation=activation, backend="torch", dtype="float64", rng=1)
    functions = [getattr(torch.nn.functional, function)] * 2 + [lambda z: z]
    (points,) = tensors(torch, (40, 2))

    def gradient_of(evaluate):
        X = points.clone().requires_grad_()
        theta = model.theta.clone().requires_grad_()
        u = evaluate(X, theta)
        (du,) = torch.autograd.grad(u.sum(), X, create_graph=True)
        (d2u,) = torch.autograd.grad(du[:, 1].sum(), X, create_graph=True)
        residual = du[:, 0] + u[:, 0] * du[:, 1] - 0.3 * d2u[:, 1]
        (grad,) = torch.autograd.grad((residual**2).mean(), theta)
        return residual, grad

    found = gradient_of(lambda X, theta: model.forward(X, theta=theta))
    expected = gradient_of(lambda X, theta: by_hand(torch, model, theta, X, functions))
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def test_later_passes_leave_the_graph_of_earlier_ones(torch):
    model = model_of("norm")
    X, other = tensors(torch, (100, 3), (100, 3))
    X.requires_grad_()
    dy = torch.ones(100, 2, dtype=torch.float64)
    output = model.forward(X)
    kept = output.detach().clone()
    for training in (False, True):
        model.forward(other, training=training)
        model.forward(other.clone().requires_grad_(), training=training)
    model.value_and_grad(other, dy, MSE())
    close(output, kept, 0.0)
    (found,) = torch.autograd.grad(output, X, dy)
    close(found, vjp(model_of("norm"), X, dy)[0])


def test_graph_is_kept_of_what_requires_it_alone(torch):
    model = model_of("tanh")
    (X,) = tensors(torch, (5, 3))
    theta = model.theta.clone().requires_grad_()
    assert not model.forward(X).requires_grad
    assert not model.forward(X, theta=theta.detach()).requires_grad
    assert model.forward(X, theta=theta).requires_grad
    assert model.forward(X.clone().requires_grad_()).requires_grad
    assert model.forward(X.numpy(), theta=theta).requires_grad
    with torch.no_grad():
        assert not model.forward(X, theta=theta).requires_grad
    for output in (model.predict(X.clone().requires_grad_()), model.theta):
        assert not output.requires_grad
    loss, grad = model.value_and_grad(X.requires_grad_(), X[:, :2], MSE())
    assert not loss.requires_grad
    assert not grad.requires_grad


def test_other_dtypes_are_converted_in_the_graph(torch):
    model = model_of("tanh", dtype="float32")
    X = torch.tensor([[0.5, 1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(model.forward(X).sum(), X)
    assert grad.dtype == torch.float64
    ones = torch.ones(1, 2)
    np.testing.assert_allclose(grad.numpy(), vjp(model, X, ones)[0].numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("X", "theta", "message"),
    [
        ([[math.nan, 0.0, 0.0]], None, "X must be finite"),
        ([[0.0, 0.0]], None, "X must have"),
        (None, [1.0], r"theta must have the shape"),
    ],
)
def test_bad_input_is_refused_by_name(X, theta, message, torch):
    model = model_of("tanh")
    X = torch.tensor([[1.0, 2.0, 3.0]] if X is None else X, requires_grad=True)
    theta = None if theta is None else torch.tensor(theta, requires_grad=True)
    with pytest.raises(xpnet.ArgumentError, match=message):
        model.forward(X, theta=theta)


def test_identity_returns_a_new_tensor(torch):
    model = Sequential([Activation(xpnet.Identity())], 2, backend="torch", dtype="float64")
    X = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    output = model.forward(X)
    assert output.data_ptr() != X.data_ptr()
    assert torch.autograd.grad(output.sum(), X)[0].tolist() == [[1.0, 1.0]] * 3
