"""Line searches satisfy their conditions on hard functions, and report failed trials."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.errors import ArgumentError
from xpnet.minimize import Armijo, Exact, StrongWolfe
from xpnet.minimize.line_search import LineSearchError, Ray
from xpnet.minimize.scalar_function import ScalarFunction


def ray_of(phi, derivative):
    """Return the ray of a function of one variable from 0 in the positive direction."""

    class Line:
        def value_and_grad(self, x):
            return phi(float(x[0])), np.asarray([derivative(float(x[0]))])

    function = ScalarFunction(Line(), np.zeros(1))
    return Ray(function, function.evaluate(np.zeros(1)), np.ones(1))


# The test functions of Moré and Thuente (1994), section 5, with the initial steps used there.
BETA = 2.0
LINES = {
    "concave": (lambda a: -a / (a * a + BETA), lambda a: (a * a - BETA) / (a * a + BETA) ** 2),
    "quintic": (
        lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
        lambda a: 5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
    ),
    "wiggly": (
        lambda a: -a + 1e-3 * math.sin(40 * a) + 0.6 * a * a,
        lambda a: -1 + 0.04 * math.cos(40 * a) + 1.2 * a,
    ),
    "steep": (lambda a: math.expm1(min(a, 700.0)) - 3 * a, lambda a: math.exp(min(a, 700.0)) - 3),
}


@pytest.mark.parametrize("first", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("search", [StrongWolfe(), StrongWolfe(c2=0.1), StrongWolfe(1e-3, 0.01)])
def test_strong_wolfe_conditions_hold(search, name, first):
    phi, derivative = LINES[name]
    ray = ray_of(phi, derivative)
    point = search.search(ray, first)
    alpha = point.step
    assert phi(alpha) <= phi(0.0) + search.c1 * alpha * derivative(0.0)
    assert abs(derivative(alpha)) <= search.c2 * abs(derivative(0.0))
    assert len(ray.trials) <= 14


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", LINES)
def test_armijo_condition_holds(name, first):
    phi, derivative = LINES[name]
    point = Armijo(c1=0.1).search(ray_of(phi, derivative), first)
    assert phi(point.step) <= phi(0.0) + 0.1 * point.step * derivative(0.0)
    assert point.step <= first


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e2])
@pytest.mark.parametrize("name", LINES)
def test_exact_search_finds_lower_stationary_point(name, first):
    phi, derivative = LINES[name]
    point = Exact(tol=1e-9).search(ray_of(phi, derivative), first)
    assert abs(derivative(point.step)) <= 1e-9
    assert phi(point.step) < phi(0.0)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_exact_search_on_quadratic_needs_two_trials(curvature, steepness, first):
    ray = ray_of(
        lambda a: 0.5 * curvature * a * a - steepness * a, lambda a: curvature * a - steepness
    )
    best = steepness / curvature
    if not 0.1 * best < first:  # extrapolation beyond a factor of 10 needs more trials
        return
    point = Exact().search(ray, first)
    assert point.step == pytest.approx(best, rel=1e-6)
    assert len(ray.trials) <= 2


@pytest.mark.parametrize("search", [StrongWolfe(), Armijo(), Exact()], ids=str)
def test_search_backtracks_from_nonfinite_values(search):
    ray = ray_of(
        lambda a: -math.log1p(-a) - 3 * a if a < 1 else math.nan,
        lambda a: 1 / (1 - a) - 3 if a < 1 else math.nan,
    )
    point = search.search(ray, 50.0)
    assert 0 < point.step < 1
    assert point.value < 0


def test_search_at_kink_returns_best_step():
    ray = ray_of(lambda a: abs(a - 1) - 1, lambda a: math.copysign(1.0, a - 1))
    point = StrongWolfe().search(ray, 0.3)
    assert point.step == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("search", [StrongWolfe(), Exact()], ids=str)
def test_unbounded_ray_raises(search):
    ray = ray_of(lambda a: -a, lambda a: -1.0)
    with pytest.raises(
        LineSearchError, match=r"seems unbounded below along the ray after .* the last: f\("
    ):
        search.search(ray, 1.0)


@pytest.mark.parametrize("search", [StrongWolfe(), Armijo(), Exact()], ids=str)
def test_wrong_derivative_is_not_rounding(search):
    ray = ray_of(lambda a: 1.0 + a, lambda a: -1.0)
    with pytest.raises(LineSearchError, match="trials from f") as caught:
        search.search(ray, 1.0)
    assert not caught.value.below_rounding


def test_ascent_direction_raises():
    with pytest.raises(LineSearchError, match="does not descend: its directional derivative is 1"):
        ray_of(lambda a: a, lambda a: 1.0)


def test_rounding_does_not_hide_minimum():
    # At 1e-9 from the minimum of 1e3 + t² all values are equal, but the derivatives differ.
    ray = ray_of(lambda a: 1e3 + (a - 1e-9) ** 2, lambda a: 2 * (a - 1e-9))
    for search in (StrongWolfe(), Armijo(), Exact()):
        assert 0 < search.search(ray, 1e-8).step < 2e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StrongWolfe(c1=0.95), "c1 must be a finite number, above 0 and below 0.9"),
        (lambda: StrongWolfe(c2=1.0), "c2 must be a finite number, above 0 and below 1; got 1.0"),
        (lambda: StrongWolfe(max_evaluations=0), "max_evaluations must be an integer"),
        (lambda: StrongWolfe(max_step=0), "max_step must be a finite number, above 0"),
        (lambda: Armijo(c1=0), "c1 must be"),
        (lambda: Armijo(max_evaluations=1.5), "max_evaluations must be"),
        (lambda: Exact(tol=1), "tol must be"),
        (lambda: Exact(max_evaluations=1), "max_evaluations must be an integer of at least 2"),
    ],
)
def test_invalid_argument_raises(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
