"""Numerical gradients on every backend: their error, the step, and invalid input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.backend import namespace_of
from xpnet.derivatives import complex_step_gradient, numerical_gradient
from xpnet.errors import ArgumentError


def bumps(x):
    """Return ``Σ e^(sin x) + x_0 x_1``, a function with a known gradient."""
    xp = namespace_of(x)
    return xp.sum(xp.exp(xp.sin(x))) + x[0] * x[1]


def gradient_of_bumps(x):
    grad = np.cos(x) * np.exp(np.sin(x))
    grad[:2] += x[1::-1]
    return grad


def test_central_differences_keep_two_thirds_of_digits(place, rng):
    x = rng.normal(scale=3.0, size=6)
    found = numerical_gradient(bumps, place.array(x))
    assert found.dtype == place.backend.dtype
    np.testing.assert_allclose(place.host(found), gradient_of_bumps(x), rtol=0, atol=2e-9)


def test_central_differences_in_float32(place32, rng):
    x = rng.normal(scale=3.0, size=6)
    found = numerical_gradient(bumps, place32.array(x))
    assert found.dtype == place32.backend.dtype
    np.testing.assert_allclose(place32.host(found), gradient_of_bumps(x), rtol=0, atol=2e-3)


def test_fixed_small_step_loses_half_of_digits(place):
    """Spec §1, corrected there: h = 1e-8 is too small for central differences in float64."""
    x = np.linspace(0.1, 3.0, 30)
    exact = gradient_of_bumps(x)

    def error(**step):
        found = place.host(numerical_gradient(bumps, place.array(x), **step))
        return float(np.median(np.abs(found - exact) / np.abs(exact)))

    small, default = error(h=1e-8), error()
    assert 1e-9 < small < 1e-6  # 7 or 8 of 16 digits
    assert default < 1e-9
    assert small > 100 * default


@pytest.mark.parametrize("x", [0.0, 1e-9, -0.7, 1.0, 1e3, -1e8])
def test_default_step_scales_with_x(x, place):
    points = []

    def fun(at):
        points.append(float(at[0]))
        return 2.0 * at[0]

    found = numerical_gradient(fun, place.array([x]))
    assert float(found[0]) == pytest.approx(2.0, rel=1e-9)
    h = np.finfo(np.float64).eps ** (1 / 3) * max(1.0, abs(x))
    assert points == pytest.approx([x + h, x - h], rel=1e-15, abs=1e-20)


def multiplies_complex_by_real(place):
    try:
        place.array([1j]) * place.array([1.0])
    except TypeError:  # the standard does not require it
        return False
    return True


def test_gradient_has_the_shape_of_x(place, rng):
    X, A = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    weights = place.array(A)

    def fun(x):
        assert tuple(x.shape) == (3, 2)
        return namespace_of(x).sum(x * x * weights)

    for gradient, tolerance in ((numerical_gradient, 1e-9), (complex_step_gradient, 1e-15)):
        if gradient is complex_step_gradient and not multiplies_complex_by_real(place):
            continue
        found = gradient(fun, place.array(X))
        np.testing.assert_allclose(place.host(found), 2 * X * A, rtol=0, atol=tolerance * 10)
    assert place.host(place.array(X)).tolist() == X.tolist()


def test_complex_step_loses_no_digit(place, rng):
    x = rng.normal(scale=3.0, size=6)
    found = complex_step_gradient(bumps, place.array(x))
    assert found.dtype == place.backend.dtype
    np.testing.assert_allclose(place.host(found), gradient_of_bumps(x), rtol=1e-14, atol=1e-15)


def test_complex_step_in_float32(place32, rng):
    x = rng.normal(size=6)

    def fun(at):
        assert at.dtype == place32.xp.complex64
        return bumps(at)

    found = complex_step_gradient(fun, place32.array(x))
    assert found.dtype == place32.backend.dtype
    np.testing.assert_allclose(place32.host(found), gradient_of_bumps(x), rtol=2e-6, atol=2e-6)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(-2, 2), st.floats(-2, 2))
def test_both_methods_are_exact_on_quadratics(x, a, b):
    x = np.array(x)

    def fun(at):
        return a * (at @ at) + b * np.sum(at)

    exact = 2 * a * x + b
    np.testing.assert_allclose(numerical_gradient(fun, x), exact, rtol=0, atol=1e-8)
    np.testing.assert_allclose(complex_step_gradient(fun, x), exact, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("gradient", [numerical_gradient, complex_step_gradient])
def test_empty_array_has_empty_gradient(gradient, place):
    assert gradient(lambda x: 0j, place.array(np.zeros((0,)))).shape == (0,)


ONE = np.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: numerical_gradient(3, ONE), "fun must be a function of an array; got 3."),
        (
            lambda: numerical_gradient(np.sum, [1, 2]),
            "x must hold floating-point numbers; got an int64 array of shape (2,). "
            "Write 1.0 for 1.",
        ),
        (
            lambda: numerical_gradient(np.sum, ONE, h=0.0),
            "h must be a finite number, above 0; got 0.0.",
        ),
        (
            lambda: complex_step_gradient(np.sum, ONE, h=math.inf),
            "h must be a finite number, above 0; got inf.",
        ),
        (
            lambda: numerical_gradient(lambda x: x, ONE),
            "fun must return one number; got a float64 array of shape (2,).",
        ),
        (
            lambda: numerical_gradient(lambda x: None, ONE),
            "fun must return one real number; got None.",
        ),
        (
            lambda: complex_step_gradient(lambda x: np.sum(np.abs(x)), ONE),
            "fun must return a complex number for a complex x; got 2.0. "
            "It must be analytic: without abs, maximum, comparisons or a cast to real numbers.",
        ),
        (
            lambda: complex_step_gradient(lambda x: 1.5, ONE),
            "fun must return a complex number for a complex x; got 1.5. "
            "It must be analytic: without abs, maximum, comparisons or a cast to real numbers.",
        ),
        (
            lambda: complex_step_gradient(lambda x: x, ONE),
            "fun must return one number; got a complex128 array of shape (2,).",
        ),
    ],
)
def test_invalid_argument_raises(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value) == message
