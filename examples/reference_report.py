"""Write the table and the figure of reference_experiment.py. This is not a script."""

from __future__ import annotations

import argparse
import datetime
import os

import numpy as np
from matplotlib.figure import Figure

import xpnet

Results = dict[str, list[tuple[float, xpnet.History]]]
"""For each optimizer, "Adam" or "Adam + BN", the accuracy and the history of every seed."""

SOURCE_ON_MNIST = {
    "SGD": "0.8951",
    "Momentum": "0.9604",
    "AdaGrad": "0.9503",
    "RMSProp": "0.9614",
    "AdaDelta": "0.9624",
    "Adam": "0.9667",
    "SGD + BN": "0.9258",
}
"""What the source of the experiment reports, one run each."""


def table(results: Results, options: argparse.Namespace) -> str:
    """Return the results as a page of Markdown."""
    source = SOURCE_ON_MNIST if options.dataset == "mnist" else {}
    seeds = [f"seed {seed}" for seed in range(options.seeds)]
    lines = [["", "mean", *seeds, "seconds", "source"], ["---", *["---:"] * (len(seeds) + 3)]]
    for name, runs in results.items():
        shares = [share for share, _ in runs]
        seconds = np.min([sum(history["seconds"]) for _, history in runs])
        cells = [f"**{np.mean(shares):.4f}**", *(f"{share:.4f}" for share in shares)]
        lines.append([name, *cells, f"{seconds:.1f}", source.get(name, "")])
    rows = "\n".join(f"| {' | '.join(line if source else line[:-1])} |" for line in lines)
    return (
        "# The reference experiment\n\n"
        f"{options.dataset}, 784-200-10 with sigmoid units, {options.rows} training images, "
        f"{options.epochs} epochs in full batches of 64: test accuracy, and the seconds of the "
        f"fastest training. xpnet {xpnet.__version__}, NumPy {np.__version__}, {os.cpu_count()} "
        f"CPU cores, {datetime.date.today()}.\n\n"
        f"    python examples/reference_experiment.py {options.dataset} --seeds {options.seeds} "
        f"--rows {options.rows} --epochs {options.epochs}\n\n{rows}\n"
    )


def picture(results: Results, dataset: str) -> Figure:
    """Plot training losses on the left, test accuracies on the right, a dot for each seed."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    optimizers = [name for name in results if not name.endswith("+ BN")]
    for name, runs in results.items():
        index, normalized = optimizers.index(name.removesuffix(" + BN")), name not in optimizers
        style = {"color": f"C{index}", "markerfacecolor": "white" if normalized else f"C{index}"}
        loss = np.mean([history["loss"] for _, history in runs], axis=0)
        left.semilogy(np.arange(1, len(loss) + 1), loss, "--" if normalized else "-", **style)
        height = index + (0.15 if normalized else -0.15)
        right.plot([share for share, _ in runs], [height] * len(runs), "o", alpha=0.8, **style)
    left.set(xlabel="epoch", ylabel="training loss", title="Loss (dashed: with batch norm)")
    left.set_yticks([0.1, 0.2, 0.5, 1.0, 2.0], ["0.1", "0.2", "0.5", "1", "2"])
    left.yaxis.set_minor_formatter("")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.grid(alpha=0.3)
    right.set(xlabel=f"test accuracy on {dataset}", title="A dot a seed (hollow: with batch norm)")
    right.set_yticks(range(len(optimizers)), optimizers)
    for index, label in enumerate(right.get_yticklabels()):
        label.set(color=f"C{index}", fontweight="bold")
    right.invert_yaxis()
    right.grid(axis="x", alpha=0.3)
    return figure
