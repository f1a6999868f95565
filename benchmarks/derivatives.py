"""Measure derivatives: a jvp in forward passes, a Hessian product in gradients.

    OPENBLAS_NUM_THREADS=1 python benchmarks/derivatives.py [--dtype float32] [--repeats 400]

784-200-10 with sigmoid units and cross-entropy. The calls alternate, and each result is the median
of its times: forward is ``model.forward``, gradient is ``model.value_and_grad``, both with the
validation of their data, as in the derivatives. On busy cores a call that exceeds its time slice
waits for milliseconds, and the ratios are not meaningful.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import MLP, CrossEntropy, Sigmoid
from xpnet.derivatives import gauss_newton_vp, gradient, hvp, jvp

LIMITS = {"jvp": 2.5, "hvp": 5.0}


def medians(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The median seconds of each call; the calls alternate, so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(10):
        for call in calls.values():
            call()
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(spent) for name, spent in times.items()}


def main(dtype: str, repeats: int) -> None:
    loss, rng = CrossEntropy(), np.random.default_rng(0)
    model = MLP(784, [200], 10, activation=Sigmoid(), dtype=dtype)
    v = rng.normal(size=model.layout.size).astype(dtype)
    print(f"784-200-10, {dtype}, medians of {repeats} calls in turns, µs")
    for m in (64, 256):
        X = rng.normal(size=(m, 784)).astype(dtype)
        y = rng.integers(0, 10, m)
        found = medians(
            {
                "forward": lambda X=X: model.forward(X),
                "jvp": lambda X=X: jvp(model, X, dtheta=v),
                "gradient": lambda X=X, y=y: model.value_and_grad(X, y, loss),
                "hvp": lambda X=X, y=y: hvp(model, X, y, loss, v),
                "derivatives.gradient": lambda X=X, y=y: gradient(model, X, y, loss),
                "gauss_newton_vp": lambda X=X, y=y: gauss_newton_vp(model, X, y, loss, v),
            },
            repeats,
        )
        print(f"batch {m}: " + ", ".join(f"{k} {1e6 * t:.0f}" for k, t in found.items()))
        for name, base in (("jvp", "forward"), ("hvp", "gradient")):
            ratio = found[name] / found[base]
            print(f"  {name} / {base} = {ratio:.2f} (at most {LIMITS[name]})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The cost of derivatives.")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--repeats", type=int, default=400)
    arguments = parser.parse_args()
    main(arguments.dtype, arguments.repeats)
