"""Find a learning rate by one short training with rates that grow from step to step.

The rate of step i of n is low·(high/low)^(i/(n − 1)). The loss stays level while the rate is too
small, falls while it is useful, and rises where it is too large. The suggested rate is where the
smoothed loss falls fastest over the logarithm of the rate. Afterwards the parameters are what they
were. L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3.

The figure shows the tests of three optimizers, and below each the test accuracy of whole trainings
by their learning rate, on the digits. Run it with

    python examples/range_test.py [--epochs 10]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import BLUE, ORANGE, arguments, new_figure, save

import xpnet
from xpnet import MLP, SGD, Adam, CrossEntropy, MinMax, Momentum, NonFiniteError, plots
from xpnet.data import load_digits

RATES = [float(f"{rate:.0e}") for rate in np.geomspace(1e-4, 10, 11)]
OPTIMIZERS: list[Any] = [SGD, Momentum, Adam]


def model() -> MLP:
    return MLP(64, [64, 64], 10, preprocessing=MinMax(0, 16, to=(-1, 1)))


def accuracy(optimizer: Any, epochs: int) -> float:
    data, trained = load_digits(), model()
    how = {"loss": CrossEntropy(), "optimizer": optimizer, "epochs": epochs, "progress": False}
    try:
        trained.fit(data.X_train, data.y_train, **how)
    except NonFiniteError:
        return 0.0
    metrics = [xpnet.metrics.accuracy]
    return trained.evaluate(data.X_test, data.y_test, metrics=metrics)["accuracy"]


def main(epochs: int, out: Path) -> None:
    figure, axes = new_figure(2, 3, (11, 6.2))
    data = load_digits()
    print("optimizer  suggestion  accuracy at it  best accuracy  a tenth of the rate  ten times")
    for kind, above, below in zip(OPTIMIZERS, *axes, strict=True):
        how = {"loss": CrossEntropy(), "optimizer": kind(), "low": 1e-5, "high": 10.0}
        found = xpnet.learning_rate_range(model(), data.X_train, data.y_train, **how)
        rate = found.suggestion
        at, less, more = (accuracy(kind(rate * factor), epochs) for factor in (1, 0.1, 10))
        scores = [accuracy(kind(lr), epochs) for lr in RATES]
        numbers = f"{rate:10.2g} {at:15.3f} {max(scores):14.3f} {less:20.3f} {more:10.3f}"
        print(f"{kind.__name__:10} {numbers}")
        plots.learning_rate_range(found, ax=above).set_title(kind.__name__)
        below.semilogx(RATES, scores, "o-", color=BLUE, ms=4)
        below.plot([rate], [at], "o", color=ORANGE, ms=8, mec="white", zorder=3)
        below.set(xlabel="learning rate", ylabel=f"test accuracy after {epochs} epochs")
        below.set(xlim=above.get_xlim(), ylim=(-0.03, 1.03))
        below.grid(alpha=0.25)
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("range_test", __doc__, epochs=10))
