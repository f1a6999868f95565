"""Run the reference experiment: six optimizers with and without batch norm on 28×28 images.

784 inputs scaled to [−1, 1], 200 sigmoid units, 10 outputs, softmax cross-entropy; 20 000 training
images drawn at random, 20 epochs in full batches of 64; accuracy on the 10 000 test images. A seed
determines the images, the initial weights (GlorotUniform) and the batches. Run it with

    python examples/reference_experiment.py --data-dir FOLDER
    python examples/reference_experiment.py mnist --data-dir FOLDER

where FOLDER holds the four files of Fashion-MNIST or of MNIST; without ``--data-dir`` they are
downloaded once. It prints a Markdown table, for MNIST with the results that the source of the
experiment reports, and saves it with a figure as reference_experiment.md and .png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from reference_report import picture, table

import xpnet
from xpnet import SGD, AdaDelta, AdaGrad, Adam, BatchNorm, Dense, Momentum, RMSProp, Sigmoid
from xpnet.data import Dataset, MinMax, load_fashion_mnist, load_mnist

OPTIMIZERS = {
    "SGD": SGD(lr=0.01),
    "Momentum": Momentum(lr=0.01, momentum=0.95),
    "AdaGrad": AdaGrad(lr=0.01),
    "RMSProp": RMSProp(lr=0.001, rho=0.95),
    "AdaDelta": AdaDelta(rho=0.95),
    "Adam": Adam(lr=0.001),
}


def train(
    data: Dataset, optimizer: str, batch_norm: bool, seed: int, options: argparse.Namespace
) -> tuple[float, xpnet.History]:
    """Train once; return the test accuracy and the history."""
    chosen = np.random.default_rng(seed).permutation(len(data.X_train))[: options.rows]
    layers = [Dense(200, Sigmoid()), *([BatchNorm()] if batch_norm else []), Dense(10)]
    model = xpnet.Sequential(layers, 784, rng=seed, preprocessing=MinMax(0, 255, to=(-1, 1)))
    history = model.fit(
        data.X_train[chosen],
        data.y_train[chosen],
        loss=xpnet.CrossEntropy(),
        optimizer=OPTIMIZERS[optimizer],
        epochs=options.epochs,
        batch_size=64,
        drop_last=True,  # half a batch just before the test would leave a noisier θ
        progress=False,
        rng=seed,
    )
    result = model.evaluate(data.X_test, data.y_test, metrics=[xpnet.metrics.accuracy])
    return float(result["accuracy"]), history


def main(options: argparse.Namespace) -> None:
    load = load_mnist if options.dataset == "mnist" else load_fashion_mnist
    data = load(options.data_dir)
    if (data.y_train[:5].tolist() == [5, 0, 4, 1, 9]) != (data.name == "mnist"):
        sys.exit(f"{options.data_dir} does not hold the files of {data.name}.")
    results = {}
    for batch_norm in (False, True):
        for optimizer in OPTIMIZERS:
            name, runs = optimizer + " + BN" * batch_norm, []
            for seed in range(options.seeds):
                runs.append(train(data, optimizer, batch_norm, seed, options))
                seconds = sum(runs[-1][1]["seconds"])
                print(f"{name:14} seed {seed}  {runs[-1][0]:.4f}  {seconds:.1f} s", flush=True)
            results[name] = runs
    page = table(results, options)
    print(f"\n{page}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "reference_experiment.md").write_text(page, encoding="utf-8")
    picture(results, options.dataset).savefig(options.out / "reference_experiment.png", dpi=120)
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
