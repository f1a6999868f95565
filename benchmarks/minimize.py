"""Compare the function evaluations of minimize with SciPy's, and time an L-BFGS iteration.

    python benchmarks/minimize.py evaluations     # BFGS and L-BFGS against SciPy's
    python benchmarks/minimize.py overhead        # microseconds per L-BFGS iteration over n
    python benchmarks/minimize.py logistic        # logistic regression against SciPy's L-BFGS-B

"overhead" times an iteration on a cheap function and subtracts the time of that function. The limit
is the time of 4mn multiplications, measured as two products of a (2m, n) matrix with vectors, plus
100 µs. Iterations and products alternate in rounds; both are medians over all rounds. The products
read 4mn numbers. Besides these, an iteration reads and writes vectors of n numbers about 27 times
(the new x and a copy of its gradient, s, y, two directional derivatives, the largest component).
Where memory bandwidth is the limit, a ratio of about 1.7 is expected for m = 10.

"logistic" minimizes ``model.objective`` of a network of one linear layer on Fashion-MNIST, 784-10,
by both to the same gradient tolerance, alternating, on other rows in every repeat. The data are
read from ``--data-dir``, default ``../shared/data/fashion-mnist``; without them blobs of the same
size are used.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import CrossEntropy, Dense, MinMax, Sequential
from xpnet.data import load_fashion_mnist
from xpnet.minimize import BFGS, LBFGS, Tolerances, minimize
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
FASHION = Path(__file__).parents[2] / "shared" / "data" / "fashion-mnist"


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


class Valley:
    """A long, slightly curved valley that is cheap to evaluate."""

    def __init__(self, n: int) -> None:
        self.curvatures = np.linspace(1.0, 100.0, n)
        self.calls, self.seconds = 0, 0.0

    def __call__(self, x: Any) -> tuple[float, Any]:
        """Return the value and the gradient, and add up the time."""
        begin = time.perf_counter()
        grad = self.curvatures * x
        value = 0.5 * float(grad @ x)
        self.seconds += time.perf_counter() - begin
        return value, grad


def overhead(largest: float = 1e7) -> None:
    print(f"µs an iteration, m = {M}, the function's own time taken away; medians")
    print(f"{'n':>9} {'xpnet':>9} {'4mn mult.':>9} {'limit':>9} {'xpnet/limit':>11} {'SciPy':>9}")
    n = 100
    while n <= largest:
        few = n > 10**6
        spent: list[float] = []
        products: list[float] = []
        for _ in range(2 if few else 5):
            spent += ours_an_iteration(n, 10 if few else 30)
            products += two_products(n, 5 if few else 30)
        ours, worth = 1e6 * statistics.median(spent), 1e6 * statistics.median(products)
        theirs = "-" if few else f"{1e6 * statistics.median(scipy_an_iteration(n, 30)):.0f}"
        limit = worth + 100
        ratio = f"{ours / limit:.2f}"
        print(
            f"{n:>9} {ours:>9.0f} {worth:>9.0f} {limit:>9.0f} {ratio:>11} {theirs:>9}", flush=True
        )
        n *= 10


def ours_an_iteration(n: int, repeats: int) -> list[float]:
    """Time L-BFGS iterations after its memory is full, without the time of the function."""
    function = Valley(n)
    stamps = Stamps(function)
    start = np.random.default_rng(0).normal(size=n)
    tol = Tolerances(grad=0.0)
    minimize(function, start, LBFGS(M), tol=tol, max_iter=M + repeats, callback=stamps)
    return stamps.between()


def scipy_an_iteration(n: int, repeats: int) -> list[float]:
    """Time the same for SciPy's L-BFGS-B."""
    from scipy.optimize import minimize as scipy_minimize  # noqa: PLC0415

    function = Valley(n)
    stamps = Stamps(function)
    start = np.random.default_rng(0).normal(size=n)
    options = {"gtol": 0, "ftol": 0, "maxiter": M + repeats, "maxcor": M}
    scipy_minimize(function, start, jac=True, method="L-BFGS-B", options=options, callback=stamps)
    return stamps.between()


class Stamps:
    """A callback that records the time, and the share of the function."""

    def __init__(self, function: Valley) -> None:
        self.function = function
        self.stamps: list[tuple[float, float]] = []

    def __call__(self, _: Any) -> None:
        """Record them after an iteration."""
        self.stamps.append((time.perf_counter(), self.function.seconds))

    def between(self) -> list[float]:
        """Return the seconds between iterations after the memory is full, without the function."""
        pairs = itertools.pairwise(self.stamps[M:])
        return [(b[0] - a[0]) - (b[1] - a[1]) for a, b in pairs]


def two_products(n: int, repeats: int) -> list[float]:
    """Time ``A x`` and ``y A`` for a (2m, n) matrix A."""
    memory, vector, weights = np.ones((2 * M, n)), np.ones(n), np.ones(2 * M)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        memory @ vector
        weights @ memory
        seconds.append(time.perf_counter() - begin)
    return seconds


def logistic(data_dir: Path, n_rows: int = 10_000, repeats: int = 5, l2: float = 1e-2) -> None:
    X, labels, name = images(data_dir)
    print(f"784-10 on {n_rows} rows of {name}, l2 = {l2:g}, float64, max |gradient| ≤ 1e-6")
    times, counts = [], []
    for repeat in range(repeats):
        rows = np.random.default_rng(repeat).permutation(len(labels))[:n_rows]
        model = Sequential([Dense(10)], 784, dtype="float64", preprocessing=MinMax(0, 255))
        objective = model.objective(X[rows], labels[rows], CrossEntropy(), l2=l2)
        start = np.zeros(objective.size)
        # The order alternates: the first of two may find the caches cold.
        runs = [ours_logistic, scipy_logistic]
        done = {run: run(objective, start) for run in (runs if repeat % 2 else runs[::-1])}
        ours, theirs = (done[run] for run in runs)
        times.append((ours[0], theirs[0]))
        counts.append((ours[1], theirs[1]))
        print(
            f"xpnet {ours[0]:.2f} s, {ours[1]} evaluations; SciPy {theirs[0]:.2f} s, {theirs[1]}; "
            f"loss {ours[2]:.9f}, SciPy's + {ours[2] - theirs[2]:.1e}",
            flush=True,
        )
    for what, both in (("seconds", times), ("evaluations", counts)):
        mine, other = (statistics.median(column) for column in zip(*both, strict=True))
        ratio = statistics.median(a / b for a, b in both)
        print(f"median {what}: {mine:.4g}, SciPy {other:.4g}; median ratio {ratio:.3f}")


def images(data_dir: Path) -> tuple[Any, Any, str]:
    """Return Fashion-MNIST, or noisy blobs of the same size and range if it is missing."""
    if data_dir.is_dir():
        data = load_fashion_mnist(data_dir)
        return data.X_train, data.y_train, "Fashion-MNIST"
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 20_000)
    X = 100 + 40 * rng.random((10, 784))[labels] + rng.normal(scale=30, size=(20_000, 784))
    return X.clip(0, 255).astype("uint8"), labels, f"blobs ({data_dir} is not there)"


def ours_logistic(objective: Any, start: Any) -> tuple[float, int, float]:
    """Return the seconds, the evaluations and the final loss."""
    result = minimize(objective, start, LBFGS(M), tol=1e-6)
    return result.seconds, result.evaluations.functions, result.value


def scipy_logistic(objective: Any, start: Any) -> tuple[float, int, float]:
    """Time the same for SciPy's L-BFGS-B."""
    from scipy.optimize import minimize as scipy_minimize  # noqa: PLC0415

    def fun(theta: Any) -> tuple[float, Any]:
        value, grad = objective.value_and_grad(theta)
        return float(value), grad.copy()

    options = {"gtol": 1e-6, "ftol": 0, "maxcor": M, "maxiter": 10**5, "maxfun": 10**6}
    begin = time.perf_counter()
    found = scipy_minimize(fun, start, jac=True, method="L-BFGS-B", options=options)
    return time.perf_counter() - begin, found.nfev, float(found.fun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help="evaluations, overhead, logistic; default all")
    parser.add_argument("--data-dir", type=Path, default=FASHION, help="directory of Fashion-MNIST")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the logistic part")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of the logistic part")
    parser.add_argument("--largest", type=float, default=1e7, help="largest n of the overhead part")
    given = parser.parse_args()
    parts = {
        "evaluations": evaluations,
        "overhead": lambda: overhead(given.largest),
        "logistic": lambda: logistic(given.data_dir, given.rows, given.repeats),
    }
    for name in given.parts or parts:
        if name not in parts:
            parser.error(f"{name!r} is none of {', '.join(parts)}")
        parts[name]()


if __name__ == "__main__":
    main()
