"""Minimization with bounds: iterates stay within them, and the result is optimal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.minimize import LBFGS, GradientDescent, minimize
from xpnet.minimize.functions import Beale, Booth, Rosenbrock

BOTH = [GradientDescent(), LBFGS()]


@pytest.mark.parametrize("method", BOTH, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    ("function", "start", "bounds", "solution"),
    [
        (Booth(), (0.0, 0.0), (None, [0.5, 2.0]), (0.5, 2.0)),
        (Booth(), (-5.0, -5.0), (-10, [0.0, 10.0]), (0.0, 3.8)),
        (Booth(), (0.0, 0.0), (-10.0, 10.0), (1.0, 3.0)),
        (Booth(), (2.0, 2.0), ([2.0, -9.0], [2.0, 9.0]), (2.0, 2.2)),
        (Beale(), (1.0, 0.0), (None, [2.5, 9.0]), None),
        (Rosenbrock(), (0.0, 0.0), (-0.5, 0.5), (0.5, 0.25)),
    ],
)
def test_bounded_minimum(method, function, start, bounds, solution):
    result = minimize(function, start, method, bounds=bounds, tol=1e-9, keep_trajectory=True)
    assert result.success, result
    for iterate in result.trajectory:
        for side, sign in zip(bounds, (1, -1), strict=True):
            if side is not None:
                assert (sign * iterate.x >= sign * np.asarray(side)).all()
    if solution is not None:
        np.testing.assert_allclose(result.x, solution, atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_lbfgs_solves_bounded_convex_quadratics(seed, n):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    a, b = root @ root.T + 0.1 * np.eye(n), 3.0 * rng.normal(size=n)
    lower, upper = -rng.random(n), rng.random(n)

    def fun(x):
        return 0.5 * x @ a @ x - b @ x, a @ x - b

    x = minimize(fun, np.zeros(n), LBFGS(), bounds=(lower, upper), tol=1e-8).x
    grad = a @ x - b
    assert ((lower <= x) & (x <= upper)).all()
    # Karush-Kuhn-Tucker: the gradient is 0 inside, and -∇f points outwards at a bound.
    inside = (lower < x) & (x < upper)
    assert np.abs(grad[inside]).max(initial=0.0) < 1e-7
    assert grad[x == lower].min(initial=0.0) >= -1e-7
    assert grad[x == upper].max(initial=0.0) <= 1e-7


def test_inactive_bounds_keep_the_minimum():
    result = minimize(Rosenbrock(8), (0.0,) * 8, LBFGS(), bounds=(-9.0, 9.0), tol=1e-9)
    assert result.success
    np.testing.assert_allclose(result.x, 1.0, atol=1e-8)
    assert result.evaluations.functions < 300


def test_many_active_bounds_need_few_iterations():
    function = Rosenbrock(20)
    result = minimize(function, (0.0,) * 20, LBFGS(), bounds=(-1.0, 0.7), tol=1e-8)
    assert result.success
    assert result.iterations < 120
    assert result.x.max() <= 0.7


def test_differences_stay_within_bounds():
    def fun(x):
        assert x[0] >= 0.0
        return float(np.sqrt(x[0]) + x[0] + (x[1] - 1.0) ** 2)

    result = minimize(fun, [0.5, 0.0], LBFGS(), bounds=([0.0, -5.0], None), tol=1e-5)
    np.testing.assert_allclose(result.x, [0.0, 1.0], atol=1e-4)
