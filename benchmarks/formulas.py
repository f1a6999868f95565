"""Training steps with parts that are formulas beside those with the built-in parts, in turn.

``python -m benchmarks.formulas`` trains 784-200-10 on batches of 64 rows in replayed steps. The
ratio of a part is the median over pairs of the time of a step with the formula and with the
built-in one; the target is at most 1.05.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np

import xpnet
from benchmarks.machine import description, sentence
from xpnet import activations, losses

act, loss = activations.from_formula, losses.from_formula

ACTIVATIONS = {
    "sigmoid": (activations.Sigmoid(), act(lambda xp, z: 1 / (1 + xp.exp(-z)), name="sigmoid")),
    "tanh": (activations.Tanh(), act(lambda xp, z: xp.tanh(z), name="tanh")),
    "softplus": (activations.Softplus(), act(lambda xp, z: xp.log1p(xp.exp(z)), name="softplus")),
    "silu": (activations.SiLU(), act(lambda xp, z: z / (1 + xp.exp(-z)), name="silu")),
    "gelu": (
        activations.GELU(),
        act(lambda xp, z: 0.5 * z * (1 + xp.erf(z / math.sqrt(2.0))), name="gelu"),
    ),
}
HUBER = (
    losses.Huber(1.0),
    loss(
        lambda xp, z, t, delta: xp.where(
            xp.abs(z - t) <= delta,
            0.5 * (z - t) ** 2,
            delta * (xp.abs(z - t) - 0.5 * delta),
        ),
        name="huber",
        mean=True,
        delta=1.0,
    ),
)


def steps(activation: Any, of_loss: Any, y: Any) -> Callable[[], float]:
    """A function that takes 50 training steps and returns the seconds of one."""
    X = np.random.default_rng(0).normal(size=(64, 784)).astype("float32")
    model = xpnet.MLP(784, [200], 10, activation=activation, rng=0)
    step = xpnet.TrainingStep(model, of_loss, xpnet.Adam(1e-4))
    for _ in range(20):
        step(X, y)

    def timed() -> float:
        begin = perf_counter()
        for _ in range(50):
            step(X, y)
        return (perf_counter() - begin) / 50

    return timed


def compared(pair: tuple[Callable[[], float], Callable[[], float]], pairs: int) -> list[float]:
    """The ratios of the second time to the first."""
    ratios = []
    for index in range(pairs):
        order = (0, 1) if index % 2 else (1, 0)
        times = {i: pair[i]() for i in order}
        ratios.append(times[1] / times[0])
    return ratios


def main() -> None:
    """Print the ratio of every part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=100)
    pairs = parser.parse_args().pairs
    print(f"{sentence(description('as-is', True))}\n")
    rng = np.random.default_rng(1)
    classes, values = rng.integers(0, 10, 64), rng.normal(size=(64, 10)).astype("float32")
    rows = {
        name: tuple(steps(phi, xpnet.CrossEntropy(), classes) for phi in pair)
        for name, pair in ACTIVATIONS.items()
    }
    rows["huber"] = tuple(steps(xpnet.ReLU(), of_loss, values) for of_loss in HUBER)
    print(f"{'part':<10} {'step':>8}  {'ratio':>6}  quartiles")
    for name, pair in rows.items():
        seconds = min(pair[0]() for _ in range(5))
        ratios = compared(pair, pairs)
        low, _, high = quantiles(ratios, n=4)
        text = f"{median(ratios):6.3f}  {low:.3f} to {high:.3f}"
        print(f"{name:<10} {seconds * 1e6:5.0f} µs  {text}")


if __name__ == "__main__":
    main()
