"""Initializers: the moments and bounds of their distributions, and invalid arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from inspect import signature

import numpy as np
import pytest
from helpers.nested_layers import Chain

from xpnet import Dense, Sequential
from xpnet.errors import ArgumentError
from xpnet.initializers import (
    TRUNCATED_STD,
    Constant,
    FanInUniform,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LecunNormal,
    LecunUniform,
    Normal,
    Ones,
    Orthogonal,
    Uniform,
    Zeros,
)
from xpnet.layers import LayerSpec, ParameterSpec

N_IN, N_OUT = 400, 250

# The initializer, the variance of a (400, 250) weight, and its bound in standard deviations.
UNIFORM = math.sqrt(3.0)
CUT = 2.0 / TRUNCATED_STD
TABLE = {
    "uniform": (Uniform(), 1 / 3, UNIFORM),
    "uniform-b": (Uniform(0.2), 0.2**2 / 3, UNIFORM),
    "normal": (Normal(), 1.0, None),
    "normal-std": (Normal(0.01), 1e-4, None),
    "normal-truncated": (Normal(0.01, truncated=True), 1e-4, CUT),
    "fan_in_uniform": (FanInUniform(), 1 / (3 * N_IN), UNIFORM),
    "lecun_uniform": (LecunUniform(), 1 / N_IN, UNIFORM),
    "lecun_normal": (LecunNormal(), 1 / N_IN, None),
    "lecun_normal-truncated": (LecunNormal(truncated=True), 1 / N_IN, CUT),
    "glorot_uniform": (GlorotUniform(), 2 / (N_IN + N_OUT), UNIFORM),
    "glorot_uniform-gain": (GlorotUniform(gain=3.0), 9 * 2 / (N_IN + N_OUT), UNIFORM),
    "glorot_normal": (GlorotNormal(), 2 / (N_IN + N_OUT), None),
    "glorot_normal-gain": (GlorotNormal(3.0, truncated=True), 9 * 2 / (N_IN + N_OUT), CUT),
    "he_uniform": (HeUniform(), 2 / N_IN, UNIFORM),
    "he_normal": (HeNormal(), 2 / N_IN, None),
    "he_normal-truncated": (HeNormal(truncated=True), 2 / N_IN, CUT),
}
RANDOM = [row[0] for row in TABLE.values()] + [Orthogonal()]


@pytest.mark.parametrize("name", TABLE)
def test_mean_and_variance_agree_with_the_table(name, rng):
    init, variance, _ = TABLE[name]
    weight = init.draw(rng, (N_IN, N_OUT))
    # Within five standard errors; an uncorrected truncation would be 23 % off.
    assert abs(weight.mean()) < 5 * math.sqrt(variance / weight.size)
    assert weight.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / weight.size))


@pytest.mark.parametrize("name", TABLE)
def test_values_fill_their_bounds(name, rng):
    init, variance, bound = TABLE[name]
    largest = np.abs(init.draw(rng, (N_IN, N_OUT))).max() / math.sqrt(variance)
    if bound is None:
        assert largest > 3.5
    else:
        assert 0.995 * bound < largest <= bound * (1 + 1e-12)


def test_truncated_std_agrees_with_the_known_value():
    assert pytest.approx(0.8796256610342398, rel=1e-15) == TRUNCATED_STD


def test_constant_initializers_fill_the_array(rng):
    before = rng.bit_generator.state
    np.testing.assert_array_equal(Zeros().draw(rng, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(Ones().draw(rng, (3,)), np.ones(3))
    np.testing.assert_array_equal(Constant(-2).draw(rng, (1, 2)), [[-2.0, -2.0]])
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("init", [Zeros(), Ones(), Constant(3), *RANDOM], ids=repr)
def test_draw_returns_a_new_float64_array(init, rng):
    weight = init.draw(rng, (5, 3))
    assert isinstance(weight, np.ndarray)
    assert (weight.dtype, weight.shape) == (np.float64, (5, 3))
    assert weight.flags.writeable
    assert weight.flags.c_contiguous


@pytest.mark.parametrize("init", RANDOM, ids=repr)
def test_draw_depends_on_the_seed_alone(init):
    first, again = np.random.default_rng(7), np.random.default_rng(7)
    weight = init.draw(first, (6, 4))
    np.testing.assert_array_equal(weight, init.draw(again, (6, 4)))
    assert not np.array_equal(weight, init.draw(first, (6, 4)))


def test_fans_of_a_vector_are_its_size(rng):
    largest = np.abs(GlorotUniform().draw(rng, (5000,))).max()
    assert largest == pytest.approx(math.sqrt(6 / 10000), rel=1e-2)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 6)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape, rng):
    weight = Orthogonal(gain=1.5).draw(rng, shape)
    gram = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
    np.testing.assert_allclose(gram, 2.25 * np.eye(min(shape)), atol=1e-12)


def test_orthogonal_matrices_are_uniform(rng):
    """If the signs of R were not fixed, the first entry of Q would have only one sign."""
    draws = np.stack([Orthogonal().draw(rng, (3, 3)) for _ in range(300)])
    # Every entry has mean 0 and variance 1/3: five standard errors.
    assert np.abs(draws.mean(axis=0)).max() < 5 * math.sqrt(1 / 3 / 300)
    assert 0.3 < (np.linalg.det(draws) > 0).mean() < 0.7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(0), "b must be a finite number, above 0; got 0."),
        (lambda: Uniform(math.inf), "b must be a finite number, above 0; got inf."),
        (lambda: Normal(-1.0), "std must be a finite number, above 0; got -1.0."),
        (lambda: Normal(1.0, truncated=1), "truncated must be a bool; got 1."),
        (lambda: LecunNormal(0.1), "truncated must be a bool; got 0.1."),
        (lambda: HeNormal("yes"), "truncated must be a bool; got 'yes'."),
        (lambda: GlorotUniform(0.0), "gain must be a finite number, above 0; got 0.0."),
        (lambda: GlorotNormal(None), "gain must be a finite number, above 0; got None."),
        (lambda: GlorotNormal(1.0, 2), "truncated must be a bool; got 2."),
        (lambda: Orthogonal(math.nan), "gain must be a finite number, above 0; got nan."),
        (lambda: Constant("0"), "value must be a finite number; got '0'."),
        (
            lambda: Orthogonal().draw(np.random.default_rng(0), (3,)),
            "shape must have two axes for an orthogonal matrix; got (3,).",
        ),
        (
            lambda: HeNormal().draw(np.random.default_rng(0), (2, 3, 4)),
            "shape must have one or two axes, none of them empty; got (2, 3, 4).",
        ),
        (
            lambda: HeUniform().draw(np.random.default_rng(0), (0, 3)),
            "shape must have one or two axes, none of them empty; got (0, 3).",
        ),
    ],
)
def test_invalid_arguments_are_refused(make, message):
    with pytest.raises(ArgumentError) as error:
        make()
    assert str(error.value) == message


SCALED = [row[0] for row in TABLE.values() if "fans" in signature(row[0].draw).parameters]


def test_scaled_initializers_take_fans():
    assert len({type(init) for init in SCALED}) == 7


@pytest.mark.parametrize("init", SCALED, ids=repr)
@pytest.mark.parametrize("hidden", [25, 3000])
def test_bias_has_the_fans_of_its_layer(init, hidden):
    """A bias is drawn for the units of its layer, and weights after it are drawn as before."""
    model = Sequential([Dense(hidden, bias_init=init), Dense(2)], n_in=N_IN, rng=1)
    bias = model.layout.views(model.theta)["layers.0.bias"]
    std = init.draw(np.random.default_rng(0), (N_IN, hidden)).std()
    assert bias.std() == pytest.approx(std, rel=5 / math.sqrt(2 * hidden))


class Inherited(LecunNormal):
    """A user-defined initializer that inherits its method."""


class OwnUniform(FanInUniform):
    """A user-defined initializer with the two arguments of earlier versions."""

    def draw(self, rng, shape):
        return np.full(shape, 0.5)


class OwnFans(Initializer):
    """A user-defined initializer that returns the fans."""

    def draw(self, rng, shape, fans=None):
        return np.full(shape, 10.0 * (fans or shape)[0] + (fans or shape)[-1])


def test_inherited_initializers_have_the_fans():
    model = Sequential([Dense(3000, bias_init=Inherited())], n_in=N_IN)
    std = model.layout.views(model.theta)["layers.0.bias"].std()
    assert std == pytest.approx(1 / math.sqrt(N_IN), rel=0.1)


def test_bias_takes_initializers_of_two_arguments():
    model = Sequential([Dense(3, bias_init=OwnUniform())], n_in=5)
    assert (model.layout.views(model.theta)["layers.0.bias"] == 0.5).all()


@dataclass(frozen=True)
class Declared:
    """A layer with given parameters, which is never evaluated."""

    parameters: tuple[tuple[object, ...], ...]
    n_out: int = 3

    def specs(self, n_in):
        made = (ParameterSpec(*each[:3], OwnFans(), *each[3:]) for each in self.parameters)
        return LayerSpec(self.n_out, tuple(made))


WEIGHT, BIAS = ("weight", (7, 3), "weight"), ("bias", (3,), "bias")
DENSE = Dense(3, weight_init=OwnFans(), bias_init=OwnFans())
LAYERS = {
    "Dense": (DENSE, {"weight": (7, 3), "bias": (7, 3)}),
    "bias first": (Declared((BIAS, WEIGHT)), {"weight": (7, 3), "bias": (7, 3)}),
    "no weight": (Declared((BIAS,)), {"bias": (7, 3)}),
    "weight of three axes": (Declared((("weight", (2, 7, 3), "weight"), BIAS)), {"bias": (7, 3)}),
    "two biases": (
        Declared((("b", (20,), "bias", (7, 20)), ("c", (3,), "bias", (20, 3)))),
        {"b": (7, 20), "c": (20, 3)},
    ),
    "bias of three axes": (Declared((("b", (1, 1, 3), "bias"),)), {"b": (7, 3)}),
    "weight with fans": (Declared((("w", (3, 7), "weight", (7, 3)),)), {"w": (7, 3)}),
    "shift without fans": (Declared((("shift", (3,), "shift"),)), {"shift": (3, 3)}),
    "shift with fans": (Declared((("shift", (3,), "shift", (7, 3)),)), {"shift": (7, 3)}),
    "nested": (
        Chain((Dense(4, bias_init=OwnFans()), Declared((BIAS,)), Chain((DENSE,)))),
        {"0_bias": (7, 4), "1_bias": (4, 3), "2_0_bias": (3, 3), "2_0_weight": (3, 3)},
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_bias_of_any_layer_has_its_fans(name):
    layer, expected = LAYERS[name]
    model = Sequential([layer], n_in=7)
    views = model.layout.views(model.theta)
    for parameter, (fan_in, fan_out) in expected.items():
        assert (views[f"layers.0.{parameter}"] == 10 * fan_in + fan_out).all()
