"""Invalid arguments raise an error that names them, before the first step."""

import numpy as np
import pytest

from xpnet import MLP
from xpnet.backend import get_backend
from xpnet.errors import ArgumentError
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    CoordinateDescent,
    ElasticNet,
    Exact,
    GradientDescent,
    Newton,
    NewtonCG,
    NonlinearCG,
    Tolerances,
    TrustRegion,
    minimize,
)
from xpnet.minimize.functions import IllConditioned, Powell, Rosenbrock
from xpnet.minimize.method import memory_of, require_dense_fits

F = Rosenbrock()
X = (-1.2, 1.0)


def bowl(x):
    return x @ x


BAD_CALLS = {
    "fun": (lambda: minimize(3, X), "fun must be a function of a vector or an Objective; got 3"),
    "a network": (
        lambda: minimize(MLP(2, [3], 1), X),
        r"Objective; got Sequential\(.* Take fun\.objective\(X, y, loss\)",
    ),
    "triple": (lambda: minimize(lambda x: (1, 2, 3), X), r"fun must return a value or \(value, gr"),
    "vector value": (lambda: minimize(lambda x: x, X), "fun must return one number as value"),
    "text value": (lambda: minimize(lambda x: "no", X), "fun must return one real number"),
    "jac": (lambda: minimize(bowl, X, jac=1), "jac must be a function"),
    "jac of an objective": (lambda: minimize(F, X, jac=bowl), "jac must be left out"),
    "gradient shape": (
        lambda: minimize(bowl, X, jac=lambda x: x[:1]),
        r"the gradient must be of shape \(2,\); got a float64 array of shape \(1,\)",
    ),
    "x0 matrix": (
        lambda: minimize(F, [X]),
        r"x0 must be of shape \(n,\) with n ≥ 1; got .*1, 2",
    ),
    "x0 words": (lambda: minimize(F, "abc"), "x0 must be a vector of numbers; got 'abc'"),
    "x0 ragged": (lambda: minimize(F, [[1.0], [1.0, 2.0]]), "x0 must be a vector of numbers"),
    "x0 empty": (lambda: minimize(F, []), "x0 must be of shape"),
    "x0 NaN": (lambda: minimize(F, [np.nan, 1.0]), "x0 must be finite; got an array with NaN"),
    "x0 complex": (lambda: minimize(F, np.ones(2, complex)), "dtype of an array must be one of"),
    "value at x0": (
        lambda: minimize(lambda x: (np.inf, x), X),
        "x0 must be where the function and its gradient are finite; got the value inf",
    ),
    "gradient at x0": (lambda: minimize(bowl, X, jac=lambda x: x * np.nan), "x0 must be where"),
    "method text": (lambda: minimize(F, X, "BFGS"), "method must be a Method; got 'BFGS'"),
    "method class": (lambda: minimize(F, X, BFGS), r"Write BFGS\(\) to make one"),
    "hess": (lambda: minimize(F, X, Newton(), hess=3), "hess must be a function; got 3"),
    "hessp": (lambda: minimize(F, X, NewtonCG(), hessp=3), "hessp must be a function"),
    "hess shape": (
        lambda: minimize(F, X, Newton(), hess=lambda x: x),
        r"the Hessian must be of shape \(2, 2\)",
    ),
    "asymmetric hess": (
        lambda: minimize(F, X, TrustRegion(), hess=lambda x: np.asarray([[1.0, 0.5], [0.0, 1.0]])),
        "the Hessian must be symmetric; got entries that differ by 0.5",
    ),
    "hessp shape": (
        lambda: minimize(F, X, NewtonCG(), hessp=lambda x, v: v[:1]),
        r"the Hessian-vector product must be of shape \(2,\)",
    ),
    "wrong gradient": (
        lambda: minimize(bowl, X, jac=lambda x: 2 * x * [1.0, 1.1], check_gradient=True),
        "gradient must be that of the function; got 2.2 in component 1, where central diff",
    ),
    "bounds pair": (lambda: minimize(F, X, bounds=3), r"bounds must be a pair \(lower, upper\)"),
    "bounds crossed": (
        lambda: minimize(F, X, bounds=([-2, 2], [2, 1])),
        r"bounds must have lower ≤ upper; got lower\[1\] = 2 and upper\[1\] = 1",
    ),
    "bounds shape": (
        lambda: minimize(F, X, bounds=([0, 0, 0], None)),
        r"lower bound must be a number or an array of shape \(2,\)",
    ),
    "bounds NaN": (
        lambda: minimize(F, X, bounds=(None, np.nan)),
        "upper bound must not contain NaN",
    ),
    "x0 outside": (
        lambda: minimize(F, X, bounds=(-1, None)),
        r"x0 must be within bounds; got lower\[0\] = -1 and x0\[0\] = -1.2",
    ),
    "bounds method": (
        lambda: minimize(F, X, BFGS(), bounds=(-2, 2)),
        r"method must support bounds; got BFGS.*Use LBFGS\(\) or GradientDescent\(\)",
    ),
    "bounds search": (
        lambda: minimize(F, X, GradientDescent(Exact()), bounds=(-2, 2)),
        r"search must be Armijo\(\) for a problem with bounds",
    ),
    "tol": (lambda: minimize(F, X, tol=-1.0), "tol.grad must be a finite number, at least 0; got"),
    "max_iter": (lambda: minimize(F, X, max_iter=1.5), "max_iter must be an integer of at least 0"),
    "max_seconds": (lambda: minimize(F, X, max_seconds=-1), "max_seconds must be a finite number"),
    "callback": (lambda: minimize(F, X, callback=3), "callback must be a function; got 3"),
    "decrease": (lambda: Tolerances(decrease=np.nan), "tol.decrease must be a finite number"),
    "step": (lambda: Tolerances(step=-1), "tol.step must be a finite number"),
    "search": (lambda: BFGS(search=3), "search must be a LineSearch; got 3"),
    "search class": (lambda: DFP(search=Exact), r"Write Exact\(\) to make one"),
    "m": (lambda: LBFGS(m=0), "m must be an integer of at least 1; got 0"),
    "beta": (
        lambda: NonlinearCG(beta="PR"),
        "beta must be a function such as hager_zhang; got 'PR'",
    ),
    "radius": (lambda: TrustRegion(radius=0), "radius must be a finite number, above 0"),
    "max_radius": (lambda: TrustRegion(max_radius=0.5), "max_radius must be .* at least 1"),
    "accept": (lambda: TrustRegion(accept=0.3), "accept must be .* below 0.25"),
    "max_products": (lambda: NewtonCG(max_products=0), "max_products must be an integer"),
    "seed": (lambda: CoordinateDescent(seed=-1), "seed must be an integer of at least 0"),
    "n of Powell": (lambda: Powell(6), "n must be a multiple of 4; got 6"),
    "condition": (lambda: IllConditioned(condition=0.5), "condition must be .* at least 1"),
    "n of Rosenbrock": (lambda: Rosenbrock(1), "n must be an integer of at least 2"),
    "X": (lambda: ElasticNet(np.ones(3), np.ones(3)), r"X must be of shape \(m, n\)"),
    "y": (lambda: ElasticNet(np.ones((3, 2)), np.ones(2)), r"y must be of shape \(3,\)"),
    "l1": (lambda: ElasticNet(np.ones((3, 2)), np.ones(3), l1=-1), "l1 must be a finite number"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_invalid_argument_raises(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("method", [BFGS(), DFP(), Newton(), TrustRegion()], ids=str)
def test_dense_method_beyond_memory_raises(method):
    if memory_of(get_backend("numpy")) is None:
        pytest.skip("the memory size of this machine is unknown")
    with pytest.raises(ArgumentError, match=r"needs 4 matrices of 1000000 .* Use LBFGS\(\)"):
        minimize(bowl, np.ones(10**6), method, jac=lambda x: 2 * x)


def test_dense_memory_depends_on_dtype():
    single, double = get_backend("numpy"), get_backend("numpy", dtype="float64")
    require_dense_fits(1000, BFGS(), single, memory=16 * 10**6)
    with pytest.raises(ArgumentError, match=r"fit in 0\.016 GB .*, 0\.032 GB in float"):
        require_dense_fits(1000, BFGS(), double, memory=16 * 10**6)


def test_correct_gradient_passes_check():
    assert minimize(F, X, check_gradient=True).success
    assert minimize(F, X, check_gradient=True, bounds=(-1.2, None)).success


def test_integers_and_lists_become_float64():
    assert minimize(bowl, [1, 2]).x.dtype == np.float64
    assert minimize(bowl, np.asarray([1, 2])).x.dtype == np.float64
