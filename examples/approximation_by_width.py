"""Approximate a curve with one hidden layer: the error decreases with the width.

The network is a sum of n smooth steps, each with its own position and height:

    y(x) = Σ_i v_i tanh(w_i x + b_i) + c

Such sums approximate any continuous function on an interval arbitrarily well, if n is large enough
(G. Cybenko, "Approximation by superpositions of a sigmoidal function", 1989; K. Hornik,
"Approximation capabilities of multilayer feedforward networks", 1991). The theorem says that good
weights exist, not that training finds them: the seeds of one width differ, and doubling the width
does not always divide the error by the same factor. The figure shows fits of 2, 8 and 64 units. The
error is the root mean square, also between the training points. Run it with

    python examples/approximation_by_width.py [--epochs 3000] [--seeds 5] [--largest 64]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, GREY, ORANGE, arguments, new_figure, save

from xpnet import Adam, Dense, HalfMSE, Sequential, Tanh, schedules
from xpnet.initializers import Uniform
from xpnet.metrics import rmse


def curve(x: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * x) + 0.5 * np.sin(6 * np.pi * x)


def trained(width: int, x: np.ndarray, seed: int, epochs: int) -> Sequential:
    # Steps of different steepness, spread over the interval.
    spread = Uniform(6.0)
    hidden = Dense(width, Tanh(), weight_init=spread, bias_init=spread)
    model = Sequential([hidden, Dense(1)], 1, rng=seed)
    model.fit(
        x,
        curve(x),
        loss=HalfMSE(),
        optimizer=Adam(lr=0.02),
        epochs=epochs,
        batch_size=len(x),
        schedule=schedules.Cosine(),
        progress=False,
    )
    return model


def main(epochs: int, seeds: int, largest: int, out: Path) -> None:
    x, between = np.linspace(-1, 1, 256)[:, None], np.linspace(-1, 1, 999)[:, None]
    widths = [2**power for power in range(1, largest.bit_length())]
    shown = [widths[0], widths[len(widths) // 2 - 1], widths[-1]]
    figure, axes = new_figure(1, 4, (12, 3.2), width_ratios=[1, 1, 1, 1.2])
    errors = []
    print(f"{'width':>5}  {'median error':>12}  error of each seed")
    for width in widths:
        models = [trained(width, x, seed, epochs) for seed in range(seeds)]
        errors.append([float(rmse(m.predict(between), curve(between))) for m in models])
        row = "  ".join(f"{error:.4f}" for error in errors[-1])
        print(f"{width:5}  {np.median(errors[-1]):12.4f}  {row}")
        if width in shown:
            ax, middle = axes[shown.index(width)], int(np.argsort(errors[-1])[seeds // 2])
            ax.plot(between, curve(between), color=GREY, lw=4, alpha=0.5, label="curve")
            ax.plot(between, models[middle].predict(between), color=BLUE, label="network")
            ax.set(title=f"{width} units", xlabel="x", ylim=(-1.75, 1.3), yticks=[-1, 0, 1])
    axes[0].legend(loc="lower right", ncols=2, handlelength=1.2, columnspacing=1)
    axes[3].loglog(widths, errors, "o", color=GREY, ms=4, mew=0)
    axes[3].loglog(widths, np.median(errors, axis=1), "o-", color=ORANGE)
    axes[3].set(xlabel="width", title=f"Error ({seeds} seeds, and their median)")
    axes[3].set_xticks(widths, widths)
    axes[3].set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    axes[3].minorticks_off()
    axes[3].grid(alpha=0.25)
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("approximation_by_width", __doc__, epochs=3000, seeds=5, largest=64))
