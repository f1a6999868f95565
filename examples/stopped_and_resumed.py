"""Stop a training within an epoch, continue it from its file, and compare it with one that ran on.

A callback ends the training as Ctrl-C does; `TrainingCheckpoint` has saved everything that the next
step depends on. The settings are the same in both calls of ``fit``, as in a script that is started
again after its machine has been switched off. θ then has the same bits. Run it with

    python examples/stopped_and_resumed.py [--epochs 10]
"""

from __future__ import annotations

import os
import tempfile
from argparse import ArgumentParser
from typing import Any

import numpy as np

from xpnet import MLP, Adam, CrossEntropy, EarlyStopping, Sequential, TrainingCheckpoint
from xpnet.data import load_digits
from xpnet.optimizers.schedules import OneCycle
from xpnet.training import Run


class StopIn:
    """A callback that ends the training after a step, as Ctrl-C does."""

    stateless = True

    def __init__(self, epoch: int, step: int) -> None:
        self.at = epoch, step

    def step(self, run: Run) -> None:
        """Ask the training to end here."""
        if (run.epoch, run.step) == self.at:
            run.interrupt()


def train(epochs: int, path: str | None = None, stop: StopIn | None = None) -> Sequential:
    """Train on the digits, from the file ``path`` if there is one, and return the model."""
    digits = load_digits()
    model = MLP(64, [64], 10, dropout=0.2, batch_norm=True, rng=0)
    callbacks: list[Any] = [EarlyStopping(patience=epochs)]
    callbacks += [] if path is None else [TrainingCheckpoint(path, epochs=1)]
    callbacks += [] if stop is None else [stop]
    model.fit(
        digits.X_train / 16,
        digits.y_train,
        loss=CrossEntropy(),
        optimizer=Adam(lr=0.01),
        epochs=epochs,
        schedule=OneCycle(),
        validation=0.2,
        callbacks=callbacks,
        progress=False,
        on_interrupt="return",
        resume=path if path is not None and os.path.exists(path) else None,
    )
    return model


def main(epochs: int) -> None:
    whole = train(epochs)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/training.safetensors"
        stopped = train(epochs, path, StopIn(epochs // 2 + 1, 7))
        print(f"{stopped.history.stopped}; {os.path.getsize(path) / 1e3:.0f} kB in the file")
        resumed = train(epochs, path)
    for name, model in (("stopped", stopped), ("resumed", resumed)):
        difference = np.abs(model.theta - whole.theta).max()
        print(f"{name}: {len(model.history)} epochs, θ differs by {difference:.3g}")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10, help="default 10")
    main(parser.parse_args().epochs)
