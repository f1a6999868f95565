"""Inspect five layers before training, with inputs from N(0, 1): the classical experiment.

Five layers of 100 units, 1000 rows of 100 numbers from N(0, 1). With weights of variance v the sums
z of the first layer have variance 100 v, and each layer multiplies

    forward   E a² by 100 v/2 (relu, where half of the units are 0)
    backward  E δ² by 100 v E φ'(z)², where φ'² is ½ on average for relu, at most 1/16 for sigmoid

So v = 2/100 keeps both for relu (He). No v keeps the gradient for sigmoid, because its derivative
a(1 − a) is at most 1/4, and 0 where it saturates; batch norm, which divides by the spread of z,
helps. The table has the standard deviation of the units over the rows beside the histograms: in the
fifth sigmoid layer each peak of the histogram is a unit with the same output for every row. The
classical figures write N(0, 0.01); both interpretations are shown, standard deviations of 0.1 and
0.01. X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
networks", 2010; K. He et al., "Delving deep into rectifiers", 2015; S. Ioffe, C. Szegedy, "Batch
normalization", 2015. Run it with

    python examples/inside_the_layers.py [--rows 1000]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import arguments, save
from matplotlib.figure import Figure

from xpnet import Activation, BatchNorm, Dense, HalfMSE, ReLU, Sequential, Sigmoid, inspect_layers
from xpnet.initializers import GlorotNormal, HeNormal, Initializer, LecunNormal, Normal, Zeros
from xpnet.inspection import InspectionReport, LayerReport
from xpnet.plots import layer_histograms

DEPTH, WIDTH = 5, 100
SETTINGS: dict[str, tuple[Initializer, bool]] = {
    "zeros": (Zeros(), False),
    "N(0, 1)": (Normal(1), False),
    "N(0, 0.1²)": (Normal(0.1), False),
    "N(0, 0.01²)": (Normal(0.01), False),
    "lecun": (LecunNormal(), False),
    "glorot": (GlorotNormal(), False),
    "he": (HeNormal(), False),
    "N(0, 1), batch norm": (Normal(1), True),
}
ALIKE = {"N(0, 0.1²)": "N(0, 0.1²),\nlecun, glorot", "lecun": "", "glorot": ""}
"""Plotted once: in layers of 100 units, the variance of LeCun and Glorot is 1/100 too."""


def network(activation: Sigmoid | ReLU, weight_init: Initializer, batch_norm: bool) -> Sequential:
    if batch_norm:
        layer = [Dense(WIDTH, weight_init=weight_init), BatchNorm(), Activation(activation)]
    else:
        layer = [Dense(WIDTH, activation, weight_init=weight_init)]
    return Sequential(layer * DEPTH, n_in=WIDTH)


def what_happens(first: LayerReport, last: LayerReport, ratio: float) -> str:
    """Describe what happens to the signal and the gradient, and why."""
    back = ratio ** (1 / (DEPTH - 1))
    forth = (last.spread / first.spread) ** (1 / (DEPTH - 1)) if first.spread else 0.0
    if last.dead == 1:
        return "dead: a = max(0, 0) = 0, and the slope there is 0"
    if ratio == 0:
        return "no gradient: it is multiplied by W = 0; all units stay alike"
    if last.saturated > 0.4 and last.output.high == 1:
        return "saturates: z is as wide as ±10, and the slope is 0 beyond ±5"
    if max(back, forth) < 0.5:
        return f"vanishes: × {forth:.2g} a layer forward, × {back:.2g} backward"
    if min(back, forth) > 2:
        return f"explodes: × {forth:.2g} a layer forward, × {back:.2g} backward"
    word = "goes through" if min(back, forth) > 0.9 else "fades"
    return f"{word}: × {forth:.2g} a layer forward, × {back:.2g} backward"


def draw(part: Any, kind: str, reports: dict[str, InspectionReport], named: bool) -> None:
    """Plot the outputs of one activation: one row for each setting, one column for each layer."""
    shown = {
        ALIKE.get(name, name): report for name, report in reports.items() if ALIKE.get(name, 1)
    }
    axes = layer_histograms(shown, axes=part.subplots(len(shown), DEPTH))
    for ax in axes.ravel():
        ax.set_title("")
        if not named:
            ax.set_ylabel("")
    for depth, ax in enumerate(axes[0], start=1):
        ax.set_title(f"layer {depth}", fontsize=9)
    part.suptitle(f"outputs of {kind}", fontsize=11)


def main(rows: int, out: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, WIDTH))
    # Outputs are negligible beside targets of this size: all settings get the same gradient.
    y = 1e6 * rng.standard_normal((rows, WIDTH))
    figure = Figure(figsize=(12, 6), layout="constrained")
    parts = figure.subfigures(1, 2, width_ratios=[1.22, 1], wspace=0.03)
    for part, activation in zip(parts, (Sigmoid(), ReLU()), strict=True):
        kind, reports = type(activation).__name__.lower(), {}
        print(f"\n{kind:20}{'spread of a₁':>14}{'of a₅':>9}{'saturated':>11}{'dead':>6}", end="")
        print(f"{'δ₁/δ₅':>9}")
        for name, (weight_init, batch_norm) in SETTINGS.items():
            model = network(activation, weight_init, batch_norm)
            report = inspect_layers(model, X, y, loss=HalfMSE(), bins=24)
            reports[name] = report[2::3] if batch_norm else report
            first, last = reports[name][0], reports[name][-1]
            ratio = first.gradient.std / last.gradient.std
            print(f"{name:20}{first.spread:14.2g}{last.spread:9.2g}{last.saturated:11.2f}", end="")
            print(f"{last.dead:6.2f}{ratio:9.1e}  {what_happens(first, last, ratio)}")
        draw(part, kind, reports, named=part is parts[0])
    print("\nThe last of them in full:\n")
    print(report)
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("inside_the_layers", "What five layers do to N(0, 1).", rows=1000))
