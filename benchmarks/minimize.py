"""How many function evaluations minimize needs beside SciPy, and what an L-BFGS iteration costs.

    python benchmarks/minimize.py evaluations     # BFGS and L-BFGS beside SciPy's
    python benchmarks/minimize.py overhead        # microseconds per L-BFGS iteration over n
    python benchmarks/minimize.py logistic        # logistic regression beside SciPy's L-BFGS-B

"overhead" measures an iteration on a function that costs next to nothing and takes the time of that
function away. Its limit is the time of 4mn multiplications, measured as two products of the
(2m, n) memory with a vector, plus 100 µs.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from typing import Any

import numpy as np

from xpnet.minimize import BFGS, LBFGS, Result, Tolerances, minimize
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

PROBLEMS = (
    Bowl(),
    Booth(),
    Beale(),
    Himmelblau(),
    Rosenbrock(),
    Rosenbrock(10),
    Rosenbrock(50),
    Rastrigin(),
    Rastrigin(10),
    Powell(),
    Powell(40),
    StyblinskiTang(),
    StyblinskiTang(10),
    IllConditioned(),
    IllConditioned(50, 1e3),
    IllConditioned(100, 1e6),
)
M = 10


def evaluations(tol: float = 1e-6) -> None:
    from scipy.optimize import minimize as scipy_minimize  # noqa: PLC0415

    options = {
        "BFGS": {"gtol": tol},
        "L-BFGS-B": {"gtol": tol, "ftol": 0, "maxiter": 10**5, "maxfun": 10**6},
    }
    for method, name in ((BFGS(), "BFGS"), (LBFGS(), "L-BFGS-B")):
        ratios = []
        for function in PROBLEMS:
            for start in function.starts:
                ours = minimize(function, start, method, tol=tol, max_iter=10**5)
                theirs = scipy_minimize(
                    function.value_and_grad, start, jac=True, method=name, options=options[name]
                )
                ratios.append(ours.evaluations.functions / theirs.nfev)
        print(
            f"{name:<9} {len(ratios)} runs: function evaluations / SciPy's: "
            f"median {statistics.median(ratios):.3f}, largest {max(ratios):.3f}"
        )


class Slope:
    """A long, slightly bent valley: n numbers read, so that the method is what costs."""

    def __init__(self, n: int) -> None:
        self.curvatures = np.linspace(1.0, 100.0, n)
        self.calls, self.seconds = 0, 0.0

    def __call__(self, x: Any) -> tuple[float, Any]:
        """The value and the gradient, timed."""
        begin = time.perf_counter()
        grad = self.curvatures * x
        value = 0.5 * float(grad @ x)
        self.seconds += time.perf_counter() - begin
        return value, grad


def overhead(largest: float = 1e7) -> None:
    print(f"µs an iteration, m = {M}, the function's own time taken away")
    print(f"{'n':>9} {'xpnet':>10} {'limit':>10} {'4mn mult.':>10} {'SciPy':>10}")
    n = 100
    while n <= largest:
        start = np.random.default_rng(0).normal(size=n)
        repeats = 200 if n <= 10**5 else 40
        function = Slope(n)
        stamps: list[tuple[float, float]] = []

        def stamp(_: Any, function: Slope = function, stamps: Any = stamps) -> None:
            stamps.append((time.perf_counter(), function.seconds))

        tol = Tolerances(grad=0.0)
        minimize(function, start, LBFGS(M), tol=tol, max_iter=repeats, callback=stamp)
        ours, products = typical(stamps), 1e6 * two_products(n)
        stamps.clear()
        scipy_lbfgs(function, start, repeats, stamp)
        theirs = typical(stamps)
        print(f"{n:>9} {ours:>10.0f} {products + 100:>10.0f} {products:>10.0f} {theirs:>10.0f}")
        n *= 10


def typical(stamps: list[tuple[float, float]]) -> float:
    """The median µs between iterations without the function's, once the memory is full."""
    spent = [(b[0] - a[0]) - (b[1] - a[1]) for a, b in itertools.pairwise(stamps)]
    return 1e6 * statistics.median(spent[M:])


def scipy_lbfgs(function: Slope, start: Any, repeats: int, stamp: Any) -> None:
    from scipy.optimize import minimize as scipy_minimize  # noqa: PLC0415

    options = {"gtol": 0, "ftol": 0, "maxiter": repeats, "maxcor": M}
    scipy_minimize(function, start, jac=True, method="L-BFGS-B", options=options, callback=stamp)


def two_products(n: int) -> float:
    """Seconds of ``A x`` and ``y A`` for the (2m, n) memory A, the least of five."""
    memory, vector, weights = np.ones((2 * M, n)), np.ones(n), np.ones(2 * M)
    best = np.inf
    for _ in range(5):
        begin = time.perf_counter()
        memory @ vector
        weights @ memory
        best = min(best, time.perf_counter() - begin)
    return best


class Softmax:
    """Logistic regression, 10 classes: mean cross-entropy and ½ l2 ‖W‖², over flat W and b."""

    def __init__(self, X: Any, labels: Any, l2: float = 1e-4) -> None:
        self.X, self.labels, self.l2 = X, labels, l2
        self.rows = np.arange(len(labels))
        self.n = X.shape[1] * 10 + 10

    def __call__(self, theta: Any) -> tuple[float, Any]:
        """The value and the gradient."""
        weight, bias = theta[:-10].reshape(-1, 10), theta[-10:]
        z = self.X @ weight + bias
        z -= z.max(axis=1, keepdims=True)
        chosen = z[self.rows, self.labels].mean()
        np.exp(z, out=z)
        total = z.sum(axis=1, keepdims=True)
        value = (
            np.log(total).mean() - chosen + 0.5 * self.l2 * float(weight.ravel() @ weight.ravel())
        )
        z /= total
        z[self.rows, self.labels] -= 1.0
        z /= len(self.labels)
        grad = np.concatenate([(self.X.T @ z + self.l2 * weight).ravel(), z.sum(axis=0)])
        return float(value), grad


def logistic(n_rows: int = 4000) -> None:
    """Blobs of the size of Fashion-MNIST's images, 784 columns, so that no download is needed."""
    from scipy.optimize import minimize as scipy_minimize  # noqa: PLC0415

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n_rows)
    X = rng.random((10, 784))[labels] + rng.normal(scale=1.5, size=(n_rows, 784))
    fun, start = Softmax(X, labels), np.zeros(7850)
    ours: list[Result] = []
    for _ in range(2):
        ours.append(minimize(fun, start, LBFGS(M), tol=1e-6))
        begin = time.perf_counter()
        theirs = scipy_minimize(
            fun, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 0, "maxcor": M}
        )
        seconds = time.perf_counter() - begin
        print(
            f"xpnet {ours[-1].seconds:.2f} s, {ours[-1].evaluations.functions} evaluations; SciPy "
            f"{seconds:.2f} s, {theirs.nfev}; difference {ours[-1].value - theirs.fun:.2e}"
        )


if __name__ == "__main__":
    parts = {"evaluations": evaluations, "overhead": overhead, "logistic": logistic}
    for name in sys.argv[1:] or parts:
        parts[name]()
