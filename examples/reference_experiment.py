"""The reference experiment: six optimizers, each with and without batch norm, on 28×28 images.

784 inputs scaled to [−1, 1], 200 sigmoid units, 10 outputs, softmax cross-entropy; 20 000 training
images drawn at random, 20 epochs in full batches of 64; accuracy on the 10 000 test images. A seed
draws the images, the initial weights (Glorot's uniform ones) and the batches. Run it with

    python examples/reference_experiment.py --data-dir FOLDER
    python examples/reference_experiment.py mnist --data-dir FOLDER

and the folder of the four files of Fashion-MNIST or of MNIST; without ``--data-dir`` they are
downloaded once. It prints a Markdown table, for MNIST with the figures that the source of the
experiment reports, and saves it with a picture as reference_experiment.md and .png.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from xpnet import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    BatchNorm,
    CrossEntropy,
    Dense,
    History,
    MinMax,
    Momentum,
    RMSProp,
    Sequential,
    Sigmoid,
    __version__,
)
from xpnet.data import Dataset, load_fashion_mnist, load_mnist
from xpnet.metrics import accuracy

OPTIMIZERS = {
    "SGD": SGD(lr=0.01),
    "Momentum": Momentum(lr=0.01, alpha=0.95),
    "AdaGrad": AdaGrad(lr=0.01),
    "RMSProp": RMSProp(lr=0.001, rho=0.95),
    "AdaDelta": AdaDelta(rho=0.95),
    "Adam": Adam(lr=0.001),
}
SOURCE = (0.8951, 0.9604, 0.9503, 0.9614, 0.9624, 0.9667, 0.9258)
"""What the source reports for MNIST, one run each, in the order above; last SGD + BN."""


def train(data: Dataset, name: str, seed: int, rows: int, epochs: int) -> tuple[float, History]:
    """The test accuracy and the history of one training."""
    optimizer, _, normalized = name.partition(" + ")
    chosen = np.random.default_rng(seed).choice(len(data.X_train), rows, replace=False)
    layers = [Dense(200, Sigmoid()), *([BatchNorm()] if normalized else []), Dense(10)]
    model = Sequential(layers, 784, rng=seed, preprocessing=MinMax(0, 255, to=(-1, 1)))
    history = model.fit(
        data.X_train[chosen],
        data.y_train[chosen],
        loss=CrossEntropy(),
        optimizer=OPTIMIZERS[optimizer],
        epochs=epochs,
        batch_size=64,
        drop_last=True,  # a last half batch would make AdaDelta's final θ noisier
        progress=False,
        rng=seed,
    )
    share = float(model.evaluate(data.X_test, data.y_test, metrics=[accuracy])["accuracy"])
    print(f"{name:14} seed {seed}  {share:.4f}  {sum(history['seconds']):.1f} s", flush=True)
    return share, history


def table(data: Dataset, results: dict[str, list[tuple[float, History]]], about: str) -> str:
    """The results as a page of Markdown."""
    source = dict(zip(results, SOURCE, strict=False)) if data.name == "mnist" else {}
    seeds = [f"seed {seed}" for seed in range(len(results["SGD"]))]
    lines = [["", "mean", *seeds, "seconds", "source"], ["---", *["---:"] * (len(seeds) + 3)]]
    for name, runs in results.items():
        shares = [share for share, _ in runs]
        seconds = np.mean([sum(history["seconds"]) for _, history in runs])
        cells = [f"**{np.mean(shares):.4f}**", *(f"{share:.4f}" for share in shares)]
        lines.append([name, *cells, f"{seconds:.1f}", str(source.get(name, ""))])
    rows = "\n".join(f"| {' | '.join(line if source else line[:-1])} |" for line in lines)
    return f"# The reference experiment\n\n{about}\n\n{rows}\n"


def picture(data: Dataset, results: dict[str, list[tuple[float, History]]]) -> Figure:
    """Training losses on the left, test accuracies on the right, a dot a seed."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, runs in results.items():
        optimizer, _, normalized = name.partition(" + ")
        index = list(OPTIMIZERS).index(optimizer)
        style = {"color": f"C{index}", "markerfacecolor": "white" if normalized else f"C{index}"}
        loss = np.mean([history["loss"] for _, history in runs], axis=0)
        left.semilogy(np.arange(1, len(loss) + 1), loss, "--" if normalized else "-", **style)
        height = index + (0.15 if normalized else -0.15)
        right.plot([share for share, _ in runs], [height] * len(runs), "o", alpha=0.8, **style)
    right.set_yticks(range(len(OPTIMIZERS)), OPTIMIZERS)
    for index, label in enumerate(right.get_yticklabels()):
        label.set(color=f"C{index}", fontweight="bold")
    right.invert_yaxis()
    right.grid(axis="x", alpha=0.3)
    left.grid(alpha=0.3)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="epoch", ylabel="training loss", title="solid: plain, dashed: batch norm")
    title = "full: plain, hollow: batch norm; a dot a seed"
    right.set(xlabel=f"test accuracy, {data.name}", title=title)
    return figure


def main(options: argparse.Namespace) -> None:
    load = load_mnist if options.dataset == "mnist" else load_fashion_mnist
    data = load(options.data_dir)
    if (data.y_train[:5].tolist() == [5, 0, 4, 1, 9]) != (data.name == "mnist"):
        sys.exit(f"{options.data_dir} does not hold the files of {data.name}.")
    names = [*OPTIMIZERS, *(f"{name} + BN" for name in OPTIMIZERS)]
    seeds, sizes = range(options.seeds), (options.rows, options.epochs)
    results = {name: [train(data, name, seed, *sizes) for seed in seeds] for name in names}
    about = (
        f"{data.name}, 784-200-10 with sigmoid units, {options.rows} training images, "
        f"{options.epochs} epochs, batches of 64: test accuracy, and seconds of one training. "
        f"xpnet {__version__}, NumPy {np.__version__}, {os.cpu_count()} CPU cores, "
        f"{datetime.date.today()}, `python examples/reference_experiment.py {data.name} "
        f"--seeds {options.seeds} --rows {options.rows} --epochs {options.epochs}`."
    )
    page = table(data, results, about)
    print(f"\n{page}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "reference_experiment.md").write_text(page, encoding="utf-8")
    picture(data, results).savefig(options.out / "reference_experiment.png", dpi=120)
    print(f"Wrote reference_experiment.md and .png in {options.out}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Six optimizers, with and without batch norm.")
    names = ["fashion-mnist", "mnist"]
    parser.add_argument("dataset", nargs="?", choices=names, default=names[0])
    parser.add_argument("--data-dir", help="the folder of the data's four files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20000, help="training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="the folder of the results")
    main(parser.parse_args())
