"""Whole trainings on a GPU: the reference experiment, its accuracy by precision, and memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import gpu_device as device
from benchmarks.cases import Case, images
from benchmarks.gpu_cases import CASES, FEW_STEPS, allowed_memory
from xpnet import Adam, CrossEntropy, MinMax
from xpnet.data import load_fashion_mnist
from xpnet.metrics import accuracy
from xpnet.ops.operations import Precision

ROWS, EPOCHS = 20_000, 20


def reference_experiment(
    precision: Precision, data_dir: str | None, repeats: int
) -> tuple[list[float], list[float] | str]:
    """Seconds of whole trainings after a warm-up, and test accuracies, one for each seed.

    20 epochs of 20 000 byte images in host memory; the time includes their copy to the device and
    the capture of the steps. Without Fashion-MNIST the images are random, with no test accuracy.
    """
    case, test = CASES[0], None
    X, y = images(ROWS, data_dir)
    if data_dir is not None:
        data = load_fashion_mnist(data_dir)
        test = data.X_test, data.y_test
    times, found = [], []
    for seed in range(repeats + 1):
        model = device.model_of(case, rng=seed, preprocessing=MinMax(0, 255, to=(-1, 1)))

        def train(model: Any = model, seed: int = seed) -> None:
            model.fit(X, y, epochs=EPOCHS, rng=seed, precision=precision, **_how(case))

        times.append(device.cupy_clock()(train))
        if test is not None:
            found.append(model.evaluate(*test, metrics=[accuracy])["accuracy"])
    why = "not measured: --data-dir names no folder with Fashion-MNIST"
    return times[1:], found[1:] if found else why


def memory(case: Case) -> tuple[float, float]:
    """The peak memory of a training beside its data, and the limit.

    cuBLAS's workspace is allocated before, by a training with a smaller batch. Pools keep their
    memory, so their size at the end of an epoch is the peak.
    """
    rows = FEW_STEPS * case.batch
    X = device.cupy().empty((rows, case.widths[0]), dtype="float32")
    device.fill_normal(X, 0)
    y = device.move(np.random.default_rng(2).integers(0, case.widths[-1], rows))
    small = Case("warm-up", case.widths, case.activation, 8, case.batch_norm)
    device.model_of(small).fit(X[:8], y[:8], epochs=1, **_how(small))
    device.give_back()
    before, taken = device.taken_bytes(), []
    model = device.model_of(case)
    note = [lambda run: taken.append(device.taken_bytes())]
    model.fit(X, y, epochs=2, callbacks=note, **_how(case))
    return float(max(taken) - before), allowed_memory(case)


def _how(case: Case) -> dict[str, Any]:
    return {
        "loss": CrossEntropy(),
        "optimizer": Adam(),
        "batch_size": case.batch,
        "progress": False,
    }
