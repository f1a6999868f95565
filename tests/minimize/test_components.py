"""Components of the methods: differences, modified Cholesky, trust-region model, face, step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.minimize.bounds import box_of
from xpnet.minimize.differences import central_gradient, central_product
from xpnet.minimize.functions import Beale, IllConditioned, Rosenbrock
from xpnet.minimize.lbfgs import Face
from xpnet.minimize.line_search import Ray
from xpnet.minimize.line_search.base import InitialStep
from xpnet.minimize.newton import modified_cholesky, solve_positive
from xpnet.minimize.quasi_newton import bfgs_update
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.minimize.trust_region import QuadraticModel

modest = settings(derandomize=True, deadline=None, max_examples=50)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("function", [Beale(), Rosenbrock(5)], ids=str)
def test_central_differences_are_accurate(place, function, rng):
    n = len(function.starts[0])
    host, v = rng.normal(size=n), rng.normal(size=n)
    x = place.array(host)
    grad = central_gradient(lambda at: float(function(at)), x)
    np.testing.assert_allclose(place.host(grad), function.grad(host), rtol=1e-7, atol=1e-6)
    max_norm = ScalarFunction(function, x).max_norm
    product = central_product(function.grad, x, place.array(v), max_norm)
    np.testing.assert_allclose(place.host(product), function.hess(host) @ v, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("bounds", [(0.0, None), (None, 0.0), (0.0, 0.5), (-1e-7, 1e-7 + 1.0)])
def test_differences_at_a_bound_point_inwards(bounds, place):
    x = place.array(np.zeros(3))
    box = box_of(bounds, x, place.backend)
    low, high = place.host(box.lower), place.host(box.upper)

    def value(at):
        host = place.host(at)
        assert ((low <= host) & (host <= high)).all()
        return float(np.sum(np.exp(host * [1.0, 2.0, 3.0])))

    found = place.host(central_gradient(value, x, box))
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0], rtol=1e-7)


def test_difference_of_fixed_variable_is_zero(place):
    x = place.array(np.ones(2))
    box = box_of((place.array([1.0, 0.0]), place.array([1.0, 2.0])), x, place.backend)
    grad = central_gradient(lambda at: float(place.host(at) @ [5.0, 7.0]), x, box)
    np.testing.assert_allclose(place.host(grad), [0.0, 7.0], rtol=1e-9)


@given(seeds, st.integers(1, 8))
@modest
def test_modified_cholesky_adds_only_a_diagonal(seed, n):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, n))
    a = a + a.T
    lower, d = modified_cholesky(a)
    added = lower * d @ lower.T - a
    np.testing.assert_allclose(added - np.diag(np.diag(added)), 0.0, atol=1e-12 * np.abs(a).max())
    assert np.diag(added).min() > -1e-12 * np.abs(a).max()
    assert d.min() > 0
    np.testing.assert_array_equal(np.triu(lower), np.eye(n))
    b = rng.normal(size=n)
    if np.linalg.eigvalsh(a).min() < 0:
        x = solve_positive(a, b)
        np.testing.assert_allclose((a + np.diag(np.diag(added))) @ x, b, rtol=1e-7, atol=1e-7)


@given(seeds, st.integers(1, 8))
@modest
def test_cholesky_of_definite_matrix_is_unmodified(seed, n):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    a, b = root @ root.T + n * np.eye(n), rng.normal(size=n)
    lower, d = modified_cholesky(a)
    np.testing.assert_allclose(lower * d @ lower.T, a, atol=1e-12 * np.abs(a).max())
    np.testing.assert_allclose(solve_positive(a, b), np.linalg.solve(a, b), rtol=1e-9)


@given(seeds, st.integers(1, 6), st.floats(0.01, 100.0), st.booleans())
@modest
def test_trust_region_model_is_minimized(seed, n, radius, hard):
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(n, n))
    h = h + h.T
    values, axes = np.linalg.eigh(h)
    grad = rng.normal(size=n)
    if hard:  # g orthogonal to the first eigenvector
        grad = grad - axes[:, 0] * (axes[:, 0] @ grad)
    model = ScalarFunction(IllConditioned(max(n, 2)), np.zeros(n), hess=lambda x: h)
    point = EvaluatedPoint(np.zeros(n), 0.0, grad)
    p, predicted = QuadraticModel(model, point).minimize(radius)
    length = np.linalg.norm(p)
    assert length <= 1.002 * radius
    assert predicted == pytest.approx(-(grad @ p + 0.5 * p @ h @ p), rel=1e-6, abs=1e-9)
    # Optimal: (H + λ)p = -g with λ ≥ 0, H + λ semidefinite, and λ = 0 unless on the boundary.
    shift = -(p @ (h @ p + grad)) / (p @ p) if length > 0 else 0.0
    scale = np.abs(values).max() + np.abs(grad).max()
    np.testing.assert_allclose(h @ p + shift * p, -grad, atol=1e-6 * scale * max(1.0, radius))
    assert shift >= -1e-6 * scale
    assert values[0] + shift >= -1e-6 * scale
    assert shift <= 1e-6 * scale or length >= 0.998 * radius


def test_face_keeps_only_free_variables(rng):
    n = 5
    root = rng.normal(size=(n, n))
    a, b = root @ root.T + np.eye(n), np.asarray([0.0, 0.0, -300.0, 0.0, 0.0])

    def at(x):
        return EvaluatedPoint(x, float(0.5 * x @ a @ x - b @ x), a @ x - b)

    class Quadratic:
        def value_and_grad(self, x):
            return at(x).value, at(x).grad

    start = at(np.asarray([0.5, 0.6, 0.7, 0.8, 0.9]))
    box = box_of((-9.0, 9.0), start.x, ScalarFunction(Quadratic(), start.x).backend)
    function = ScalarFunction(Quadratic(), start.x, box=box)
    face, now = Face(4, function, start), start
    assert face.free.tolist() == [1.0] * n
    steps = []
    for _ in range(3):
        after = at(now.x + 0.1 * rng.normal(size=n))
        face.update(function, now, after)
        steps.append((after.x - now.x, after.grad - now.grad))
        now = after
    # The last step reaches a bound that -∇f points beyond.
    at_bound = now.x + 0.05 * rng.normal(size=n)
    at_bound[2] = -9.0
    after = at(at_bound)
    face.update(function, now, after)
    steps.append((after.x - now.x, after.grad - now.grad))
    free = face.free > 0
    assert free.tolist() == [True, True, False, True, True]
    kept = [(s[free], y[free]) for s, y in steps if s[free] @ y[free] > 0]
    s, y = kept[-1]
    h = (s @ y) / (y @ y) * np.eye(int(free.sum()))
    for pair in kept:
        h = bfgs_update(h, *pair)
    direction = face.pairs.direction()
    np.testing.assert_array_equal(direction[~free], 0.0)
    np.testing.assert_allclose(direction[free], -h @ after.grad[free], rtol=1e-8)


def test_initial_step_repeats_last_decrease():
    function = ScalarFunction(IllConditioned(2, 1.0), np.zeros(2))
    initial = InitialStep(longest=1.0)

    def length(x, value, step):
        point = function.evaluate(np.asarray(x))._replace(value=value, step=step)
        return initial.length(Ray(function, point, -point.grad))

    assert length([4.0, 5.0], 9.0, 0.0) == pytest.approx(1 / 5)  # 1/‖∇f‖
    assert length([3.0, 1.0], 8.9, 0.2) == pytest.approx(2.02 * 0.1 / 4)
    assert length([2.0, 1.0], 3.0, 0.2) == 1.0
