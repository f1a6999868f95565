"""Minimize random functions by every method: no hang, no exception, no false success.

    python benchmarks/fuzz_minimize.py                  # 600 functions × every method × both dtypes
    python benchmarks/fuzz_minimize.py --functions 50 --seed 7 --kinds huge nan

The functions are smooth, kinked, flat, huge, undefined (NaN or infinity) in a region, or unbounded
below, of one to five variables. Their Hessian is given, left to differences, zero, infinite or NaN,
and some are given without a gradient or with bounds. `faults_of` names what is wrong with one run;
the script prints every fault with the arguments that repeat it, and exits with status 1 if there is
one. ``tests/minimize/test_fuzz.py`` runs a sample.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    Result,
    StrongWolfe,
    TrustRegion,
    hager_zhang,
    minimize,
)
from xpnet.optimizers import SGD, Adam, Optimizer

METHODS = (
    GradientDescent(),
    GradientDescent(StrongWolfe()),
    GradientDescent(Exact()),
    NonlinearCG(),
    NonlinearCG(hager_zhang),
    DFP(),
    BFGS(),
    BFGS(Armijo()),
    BFGS(Exact()),
    LBFGS(),
    LBFGS(2, Armijo()),
    Newton(),
    Newton(Armijo()),
    NewtonCG(),
    TrustRegion(),
    TrustRegion(1e-3, 1e30),
    CoordinateDescent(),
    CoordinateDescent(0, Armijo()),
    SGD(lr=0.1),
    Adam(lr=0.1),
)
DTYPES = ("float64", "float32")
TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
MAX_ITER = 60
MAX_CALLS = 250_000
"""Calls of a function within one run, above what `MAX_ITER` allows; more count as a hang."""

Term = Callable[[Any], tuple[Any, Any, Any]]
"""``t → (φ(t), φ'(t), φ''(t))``, elementwise."""


class HangError(BaseException):
    """A run called its function `MAX_CALLS` times."""


@dataclass
class Sum:
    """``f(x) = scale · Σ_i φ(A x - b)_i`` with its gradient and Hessian, in the dtype of x.

    Args:
        kind: one of `KINDS`.
        term: the name of φ in `KINDS`.
        matrix, offset: A and b.
        scale: a positive factor.
        start: the start, finite in both dtypes.
        hessian: "exact", "differences", "zero", "infinite" or "nan".
        gradient: whether the gradient is given.
        box: the bounds of `LBFGS` and `GradientDescent`, or None.
    """

    kind: str
    term: str
    matrix: Any
    offset: Any
    scale: float
    start: Any
    hessian: str
    gradient: bool
    box: tuple[float, float] | None
    calls: int = field(default=0, compare=False)

    @property
    def smooth(self) -> bool:
        """Whether f has a gradient wherever it is finite."""
        return self.kind != "kinked"

    def terms(self, x: Any) -> tuple[Any, Any, Any, Any]:
        """Return A and the terms φ, φ', φ'' at x, and count the call."""
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise HangError
        a, b = self.matrix.astype(x.dtype), self.offset.astype(x.dtype)
        return a, *KINDS[self.kind][self.term](a @ x - b)

    def value(self, x: Any) -> float:
        """Return f(x)."""
        return float(x.dtype.type(self.scale) * np.sum(self.terms(x)[1]))

    def value_and_grad(self, x: Any) -> tuple[float, Any]:
        """Return f(x) and ∇f(x)."""
        a, value, slope, _ = self.terms(x)
        scale = x.dtype.type(self.scale)
        return float(scale * np.sum(value)), scale * (a.T @ slope)

    def hess(self, x: Any) -> Any:
        """Return ∇²f(x), or the wrong matrix that `hessian` names."""
        wrong = {"zero": 0.0, "infinite": np.inf, "nan": np.nan}
        if self.hessian in wrong:
            return np.full((x.size, x.size), wrong[self.hessian], x.dtype)
        a, _, _, curvature = self.terms(x)
        half = x.dtype.type(self.scale) * (a.T @ (curvature[:, None] * a))
        return 0.5 * (half + half.T)


def _power(p: int) -> Term:
    return lambda t: (t**p, p * t ** (p - 1), p * (p - 1) * t ** (p - 2))


def _logistic(t: Any) -> tuple[Any, Any, Any]:
    s = 1 / (1 + np.exp(-t))
    return np.logaddexp(t, 0 * t) - 0.3 * t, s - np.float32(0.3), s * (1 - s)


def _bell(t: Any) -> tuple[Any, Any, Any]:
    e = np.exp(-t * t)
    return 1 - e, 2 * t * e, (2 - 4 * t * t) * e


def _beyond(t: Any, bad: Any, *parts: Any) -> Any:
    """Return ``parts`` with NaN, or ``bad`` as value, where t < -1."""
    outside = t < -1
    return tuple(
        np.where(outside, t.dtype.type(bad if i == 0 else np.nan), p) for i, p in enumerate(parts)
    )


KINDS: dict[str, dict[str, Term]] = {
    "smooth": {
        "square": _power(2),
        "quartic": _power(4),
        "exp(t) - t": lambda t: (np.exp(t) - t, np.exp(t) - 1, np.exp(t)),
        "cosh": lambda t: (np.cosh(t), np.sinh(t), np.cosh(t)),
        "logistic": _logistic,
        "bell": _bell,
        "wave": lambda t: (t * t / 20 - np.cos(t), t / 10 + np.sin(t), 0.1 + np.cos(t)),
        "double well": lambda t: ((t * t - 1) ** 2, 4 * t * (t * t - 1), 12 * t * t - 4),
    },
    "kinked": {
        "abs": lambda t: (abs(t), np.sign(t), 0 * t),
        "hinge": lambda t: (np.maximum(t, 0) - t / 4, (t > 0) - np.float32(0.25), 0 * t),
        "root": lambda t: (abs(t) ** 0.5, np.sign(t) / (2 * abs(t) ** 0.5), 0 * t),
        "saw": lambda t: (
            abs(t - np.round(t)) + abs(t),
            np.sign(t - np.round(t)) + np.sign(t),
            0 * t,
        ),
        "step": lambda t: (np.floor(abs(t)) + t * t, 2 * t, 0 * t + 2),
    },
    "flat": {
        "constant": lambda t: (0 * t + 3, 0 * t, 0 * t),
        "12th power": _power(12),
        "bell": _bell,
        "huber": lambda t: (
            np.where(abs(t) < 1, t * t / 2, abs(t) - 0.5),
            np.clip(t, -1, 1),
            1.0 * (abs(t) < 1),
        ),
        "soft": lambda t: (
            np.log1p(t * t),
            2 * t / (1 + t * t),
            2 * (1 - t * t) / (1 + t * t) ** 2,
        ),
        "offset": lambda t: (1e9 + t * t, 2 * t, 0 * t + 2),
    },
    "nan": {
        "-log": lambda t: (t - np.log(t + 1), 1 - 1 / (t + 1), 1 / (t + 1) ** 2),
        "value": lambda t: _beyond(t, np.nan, t * t, 2 * t, 2 + 0 * t),
        "infinite": lambda t: _beyond(t, np.inf, t * t, 2 * t, 2 + 0 * t),
        "-infinite": lambda t: _beyond(t, -np.inf, t * t, 2 * t, 2 + 0 * t),
        "gradient": lambda t: (t * t, np.where(t < -1, np.nan, 2 * t), 2 + 0 * t),
        "root": lambda t: (t - np.sqrt(t + 1), 1 - 0.5 / np.sqrt(t + 1), 0.25 / (t + 1) ** 1.5),
    },
    "unbounded": {
        "linear": lambda t: (t, 1 + 0 * t, 0 * t),
        "-square": lambda t: (-t * t, -2 * t, 0 * t - 2),
        "cubic": _power(3),
        "saddle": lambda t: (t**3 / 3 - t, t * t - 1, 2 * t),
    },
}
KINDS["huge"] = KINDS["smooth"]
HESSIANS = ("exact", "exact", "exact", "differences", "zero", "infinite", "nan")


def functions(count: int, seed: int = 0, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[Sum]:
    """Yield ``count`` random functions, of the kinds and of the terms of a kind in turn."""
    names = itertools.cycle(kinds)
    terms = {kind: itertools.cycle(KINDS[kind]) for kind in kinds}
    for i, kind in zip(range(count), names, strict=False):
        yield _random(kind, next(terms[kind]), np.random.default_rng([seed, i]))


def _random(kind: str, term: str, rng: np.random.Generator) -> Sum:
    n = int(rng.integers(1, 6))
    matrix = rng.normal(size=(n, n)) if rng.random() < 0.5 else np.diag(10 ** rng.uniform(-2, 2, n))
    start = rng.normal(size=n) * 10 ** rng.uniform(-2, 2)
    offset = rng.normal(size=n)
    scale = 10 ** rng.uniform(-3, 3)
    if kind == "huge":
        scale, start = 10 ** rng.uniform(3, 30), start * 10 ** rng.uniform(0, 3)
    elif kind == "flat":
        scale, start = 10 ** rng.uniform(-30, 3), start * 10 ** rng.uniform(0, 2)
    elif kind == "nan":  # the start lies within the domain
        offset = matrix @ start - np.abs(rng.normal(size=n)) + 0.5
    box = None
    if rng.random() < 0.2:
        width = 10 ** rng.uniform(-3, 2)
        start = np.clip(start, -width, width)
        box = (-2.0 * width, 2.0 * width)
    hessian, gradient = str(rng.choice(HESSIANS)), bool(rng.random() < 0.9)
    return Sum(kind, term, matrix, offset, scale, start, hessian, gradient, box)


def run(function: Sum, method: Any, dtype: str) -> Result | None:
    """Minimize ``function``; None if it is not finite at the start in this dtype."""
    function.calls = 0
    x0 = function.start.astype(dtype)
    value, grad = function.value_and_grad(x0)
    if not (np.isfinite(value) and np.isfinite(grad).all()):
        return None
    second = {} if function.hessian == "differences" else {"hess": function.hess}
    bounded = isinstance(method, GradientDescent) and isinstance(method.search, Armijo)
    if bounded or isinstance(method, LBFGS):
        second["bounds"] = function.box
    fun = function.value_and_grad if function.gradient else function.value
    return minimize(fun, x0, method, max_iter=MAX_ITER, **second)


def faults_of(function: Sum, method: Any, dtype: str) -> tuple[str, list[str]]:
    """Minimize ``function``, and return the reason for stopping and the faults of the run."""
    try:
        result = run(function, method, dtype)
    except HangError:
        return "hang", [f"called its function {MAX_CALLS} times"]
    except Exception as error:
        if "x0 must be where the function and its gradient are finite" in str(error):
            return "not finite at x0", []  # differences across the boundary of the domain
        return "exception", [f"{type(error).__name__}: {error}"]
    if result is None:
        return "not finite at x0", []
    faults = []
    if not (np.isfinite(result.x).all() and np.isfinite(result.value)):
        faults.append(f"returned x = {result.x}, f = {result.value}")
    if result.iterations > MAX_ITER:
        faults.append(f"{result.iterations} iterations")
    if result.success and function.smooth and not result.grad_norm <= TOLERANCE[dtype]:
        faults.append(f"{result.reason.name} with a gradient of {result.grad_norm:.3g}")
    start = function.value(function.start.astype(dtype))
    converged = result.success and isinstance(method, Optimizer)  # perhaps at a higher point
    if not (result.value <= start or converged):
        faults.append(f"f increased from {start} to {result.value}")
    return result.reason.name, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--functions", type=int, default=600, help="number of functions")
    parser.add_argument("--seed", type=int, default=0, help="seed of the functions")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    given = parser.parse_args()
    reasons: Counter[str] = Counter()
    faulty, slowest = 0, (0.0, "")
    for i, function in enumerate(functions(given.functions, given.seed, tuple(given.kinds))):
        for method, dtype in itertools.product(METHODS, DTYPES):
            begin = time.perf_counter()
            with np.errstate(all="ignore"):
                reason, faults = faults_of(function, method, dtype)
            name = f"{function.kind} {i} ({function.term}), {method}, {dtype}"
            slowest = max(slowest, (time.perf_counter() - begin, name))
            reasons[reason] += 1
            faulty += bool(faults)
            for fault in faults:
                print(f"{name}: {fault}", flush=True)
    for reason, count in reasons.most_common():
        print(f"{count:>7}  {reason}")
    print(f"{faulty} of {sum(reasons.values())} runs with faults")
    print(f"the slowest, {slowest[0]:.2f} s: {slowest[1]}")
    sys.exit(faulty > 0)


if __name__ == "__main__":
    main()
