"""Average the weights: train θ, evaluate a mean of its iterates.

With a constant learning rate SGD does not converge: each mini-batch moves θ in another direction,
and most where labels are wrong (here a fifth of the training labels). The last θ is one point of a
cloud around the minimum; the mean of many is nearer to its centre. Three ways to compute it:

    Polyak         θ̂ = (1/t) Σ θ_i, here over the steps of the second half
    exponential    θ̂ ← α θ̂ + (1 − α) θ, about the last 1/(1 − α) steps
    SWA            the mean of θ at the ends of the later epochs

The statistics of batch norm belong to θ, not to θ̂. They are recomputed at the end; the last line
of the table shows the result without that. P. Izmailov et al., "Averaging weights leads to wider
optima and better generalization", 2018.

    python examples/averages.py [--epochs 20] [--seeds 3]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import BLUE, GREEN, GREY, ORANGE, PURPLE, arguments, new_figure, save

import xpnet
from xpnet import (
    MLP,
    SGD,
    Averaged,
    CrossEntropy,
    ExponentialAverage,
    MinMax,
    PolyakAverage,
    StochasticWeightAveraging,
    UseAverage,
)
from xpnet.data import load_digits
from xpnet.metrics import accuracy

BATCH = 16


def noisy_digits() -> tuple[Any, ...]:
    """Return the digits, with a fifth of the training labels replaced by wrong ones."""
    digits, rng = load_digits(), np.random.default_rng(5)
    y = digits.y_train.copy()
    wrong = rng.random(len(y)) < 0.2
    y[wrong] = rng.integers(10, size=int(wrong.sum()))
    return digits.X_train, y, (digits.X_test, digits.y_test)


def ways(epochs: int, n_rows: int, test: Any) -> dict[str, tuple[Any, list[Any]]]:
    """Return the optimizer and the callbacks of each method."""
    sgd, half = SGD(lr=0.5), epochs // 2
    seen = UseAverage(validation=test), UseAverage(validation=test)
    polyak = PolyakAverage(start=half * -(-n_rows // BATCH))
    return {
        "the last θ": (sgd, []),
        "Polyak": (Averaged(sgd, polyak), [seen[0]]),
        "exponential": (Averaged(sgd, ExponentialAverage(0.99)), [seen[1]]),
        "SWA": (sgd, [StochasticWeightAveraging(start=half + 1)]),
        "Polyak, old statistics": (Averaged(sgd, polyak), [put_average]),
    }


def put_average(run: xpnet.Run) -> None:
    """Do what `UseAverage` does, without recomputing the statistics of batch norm."""
    if run.epoch == run.epochs:
        run.model.theta = run.optimizer.mean(run.state)


def main(epochs: int, seeds: int, out: Path) -> None:
    X, y, test = noisy_digits()
    figure, ax = new_figure(1, 1, (6.5, 4))
    print(f"{'evaluated on':24} {'test loss':>9} {'test accuracy':>14}")
    colours = dict(
        zip(ways(epochs, len(X), test), (GREY, BLUE, ORANGE, GREEN, PURPLE), strict=True)
    )
    for name, colour in colours.items():
        scores = []
        for seed in range(seeds):
            optimizer, callbacks = ways(epochs, len(X), test)[name]
            model = MLP(64, [32], 10, batch_norm=True, preprocessing=MinMax(0, 16), rng=seed)
            how = {"optimizer": optimizer, "callbacks": callbacks, "validation": test}
            history = model.fit(
                X,
                y,
                loss=CrossEntropy(),
                epochs=epochs,
                batch_size=BATCH,
                rng=seed,
                progress=False,
                **how,
            )
            scores.append(model.evaluate(*test, metrics=[accuracy]))
        loss, right = (np.mean([s[key] for s in scores]) for key in ("loss", "accuracy"))
        print(f"{name:24} {loss:9.3f} {right:14.3f}")
        column = "avg_loss" if "avg_loss" in history else "val_loss"
        if name in ("the last θ", "Polyak", "exponential"):
            ax.plot(history["epoch"], history[column], "o-", ms=3, color=colour, label=name)
        else:
            ax.plot(epochs, scores[-1]["loss"], "D", color=colour, label=name, clip_on=False)
    ax.set(xlabel="epoch", ylabel="test loss", ylim=(0, None))
    ax.set_title("A fifth of the labels wrong, SGD with lr = 0.5")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("averages", __doc__, epochs=20, seeds=3))
