"""Train one neuron, ``y = φ(wᵀx + b)``: linear and logistic regression.

Linear regression, φ the identity: gradient descent on ½ mean (wᵀx + b − t)² converges to the
closed-form least squares solution. Logistic regression, φ the sigmoid: the mean cross-entropy is
convex, and at its minimum the mean predicted probability of class 1 equals the share of class 1.
Both are the same ``Dense(1)``; only the loss differs. Run it with

    python examples/one_neuron.py [--epochs 2000]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLACK, BLUE, GREY, arguments, new_figure, save

from xpnet import SGD, BinaryCrossEntropy, Dense, HalfMSE, Sequential
from xpnet.losses import Loss


def fitted(X: np.ndarray, y: np.ndarray, loss: Loss, lr: float, epochs: int) -> Sequential:
    """Train one neuron by full-batch gradient descent."""
    model = Sequential([Dense(1)], X.shape[1], dtype="float64")
    model.fit(X, y, loss=loss, optimizer=SGD(lr), epochs=epochs, batch_size=len(X), progress=False)
    return model


def main(epochs: int, out: Path) -> None:
    rng = np.random.default_rng(0)
    figure, (left, right) = new_figure(1, 2, (10, 4))

    x = rng.uniform(-1, 1, (60, 1))
    t = 0.7 * x[:, 0] - 0.2 + 0.15 * rng.standard_normal(60)
    line = fitted(x, t, HalfMSE(), lr=1.0, epochs=epochs)
    exact, *_ = np.linalg.lstsq(np.hstack([x, np.ones_like(x)]), t, rcond=None)
    print(f"linear regression   one neuron w, b = {line.theta[0]:.8f}, {line.theta[1]:.8f}")
    print(f"                 least squares w, b = {exact[0]:.8f}, {exact[1]:.8f}")
    print(f"                         difference = {np.max(np.abs(line.theta - exact)):.1e}")
    ends = np.array([[-1.0], [1.0]])
    left.plot(ends, ends * exact[0] + exact[1], color=GREY, lw=6, alpha=0.5, label="least squares")
    left.plot(ends, line.predict(ends), color=BLUE, label="one neuron, HalfMSE")
    left.plot(x, t, "o", color=BLACK, ms=4, label="data")
    left.set(title="Linear regression", xlabel="x", ylabel="t", xticks=[-1, 0, 1])
    left.legend()

    centres = rng.integers(0, 2, 200)
    points = rng.standard_normal((200, 2)) + np.where(centres[:, None] == 1, 1.0, -1.0)
    neuron = fitted(points, centres, BinaryCrossEntropy(), lr=1.0, epochs=epochs)
    share = float(np.mean(neuron.predict_proba(points)[:, 1]))
    accuracy = float(np.mean(neuron.predict(points) == centres))
    print(f"logistic regression    accuracy on its 200 points = {accuracy:.3f}")
    print(f"          mean probability, share of class 1 = {share:.8f}, {centres.mean():.8f}")
    grid = np.linspace(-5, 5, 101)
    plane = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    probability = neuron.predict_proba(plane)[:, 1].reshape(101, 101)
    levels = np.linspace(0, 1, 21)
    shades = right.contourf(grid, grid, probability, levels, cmap="PuOr_r", vmin=-0.4, vmax=1.4)
    right.contour(grid, grid, probability, [0.5], colors=BLACK)
    right.plot(*points[centres == 1].T, "o", color=BLACK, ms=4, mec="white", mew=0.5)
    right.plot(*points[centres == 0].T, "s", color="white", ms=4, mec=BLACK, mew=0.7)
    right.set(title="Logistic regression", xlabel="x₁", ylabel="x₂", aspect="equal")
    figure.colorbar(shades, ax=right, label="probability of class 1", ticks=[0, 0.5, 1])
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("one_neuron", __doc__, epochs=2000))
