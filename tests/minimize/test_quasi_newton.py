"""Properties of the quasi-Newton matrices, and of the methods on a quadratic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    Exact,
    NonlinearCG,
    hager_zhang,
    minimize,
    polak_ribiere,
)
from xpnet.minimize.functions import Rosenbrock
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.quasi_newton import bfgs_update, dfp_update
from xpnet.minimize.scalar_function import ScalarFunction

modest = settings(derandomize=True, deadline=None, max_examples=50)


@st.composite
def curved_pairs(draw):
    """Draw n and up to eight pairs (s, y) of a random positive definite matrix."""
    n = draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    root = rng.normal(size=(n, n))
    matrix = root @ root.T + 0.5 * np.eye(n)
    steps = rng.normal(size=(draw(st.integers(1, 8)), n))
    return n, [(s, matrix @ s) for s in steps]


def memory_of(pairs, m, n):
    """Return a memory with the given pairs appended."""
    grad = np.zeros(n)
    memory = Pairs(m, ScalarFunction(Rosenbrock(n), np.ones(n)), grad)
    for s, y in pairs:
        grad = grad + y
        memory.append(s, grad)
    return memory


def matrix_of(memory, n):
    return np.stack([memory.apply(e) for e in np.eye(n)], axis=1)


@pytest.mark.parametrize("update", [bfgs_update, dfp_update])
@given(curved_pairs())
@modest
def test_update_is_secant_symmetric_and_definite(update, case):
    n, pairs = case
    h = np.eye(n)
    for s, y in pairs:
        h = update(h, s, y)
        np.testing.assert_allclose(h @ y, s, rtol=1e-8, atol=1e-9 * np.abs(s).max())
        np.testing.assert_array_equal(h, h.T)
        assert np.linalg.eigvalsh(h).min() > 0


@given(curved_pairs(), st.integers(1, 9))
@modest
def test_memory_is_secant_symmetric_and_definite(case, m):
    n, pairs = case
    memory = memory_of(pairs, m, n)
    h = matrix_of(memory, n)
    s, y = pairs[-1]
    np.testing.assert_allclose(h @ y, s, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(h, h.T, atol=1e-8 * np.abs(h).max())
    assert np.linalg.eigvalsh(h).min() > 0


@given(curved_pairs(), st.integers(1, 9))
@modest
def test_memory_equals_bfgs_matrix_of_its_pairs(case, m):
    n, pairs = case
    s, y = pairs[-1]
    h = (s @ y) / (y @ y) * np.eye(n)
    for pair in pairs[-m:]:
        h = bfgs_update(h, *pair)
    np.testing.assert_allclose(matrix_of(memory_of(pairs, m, n), n), h, rtol=1e-6, atol=1e-7)


def test_memory_skips_pair_without_curvature():
    memory = memory_of([(np.asarray([1.0, 0.0]), np.asarray([2.0, 1.0]))], 3, 2)
    before = matrix_of(memory, 2)
    grad = np.asarray([2.0, 1.0])
    assert not memory.append(np.asarray([0.0, 1.0]), grad - np.asarray([0.0, 1.0]))
    assert len(memory) == 1
    np.testing.assert_allclose(matrix_of(memory, 2), before)


@pytest.mark.parametrize("method", [BFGS(), DFP(), LBFGS(m=1), LBFGS(m=50)], ids=str)
def test_directions_always_descend(method):
    # `Ray` raises an error for a direction that does not descend.
    assert minimize(Rosenbrock(6), Rosenbrock(6).starts[0], method).success


class Quadratic:
    """``½ xᵀAx - bᵀx`` with random A of condition about 50."""

    def __init__(self, n, seed=3):
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
        self.a = (axes * np.geomspace(1.0, 50.0, n)) @ axes.T
        self.b = rng.normal(size=n)

    def value(self, x):
        return 0.5 * x @ self.a @ x - self.b @ x

    def value_and_grad(self, x):
        return self.value(x), self.a @ x - self.b


def trajectory_of(method, function, n, steps):
    result = minimize(function, np.zeros(n), method, tol=0.0, max_iter=steps, keep_trajectory=True)
    return np.stack([iterate.x for iterate in result.trajectory])


@pytest.mark.parametrize("method", [LBFGS(m=20, search=Exact(1e-12)), DFP(search=Exact(1e-12))])
def test_exact_quasi_newton_trajectories_agree(method):
    n = 8
    function = Quadratic(n)
    bfgs = trajectory_of(BFGS(search=Exact(1e-12)), function, n, n)
    np.testing.assert_allclose(trajectory_of(method, function, n, n), bfgs, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(bfgs[-1], np.linalg.solve(function.a, function.b), atol=1e-7)


@pytest.mark.parametrize("beta", [polak_ribiere, hager_zhang])
def test_nonlinear_cg_equals_linear_cg(beta):
    n = 8
    function = Quadratic(n)
    x, r = np.zeros(n), -function.b
    d, linear = -r, [x]
    for _ in range(n):
        alpha = (r @ r) / (d @ function.a @ d)
        x, before, r = x + alpha * d, r, r + alpha * function.a @ d
        d = (r @ r) / (before @ before) * d - r
        linear.append(x)
    found = trajectory_of(NonlinearCG(beta, search=Exact(1e-12)), function, n, n)
    np.testing.assert_allclose(found, np.stack(linear), rtol=1e-6, atol=1e-7)
