"""BFGS and L-BFGS against SciPy, the elastic net against scikit-learn."""

import statistics

import numpy as np
import pytest

from xpnet.minimize import BFGS, LBFGS, CoordinateDescent, ElasticNet, minimize
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

PROBLEMS = [
    Bowl(),
    Booth(),
    Beale(),
    Himmelblau(),
    Rosenbrock(),
    Rosenbrock(10),
    Rastrigin(),
    Powell(),
    Powell(20),
    StyblinskiTang(),
    StyblinskiTang(10),
    IllConditioned(),
    IllConditioned(30, 1e3),
]
TOL = 1e-6


@pytest.mark.parametrize(
    ("method", "theirs", "options"),
    [
        (BFGS(), "BFGS", {"gtol": TOL}),
        (LBFGS(), "L-BFGS-B", {"gtol": TOL, "ftol": 0, "maxiter": 10**4, "maxfun": 10**5}),
    ],
    ids=["BFGS", "LBFGS"],
)
def test_evaluation_counts_against_scipy(method, theirs, options):
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    ratios = []
    for function in PROBLEMS:
        for start in function.starts:
            ours = minimize(function, start, method, tol=TOL)
            reference = optimize.minimize(
                function.value_and_grad, start, jac=True, method=theirs, options=options
            )
            assert ours.success
            ratios.append(ours.evaluations.functions / reference.nfev)
    assert statistics.median(ratios) <= 1.15
    assert max(ratios) <= 2.0


@pytest.mark.parametrize(("alpha", "l1_ratio"), [(0.1, 1.0), (0.02, 1.0), (0.1, 0.5), (0.5, 0.1)])
@pytest.mark.parametrize("seed", [None, 0])
def test_elastic_net_equals_scikit_learn(alpha, l1_ratio, seed, rng):
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    X = rng.normal(size=(60, 20)) @ np.diag(np.geomspace(0.5, 3.0, 20))
    X[:, 7] = 0.0
    y = X @ np.where(np.arange(20) % 3 == 0, 1.0, 0.0) + 0.1 * rng.normal(size=60)
    reference = linear.ElasticNet(
        alpha=alpha, l1_ratio=l1_ratio, fit_intercept=False, tol=1e-14, max_iter=10**5
    ).fit(X, y)
    objective = ElasticNet(X, y, l1=alpha * l1_ratio, l2=alpha * (1 - l1_ratio))
    result = minimize(objective, np.ones(20), CoordinateDescent(seed=seed), tol=1e-11)
    assert result.success
    np.testing.assert_allclose(result.x, reference.coef_, atol=1e-8)
    np.testing.assert_array_equal(result.x == 0, reference.coef_ == 0)
