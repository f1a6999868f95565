"""Compare learning rates with and without batch norm, which permits ten times larger ones.

A hidden unit's input z is normalized over the batch, then scaled and shifted by learned numbers:

    ẑ = (z − mean) / √(variance + ε),   y = γ ẑ + β

A step that doubles the weights does not change ẑ, and the gradient with respect to the doubled
weights is half as large: large steps correct themselves. Without batch norm, a step that is too
large increases the activations, and these the gradients. The figure shows the learning rate at
which each network stops learning. S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep
Network Training by Reducing Internal Covariate Shift", 2015, sections 3 and 3.3.

Five hidden layers of 64 relu units on the digits, plain SGD; 0.1 is chance. Run it with

    python examples/batch_norm_learning_rate.py [--epochs 15] [--seeds 3]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, ORANGE, arguments, new_figure, save

import xpnet
from xpnet import MLP, SGD, CrossEntropy, MinMax, NonFiniteError
from xpnet.data import load_digits

RATES = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
LEARNED = 0.9


def final_accuracy(batch_norm: bool, lr: float, seed: int, epochs: int) -> float:
    data = load_digits()
    scaling = MinMax(0, 16, to=(-1, 1))
    model = MLP(64, [64] * 5, 10, batch_norm=batch_norm, preprocessing=scaling, rng=seed)
    try:
        model.fit(
            data.X_train,
            data.y_train,
            loss=CrossEntropy(),
            optimizer=SGD(lr),
            epochs=epochs,
            drop_last=True,  # the statistics of a short last batch would be noisy
            progress=False,
            rng=seed,
        )
    except NonFiniteError:
        return 0.0
    metrics = [xpnet.metrics.accuracy]
    return float(model.evaluate(data.X_test, data.y_test, metrics=metrics)["accuracy"])


def main(epochs: int, seeds: int, out: Path) -> None:
    figure, ax = new_figure(1, 1, (6.5, 4))
    print("test accuracy, mean of the seeds (0 where the loss overflowed)")
    print(f"{'learning rate':20}", *(f"{lr:6g}" for lr in RATES))
    largest = []
    for name, batch_norm, colour in (("plain", False, BLUE), ("with batch norm", True, ORANGE)):
        runs = [[final_accuracy(batch_norm, lr, s, epochs) for s in range(seeds)] for lr in RATES]
        means = np.mean(runs, axis=1)
        print(f"{name:20}", *(f"{mean:6.3f}" for mean in means))
        good = [lr for lr, run in zip(RATES, runs, strict=True) if min(run) > LEARNED]
        largest.append(max(good, default=0.0))
        ax.semilogx(RATES, runs, "o", color=colour, ms=4, mew=0, alpha=0.6)
        ax.semilogx(RATES, means, color=colour, label=name)
    print(f"largest rate at which every seed passes {LEARNED}: {largest[0]:g} and {largest[1]:g}")
    ax.set(xlabel="learning rate of SGD", ylabel=f"test accuracy after {epochs} epochs")
    ax.set_xticks(RATES, [f"{lr:g}" for lr in RATES])
    ax.minorticks_off()
    ax.set(ylim=(-0.03, 1.03), title="Five hidden layers of relu, on the digits")
    ax.text(0.0085, 0.02, "0: the loss overflowed")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 0.15))
    ax.grid(alpha=0.25)
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("batch_norm_learning_rate", __doc__, epochs=15, seeds=3))
