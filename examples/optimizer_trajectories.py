"""The classical figure: six first-order methods on x²/20 + y², from (-7, 2).

Gradient descent zigzags across the valley, momentum rolls through it in an arc, and the adaptive
methods rescale the axes and go straight. Run it with

    python examples/optimizer_trajectories.py [FILE]

It writes optimizer_trajectories.png, or FILE, and prints what each method reached in 30 steps.
"""

from __future__ import annotations

import sys

from matplotlib.figure import Figure

from xpnet.minimize import compare, table
from xpnet.minimize.functions import Bowl
from xpnet.minimize.plots import plot_convergence, plot_trajectories
from xpnet.optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSProp

METHODS = [
    SGD(lr=0.95),
    AdaGrad(lr=1.5),
    RMSProp(lr=0.3),
    Momentum(lr=0.1),
    Nesterov(lr=0.1),
    Adam(lr=0.3),
]
STEPS = 30


def main(file: str) -> None:
    function = Bowl()
    results = compare(function, METHODS, (-7.0, 2.0), max_iter=STEPS)
    print(table(results))
    figure = Figure(figsize=(12, 10), layout="constrained")
    axes = figure.subplots(3, 3).ravel()
    for ax, result in zip(axes, results, strict=False):
        plot_trajectories(function, [result], ax=ax).set_title(result.name)
    for ax in axes[len(results) :]:
        ax.remove()
    plot_convergence(results, least=function.least, ax=figure.add_subplot(3, 1, 3))
    figure.savefig(file, dpi=120)
    print(f"Wrote {file}.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "optimizer_trajectories.png")
