"""Plot a training: curves, errors, weights and activations.

Each function of `xpnet.plots` takes ``ax=`` (or ``axes=``) and returns it, so that plots can be
combined. The figure shows

    the losses: once that of the validation data stops decreasing, the network overfits;
    the confusion matrix of the test data: mistakes are off the diagonal;
    the weights of the first hidden units as images: red where ink increases the unit's input, blue
    where it decreases it;
    the activation functions φ, and the derivatives φ' by which backpropagation multiplies.

It prints the most frequent confusions. Run it with

    python examples/pictures.py [--epochs 20]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import arguments, save
from matplotlib.figure import Figure

from xpnet import GELU, MLP, Adam, CrossEntropy, LeakyReLU, MinMax, ReLU, Sigmoid, Tanh, metrics
from xpnet.data import load_digits
from xpnet.plots import (
    activation_curves,
    confusion_matrix,
    loss_curve,
    metric_curve,
    weight_images,
)


def main(epochs: int, out: Path) -> None:
    digits = load_digits()
    model = MLP(64, [32], 10, activation=Tanh(), preprocessing=MinMax(0, 16, to=(-1, 1)))
    history = model.fit(
        digits.X_train,
        digits.y_train,
        loss=CrossEntropy(),
        optimizer=Adam(lr=0.003),
        epochs=epochs,
        batch_size=32,
        l2=3e-3,
        validation=0.2,
        metrics=[metrics.accuracy],
        progress=False,
    )
    counts = metrics.confusion_matrix(model.predict(digits.X_test), digits.y_test)
    total, named = counts.sum(), np.trace(counts)
    print(f"{named} of {total} test images are named correctly; the most frequent mistakes:")
    print(" true  taken for  how often")
    wrong = counts - np.diag(np.diag(counts))
    for place in np.argsort(wrong, axis=None)[::-1][:3]:
        true, predicted = np.unravel_index(place, wrong.shape)
        print(f"{true:5} {predicted:10} {wrong[true, predicted]:10}")

    figure = Figure(figsize=(12, 9), layout="constrained")
    parts = figure.subfigures(2, 2, width_ratios=[1.25, 1])
    left, right = parts[0, 0].subplots(1, 2)
    loss_curve(history, ax=left)
    metric_curve(history, "accuracy", ax=right)
    confusion_matrix(counts, ax=parts[0, 1].subplots())
    functions = [Sigmoid(), Tanh(), ReLU(), LeakyReLU(0.1), GELU()]
    activation_curves(functions, axes=parts[1, 0].subplots(1, 2))
    weight_images(model, axes=parts[1, 1].subplots(4, 4))
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("pictures", __doc__, epochs=20))
