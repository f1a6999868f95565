"""The reference experiment: six optimizers, each with and without batch norm, on 28×28 images.

784 inputs scaled to [−1, 1], 200 sigmoid units, 10 outputs, softmax cross-entropy; 20 000 training
images drawn at random, 20 epochs in full batches of 64; accuracy on the 10 000 test images. Every
mean is of several seeds: a seed draws the images, the initial weights and the batches. Run it with

    python examples/reference_experiment.py --data-dir FOLDER
    python examples/reference_experiment.py mnist --data-dir FOLDER

with the folder of the four files of Fashion-MNIST or of MNIST; without ``--data-dir`` they are
downloaded once. It prints a Markdown table, with MNIST beside the figures that the source of the
experiment reports, and saves it with a picture as reference_experiment.md and .png.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import xpnet
from xpnet import SGD, AdaDelta, AdaGrad, Adam, BatchNorm, Dense, Momentum, RMSProp, Sigmoid
from xpnet.data import Dataset, MinMax, load_fashion_mnist, load_mnist

OPTIMIZERS = {
    "SGD": SGD(lr=0.01),
    "Momentum": Momentum(lr=0.01, alpha=0.95),
    "AdaGrad": AdaGrad(lr=0.01),
    "RMSProp": RMSProp(lr=0.001, rho=0.95),
    "AdaDelta": AdaDelta(rho=0.95),
    "Adam": Adam(lr=0.001),
}
SOURCE_ON_MNIST = dict(
    zip(OPTIMIZERS, [0.8951, 0.9604, 0.9503, 0.9614, 0.9624, 0.9667], strict=True)
) | {"SGD + BN": 0.9258}


def run(data: Dataset, name: str, seed: int, rows: int, epochs: int) -> tuple[float, list, float]:
    """Test accuracy, training loss of each epoch and seconds of one training."""
    optimizer, _, batch_norm = name.partition(" + ")
    chosen = np.random.default_rng(seed).choice(len(data.X_train), rows, replace=False)
    layers = [Dense(200, Sigmoid()), *([BatchNorm()] if batch_norm else []), Dense(10)]
    model = xpnet.Sequential(layers, 784, rng=seed, preprocessing=MinMax(0, 255, to=(-1, 1)))
    start = time.perf_counter()
    history = model.fit(
        data.X_train[chosen],
        data.y_train[chosen],
        loss=xpnet.CrossEntropy(),
        optimizer=OPTIMIZERS[optimizer],
        epochs=epochs,
        batch_size=64,
        drop_last=True,  # half a batch just before the test makes AdaDelta's last θ noisier
        rng=seed,
        progress=False,
    )
    seconds = time.perf_counter() - start
    accuracy = float(model.evaluate(data.X_test, data.y_test)["accuracy"])
    print(f"{name:14} seed {seed}  test accuracy {accuracy:.4f}  {seconds:.1f} s", flush=True)
    return accuracy, history["loss"], seconds


def table(data: Dataset, results: dict[str, list], rows: int, epochs: int) -> str:
    """The results as a page of Markdown."""
    source = SOURCE_ON_MNIST if data.name == "mnist" else {}
    seeds = range(len(results["SGD"]))
    head = ["", "mean", *(f"seed {seed}" for seed in seeds), "s"] + ["source"] * bool(source)
    lines = [
        "# The reference experiment",
        fX on the 10 000 test images, mean and each seed; seconds of one training.",
        f"`python {' '.join(sys.argv)}`, {date.today()}: xpnet {xpnet.__version__}, NumPy "
        f"{np.__version__}, {platform.machine()}, {os.cpu_count()} cores.",
        " | ".join(["", *head, ""]).strip() + "\n|---|" + "---:|" * (len(head) - 1),
    ]
    for name, runs in results.items():
        accuracies, _, seconds = zip(*runs, strict=True)
        cells = [name, f"**{np.mean(accuracies):.4f}**", *(f"{a:.4f}" for a in accuracies)]
        cells += [f"{np.mean(seconds):.1f}"] + [str(source.get(name, ""))] * bool(source)
        lines[-1] += "\n" + " | ".join(["", *cells, ""]).strip()
    return "\n\n".join(lines) + "\n"


def picture(data: Dataset, results: dict[str, list]) -> Figure:
    """Training losses on the left, test accuracies on the right, a dot a seed."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for position, name in enumerate(OPTIMIZERS):
        for label, style, shift in ((name, "-", 0.12), (f"{name} + BN", "--", -0.12)):
            accuracies, losses, _ = zip(*results[label], strict=True)
            curve, color = np.mean(losses, axis=0), f"C{position}"
            face = color if style == "-" else "white"
            left.semilogy(range(1, len(curve) + 1), curve, style, color=color)
            right.plot(
                accuracies,
                np.full(len(accuracies), shift - position),
                "o",
                color=color,
                markerfacecolor=face,
                markersize=6,
            )
    right.set_yticks([-position for position in range(len(OPTIMIZERS))], list(OPTIMIZERS))
    for text, position in enumerate(right.get_yticklabels()):
        position.set_color(f"C{text}")
    right.plot([], [], "o", color="0.4", label="without batch norm")
    right.plot([], [], "o", color="0.4", markerfacecolor="white", label="with batch norm")
    right.legend(loc="best", frameon=False)
    left.set(xlabel="epoch", ylabel="training loss", title="Loss (dashed: with batch norm)")
    right.set(xlabel="test accuracy", title=f"{data.name}, one dot a seed")
    return figure


def main(*, dataset: str, data_dir: str | None, seeds: int, epochs: int, rows: int, out: Path) -> None:
    data = (load_mnist if dataset == "mnist" else load_fashion_mnist)(data_dir)
    if (data.y_train[:5].tolist() == [5, 0, 4, 1, 9]) != (dataset == "mnist"):
        sys.exit(f"The files in {data_dir} are not those of {dataset}.")
    names = [name + end for end in ("", " + BN") for name in OPTIMIZERS]
    results = {n: [run(data, n, seed, rows, epochs) for seed in range(seeds)] for n in names}
    page = table(data, results, rows, epochs)
    print("\n" + page)
    out.mkdir(parents=True, exist_ok=True)
    (out / "reference_experiment.md").write_text(page, encoding="utf-8")
    picture(data, results).savefig(out / "reference_experiment.png", dpi=120)
    print(f"Wrote reference_experiment.md and .png to {out}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The reference experiment.")
    parser.add_argument(
        "dataset",
        nargs="?",
        default="fashion-mnist",
        help="or mnist",
        choices=["fashion-mnist", "mnist"],
    )
    parser.add_argument("--data-dir", help="the folder with the data's four files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    main(**vars(parser.parse_args()))
