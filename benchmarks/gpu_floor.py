"""What no training can undercut: a step's products through cuBLAS, and bytes over bandwidth."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks import gpu_device as device
from benchmarks.cases import Case
from benchmarks.gpu_cases import products
from benchmarks.gpu_device import Contestant
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.ops.cuda.matmul import product_of_own
from xpnet.ops.operations import Precision

COPIED = 1 << 28
"""The numbers that are copied to measure the bandwidth, 1 GiB: far more than a cache holds."""


def floor(case: Case, precision: Precision) -> Contestant:
    """The products of a step alone, into arrays made once, replayed as a graph.

    In 16 bits their factors are rounded before, which is no part of a product, and a graph reads
    them where they are: so they are drawn once.
    """
    product = product_of_own(precision)
    if product is None:
        raise ImportError("nvmath-python")
    arrays: list[Any] = []

    def new(*shape: int) -> Any:
        arrays.append(device.cupy().empty(shape, dtype="float32"))
        return arrays[-1]

    work = []
    for kind, m, n, k in products(case):
        a = new(k, m).T if kind == "dW" else new(m, k)
        b = new(n, k).T if kind == "dx" else new(k, n)
        work.append((a, b, new(m, n)))
    for seed, array in enumerate(arrays):
        device.fill_normal(array, seed)
    factors: list[Any] = [(product.factor(a), product.factor(b), out) for a, b, out in work]

    def step() -> None:
        for left, right, out in factors:
            product.multiply(left, right, out)

    capture = CudaCapture()
    with capture.capturing():
        step()
        replay = capture.capture(step)

    def queue(steps: int) -> None:
        with capture.running():
            for _ in range(steps):
                replay()

    return Contestant(queue, lambda seed: None, device.cupy_clock())


def bandwidth(repeats: int) -> list[float]:
    """Bytes a second that a copy on the device reads and writes, a number a repeat."""
    source, target = (device.cupy().empty(COPIED, dtype="float32") for _ in range(2))
    clock, rates = device.cupy_clock(), []
    for seed in range(repeats + 1):
        device.fill_normal(source, seed)
        seconds = clock(partial(target.__setitem__, ..., source))
        rates.append(2 * source.nbytes / seconds)
    return rates[1:]
