"""Every method reaches the known minima, at the theoretical order of convergence."""

import itertools
import math

import numpy as np
import pytest

from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    Armijo,
    CoordinateDescent,
    Exact,
    GradientDescent,
    Newton,
    NewtonCG,
    NonlinearCG,
    StrongWolfe,
    TrustRegion,
    hager_zhang,
    minimize,
    polak_ribiere,
)
from xpnet.minimize.functions import (
    Beale,
    Booth,
    Bowl,
    Himmelblau,
    IllConditioned,
    Powell,
    Rastrigin,
    Rosenbrock,
    StyblinskiTang,
)
from xpnet.optimizers import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    Momentum,
    Nadam,
    Nesterov,
    RMSProp,
)

EASY = [Bowl(), Booth(), Himmelblau(), Rastrigin(), StyblinskiTang(), StyblinskiTang(5)]
CURVED = [Beale(), Rosenbrock()]
STIFF = [Rosenbrock(6), IllConditioned(), IllConditioned(20, 1e3)]
FAST = [
    NonlinearCG(polak_ribiere),
    NonlinearCG(hager_zhang),
    DFP(),
    BFGS(),
    BFGS(search=Armijo()),
    LBFGS(),
    LBFGS(m=3),
    Newton(),
    Newton(search=Armijo()),
    TrustRegion(),
    NewtonCG(),
]
SLOW = [
    GradientDescent(),
    GradientDescent(search=StrongWolfe()),
    GradientDescent(search=Exact()),
    CoordinateDescent(),
    CoordinateDescent(seed=1),
]


def cases(methods, functions):
    return [
        pytest.param(m, f, s, id=f"{m}-{type(f).__name__}{len(s)}-{i}")
        for m in methods
        for f in functions
        for i, s in enumerate(f.starts)
    ]


def distance(x, function):
    return min(float(np.abs(x - np.asarray(point)).max()) for point in function.minima)


@pytest.mark.parametrize(
    ("method", "function", "start"), cases(FAST, EASY + CURVED + STIFF) + cases(SLOW, EASY)
)
def test_method_reaches_a_minimum(method, function, start):
    result = minimize(function, start, method, tol=1e-10)
    assert result.success, result
    if isinstance(function, Rosenbrock) and function.n > 2 and result.value > 1:
        # The local minimum near (-1, 1, ..., 1), where f is 3.97 to 3.99.
        assert result.value < 4
        assert result.grad_norm <= 1e-10
        return
    assert distance(result.x, function) < 1e-8
    assert result.value == pytest.approx(function.least, abs=1e-12)


@pytest.mark.parametrize("method", [BFGS(), LBFGS(), Newton(), TrustRegion(), NewtonCG()], ids=str)
def test_singular_hessian_still_converges(method):
    function = Powell(8)
    result = minimize(function, function.starts[0], method, tol=1e-12)
    assert result.success
    assert distance(result.x, function) < 1e-3
    assert result.value < 1e-13


FIRST_ORDER = [
    SGD(lr=0.5),
    Momentum(lr=0.1),
    Nesterov(lr=0.1),
    AdaGrad(lr=1.5),
    RMSProp(lr=0.01, centered=False),
    Adam(lr=0.1),
    AMSGrad(lr=0.1),
    Adamax(lr=0.2),
    Nadam(lr=0.1),
    AdamW(lr=0.1, weight_decay=0.0),
    AdaDelta(),
]


@pytest.mark.parametrize("optimizer", FIRST_ORDER, ids=lambda o: type(o).__name__)
def test_first_order_optimizers_are_accepted(optimizer):
    result = minimize(Bowl(), (-7.0, 2.0), optimizer, max_iter=1500)
    assert result.iterations == result.evaluations.gradients - 1
    assert result.method is optimizer
    assert result.name == type(optimizer).__name__
    assert result.value < (4.0 if isinstance(optimizer, AdaDelta) else 1e-3)


def test_first_order_takes_the_optimizers_steps():
    function, optimizer = Bowl(), Momentum(lr=0.1)
    theta = np.asarray([-7.0, 2.0])
    state = optimizer.init(theta)
    for _ in range(5):
        optimizer.step(theta, function.grad(theta), state)
    result = minimize(function, [-7.0, 2.0], optimizer, max_iter=5, keep_trajectory=True)
    np.testing.assert_array_equal(result.trajectory[-1].x, theta)


def errors(method, function, start, tol=1e-14, **hessian):
    result = minimize(function, start, method, tol=tol, keep_trajectory=True, **hessian)
    return [distance(iterate.x, function) for iterate in result.trajectory]


def orders(gaps):
    """Estimate the order p of ``e_(k+1) ≈ C e_k^p`` from three successive errors."""
    gaps = [gap for gap in gaps if gap > 1e-13]
    steps = zip(gaps, gaps[1:], gaps[2:], strict=False)
    return [math.log(c / b) / math.log(b / a) for a, b, c in steps if b < 1e-1 * a < 1e-2]


@pytest.mark.parametrize("method", [Newton(), TrustRegion()], ids=str)
@pytest.mark.parametrize("function", [Himmelblau(), Beale()], ids=str)
def test_newton_converges_quadratically(method, function):
    found = orders(errors(method, function, function.starts[0]))
    assert found
    assert found[-1] > 1.7


@pytest.mark.parametrize("method", [BFGS(), DFP()], ids=str)
def test_quasi_newton_converges_superlinearly(method):
    gaps = [gap for gap in errors(method, Himmelblau(), (0.0, 0.0), tol=1e-13) if gap > 1e-12]
    ratios = [b / a for a, b in itertools.pairwise(gaps)]
    assert ratios[-1] < 0.02
    assert ratios[-1] < 0.2 * max(ratios[-5:])


def test_gradient_descent_converges_linearly():
    # From (κ, 1) on ½(x² + κy²) the exact search converges by exactly ((κ-1)/(κ+1))² per step.
    kappa = 9.0
    gaps = minimize(
        lambda x: (0.5 * (x[0] ** 2 + kappa * x[1] ** 2), np.asarray([x[0], kappa * x[1]])),
        [kappa, 1.0],
        GradientDescent(search=Exact()),
        max_iter=10,
        keep_trajectory=True,
    ).trajectory
    for before, now in itertools.pairwise(gaps):
        assert now.value / before.value == pytest.approx(0.8**2, rel=1e-6)


@pytest.mark.parametrize("method", [Newton(), TrustRegion(), NewtonCG()], ids=str)
@pytest.mark.parametrize("given", ["hess", "hessp", "neither"])
def test_second_order_derivatives_are_optional(method, given):
    function = Rosenbrock()
    extra = {given: getattr(function, given)} if given != "neither" else {}

    def fun(x):
        return function.value(x), function.grad(x)

    result = minimize(fun, [-1.2, 1.0], method, tol=1e-9, **extra)
    assert result.success
    assert distance(result.x, function) < 1e-8
    assert (result.evaluations.hessians > 0) == (given == "hess")
    assert (result.evaluations.products > 0) == (given != "hess")


def test_newton_escapes_a_saddle():
    # x⁴/4 - x²/2 + y²/2 has a saddle at the origin, and minima at (±1, 0).
    def fun(x):
        return x[0] ** 4 / 4 - x[0] ** 2 / 2 + x[1] ** 2 / 2, np.asarray([x[0] ** 3 - x[0], x[1]])

    def hess(x):
        return np.diag([3 * x[0] ** 2 - 1, 1.0])

    for method in (Newton(), NewtonCG(), TrustRegion()):
        result = minimize(fun, [1e-3, 1.0], method, hess=hess)
        np.testing.assert_allclose(np.abs(result.x), [1.0, 0.0], atol=1e-8)
    # From the stable axis the gradient is orthogonal to negative curvature: the hard case.
    result = minimize(fun, [0.0, 0.5], TrustRegion(), hess=hess)
    np.testing.assert_allclose(np.abs(result.x), [1.0, 0.0], atol=1e-8)


@pytest.mark.parametrize("method", [BFGS(), LBFGS(), NonlinearCG()], ids=str)
@pytest.mark.parametrize("function", [Bowl(), Beale(), Rosenbrock()], ids=str)
def test_differences_replace_a_gradient(method, function):
    result = minimize(function.value, function.starts[0], method, tol=1e-6)
    assert result.success
    assert distance(result.x, function) < 1e-4
    assert result.evaluations.functions > 4 * result.evaluations.gradients


def test_evaluation_counts_equal_calls():
    calls = []

    def fun(x):
        calls.append(1)
        return (x @ x) ** 2, 4.0 * (x @ x) * x

    for method in (BFGS(), GradientDescent(), LBFGS(), CoordinateDescent()):
        calls.clear()
        result = minimize(fun, [1.0, 2.0], method, max_iter=20)
        assert result.evaluations.functions == len(calls)


def test_seed_determines_sweep_order():
    def path(seed):
        method = CoordinateDescent(seed=seed)
        result = minimize(Rosenbrock(5), (0.0,) * 5, method, max_iter=3, keep_trajectory=True)
        return np.stack([iterate.x for iterate in result.trajectory])

    np.testing.assert_array_equal(path(1), path(1))
    assert not np.allclose(path(1), path(2))
    assert not np.allclose(path(1), path(None))
