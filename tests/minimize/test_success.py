"""A minimizer reports success only at a solution; every run ends, with a reason."""

import itertools

import numpy as np
import pytest

from xpnet import MLP, SGD, CrossEntropy, NonFiniteError, Tanh
from xpnet.errors import ArgumentError
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    Armijo,
    CoordinateDescent,
    Exact,
    GradientDescent,
    Method,
    Newton,
    NewtonCG,
    NonlinearCG,
    Reason,
    TrustRegion,
    hager_zhang,
    minimize,
    polak_ribiere,
    scalar_function,
    stopping,
)
from xpnet.minimize.functions import Rosenbrock
from xpnet.minimize.line_search import Ray, Trial
from xpnet.minimize.line_search.base import descent_ray
from xpnet.minimize.line_search.interpolation import cubic_minimum
from xpnet.minimize.newton import is_positive_definite, solve_positive
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.quasi_newton import InverseHessian, bfgs_update, dfp_update
from xpnet.minimize.scalar_function import ScalarFunction

pytestmark = pytest.mark.slow

METHODS = [
    GradientDescent(),
    NonlinearCG(),
    NonlinearCG(hager_zhang),
    DFP(),
    BFGS(),
    BFGS(Armijo()),
    BFGS(Exact()),
    LBFGS(),
    Newton(),
    NewtonCG(),
    TrustRegion(),
    CoordinateDescent(),
]
SECOND_ORDER = [Newton(), NewtonCG(), TrustRegion()]
TOL = {"float64": 1e-8, "float32": 1e-4}


def exponential(x):
    return np.sum(np.exp(x) - x), np.exp(x) - 1


def quartic(x):
    return 100 * np.sum(x**4), 400 * x**3


def steep(x):
    return np.sum(x.dtype.type(1e30) * x**2), x.dtype.type(2e30) * x


def offset(x):
    return 1e9 + np.sum((x - 3) ** 2), 2 * (x - 3)


def absolute(x):
    return np.sum(abs(x)), np.sign(x)


def steep_absolute(x):
    return np.sum(abs(1e6 * x)), 1e6 * np.sign(x)


def undefined_below(x):
    return np.sum(x**2), np.where(x < 0.5, np.nan, 2 * x)


def dip(x):
    return 1 - np.sum(np.exp(-(x**2))), 2 * x * np.exp(-(x**2))


FUNCTIONS = {
    "overflowing exponential": (exponential, [80.0]),
    "underflowing exponential": (exponential, [-200.0, 1.0]),
    "quartic far away": (quartic, [1e4, 5e3]),
    "huge scale": (steep, [3.0, -1.0]),
    "large offset": (offset, [0.0, 7.0]),
    "kink": (absolute, [0.1, 0.7, -0.3]),
    "steep kink": (steep_absolute, [0.1, 0.7, -0.3]),
    "kink of one variable": (absolute, [2.5]),
    "undefined below": (undefined_below, [1.0, 2.0]),
    "plateau": (dip, [4.0, 3.0]),
}


@pytest.mark.parametrize("dtype", TOL)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_success_requires_a_small_gradient(method, name, dtype):
    fun, start = FUNCTIONS[name]
    result = minimize(fun, np.asarray(start, dtype), method, max_iter=150)
    assert not result.success or result.grad_norm <= TOL[dtype], result
    assert np.isfinite(result.grad_norm)
    assert result.value <= fun(np.asarray(start, dtype))[0]
    assert result.iterations <= 150


@pytest.mark.parametrize(
    ("fun", "start", "method"),
    [
        (exponential, [100.0], BFGS()),
        (exponential, [100.0], LBFGS()),
        (exponential, [100.0], Newton()),
        (quartic, np.asarray([1e4, 5e3], "float32"), NewtonCG()),
        (quartic, np.asarray([1e4, 5e3], "float32"), LBFGS()),
        (steep, np.asarray([3.0, -1.0], "float32"), NonlinearCG()),
    ],
)
def test_range_of_dtype_does_not_end_a_run(fun, start, method):
    result = minimize(fun, start, method, max_iter=2000)
    assert result.success, result
    np.testing.assert_allclose(result.x, 0.0, atol=0.02)


def test_rounding_requires_a_small_gradient():
    def tilted(slope):
        return minimize(
            lambda x: (1e9 + slope * x.sum(), np.full(2, slope)), [1.0, 1.0], NonlinearCG(), tol=0.0
        )

    assert tilted(1e-9).reason is Reason.ROUNDING
    result = tilted(1e-7)
    assert result.reason is Reason.LINE_SEARCH
    assert result.detail.endswith("but the gradient 1e-07 is above 1e-08")


def test_hidden_derivatives_end_coordinate_sweeps():
    result = minimize(lambda x: (1e20, np.ones(2)), [1.0, 1.0], CoordinateDescent())
    assert result.reason is Reason.LINE_SEARCH
    assert "every coordinate is below the rounding error" in result.detail


class Still(Method):
    """A method that returns the same point."""

    def start(self, function, point):
        return None

    def step(self, function, point, state):
        return point._replace(x=point.x + 0.0, step=1.0)


def test_step_that_leaves_x_unchanged_ends_run():
    result = minimize(Rosenbrock(), [-1.2, 1.0], Still())
    assert result.reason is Reason.LINE_SEARCH
    assert result.iterations == 1
    assert result.detail.startswith("the step is shorter than the spacing of the numbers in x")


def test_best_point_has_finite_gradient():
    result = minimize(undefined_below, [1.0, 2.0], GradientDescent())
    assert result.reason is Reason.NON_FINITE
    assert np.isfinite(result.grad_norm)
    assert result.value <= 5.0


FLAT = {
    "kink": (lambda xp, x: (1e3 * xp.sum(xp.abs(x)), 1e3 * xp.sign(x)), [3.3, 3.3]),
    "linear": (lambda xp, x: (xp.sum(x), xp.ones_like(x)), [1.0, 2.0]),
    "steep": (lambda xp, x: (1e30 * xp.sum(x), 1e30 * xp.ones_like(x)), [1.0, 2.0]),
}


@pytest.mark.parametrize("name", FLAT)
def test_trust_region_returns_with_zero_hessian(place32, name):
    fun, start = FLAT[name]
    xp, start = place32.xp, place32.array(start)
    zero = place32.backend.zeros(2, 2)
    trust = TrustRegion(max_radius=1e3)
    result = minimize(lambda x: fun(xp, x), start, trust, hess=lambda x: zero, max_iter=20)
    assert not result.success
    assert result.value < float(fun(xp, start)[0])


@pytest.mark.parametrize("gradient", [1e-30, 1e-3, 1e30])
@pytest.mark.parametrize("radius", [1e-5, 1.0, 1e6])
def test_trust_region_step_is_within_radius(gradient, radius):
    start = np.zeros(2, "float32")
    trust = TrustRegion(radius, max_radius=radius)
    fun = lambda x: (gradient * float(x[0]), np.asarray([gradient, 0.0], "float32"))  # noqa: E731
    zero = np.zeros((2, 2), "float32")
    result = minimize(fun, start, trust, hess=lambda x: zero, tol=0.0, max_iter=1)
    assert np.linalg.norm(result.x) <= 1.001 * radius


def test_trust_region_shrinks_at_infinite_decrease():
    def fun(x):
        return (-np.inf if x[0] < -1 else x[0] ** 3), 3 * x**2

    result = minimize(fun, [0.5], TrustRegion(radius=8.0), hess=lambda x: np.diag(6 * x))
    assert result.iterations > 0
    assert np.isfinite(result.value)


@pytest.mark.parametrize("given", ["hess", "hessp"])
@pytest.mark.parametrize("entry", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("method", SECOND_ORDER, ids=str)
def test_nonfinite_hessian_is_a_reason(place, method, entry, given):
    xp, start = place.xp, place.array([1.0, 2.0])
    matrix = place.array(np.full((2, 2), entry))
    second = {"hess": lambda x: matrix, "hessp": lambda x, v: matrix[0, ...]}[given]
    result = minimize(lambda x: (xp.sum(x**4), 4 * x**3), start, method, **{given: second})
    assert result.reason is Reason.NON_FINITE
    assert "is infinite or NaN" in result.detail
    np.testing.assert_array_equal(place.host(result.x), [1.0, 2.0])


def test_nonfinite_optimizer_state_is_a_reason():
    class Overflowing(SGD):
        def step(self, theta, grad, state):
            raise NonFiniteError("m is infinite", epoch=1, step=1, layer="m", history=None)

    result = minimize(Rosenbrock(), [-1.2, 1.0], Overflowing(lr=0.1))
    assert result.reason is Reason.NON_FINITE
    assert result.detail == "m is infinite"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "seed"),
    [(Newton(), 0), (Newton(), 1), (Newton(), 2), (Newton(Armijo()), 0)],
    ids=str,
)
def test_newton_converges_on_softmax_network(method, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = MLP(3, [4], 2, activation=Tanh(), dtype="float64", rng=seed)
    objective = model.objective(X, y, CrossEntropy(), l2=1e-2)
    result = minimize(objective, model.theta, method, max_iter=300)
    assert result.reason is Reason.GRADIENT


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((3, 3)),
        np.zeros((3, 3)),
        np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0]) + 1e-17 * np.eye(3),
        1e30 * np.ones((3, 3)),
    ],
)
def test_singular_matrix_gives_descent_direction(place, matrix):
    assert not is_positive_definite(place.array(matrix))
    b = np.asarray([1.0, -1.0, 2.0])
    x = place.host(solve_positive(place.array(matrix), place.array(b)))
    assert np.isfinite(x).all()
    assert b @ x > 0


@pytest.mark.parametrize("left", ["entry", "pivot"])
@pytest.mark.parametrize("matrix", [[[1.0, 2.0], [2.0, 1.0]], [[4.0, 2.0], [2.0, -3.0]]])
def test_partial_factor_is_not_positive_definite(matrix, left, monkeypatch):
    """LAPACK's ``potrf`` ends before the first pivot that is not positive; CuPy reports nothing."""

    def partial_factor(a):
        factor = np.tril(a)
        factor[:, 0] /= np.sqrt(a[0, 0])
        factor[0, 1:] = 0
        if left == "pivot":
            factor[1, 1] -= factor[1, 0] ** 2
        return factor

    monkeypatch.setattr(np.linalg, "cholesky", partial_factor)
    assert not is_positive_definite(np.array(matrix))
    assert solve_positive(np.array(matrix), np.array([1.0, -1.0])) @ np.array([1.0, -1.0]) > 0


def test_badly_scaled_matrix_is_positive_definite(place):
    matrix = np.diag([1e-30, 1.0, 1e30])
    assert is_positive_definite(place.array(matrix))
    x = solve_positive(place.array(matrix), place.array([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(place.host(x), [1e30, 1.0, 1e-30])


LIMITED = [*METHODS, SGD(lr=1e-4)]


@pytest.mark.parametrize("limit", [0.5, 3.5, 7.5])
@pytest.mark.parametrize("method", LIMITED, ids=str)
def test_time_limit_ends_inner_loops(method, limit, monkeypatch):
    class Clock:
        now = 0.0

        @classmethod
        def perf_counter(cls):
            return cls.now

    class Slow:
        def value(self, x):
            Clock.now += 1.0  # each evaluation takes a second
            return Rosenbrock(6).value(x)

        def value_and_grad(self, x):
            return self.value(x), Rosenbrock(6).grad(x)

    monkeypatch.setattr(scalar_function, "time", Clock)
    monkeypatch.setattr(stopping, "time", Clock)
    result = minimize(Slow(), Rosenbrock(6).starts[0], method, max_seconds=limit)
    assert result.reason is Reason.TIME
    assert result.detail == f"{limit:g} s"
    assert Clock.now <= limit + 1.0


@pytest.mark.parametrize("method", LIMITED, ids=str)
@pytest.mark.parametrize("max_iter", [0, 1, 7])
def test_iteration_limit_ends_every_method(method, max_iter):
    result = minimize(Rosenbrock(6), Rosenbrock(6).starts[0], method, max_iter=max_iter)
    assert result.reason is Reason.ITERATIONS
    assert result.iterations == max_iter


def test_cubic_of_one_step_length_is_undefined():
    trials = [Trial(0.5, value, -1.0, None) for value in (0.0, 1.0)]
    for a, b in itertools.product(trials, trials):
        assert cubic_minimum(a, b) is None


@pytest.mark.parametrize("beta", [polak_ribiere, hager_zhang])
@pytest.mark.parametrize("size", [1e-30, 1e-23, 1e30])
def test_beta_of_extreme_gradients_does_not_raise(beta, size):
    before = np.asarray([size, -size], "float32")
    with np.errstate(all="ignore"):
        assert isinstance(beta(0.5 * before, before, -before), float)


@pytest.mark.parametrize("power", [-140, -100, 70, 120])
def test_ray_scales_direction_out_of_range(place32, power):
    xp = place32.xp
    x, size = place32.array([1.0, 1.0]), 2.0**power
    function = ScalarFunction(Linear(xp, size), x)
    point = function.evaluate(x)
    with np.errstate(all="ignore"):
        ray = Ray(function, point, -point.grad)
    assert ray.origin.derivative == pytest.approx(-2 * size * size / ray.natural)
    moved = ray.natural * place32.host(ray.direction).astype("float64")
    np.testing.assert_allclose(moved, -size, rtol=1e-6)


class Linear:
    """``f(x) = slope · Σ x``."""

    def __init__(self, xp, slope):
        self.xp, self.slope = xp, slope

    def value_and_grad(self, x):
        return self.slope * self.xp.sum(x), self.slope * self.xp.ones_like(x)


@pytest.mark.parametrize("direction", [[0.0, 0.0], [np.inf, -1.0], [np.nan, -1.0], [1.0, 1.0]])
def test_unusable_direction_becomes_steepest_descent(direction):
    x = np.asarray([1.0, 1.0])
    function = ScalarFunction(Linear(np, 3.0), x)
    ray = descent_ray(function, function.evaluate(x), np.asarray(direction))
    np.testing.assert_array_equal(ray.direction, [-3.0, -3.0])
    assert ray.natural == pytest.approx(1 / np.sqrt(18))


def test_memory_skips_pair_out_of_range():
    grad = np.zeros(2, "float32")
    memory = Pairs(3, ScalarFunction(Linear(np, 1.0), grad), grad)
    assert memory.append(np.ones(2, "float32"), np.ones(2, "float32"))
    direction = memory.direction()
    with np.errstate(over="ignore"):
        assert not memory.append(np.ones(2, "float32"), np.full(2, 1e25, "float32"))
        memory.append(np.ones(2, "float32"), np.ones(2, "float32"))
    assert len(memory) == 1
    np.testing.assert_array_equal(memory.direction(), direction)


@pytest.mark.parametrize("update", [bfgs_update, dfp_update])
@pytest.mark.parametrize(("s", "y"), [(1e-30, 1e-30), (1.0, 1e-30), (1.0, 1e30), (0.0, 0.0)])
def test_inverse_hessian_skips_pair_out_of_range(update, s, y):
    x = np.ones(2, "float32")
    inverse = InverseHessian(update, ScalarFunction(Linear(np, 1.0), x))
    with np.errstate(all="ignore"):
        assert not inverse.update(s * x, y * x)
    np.testing.assert_array_equal(inverse.matrix, np.eye(2))


def test_bounds_of_each_variable_name_the_order():
    with pytest.raises(ArgumentError, match=r"bounds is one pair \(lower, upper\), each for all"):
        minimize(Rosenbrock(), [5.0, 5.0], LBFGS(), bounds=[(0, 10), (0, 10)])
    with pytest.raises(ArgumentError, match=r"not a pair for each variable"):
        minimize(Rosenbrock(3), [5.0, 5.0, 5.0], LBFGS(), bounds=[(0, 10)] * 3)
