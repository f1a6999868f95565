"""Compare deep sigmoid and relu networks: the gradient of the sigmoid network vanishes.

Backpropagation multiplies by a weight matrix and by a derivative at every layer:

    δ^(l) = (δ^(l+1) W^(l+1)ᵀ) ⊙ φ'(z^(l))

Glorot's initial weights keep the size of δ, but the derivative of the sigmoid, a(1 − a), is at most
1/4: eight layers multiply by about 1/4⁸ = 1/65536. The derivative of relu is 1 for half of the
units and 0 for the others, for which He's weights, with twice the variance, compensate. The table
shows the factor from layer to layer, and the loss of the sigmoid network, which stays near log 10 =
2.30, the loss of guessing. Batch norm is one remedy: it spreads each z over the steep part of the
sigmoid and divides δ by the standard deviation of z. Y. Bengio, P. Simard, P. Frasconi, "Learning
long-term dependencies with gradient descent is difficult", 1994; X. Glorot, Y. Bengio,
"Understanding the difficulty of training deep feedforward neural networks", 2010, section 4. Run it
with

    python examples/vanishing_gradients.py [--epochs 20]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, GREEN, ORANGE, arguments, new_figure, save

from xpnet import MLP, CrossEntropy, MinMax, Momentum, ReLU, Sigmoid, inspect_layers, metrics
from xpnet.data import load_digits

DEPTH = 8
NETWORKS = {
    "sigmoid": (Sigmoid(), False, ORANGE),
    "sigmoid, batch norm": (Sigmoid(), True, GREEN),
    "relu": (ReLU(), False, BLUE),
}


def main(epochs: int, out: Path) -> None:
    digits = load_digits()
    X, y, test = digits.X_train, digits.y_train, (digits.X_test, digits.y_test)
    how = {"optimizer": Momentum(0.02), "drop_last": True, "progress": False}
    figure, (left, right) = new_figure(1, 2, (10, 4))
    print(f"{'network':20} {'dL/dW, first':>13} {'last':>8} {'a layer':>8} {'loss':>7} {'test':>6}")
    for name, (activation, batch_norm, colour) in NETWORKS.items():
        model = MLP(
            *(64, [64] * DEPTH, 10),
            activation=activation,
            batch_norm=batch_norm,
            preprocessing=MinMax(0, 16, to=(-1, 1)),
        )
        report = inspect_layers(model, X, y, loss=CrossEntropy())
        sizes = [layer.weight_gradient.std for layer in report if layer.weight_gradient]
        factor = (sizes[0] / sizes[DEPTH - 1]) ** (1 / (DEPTH - 1))
        history = model.fit(X, y, loss=CrossEntropy(), epochs=epochs, **how)
        right_share = model.evaluate(*test, metrics=[metrics.accuracy])["accuracy"]
        numbers = f"{sizes[0]:13.1e} {sizes[-1]:8.1e} {factor:8.2f} {history['loss'][-1]:7.3f}"
        print(f"{name:20} {numbers} {right_share:6.3f}")
        left.semilogy(range(1, DEPTH + 2), sizes, "o-", color=colour, label=name)
        right.plot(history["epoch"], history["loss"], color=colour, label=name)
    left.set(xlabel="layer", ylabel="standard deviation of ∂L/∂W", title="Before training")
    left.legend()
    right.axhline(np.log(10), color="0.6", ls=":")
    right.set(xlabel="epoch", ylabel="training loss", title="While training", ylim=(0, 2.6))
    right.xaxis.get_major_locator().set_params(integer=True)
    for ax in (left, right):
        ax.grid(alpha=0.25)
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("vanishing_gradients", __doc__, epochs=20))
