"""One formula is enough: an activation and a loss of one's own, with derivatives that follow.

The activation is a gate with a slope b, φ(z) = z σ(bz), and the loss the pinball of a quantile q,

    ℓ(z, t) = max(q (t − z), (q − 1)(t − z)),

which is minimized by the quantile of t instead of its mean (`QuantileLoss` has several at once).
xpnet runs each formula once on symbols; the derivatives, the compiled loop and the file follow from
its graph.

P. Ramachandran, B. Zoph, Q. Le, "Searching for Activation Functions", 2017; R. Koenker,
G. Bassett, "Regression Quantiles", Econometrica 46, 1978.

    python examples/own_formula.py [--epochs 200]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lesson import BLACK, BLUE, GREY, ORANGE, arguments, new_figure, save

from xpnet import MLP, Adam, activations, losses
from xpnet.derivatives import check_gradients
from xpnet.ops import operations_for
from xpnet.optimizers.schedules import Cosine

GATE = activations.from_formula(lambda xp, z, b: z / (1 + xp.exp(-b * z)), name="gate", b=1.0)
PINBALL = losses.from_formula(
    lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), name="pinball", q=0.5
)
QUANTILES = (0.1, 0.5, 0.9)


def gates(ax: np.ndarray) -> None:
    """Draw the gate for three slopes, and its derivatives."""
    z = np.linspace(-5.0, 5.0, 401)[None]
    ops = operations_for(z)
    for b, colour in zip((0.5, 1.0, 4.0), (GREY, BLUE, ORANGE), strict=True):
        gate = GATE.with_parameters(b=b)
        value = gate.forward(ops, z)
        slope = gate.jvp(ops, z, np.ones_like(z))
        ax[0].plot(z[0], value[0], color=colour, label=f"b = {b:g}")
        ax[1].plot(z[0], slope[0], color=colour)
    ax[0].set(xlabel="$z$", title="$z\\,\\sigma(bz)$")
    ax[1].set(xlabel="$z$", title="its derivative, from the formula")
    ax[0].legend()


def quantiles(epochs: int, ax: np.ndarray) -> None:
    """Train a network for each quantile of a noise that is skewed and grows with x."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.0, 4.0, (1200, 1))
    y = np.sin(2 * X[:, 0]) + (0.1 + 0.2 * X[:, 0]) * (rng.exponential(size=1200) - 0.7)
    train, other = slice(0, 800), slice(800, None)
    line = np.linspace(0.0, 4.0, 200)[:, None]
    ax.plot(X[train], y[train], ".", ms=3, color=GREY, alpha=0.6)
    print(f"{'quantile':10} {'loss':>8} {'share below':>12}")
    for q, colour in zip(QUANTILES, (BLUE, BLACK, ORANGE), strict=True):
        model = MLP(1, [32, 32], 1, activation=GATE)
        given = {"optimizer": Adam(lr=0.01), "epochs": epochs, "schedule": Cosine()}
        given |= {"loss": PINBALL.with_parameters(q=q), "progress": False}
        model.fit(X[train], y[train], **given)
        below = float(np.mean(y[other] <= model.predict(X[other])))
        print(f"{f'q = {q:g}':10} {model.evaluate(X[other], y[other])['loss']:8.4f} {below:12.3f}")
        ax.plot(line, model.predict(line), color=colour, lw=2, label=f"q = {q:g}")
    ax.set(xlabel="$x$", ylabel="$y$", title="quantiles by the pinball loss")
    ax.legend()


def main(epochs: int, out: Path) -> None:
    checked = MLP(3, [4], 1, activation=GATE, dtype="float64")
    X = np.random.default_rng(1).normal(size=(8, 3))
    print(check_gradients(checked, X, X[:, 0] ** 2, PINBALL), "\n")
    figure, axes = new_figure(1, 3, (13, 4.2))
    gates(axes[:2])
    quantiles(epochs, axes[2])
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("own_formula", __doc__, epochs=200))
