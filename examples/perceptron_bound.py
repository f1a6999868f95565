"""Compare the number of mistakes of the perceptron with its bound.

The perceptron starts at w = 0 and iterates over the rows x̃ = t·[x, 1], t = ±1:

    where wᵀx̃ ≤ 0:  w ← w + x̃

If some unit vector u has uᵀx̃ ≥ γ > 0 for every row, and ‖x̃‖ ≤ R, then after k mistakes uᵀw ≥ kγ,
because each adds at least γ, and ‖w‖² ≤ kR², because wᵀx̃ ≤ 0. Together k²γ² ≤ kR², so that

    k ≤ (R/γ)²

(A. Novikoff, "On convergence proofs for perceptrons", 1962). The bound holds for the widest margin
γ, but the perceptron stops at any separating line. The figure shows its line beside that of the
widest margin, and how the mistakes increase as the gap between the classes narrows. Run it with

    python examples/perceptron_bound.py [--sets 100]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import BLACK, BLUE, GREEN, ORANGE, PURPLE, arguments, new_figure, save

from xpnet.perceptron import Perceptron, Separator, mistake_bound, widest_separator
from xpnet.plots import decision_regions


def classes(gap: float, rng: np.random.Generator, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of a square, none nearer than gap/2 to a random line, and their classes."""
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3)
    X = rng.uniform(-1, 1, (20 * n, 2))
    height = X @ [np.cos(angle), np.sin(angle)] + offset
    far = np.abs(height) >= gap / 2
    return X[far][:n], np.where(height[far][:n] > 0, 1, -1)


def draw_line(ax: Any, separator: Separator, score: float, **style: Any) -> None:
    """Plot the line of the points with this score."""
    foot = (score - separator.b) / (separator.w @ separator.w) * separator.w
    ax.axline(foot, foot + separator.w[::-1] * [-1, 1], **style)


def main(sets: int, out: Path) -> None:
    rng = np.random.default_rng(1)
    figure, (left, right) = new_figure(1, 2, (10, 4.4))

    X, y = classes(0.2, rng)
    found, widest = Perceptron().fit(X, y), widest_separator(X, y)
    print(f"the picture on the left: {found.n_mistakes} mistakes in {found.n_passes} passes,")
    print(f"at most {mistake_bound(X, y, widest):.0f} by the widest margin")
    decision_regions(found, X, y, names=("x₁", "x₂"), ax=left)
    for score, dashes in ((-1, ":"), (0, "--"), (1, ":")):
        draw_line(left, widest, score, color=BLACK, ls=dashes, lw=1)
    left.set(title=f"After {found.n_mistakes} mistakes; dashed: the widest margin", aspect="equal")

    print(f"\n{'gap':>5}{'sets':>6}{'mean mistakes':>15}{'most':>6}{'mean bound':>12}{'least':>7}")
    highest = 0.0
    for gap, colour in zip((0.8, 0.4, 0.2, 0.1), (BLUE, ORANGE, GREEN, PURPLE), strict=True):
        counts, bounds = np.empty(sets), np.empty(sets)
        for i in range(sets):
            X, y = classes(gap, rng)
            counts[i] = Perceptron().fit(X, y).n_mistakes
            bounds[i] = mistake_bound(X, y, widest_separator(X, y, tol=0.02))
        row = f"{counts.mean():15.1f}{counts.max():6.0f}{bounds.mean():12.1f}{bounds.min():7.1f}"
        print(f"{gap:5}{sets:6}{row}")
        right.loglog(bounds, counts, "o", color=colour, ms=4, mew=0, alpha=0.7, label=gap)
        highest = max(highest, np.max(counts / bounds))
    print(f"no count was above {highest:.2f} of its bound")
    ends = np.array([8, 1500])
    right.loglog(ends, ends, color=BLACK, lw=1, label="(R/γ)²")
    right.set(xlabel="(R/γ)² with the widest margin γ", ylabel="mistakes")
    right.legend(title="gap between the classes")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("perceptron_bound", __doc__, sets=100))
