"""Compare six optimizers on the same network, data, initial weights and batches.

With the gradient g of a batch, learning rate ε and state that starts at 0 (all elementwise):

    SGD        θ ← θ − ε g
    Momentum   v ← μ v − ε g                        θ ← θ + v
    AdaGrad    r ← r + g²                           θ ← θ − ε g / (δ + √r)
    RMSProp    v ← ρ v + (1 − ρ) g²                 θ ← θ − ε g / (√v + δ)
    AdaDelta   the same v, and ε replaced by √(d + δ), d the mean square of the past steps
    Adam       m ← β₁ m + (1 − β₁) g, v as RMSProp  θ ← θ − ε m̂ / (√v̂ + δ), bias-corrected

(I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, section 8.5, lists them.) The loss
of SGD decreases most slowly at this small rate; momentum increases a step up to 1/(1 − μ) = 20
times, and the step size of the adaptive methods hardly depends on that of the gradient. This is a
smaller reference_experiment.py, with its rates and its 200 sigmoid units, but fewer images and
epochs and one seed, so small differences are not significant. Run it with

    python examples/optimizers_compared.py [--data-dir FOLDER] [--epochs 10] [--rows 6000]

where FOLDER holds the files of Fashion-MNIST; by default the digits inside xpnet are used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import COLOURS, arguments, new_figure, save
from reference_experiment import OPTIMIZERS

from xpnet import MLP, CrossEntropy, MinMax, Sigmoid, metrics
from xpnet.data import load_digits, load_fashion_mnist
from xpnet.plots.style import logarithmic


def main(data_dir: str, epochs: int, rows: int, out: Path) -> None:
    data = load_fashion_mnist(data_dir) if data_dir else load_digits()
    brightest = 255 if data_dir else 16
    chosen = np.random.default_rng(0).permutation(len(data.X_train))[:rows]
    figure, (left, right) = new_figure(1, 2, (10, 4))
    print(f"{data.name}, {len(chosen)} images, {epochs} epochs")
    print(f"{'optimizer':10} {'training loss':>13} {'test accuracy':>13} {'seconds':>7}")
    for (name, optimizer), colour in zip(OPTIMIZERS.items(), COLOURS, strict=False):
        scaling = MinMax(0, brightest, to=(-1, 1))
        model = MLP(data.X_train.shape[1], [200], 10, activation=Sigmoid(), preprocessing=scaling)
        history = model.fit(
            data.X_train[chosen],
            data.y_train[chosen],
            loss=CrossEntropy(),
            optimizer=optimizer,
            epochs=epochs,
            validation=(data.X_test, data.y_test),
            metrics=[metrics.accuracy],
            drop_last=True,
            progress=False,
        )
        loss, right_share = history["loss"], history["val_accuracy"]
        print(f"{name:10} {loss[-1]:13.4f} {right_share[-1]:13.4f} {sum(history['seconds']):7.2f}")
        left.plot(history["epoch"], loss, color=colour, label=name)
        right.plot(history["epoch"], right_share, color=colour, label=name)
    left.set(xlabel="epoch", ylabel="training loss")
    logarithmic(left)
    right.set(xlabel="epoch", ylabel="test accuracy")
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.25)
    right.legend(loc="lower right")
    figure.suptitle(f"{data.name}: {len(chosen)} images, 200 sigmoid units")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("optimizers_compared", __doc__, data_dir="", epochs=10, rows=6000))
