"""Calibrate a classifier: honest probabilities, and sets of classes with a promised coverage.

A network that fits its training data becomes too sure of itself: of the images that it names with
a probability of 0.95, fewer than 95 % are named correctly. Three remedies use rows that it was not
trained on:

    temperature     softmax(z / T) with the most likely T. No decision changes
    sets            all classes with p_k ≥ 1 − q, where q is the ⌈0.9 (n + 1)⌉-th smallest of the
                    n scores 1 − p_y: nine of ten sets contain the class
    intervals       prediction ± q, with the same quantile of |y − prediction|

The coverage of the sets and intervals holds whatever the model is; a better one has smaller sets.
C. Guo et al., "On Calibration of Modern Neural Networks", 2017; A. Angelopoulos, S. Bates, "A
Gentle Introduction to Conformal Prediction", 2021.

    python examples/calibration.py [--epochs 60]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import BLUE, GREY, ORANGE, arguments, new_figure, save

from xpnet import MLP, Adam, CrossEntropy, GaussianNLL, HalfMSE, MinMax, Tanh
from xpnet.calibration import (
    conformal_intervals,
    conformal_sets,
    reliability,
    temperature_scaled,
)
from xpnet.data import load_digits
from xpnet.plots import reliability_diagram


def digits(epochs: int, axes: Any) -> None:
    """Train on 150 noisy images, and calibrate on 700 others."""
    data, rng = load_digits(), np.random.default_rng(0)
    X = np.concatenate([data.X_train, data.X_test]) + rng.normal(0, 6, (1797, 64))
    y = np.concatenate([data.y_train, data.y_test])
    own, other = slice(150, 850), slice(850, None)
    model = MLP(64, [100], 10, preprocessing=MinMax(0, 16, to=(-1, 1)))
    given = {"optimizer": Adam(lr=0.003), "epochs": epochs, "batch_size": 15, "progress": False}
    model.fit(X[:150], y[:150], loss=CrossEntropy(), **given)
    scaled = temperature_scaled(model, X[own], y[own])
    print(f"{'noisy digits':24} {'T':>6} {'loss':>7} {'ECE':>7} {'correct':>8}")
    for name, each, ax in (("trained", model, axes[0]), ("calibrated", scaled, axes[1])):
        found = reliability(each.predict_proba(X[other]), y[other], bins=10)
        T = 1.0 if each is model else scaled.layers[-1].temperature  # type: ignore[attr-defined]
        loss, right = each.evaluate(X[other], y[other])["loss"], each.predict(X[other]) == y[other]
        print(f"{name:24} {T:6.2f} {loss:7.3f} {found.ece:7.3f} {right.mean():8.3f}")
        reliability_diagram(found, ax=ax)
        ax.set_title(f"{name}, T = {T:.2f}")
    print(f"\n{'sets of level':24} {'coverage':>9} {'mean size':>10}")
    for level in (0.8, 0.9, 0.95):
        sets = conformal_sets(model, X[own], y[own], level=level)
        coverage, size = sets.coverage(X[other], y[other]), sets.mean_size(X[other])
        print(f"{f'{100 * level:.0f} %':24} {coverage:9.3f} {size:10.2f}")


def regression(epochs: int, ax: Any) -> None:
    """Intervals of a function with noise that grows with x."""
    rng = np.random.default_rng(2)
    X = rng.uniform(0, 4, (2300, 1))
    y = np.sin(2 * X[:, 0]) + (0.05 + 0.15 * X[:, 0]) * rng.normal(size=len(X))
    own, other = slice(300, 1300), slice(1300, None)
    line = np.linspace(0, 4, 200)[:, None]
    print(f"\n{'intervals of 90 %':24} {'coverage':>9} {'mean width':>11}")
    ax.plot(X[other], y[other], ".", ms=3, color=GREY, alpha=0.6)
    losses = {"q": (HalfMSE(), 1, ORANGE), "q σ(x)": (GaussianNLL(), 2, BLUE)}
    for name, (loss, width, colour) in losses.items():
        model = MLP(1, [32], width, activation=Tanh(), preprocessing=MinMax(0, 4, to=(-2, 2)))
        given = {"optimizer": Adam(lr=0.01), "batch_size": 20, "epochs": 3 * epochs}
        model.fit(X[:300], y[:300], loss=loss, progress=False, **given)
        intervals = conformal_intervals(model, X[own], y[own])
        coverage, size = intervals.coverage(X[other], y[other]), intervals.mean_width(X[other])
        print(f"{'prediction ± ' + name:24} {coverage:9.3f} {size:11.2f}")
        ends = intervals.predict(line)
        ax.plot(line, ends, color=colour, lw=2, label=[f"prediction ± {name}", None])
    ax.set(xlabel="$x$", ylabel="$y$", title="intervals that cover 90 %")
    ax.legend(loc="upper left")


def main(epochs: int, out: Path) -> None:
    figure, axes = new_figure(1, 3, (13, 4.2))
    digits(epochs, axes[:2])
    regression(epochs, axes[2])
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("calibration", __doc__, epochs=60))
