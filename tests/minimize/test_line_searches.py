"""The line searches keep their conditions on hard rays, and say what they tried where they fail."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.errors import ArgumentError
from xpnet.minimize import Armijo, Exact, StrongWolfe
from xpnet.minimize.line_search import LineSearchError, Ray
from xpnet.minimize.scalar_function import Problem


def ray_of(phi, slope):
    """The ray of a function of one variable, from 0 to the right."""

    class Line:
        def value_and_grad(self, x):
            return phi(float(x[0])), np.asarray([slope(float(x[0]))])

    problem = Problem(Line(), np.zeros(1))
    return Ray(problem, problem.evaluate(np.zeros(1)), np.ones(1))


# The test functions of Moré and Thuente (1994), section 5, with the steps to start from.
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
def test_strong_wolfe_conditions(search, name, first):
    phi, slope = LINES[name]
    ray = ray_of(phi, slope)
    point = search.search(ray, first)
    alpha = point.step
    assert phi(alpha) <= phi(0.0) + search.c1 * alpha * slope(0.0)
    assert abs(slope(alpha)) <= search.c2 * abs(slope(0.0))
    assert len(ray.tried) <= 14


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", LINES)
def test_armijo_condition(name, first):
    phi, slope = LINES[name]
    point = Armijo(c1=0.1).search(ray_of(phi, slope), first)
    assert phi(point.step) <= phi(0.0) + 0.1 * point.step * slope(0.0)
    assert point.step <= first


@pytest.mark.parametrize("first", [1e-3, 1.0, 1e2])
@pytest.mark.parametrize("name", LINES)
def test_exact_finds_a_stationary_point_below(name, first):
    phi, slope = LINES[name]
    point = Exact(tol=1e-9).search(ray_of(phi, slope), first)
    assert abs(slope(point.step)) <= 1e-9
    assert phi(point.step) < phi(0.0)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_exact_needs_two_looks_on_a_quadratic(curvature, steepness, first):
    ray = ray_of(
        lambda a: 0.5 * curvature * a * a - steepness * a, lambda a: curvature * a - steepness
    )
    best = steepness / curvature
    if not 0.1 * best < first:  # a longer leap than tenfold is taken in more looks
        return
    point = Exact().search(ray, first)
    assert point.step == pytest.approx(best, rel=1e-6)
    assert len(ray.tried) <= 2


@pytest.mark.parametrize("search", [StrongWolfe(), Armijo(), Exact()], ids=str)
def test_a_search_retreats_from_where_the_function_is_not_finite(search):
    ray = ray_of(
        lambda a: -math.log1p(-a) - 3 * a if a < 1 else math.nan,
        lambda a: 1 / (1 - a) - 3 if a < 1 else math.nan,
    )
    point = search.search(ray, 50.0)
    assert 0 < point.step < 1
    assert point.value < 0


def test_a_kink_is_left_by_the_best_step():
    ray = ray_of(lambda a: abs(a - 1) - 1, lambda a: math.copysign(1.0, a - 1))
    point = StrongWolfe().search(ray, 0.3)
    assert point.step == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("search", [StrongWolfe(), Exact()], ids=str)
def test_a_ray_that_falls_for_ever_is_said_to(search):
    ray = ray_of(lambda a: -a, lambda a: -1.0)
    with pytest.raises(LineSearchError, match=r"seems to fall for ever after .* the last: f\("):
        search.search(ray, 1.0)


@pytest.mark.parametrize("search", [StrongWolfe(), Armijo(), Exact()], ids=str)
def test_a_wrong_slope_is_not_taken_for_rounding(search):
    ray = ray_of(lambda a: 1.0 + a, lambda a: -1.0)
    with pytest.raises(LineSearchError, match="trials from f") as caught:
        search.search(ray, 1.0)
    assert not caught.value.hopeless


def test_a_direction_must_descend():
    with pytest.raises(LineSearchError, match="does not descend: its slope is 1"):
        ray_of(lambda a: a, lambda a: 1.0)


def test_rounding_does_not_hide_the_minimum():
    # At 1e-9 from the minimum of 1e3 + t² the values are all equal; the slopes are not.
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
def test_bad_settings(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
