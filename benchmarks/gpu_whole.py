"""Whole trainings on a GPU: seconds, accuracies and memory; the bandwidth of copies and kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from benchmarks import gpu_device as device
from benchmarks.cases import Case, images
from benchmarks.gpu_cases import CASES, FEW_STEPS, Scale, allowed_memory
from xpnet import Adam, CrossEntropy, MinMax
from xpnet.data import load_fashion_mnist
from xpnet.metrics import accuracy
from xpnet.ops.cuda.cublas_lt import MAX_WORKSPACE
from xpnet.ops.operations import Precision

NO_IMAGES = "not measured: --data-dir names no folder with Fashion-MNIST"


def reference_experiment(
    precision: Precision, data_dir: str | None, scale: Scale
) -> tuple[list[float], list[float] | str]:
    """Seconds of whole trainings after a warm-up, and test accuracies, one for each seed.

    20 epochs of 20 000 byte images in host memory; the time includes their copy to the device and
    the capture of the steps. Without Fashion-MNIST the images are random, with no test accuracy.
    """
    case, test = scale.case(CASES[0]), None
    case = replace(case, widths=(784, *case.widths[1:-1], 10))
    X, y = images(scale.rows, data_dir)
    if data_dir is not None:
        data = load_fashion_mnist(data_dir)
        test = data.X_test, data.y_test
    times, found = [], []
    for seed in range(scale.repeats + 1):
        model = device.model_of(case, rng=seed, preprocessing=MinMax(0, 255, to=(-1, 1)))
        how: Mapping[str, Any] = {"rng": seed, "precision": precision, **_how(case)}
        times.append(device.cupy_clock()(partial(model.fit, X, y, epochs=scale.epochs, **how)))
        if test is not None:
            found.append(model.evaluate(*test, metrics=[accuracy])["accuracy"])
    return times[1:], found[1:] if found else NO_IMAGES


def memory(case: Case) -> list[float]:
    """The peak memory of a training beside its data, and the limit.

    What kernels need once is allocated before, by a training with a smaller batch. Pools keep
    their memory, so their size at the end of an epoch is the peak.
    """
    X, y = rows_of(case, FEW_STEPS)
    small = replace(case, batch=8)
    device.model_of(small).fit(X[:8], y[:8], epochs=1, **_how(small))
    device.give_back()
    before, taken = device.taken_bytes(), []
    model = device.model_of(case)
    device.give_back()  # what drawing its weights took
    note = [lambda run: taken.append(device.taken_bytes())]
    model.fit(X, y, epochs=2, callbacks=note, **_how(case))
    return [float(max(taken) - before), allowed_memory(case) + MAX_WORKSPACE]


def train(case: Case, engine: Literal["replay", "eager"], steps: int, repeats: int) -> None:
    """Train a network for an epoch of some steps, several times; for tools that watch kernels."""
    X, y = rows_of(case, steps)
    model, cuda = device.model_of(case), device.cupy().cuda
    for i in range(repeats):
        if i == repeats - 1:
            cuda.runtime.profilerStart()
        model.fit(X, y, epochs=1, engine=engine, **_how(case))
    cuda.runtime.profilerStop()


def rows_of(case: Case, steps: int) -> tuple[Any, Any]:
    """Random features and labels of some batches, on the device."""
    X = device.cupy().empty((steps * case.batch, case.widths[0]), dtype="float32")
    device.fill_normal(X, 0)
    return X, device.move(np.random.default_rng(2).integers(0, case.widths[-1], len(X)))


def bandwidth(scale: Scale) -> list[float]:
    """Bytes per second that a copy on the device reads and writes, one number per repeat."""
    source, target = (device.cupy().empty(scale.copied, dtype="float32") for _ in range(2))
    clock, rates = device.cupy_clock(), []
    for seed in range(scale.repeats + 1):
        device.fill_normal(source, seed)
        seconds = clock(partial(target.__setitem__, ..., source))
        rates.append(2 * source.nbytes / seconds)
    return rates[1:]


def kernel_rates(scale: Scale) -> dict[str, str]:
    """The bytes per second of kernels that are limited by the bandwidth."""
    clock, found = device.cupy_clock(), {}
    for name, (work, n_bytes) in device.kernels_of_bytes(scale.side).items():
        work()
        seconds = min(clock(work) for _ in range(scale.repeats))
        found[name] = f"{1e6 * seconds:.1f} µs, {n_bytes / seconds / 1e9:.0f} GB/s"
    return found


def _how(case: Case) -> dict[str, Any]:
    return {
        "loss": CrossEntropy(),
        "optimizer": Adam(),
        "batch_size": case.batch,
        "progress": False,
    }
