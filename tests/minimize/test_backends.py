"""Every backend follows the same trajectory: to rounding in float64, to a solution in float32."""

import numpy as np
import pytest

from xpnet.derivatives import check_gradients
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    CoordinateDescent,
    ElasticNet,
    GradientDescent,
    Newton,
    NewtonCG,
    NonlinearCG,
    TrustRegion,
    minimize,
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
from xpnet.optimizers import Adam

METHODS = [
    GradientDescent(),
    NonlinearCG(),
    DFP(),
    BFGS(),
    LBFGS(),
    Newton(),
    TrustRegion(),
    NewtonCG(),
    CoordinateDescent(),
    Adam(lr=0.1),
]
NAMES = [type(method).__name__ for method in METHODS]


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_ten_steps_agree_on_every_backend(place, method):
    function = Rosenbrock(4)
    start = np.asarray(function.starts[0])
    settings = {"max_iter": 10, "keep_trajectory": True}
    here = minimize(function, start, method, **settings).trajectory
    there = minimize(function, place.array(start), method, **settings).trajectory
    assert len(here) == len(there)
    for a, b in zip(here, there, strict=True):
        assert place.backend.owns(b.x)
        np.testing.assert_allclose(place.host(b.x), a.x, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_float32_reaches_solution(place32, method):
    result = minimize(Booth(), place32.array([0.0, 0.0]), method, max_iter=3000)
    assert result.x.dtype == place32.backend.dtype
    np.testing.assert_allclose(place32.host(result.x), [1.0, 3.0], atol=2e-4)


@pytest.mark.parametrize("method", [LBFGS(m=3), GradientDescent()], ids=["LBFGS", "GD"])
def test_bounds_on_every_backend(place, method):
    lower, upper = place.array([-0.5, -0.5]), place.array([0.5, 0.5])
    start = place.array([0.0, 0.0])
    result = minimize(Rosenbrock(), start, method, bounds=(lower, upper))
    np.testing.assert_allclose(place.host(result.x), [0.5, 0.25], atol=1e-7)


def test_differences_on_every_backend(place):
    result = minimize(Beale().value, place.array([1.0, 1.0]), LBFGS(), tol=1e-6)
    np.testing.assert_allclose(place.host(result.x), [3.0, 0.5], atol=1e-5)


@pytest.mark.parametrize("method", [Newton(), TrustRegion(), NewtonCG()], ids=str)
def test_differenced_hessians_on_every_backend(place, method):
    def fun(x):
        return Rosenbrock().value_and_grad(x)

    result = minimize(fun, place.array([-1.2, 1.0]), method)
    np.testing.assert_allclose(place.host(result.x), [1.0, 1.0], atol=1e-7)


def test_lasso_on_every_backend(place, rng):
    X, y = rng.normal(size=(30, 6)), rng.normal(size=30)
    here = minimize(ElasticNet(X, y, l1=0.1), np.zeros(6), CoordinateDescent(seed=2))
    objective = ElasticNet(place.array(X), place.array(y), l1=0.1)
    there = minimize(objective, place.array(np.zeros(6)), CoordinateDescent(seed=2))
    np.testing.assert_allclose(place.host(there.x), here.x, atol=1e-10)


FUNCTIONS = [
    Bowl(),
    Booth(),
    Beale(),
    Himmelblau(),
    Rosenbrock(),
    Rosenbrock(5),
    Rastrigin(3),
    Powell(8),
    StyblinskiTang(3),
    IllConditioned(4),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_derivatives_of_test_functions(place, function, rng):
    n = len(function.starts[0])
    host = rng.normal(size=n)
    x = place.array(host)
    assert function.value_and_grad(x)[0].shape == ()
    check_gradients(function, x).raise_if_wrong()
    h = 1e-5
    for i, e in enumerate(np.eye(n) * h):
        up, down = place.array(host + e), place.array(host - e)
        expected = (place.host(function.grad(up)) - place.host(function.grad(down))) / (2 * h)
        row = place.host(function.hess(x))[i]
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-6 * max(1, np.abs(row).max()))
    v = place.array(rng.normal(size=n))
    np.testing.assert_allclose(
        place.host(function.hessp(x, v)), place.host(function.hess(x)) @ place.host(v), rtol=1e-12
    )


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_test_functions_at_minima(function):
    for point in function.minima:
        x = np.asarray(point)
        assert float(function(x)) == pytest.approx(function.least, abs=1e-12)
        np.testing.assert_allclose(function.grad(x), 0.0, atol=1e-11)
        assert np.linalg.eigvalsh(function.hess(x)).min() >= -1e-12
