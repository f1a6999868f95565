"""Learn XOR, which needs a hidden layer.

    x₁ x₂   t       A neuron with w₁x₁ + w₂x₂ + b > 0 on the side of t = 1 needs
     0  0   0       b ≤ 0,  w₁ + b > 0,  w₂ + b > 0,  w₁ + w₂ + b ≤ 0.
     0  1   1       The sum of the second and third is w₁ + w₂ + 2b > 0, that of
     1  0   1       the others w₁ + w₂ + 2b ≤ 0. No weights can do both, and three
     1  1   0       of the four points are the most that a line can get right.

Trained by the cross-entropy, a neuron converges to w = 0, b = 0, the minimum of the convex loss,
where every probability is ½ and the loss log 2 = 0.6931. Two hidden units can represent two lines,
and XOR is the strip between them. But training may end in a poor local minimum, less often with
more hidden units than needed; the table has the share of seeds that learn XOR. M. Minsky, S.
Papert, "Perceptrons", 1969; D. Rumelhart, G. Hinton, R. Williams, "Learning representations by
back-propagating errors", 1986. Run it with

    python examples/xor.py [--epochs 500] [--seeds 20]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import BLACK, BLUE, arguments, new_figure, save

from xpnet import MLP, Adam, BinaryCrossEntropy, Sequential, Tanh, metrics

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
T = np.array([0, 1, 1, 0])


def trained(hidden: list[int], seed: int, epochs: int) -> tuple[Sequential, float, float]:
    """Train a network; return it, its loss, and its accuracy on the four points."""
    model = MLP(2, hidden, 1, activation=Tanh(), rng=seed)
    model.fit(X, T, loss=BinaryCrossEntropy(), optimizer=Adam(0.05), epochs=epochs, progress=False)
    result = model.evaluate(X, T, metrics=[metrics.accuracy])
    return model, result["loss"], result["accuracy"]


def draw(ax: Any, model: Sequential, title: str) -> Any:
    """Plot the probability of t = 1 over the plane, and the four points."""
    grid = np.linspace(-0.5, 1.5, 121)
    plane = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    probability = model.predict_proba(plane)[:, 1].reshape(121, 121)
    levels = np.linspace(0, 1, 21)
    # Colours of −0.4 to 1.4: pale at 0 and 1, so that the points remain visible.
    shades = ax.contourf(grid, grid, probability, levels, cmap="PuOr_r", vmin=-0.4, vmax=1.4)
    ax.plot(*X[T == 1].T, "o", color=BLACK, ms=9, label="t = 1")
    ax.plot(*X[T == 0].T, "s", color=BLACK, mfc="white", ms=9, label="t = 0")
    ax.set(title=title, xlabel="x₁", ylabel="x₂", aspect="equal", xticks=[0, 1], yticks=[0, 1])
    return shades


def main(epochs: int, seeds: int, out: Path) -> None:
    figure, (left, middle, last) = new_figure(1, 3, (11, 3.5))
    widths, shares = [0, 1, 2, 3, 4, 8], []
    print(f"{'hidden units':>12}{'mean loss':>11}{'best accuracy':>15}{'learned by':>12}")
    for width in widths:
        runs = [trained([width] * (width > 0), seed, epochs) for seed in range(seeds)]
        best, loss = min(runs, key=lambda run: run[1]), np.mean([run[1] for run in runs])
        learned = sum(run[2] == 1 for run in runs)
        shares.append(learned / seeds)
        right = max(run[2] for run in runs)
        print(f"{width:12}{loss:11.4f}{right:15.2f}{learned:9} of {seeds}")
        if width == 0:
            draw(left, best[0], "One neuron: ½ everywhere")
        elif width == 2:
            shades = draw(middle, best[0], "Two hidden units: a strip")
    left.legend(loc="center", frameon=True)
    figure.colorbar(shades, ax=[left, middle], label="probability of t = 1", ticks=[0, 0.5, 1])
    last.bar([str(width) for width in widths], shares, color=BLUE)
    last.set(xlabel="hidden units", ylim=(0, 1.05), title=f"Share of {seeds} seeds that learn XOR")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("xor", __doc__, epochs=500, seeds=20))
