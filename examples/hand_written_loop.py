"""Write the training loop by hand, three lines a step.

This is what ``fit`` does: an epoch is a pass over shuffled mini-batches, a step is one gradient and
one call of the optimizer, and all parameters are one vector, ``model.theta``. Anything can be added
to the loop. Here it computes the mean of θ over the second half of the epochs and compares it with
the last θ on the test images. Run it with

    python examples/hand_written_loop.py [--epochs 20]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLUE, arguments, new_figure, save

from xpnet import MLP, CrossEntropy, Momentum, batches
from xpnet.data import MinMax, load_digits


def train(epochs: int) -> tuple[list[float], float, float]:
    """Return the losses of the epochs, and the test accuracy of the last θ and of the mean θ."""
    digits = load_digits()
    scaling = MinMax(0, 16, to=(-1, 1))
    X, y = scaling.apply(digits.X_train), digits.y_train
    X_test, y_test = scaling.apply(digits.X_test), digits.y_test

    model = MLP(64, [64], 10, rng=0)
    loss_function, optimizer = CrossEntropy(), Momentum(lr=0.05)
    state = optimizer.init(model.theta)
    mean, n_averaged, losses = np.zeros_like(model.theta), 0, []
    for epoch in range(epochs):
        total = 0.0
        for X_b, y_b in batches(X, y, 32, rng=epoch):
            loss, gradient = model.value_and_grad(X_b, y_b, loss_function)
            optimizer.step(model.theta, gradient, state)
            total += float(loss) * len(y_b)
        losses.append(total / len(y))
        if epoch >= epochs // 2:
            n_averaged += 1
            mean += (model.theta - mean) / n_averaged

    def accuracy(theta: np.ndarray) -> float:
        output = model.forward(X_test, theta=theta)
        return float(np.mean(loss_function.decide(output) == y_test))

    return losses, accuracy(model.theta), accuracy(mean)


def main(epochs: int, out: Path) -> None:
    losses, last, averaged = train(epochs)
    print(f"loss {losses[0]:.4f} in the first epoch, {losses[-1]:.2e} in the last")
    print(f"test accuracy {last:.4f} with the last θ, {averaged:.4f} with the mean θ")
    figure, ax = new_figure(1, 1, (6.5, 4))
    ax.semilogy(range(1, epochs + 1), losses, "o-", color=BLUE, ms=4)
    ax.set(xlabel="epoch", ylabel="training loss", title="digits, 64-64-10, a loop by hand")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.25)
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("hand_written_loop", __doc__, epochs=20))
