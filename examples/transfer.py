"""Transfer layers: a trained network learns another task from few examples.

A network is trained to classify the ten digits, on all training images. The second task is to which
of the pairs {0,1}, {2,3}, {4,5}, {6,7}, {8,9} an image belongs, with labels for few images. A
network with random weights has to learn the features of digits from these few. One with copied,
frozen hidden layers learns the output layer only, 165 of 6 405 parameters. Whether the copied
layers are trained too makes little difference here. With 160 labels the advantage almost vanishes.

    python examples/transfer.py [--epochs 100] [--seeds 5]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, GREEN, ORANGE, arguments, new_figure, save

from xpnet import MLP, Adam, CrossEntropy, Frozen, MinMax, Sequential, copy_layers
from xpnet.data import load_digits
from xpnet.metrics import accuracy

WAYS = {"from scratch": ORANGE, "copied, all trained": GREEN, "copied and frozen": BLUE}
SIZES = (1, 2, 4, 8, 16)
HOW = {"loss": CrossEntropy(), "progress": False}


def network(n_out: int, rng: int) -> Sequential:
    return MLP(64, [64, 32], n_out, preprocessing=MinMax(0, 16, to=(-1, 1)), rng=rng)


def main(epochs: int, seeds: int, out: Path) -> None:
    digits = load_digits()
    source = network(10, rng=9)
    source.fit(digits.X_train, digits.y_train, optimizer=Adam(lr=3e-3), epochs=30, **HOW)

    def score(way: str, per_digit: int, seed: int) -> float:
        rng, y = np.random.default_rng(seed), digits.y_train
        of_each = [rng.choice(np.flatnonzero(y == k), per_digit, replace=False) for k in range(10)]
        rows = np.concatenate(of_each)
        model, optimizer = network(5, rng=100 + seed), Adam(lr=3e-3)
        if way != "from scratch":
            copy_layers(source, model, [0, 1])
        if way == "copied and frozen":
            optimizer = Frozen(optimizer, model.layout, [0, 1])
        few = {"optimizer": optimizer, "epochs": epochs, "batch_size": 10, "rng": seed}
        model.fit(digits.X_train[rows], y[rows] // 2, **few, **HOW)
        return model.evaluate(digits.X_test, digits.y_test // 2, metrics=[accuracy])["accuracy"]

    figure, ax = new_figure(1, 1, (6.5, 4))
    print(f"{'labelled images':20}" + "".join(f"{10 * size:>8}" for size in SIZES))
    for way, colour in WAYS.items():
        scores = np.array([[score(way, size, seed) for seed in range(seeds)] for size in SIZES])
        print(f"{way:20}" + "".join(f"{mean:8.3f}" for mean in scores.mean(axis=1)))
        labelled = [10 * size for size in SIZES]
        ax.plot(labelled, scores.mean(axis=1), "o-", ms=4, color=colour, label=way)
        ax.fill_between(labelled, scores.min(1), scores.max(1), color=colour, alpha=0.12, lw=0)
    ax.set(xscale="log", xlabel="labelled images", ylabel="test accuracy")
    ax.set_xticks([10 * size for size in SIZES], [str(10 * size) for size in SIZES])
    ax.minorticks_off()
    ax.set_title("Pairs of digits, after learning the ten digits")
    ax.legend(loc="lower right")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("transfer", __doc__, epochs=100, seeds=5))
