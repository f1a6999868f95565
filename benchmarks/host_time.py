"""Measure what the host does for a captured step: everything but launches and waiting.

``python -m benchmarks.host_time`` needs no device. It runs epochs of the engine of CUDA graphs on
NumPy arrays, with replays that do nothing. What is left of an epoch is the loop around the launches
and reading the losses; the device waits for it, and the target is 2 µs a step. The permutation of
the rows and the tables of the next epoch (offsets, keys and the optimizer's scalars) are computed
while the device works. A launch itself needs a device: `benchmarks.gpu` measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.cases import CASES, Case
from benchmarks.gpu_cases import n_steps
from benchmarks.gpu_device import labels
from benchmarks.table import row
from xpnet import MLP, Adam, CrossEntropy, Nadam
from xpnet.data.prepare import prepare
from xpnet.engine.captured_epochs import CapturedEpochs
from xpnet.engine.eager_step import StepSettings
from xpnet.optimizers import Optimizer

TARGET = 2e-6
REPEATS = 15
MEASURED = (
    ("784-200-10, batch 64", Adam()),
    ("784-200-10, batch 64", Nadam()),
    ("784-512-512-10, batch 256", Adam()),
)


class NoDevice:
    """Captures steps and replays nothing."""

    def running(self) -> AbstractContextManager[None]:
        """No stream."""
        return nullcontext()

    capturing = copying = running

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """A replay that does nothing."""
        return lambda: None


def captured(case: Case, optimizer: Optimizer) -> CapturedEpochs:
    """The engine of CUDA graphs on NumPy arrays."""
    n_in, *hidden, n_out = case.widths
    model, y = MLP(n_in, hidden, n_out), labels(case)
    X = np.zeros((len(y), n_in), "float32")
    settings = StepSettings(CrossEntropy(), optimizer)
    rows = prepare(model.input_spec, X, y, settings.loss).data
    state = optimizer.init(model.theta, model.layout)
    return CapturedEpochs(model.state, rows, settings, case.batch, False, state, NoDevice())


def host_seconds(case: Case, optimizer: Optimizer) -> dict[str, float]:
    """Seconds a step of what the device waits for, and of what the host does meanwhile."""
    engine, steps, rng = captured(case, optimizer), n_steps(case), np.random.default_rng(0)
    rows, lrs = steps * case.batch, [optimizer.lr] * steps
    order = rng.permutation(rows)

    def epoch() -> float:
        engine.prepare(order, lrs)
        return seconds_of(lambda: engine.epoch(order, lrs))

    return {
        "epoch": min(epoch() for _ in range(REPEATS)) / steps,
        "permutation": fastest(lambda: rng.permutation(rows)) / steps,
        "tables": fastest(lambda: engine.prepare(order, lrs)) / steps,
    }


def fastest(call: Callable[[], Any]) -> float:
    """The seconds of the fastest of some calls."""
    return min(seconds_of(call) for _ in range(REPEATS))


def seconds_of(call: Callable[[], Any]) -> float:
    """The seconds of a call."""
    start = perf_counter()
    call()
    return perf_counter() - start


def main() -> None:
    """Print a table."""
    print(
        row(["µs a step", "optimizer", "an epoch of prepared tables", "", "permutation", "tables"])
    )
    print(row(["---", "---", "---:", "---", "---:", "---:"]))
    for name, optimizer in MEASURED:
        found = host_seconds(CASES[name], optimizer)
        epoch, permutation, tables = (f"{1e6 * seconds:.2f}" for seconds in found.values())
        verdict = "met" if found["epoch"] <= TARGET else "**not met**"
        print(row([name, type(optimizer).__name__, epoch, verdict, permutation, tables]))


if __name__ == "__main__":
    main()
