"""Layers without ``jvp`` and ``backward_jvp``: what works, and what says that it needs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnet import MSE, ArgumentError, CrossEntropy, Dense, HalfMSE, ReLU, Sequential, Tanh
from xpnet.derivatives import (
    check_gradients,
    empirical_fisher_vp,
    fisher_vp,
    gauss_newton_vp,
    gradient,
    hessian,
    hvp,
    input_jacobian,
    jvp,
    parameter_jacobian,
    vjp,
)
from xpnet.initializers import Ones
from xpnet.layers import LayerSpec, ParameterSpec
from xpnet.losses import Loss
from xpnet.minimize import LBFGS, NewtonCG

M, N = 6, 3


@dataclass(frozen=True)
class Square:
    """``Y = s ⊙ X²``, a user-defined layer."""

    def specs(self, n_in):
        return LayerSpec(n_in, (ParameterSpec("s", (n_in,), "scale", Ones()),))

    def forward(self, p, x, ctx):
        return p["s"] * x * x, x

    def backward(self, p, g, x, dy, ctx):
        g["s"][...] = ctx.ops.column_sum(dy * x * x)
        return 2.0 * dy * p["s"] * x


@dataclass(frozen=True)
class SquareOnce(Square):
    """`Square` with forward mode."""

    factor: float = 1.0

    def jvp(self, p, dp, x, dx, ctx):
        dy = None if dx is None else 2.0 * p["s"] * x * dx * self.factor
        if dp:
            dy = dp["s"] * x * x if dy is None else dy + dp["s"] * x * x
        return dy, dx


@dataclass(frozen=True)
class SquareTwice(SquareOnce):
    """`Square` with second derivatives."""

    curvature: float = 2.0

    def backward_jvp(self, p, dp, dg, x, dx, dy, ddy, ctx):
        dx = 0.0 * x if dx is None else dx
        dg["s"][...] = ctx.ops.column_sum(ddy * x * x + 2.0 * dy * x * dx)
        moved = ddy * p["s"] * x + dy * dp["s"] * x
        return 2.0 * dy * p["s"] * x, 2.0 * moved + self.curvature * dy * p["s"] * dx


@dataclass(frozen=True)
class Around:
    """A layer that contains another one."""

    inner: Square

    def specs(self, n_in):
        return self.inner.specs(n_in)

    def forward(self, p, x, ctx):
        return self.inner.forward(p, x, ctx)

    def backward(self, p, g, saved, dy, ctx):
        return self.inner.backward(p, g, saved, dy, ctx)

    def jvp(self, *arguments):
        return self.inner.jvp(*arguments)

    def backward_jvp(self, *arguments):
        return self.inner.backward_jvp(*arguments)


@dataclass(frozen=True)
class Uncurved(Loss):
    """A loss with a gradient alone."""

    def value_and_grad(self, output, target, weight=None, *, out=None):
        return MSE().value_and_grad(output, target, weight, out=out)

    def value(self, output, target, weight=None):
        return MSE().value(output, target, weight)


def model_of(layer, place=None):
    layers = [Dense(4, Tanh()), layer, Dense(2)]
    backend = "numpy" if place is None else place.backend
    return Sequential(layers, N, backend=backend, dtype="float64", rng=1)


def data(place=None):
    rng = np.random.default_rng(2)
    pair = rng.normal(size=(M, N)), rng.normal(size=(M, 2))
    return pair if place is None else tuple(map(place.array, pair))


def test_layer_without_jvp_is_trained_and_checked(place):
    model, (X, y) = model_of(Square(), place), data(place)
    report = check_gradients(model, X, y, HalfMSE(), entries=5)
    assert report.ok
    assert report.products == ()
    reason = "jvp and hvp, because Square (layers[1]) has no jvp and no backward_jvp"
    assert report.left_out == (reason,)
    assert str(report).splitlines()[-1] == f"left out: {reason}"
    settings = {"loss": HalfMSE(), "progress": False, "epochs": 2}
    for optimizer in (LBFGS(), NewtonCG()):  # of differences of gradients
        before = model.evaluate(X, y)["loss"] if model.trained else np.inf
        model.fit(X, y, optimizer=optimizer, **settings)
        assert model.evaluate(X, y)["loss"] < before
    v = place.host(vjp(model, X, place.array(np.ones((M, 2))))[1])
    ones = place.host(gradient(model, X, y, HalfMSE()))
    assert v.shape == ones.shape == (model.layout.size,)


NEEDS = {
    "jvp": (jvp, "jvp", {"dX": np.ones((M, N))}),
    "hvp": (hvp, "jvp and backward_jvp", {"v": 1}),
    "hessian": (hessian, "jvp and backward_jvp", {}),
    "gauss_newton_vp": (gauss_newton_vp, "jvp", {"v": 1}),
    "fisher_vp": (fisher_vp, "jvp", {"v": 1}),
    "empirical_fisher_vp": (empirical_fisher_vp, "jvp", {"v": 1}),
    "input_jacobian in forward mode": (input_jacobian, "jvp", {"mode": "forward"}),
    "parameter_jacobian in forward mode": (parameter_jacobian, "jvp", {"mode": "forward"}),
}


def call(name, model):
    function, _, given = NEEDS[name]
    X, y = data()
    given = {k: np.ones(model.layout.size) if k == "v" else v for k, v in given.items()}
    if name.endswith("mode") or name == "jvp":
        return function(model, X, **given)
    if name == "fisher_vp":
        return function(model, X, HalfMSE(), **given)
    return function(model, X, y, loss=HalfMSE(), **given)


@pytest.mark.parametrize("name", NEEDS)
def test_derivative_names_the_method_it_needs(name):
    methods = NEEDS[name][1]
    plural = "s" * (" and " in methods)
    it = "them" if plural else "it"
    with pytest.raises(ArgumentError) as error:
        call(name, model_of(Square()))
    assert str(error.value) == (
        f"Square must have the method{plural} {methods}, which {name} needs; got layers[1] without "
        f"{it}. Write {it} as xpnet.layers.TangentLayer describes."
    )
    with pytest.raises(ArgumentError, match=r"Square must .*; got one inside layers\[1\] without"):
        call(name, model_of(Around(Square())))
    assert np.isfinite(call(name, model_of(SquareTwice()))).all()
    assert np.isfinite(call(name, model_of(Around(SquareTwice())))).all()


@pytest.mark.parametrize("name", ["hvp", "hessian"])
def test_second_derivative_names_backward_jvp(name):
    message = f"SquareOnce must have the method backward_jvp, which {name} needs; got layers"
    with pytest.raises(ArgumentError, match=message):
        call(name, model_of(SquareOnce()))


# --- check_gradients checks these methods ---------------------------------------------------------


def products_of(layer, loss=None, place=None):
    return check_gradients(model_of(layer, place), *data(place), loss or HalfMSE(), entries=3)


def test_right_products_pass(place):
    report = products_of(SquareTwice(), place=place)
    assert report.ok
    assert [(check.name, check.ok) for check in report.products] == [("jvp", True), ("hvp", True)]
    assert [check.error < 1e-7 for check in report.products] == [True, True]
    assert report.left_out == ()
    lines = str(report).splitlines()[-2:]
    assert lines[0].startswith("jvp beside backward: error ")
    assert lines[1].startswith("hvp beside differences of gradients: error ")
    assert all(line.endswith(", right") for line in lines)


def test_missing_backward_jvp_leaves_out_hvp():
    report = products_of(SquareOnce())
    assert [check.name for check in report.products] == ["jvp"]
    assert report.left_out == ("hvp, because SquareOnce (layers[1]) has no backward_jvp",)


def test_missing_curvature_leaves_out_hvp():
    report = products_of(SquareTwice(), Uncurved())
    assert report.ok
    (reason,) = report.left_out
    assert reason.startswith("hvp, because loss must have a rule curvature for second derivatives")


WRONG = {
    "jvp": (SquareOnce(factor=1.001), r"^jvp must be .* by backward\. Check the jvp of"),
    "hvp": (SquareTwice(curvature=2.001), "^hvp must be .* Check the backward_jvp and curvature"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_product_is_found(name, place):
    layer, message = WRONG[name]
    report = products_of(layer, place=place)
    assert not report.ok
    assert [check.name for check in report.products if not check.ok] == [name]
    assert f", wrong: {report.products[-1].given:.6g} for" in str(report)
    assert all(check.n_wrong == 0 for check in report.checks)
    with pytest.raises(ArgumentError, match=message):
        report.raise_if_wrong()


@pytest.mark.parametrize("seed", range(5))
def test_kinks_do_not_make_products_wrong(seed):
    """Many units of ReLU, a row of zeros, and zero biases: units at the kink and near it."""
    rng = np.random.default_rng(seed)
    model = Sequential([Dense(60, ReLU()), Dense(40, ReLU()), Dense(3)], 5, rng=seed)
    X = rng.normal(size=(200, 5))
    X[:3] = 0.0
    report = check_gradients(model, X, rng.integers(3, size=200), CrossEntropy(), entries=2)
    assert [check.ok for check in report.products] == [True, True]
