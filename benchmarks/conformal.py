"""Measure the coverage of conformal sets and intervals over seeded draws of rows.

    python benchmarks/conformal.py [--data-dir FOLDER] [--draws 20] [--level 0.9]

In each draw 1 000 rows or more that no model was trained on calibrate the threshold, and as many
others measure the coverage. Fashion-MNIST is read from the folder; without it the digits in the
package take its place, with a model of 200 images, which leaves twice 798 rows. The regressions
predict a noisy function with a variance that depends on x, of 40 000 rows. The target is a mean
coverage of the level ± 0.01; a single draw varies by ``√(level (1 − level) (1/m + 1/n))``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpnet import MLP, Adam, CrossEntropy, GaussianNLL, HalfMSE, MinMax, Sequential
from xpnet.backend import HostArray
from xpnet.calibration import (
    AdaptiveSets,
    LeastAmbiguous,
    conformal_intervals,
    conformal_sets,
    reliability,
    temperature_scaled,
)
from xpnet.data import load_digits, load_fashion_mnist

SCORES = {
    "sets, 1 - p": LeastAmbiguous(),
    "sets, adaptive": AdaptiveSets(),
    "sets, adaptive, randomized": AdaptiveSets(randomized=True),
}
TOLERANCE = 0.01
FASHION = Path(__file__).parents[2] / "shared" / "data" / "fashion-mnist"

Draw = Callable[[HostArray, HostArray, np.random.Generator], tuple[float, float]]
"""Coverage, and mean size or width, for calibration rows, other rows and a generator."""


def images(folder: Path) -> tuple[str, Sequential, HostArray, HostArray]:
    """Return a name, a trained classifier, and the rows that it was not trained on."""
    if folder.is_dir():
        data, name, n, size = load_fashion_mnist(folder), "Fashion-MNIST, 784-100-10", 10_000, 100
        X, y, top = data.X_train, data.y_train, 255
        other = data.X_test, data.y_test
    else:
        digits, name, n, size = load_digits(), "digits, 64-32-10", 200, 32
        X, y, top = digits.X_train, digits.y_train, 16
        other = np.concatenate([X[n:], digits.X_test]), np.concatenate([y[n:], digits.y_test])
    model = MLP(X.shape[1], [size], 10, preprocessing=MinMax(0, top), rng=0)
    given = {"loss": CrossEntropy(), "optimizer": Adam(lr=0.003), "epochs": 30, "progress": False}
    model.fit(X[:n], y[:n], **given)
    return name, model, *other


def show(name: str, draw: Draw, m: int, n: int, draws: int, level: float) -> bool:
    """Print a line of the table, and return whether the mean coverage is near the level.

    Args:
        name: the name of the line.
        draw: measures one draw.
        m: the number of rows that no model was trained on.
        n: the number of calibration rows, and of other rows, that are drawn from them.
        draws: the number of draws.
        level: the level.
    """
    found = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        order = rng.permutation(m)
        found.append(draw(order[:n], order[n : 2 * n], rng))
    coverage, size = np.array(found).T
    expected = math.sqrt(level * (1 - level) * 2 / n)
    ok = abs(coverage.mean() - level) <= TOLERANCE
    print(
        f"{name:28}{n:>7}{coverage.mean():>10.4f}{coverage.std():>9.4f}{expected:>10.4f}"
        f"{coverage.min():>8.3f}{coverage.max():>7.3f}{size.mean():>8.2f}{'' if ok else '  MISSED'}"
    )
    return ok


def main(data_dir: Path, draws: int, level: float) -> bool:
    name, model, X, y = images(data_dir)
    results = []
    half = len(X) // 2
    scaled = temperature_scaled(model, X[:half], y[:half])
    errors = [reliability(each.predict_proba(X[half:]), y[half:]).ece for each in (model, scaled)]
    print(f"{name}: {np.mean(model.predict(X) == y):.3f} of {len(X)} other rows are right; ECE")
    print(f"{errors[0]:.4f}, at T = {scaled.layers[-1].temperature:.2f} {errors[1]:.4f}\n")
    print(f"level {level:g}, {draws} draws")
    print(
        f"{'':28}{'rows':>7}{'coverage':>10}{'std':>9}{'expected':>10}{'min':>8}{'max':>7}{'size':>8}"
    )
    for label, score in SCORES.items():

        def draw(own, other, rng, score=score):  # type: ignore[no-untyped-def]
            given = {"rng": rng} if score.randomized else {}
            sets = conformal_sets(model, X[own], y[own], level=level, score=score, **given)
            return (
                sets.coverage(X[other], y[other], **given),
                sets.mean_size(X[other], **given),
            )

        results.append(show(label, draw, len(X), half, draws, level))
    rng = np.random.default_rng(1)
    Z = rng.uniform(-2, 2, (41_000, 1))
    t = np.sin(3 * Z[:, 0]) + 0.2 * np.exp(Z[:, 0]) * rng.normal(size=len(Z))
    for label, loss, width in (("residuals", HalfMSE(), 1), ("residuals / σ", GaussianNLL(), 2)):
        regression = MLP(1, [32], width, rng=0)
        given = {"loss": loss, "optimizer": Adam(lr=0.01), "epochs": 60, "progress": False}
        regression.fit(Z[:1000], t[:1000], **given)

        def draw_intervals(own, other, _, regression=regression):  # type: ignore[no-untyped-def]
            own, other = own + 1000, other + 1000
            intervals = conformal_intervals(regression, Z[own], t[own], level=level)
            return intervals.coverage(Z[other], t[other]), intervals.mean_width(Z[other])

        results.append(
            show(f"intervals, {label}", draw_intervals, len(Z) - 1000, 1000, draws, level)
        )
    return all(results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The coverage of conformal sets and intervals.")
    parser.add_argument("--data-dir", type=Path, default=FASHION, help=f"default {FASHION}")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--level", type=float, default=0.9)
    if not main(**vars(parser.parse_args())):
        raise SystemExit("a mean coverage is further than 0.01 from the level")
