"""Lower bound of a step: its products through cuBLAS, and bytes over bandwidth."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks import gpu_device as device
from benchmarks.cases import Case
from benchmarks.gpu_cases import products
from benchmarks.gpu_device import Contestant
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.ops.cuda.matmul import cublas_product
from xpnet.ops.operations import Precision

COPIED = 1 << 28
"""Elements copied to measure the bandwidth: 1 GiB, far more than any cache."""


def floor(case: Case, precision: Precision) -> Contestant:
    """The matrix products of a step, into preallocated arrays, replayed as a graph.

    In 16 bits the factors are rounded beforehand, which is not part of a product, and drawn once,
    because a graph reads fixed addresses.
    """
    product = cublas_product(precision)
    if product is None:
        raise ImportError("cublasLt")
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

    def queue(steps: int, kept: tuple[Any, ...] = (work, factors)) -> None:
        """Replay the graph, which reads and writes the arrays ``kept``."""
        with capture.running():
            for _ in range(steps):
                replay()

    return Contestant(queue, lambda seed: None, device.cupy_clock())


def bandwidth(repeats: int) -> list[float]:
    """Bytes per second that a copy on the device reads and writes, one number per repeat."""
    source, target = (device.cupy().empty(COPIED, dtype="float32") for _ in range(2))
    clock, rates = device.cupy_clock(), []
    for seed in range(repeats + 1):
        device.fill_normal(source, seed)
        seconds = clock(partial(target.__setitem__, ..., source))
        rates.append(2 * source.nbytes / seconds)
    return rates[1:]
