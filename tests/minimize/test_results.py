"""Every stopping reason is reachable, and the result reports the point and the counts."""

import math
import re

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.minimize import (
    BFGS,
    LBFGS,
    Exact,
    GradientDescent,
    Newton,
    NonlinearCG,
    Reason,
    Tolerances,
    TrustRegion,
    compare,
    minimize,
    table,
)
from xpnet.minimize.functions import Bowl, Rosenbrock
from xpnet.optimizers import SGD, Adam

START = (-1.2, 1.0)


def wrong_gradient(x):
    return x @ x + 1.0, -2.0 * x


def not_finite_far_away(x):
    return (x @ x if x @ x < 1e6 else np.nan), 2.0 * x


def interrupting(at):
    """Return Rosenbrock's function with Ctrl-C at call number ``at``."""
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return Rosenbrock().value_and_grad(x)

    return fun


REASONS = {
    Reason.GRADIENT: lambda: minimize(Rosenbrock(), START),
    Reason.DECREASE: lambda: minimize(
        Rosenbrock(), START, GradientDescent(), tol=Tolerances(grad=0.0, decrease=1e-3)
    ),
    Reason.STEP: lambda: minimize(
        Rosenbrock(), START, GradientDescent(), tol=Tolerances(grad=0.0, step=1e-2)
    ),
    Reason.ROUNDING: lambda: minimize(
        lambda x: (1e9 + 1e-9 * x.sum(), np.full(2, 1e-9)), [1.0, 1.0], NonlinearCG(), tol=0.0
    ),
    Reason.ITERATIONS: lambda: minimize(Rosenbrock(), START, max_iter=3),
    Reason.TIME: lambda: minimize(Rosenbrock(), START, max_seconds=0.0),
    Reason.NON_FINITE: lambda: minimize(not_finite_far_away, [1.0, 1.0], SGD(lr=5.0)),
    Reason.LINE_SEARCH: lambda: minimize(wrong_gradient, [1.0, 2.0]),
    Reason.CALLBACK: lambda: minimize(Rosenbrock(), START, callback=lambda i: i.iteration == 2),
    Reason.INTERRUPTED: lambda: minimize(interrupting(at=9), START),
}


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_is_reachable(reason):
    result = REASONS[reason]()
    assert result.reason is reason
    assert result.success == reason.success
    assert math.isfinite(result.value)
    assert reason.value in str(result)
    assert result.detail in str(result)
    assert re.match(r"[A-Z].*\.$", reason.value)


def test_success_marks_solutions():
    assert {r for r in Reason if r.success} == {
        Reason.GRADIENT,
        Reason.DECREASE,
        Reason.STEP,
        Reason.ROUNDING,
    }


@pytest.mark.parametrize("method", [LBFGS(), GradientDescent(), BFGS(search=Exact())], ids=str)
def test_failed_line_search_lists_trials(method):
    result = minimize(wrong_gradient, [1.0, 2.0], method)
    assert result.reason is Reason.LINE_SEARCH
    assert re.search(r"after \d+ trials from f\(0\) = 6, .* the last: f\(", result.detail)
    np.testing.assert_array_equal(result.x, [1.0, 2.0])


def test_vanishing_trust_region_is_reported():
    result = minimize(wrong_gradient, [1.0, 2.0], TrustRegion(), hess=lambda x: 2.0 * np.eye(2))
    assert result.reason is Reason.LINE_SEARCH
    assert "shrank to a point" in result.detail


def test_interrupted_run_returns_best_point():
    whole = minimize(Rosenbrock(), START, keep_trajectory=True)
    result = minimize(interrupting(at=9), START)
    assert result.value == min(i.value for i in whole.trajectory[: result.iterations + 1])
    assert result.value < Rosenbrock().value(np.asarray(START))
    assert result.detail == f"in iteration {result.iterations + 1}"


def test_nonmonotone_method_returns_best_point():
    result = minimize(Bowl(), (-7.0, 2.0), SGD(lr=1.05), max_iter=50, keep_trajectory=True)
    best = min(result.trajectory, key=lambda i: i.value)
    assert result.trajectory[-1].value > best.value
    assert result.value == best.value
    np.testing.assert_array_equal(result.x, best.x)


def test_trajectory_contains_every_iterate():
    function = Rosenbrock()
    result = minimize(function, START, BFGS(), keep_trajectory=True)
    path = result.trajectory
    assert [i.iteration for i in path] == list(range(result.iterations + 1))
    np.testing.assert_array_equal(path[0].x, START)
    np.testing.assert_array_equal(path[-1].x, result.x)
    assert path[0].step == 0.0
    for now in path:
        assert now.value == function.value(now.x)
        assert now.grad_norm == np.abs(function.grad(now.x)).max()
    values = [i.value for i in path]
    assert values == sorted(values, reverse=True)
    assert minimize(function, START).trajectory == ()


def test_callback_receives_every_later_iterate():
    seen = []
    result = minimize(Rosenbrock(), START, callback=seen.append, keep_trajectory=True)
    assert [i.iteration for i in seen] == list(range(1, result.iterations + 1))
    for a, b in zip(seen, result.trajectory[1:], strict=True):
        np.testing.assert_array_equal(a.x, b.x)


def test_start_at_solution_stops_at_once():
    result = minimize(Rosenbrock(), (1.0, 1.0))
    assert result.reason is Reason.GRADIENT
    assert result.iterations == 0
    assert result.evaluations.functions == 1


def test_start_is_not_modified():
    x0 = np.asarray(START)
    for method in (LBFGS(), Adam(lr=0.1), Newton()):
        minimize(Rosenbrock(), x0, method, max_iter=5)
        np.testing.assert_array_equal(x0, START)


def test_objective_may_reuse_gradient_array():
    out = np.empty(2)

    def fun(x):
        value, out[...] = Rosenbrock().value_and_grad(x)
        return value, out

    assert minimize(fun, START, BFGS()).success
    assert minimize(fun, START, LBFGS()).success


def test_result_prints_as_table():
    lines = str(minimize(Rosenbrock(), START, Newton())).splitlines()
    assert lines[0] == (
        "method         Newton(search=StrongWolfe(c1=0.0001, c2=0.9, max_evaluations=30, "
        "max_step=1e+20))"
    )
    assert lines[1] == "success        yes"
    assert lines[2].startswith("reason         The gradient is within its tolerance")
    keys = [line[:14].strip() for line in lines]
    assert keys[4:] == ["value", "gradient norm", "iterations", "evaluations", "seconds"]
    assert "Hessians" in lines[7]


def test_compare_uses_one_start():
    results = compare(Rosenbrock(), [BFGS(), Newton(), Adam(lr=0.1)], max_iter=200)
    assert [r.name for r in results] == ["BFGS", "Newton", "Adam"]
    for result in results:
        np.testing.assert_array_equal(result.trajectory[0].x, START)
    head, *rows = table(results).splitlines()
    assert head.startswith("method")
    assert [row.split()[0] for row in rows] == ["BFGS", "Newton", "Adam"]
    assert rows[2].split()[-1] == "iterations"
    with pytest.raises(ArgumentError, match="x0 must be given for a function without starts"):
        compare(lambda x: x @ x, [BFGS()])
