"""Plot the paths of six first-order methods on x²/20 + y², from (-7, 2).

Gradient descent oscillates across the valley, momentum follows an arc, and the adaptive methods
rescale the axes and move almost straight. A cross marks the start, a star the minimum. Run it with

    python examples/optimizer_trajectories.py [--steps 30]

It prints the result of each method.
"""

from __future__ import annotations

from pathlib import Path

from lesson import COLOURS, arguments, save
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


def main(steps: int, out: Path) -> None:
    function = Bowl()
    results = compare(function, METHODS, (-7.0, 2.0), max_iter=steps)
    print(table(results))
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplot_mosaic("abc;def;ggg")
    for place, result, colour in zip("abcdef", results, COLOURS, strict=False):
        ax = plot_trajectories(function, [result], ax=axes[place])
        ax.get_lines()[0].set_color(colour)
        ax.set_title(result.name, color=colour, fontweight="bold")
        ax.get_legend().remove()
    axes["g"].set_prop_cycle(color=COLOURS)
    plot_convergence(results, least=function.least, ax=axes["g"])
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("optimizer_trajectories", __doc__, steps=30))
