"""Underfit, fit and overfit a curve, and regularize a large network with L2.

The training data are twenty points of a curve with noise, the test data a thousand others. The
training error decreases as the network grows. The test error decreases and then increases: a large
network fits the noise of each point. The penalty

    E(θ) + ½ λ Σ W²        (gradient: + λ W; weights only, never biases)

makes large weights, and so sharp bends, expensive. With a good λ a hundred units do as well as the
network of the right size; with a λ that is too large they cannot follow the curve. The error cannot
be smaller than the noise of the test data, here 0.25 (the dotted line). Errors are root mean
squares. I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, sections 5.2, 7.1.

    python examples/overfitting.py [--epochs 3000]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLACK, BLUE, GREY, ORANGE, arguments, new_figure, save

from xpnet import Adam, Dense, HalfMSE, Sequential, Tanh, schedules
from xpnet.initializers import Uniform
from xpnet.metrics import rmse

NOISE = 0.25
SHOWN = [
    ("too few: 2 units", 2, 0.0),
    ("enough: 4 units", 4, 0.0),
    ("too many: 100 units", 100, 0.0),
    ("100 units, λ = 0.003", 100, 0.003),
    ("100 units, λ = 0.05", 100, 0.05),
]
RATES = [1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2]


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of the curve sin 3x, with noise."""
    x = rng.uniform(-1.5, 1.5, (n, 1))
    return x, np.sin(3 * x) + NOISE * rng.standard_normal((n, 1))


def trained(width: int, l2: float, x: np.ndarray, t: np.ndarray, epochs: int) -> Sequential:
    spread = Uniform(6.0)  # steep units, which can bend anywhere
    hidden = Dense(width, Tanh(), weight_init=spread, bias_init=spread)
    model = Sequential([hidden, Dense(1)], 1, rng=6)
    how = {"optimizer": Adam(lr=0.03), "schedule": schedules.Cosine(), "progress": False}
    model.fit(x, t, loss=HalfMSE(), epochs=epochs, batch_size=len(x), l2=l2, **how)
    return model


def main(epochs: int, out: Path) -> None:
    rng = np.random.default_rng(9)
    (x, t), (x_test, t_test) = draw(20, rng), draw(1000, rng)
    grid = np.linspace(-1.5, 1.5, 301)[:, None]
    figure, axes = new_figure(2, 3, (11, 6))

    def errors(model: Sequential) -> list[float]:
        return [float(rmse(model.predict(a), b)) for a, b in ((x, t), (x_test, t_test))]

    print(f"{'network':22} {'training error':>14} {'test error':>11}")
    for ax, (name, width, l2) in zip(axes.flat, SHOWN, strict=False):
        model = trained(width, l2, x, t, epochs)
        training, test = errors(model)
        print(f"{name:22} {training:14.3f} {test:11.3f}")
        ax.plot(grid, np.sin(3 * grid), color=GREY, lw=4, alpha=0.5, label="truth")
        ax.plot(x, t, "o", color=BLACK, ms=4, label="training data")
        ax.plot(grid, model.predict(grid), color=BLUE, label="network")
        ax.set(title=f"{name}\ntraining {training:.2f}, test {test:.2f}", ylim=(-2.0, 2.1))
    axes[0, 0].legend(loc="lower left", ncols=3, columnspacing=1, handlelength=1.2)

    sweep = [errors(trained(100, l2, x, t, epochs)) for l2 in RATES]
    ax = axes[1, 2]
    ax.semilogx(RATES, [fit for fit, _ in sweep], "o-", color=BLUE, ms=4, label="training")
    ax.semilogx(RATES, [test for _, test in sweep], "o-", color=ORANGE, ms=4, label="test")
    ax.axhline(NOISE, color=GREY, ls=":")
    ax.set(title="100 units: error for each λ", xlabel="λ", ylim=(0, None))
    ax.legend()
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("overfitting", __doc__, epochs=3000))
