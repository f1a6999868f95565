"""Clocks, CuPy, and everything that the GPU benchmark uses of xpnet beyond its public interface.

``python -m benchmarks.gpu_device`` prints a line of JSON: a description of the machine, or the
reason why there is no CUDA device.
"""

from __future__ import annotations

import gc
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import date
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.cases import Case
from benchmarks.gpu_cases import n_parameters, n_steps, products
from benchmarks.machine import versions
from xpnet import MLP, Adam, CrossEntropy, ReLU, Sequential, Sigmoid
from xpnet.backend import get_backend, unavailable
from xpnet.data.prepare import prepare
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.engine.eager_step import StepSettings
from xpnet.engine.select import steps_for
from xpnet.initializers import Zeros
from xpnet.ops import operations_for
from xpnet.ops.cuda import operations
from xpnet.ops.cuda.matmul import Product, cublas_product
from xpnet.ops.operations import Precision
from xpnet.ops.rules import activations, optimizers

BACKEND: Any = "cupy"
PACKAGES = (
    *("xpnet", "numpy", "cupy-cuda13x", "cupy-cuda12x", "array-api-compat"),
    *("numba", "torch", "jax"),
)
MANY = 10_000_000
"""More weights than this are drawn on the device: the host takes seconds."""

Work = Callable[[], object]
Clock = Callable[[Work], float]
"""Seconds from the start of some work to the end of everything that it enqueued."""


class Contestant(NamedTuple):
    """A library that takes training steps.

    Attributes:
        queue: enqueues a number of steps; it need not wait for them.
        refresh: fills the data with random numbers of a seed.
        clock: times its steps.
    """

    queue: Callable[[int], None]
    refresh: Callable[[int], None]
    clock: Clock


def timed(it: Contestant, steps: int, repeats: int) -> list[float]:
    """Seconds per step, one number per repeat, each on new data, after a warm-up."""
    times = []
    for seed in range(repeats + 1):
        it.refresh(seed)
        times.append(it.clock(partial(it.queue, steps)) / steps)
    return times[1:]


# --- clocks ---------------------------------------------------------------------------------------


def clock_of_events(new: Callable[[], Any], seconds: Callable[[Any, Any], float]) -> Clock:
    """A clock that records events on the device before and after the work."""

    def clock(work: Work) -> float:
        start, stop = new(), new()
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return seconds(start, stop)

    return clock


def clock_of_host(wait: Work) -> Clock:
    """A clock for a library without events: it waits for the device before and after."""

    def clock(work: Work) -> float:
        wait()
        start = perf_counter()
        work()
        wait()
        return perf_counter() - start

    return clock


def cupy_clock() -> Clock:
    """A clock with events on CuPy's current stream."""
    return clock_of_events(cupy().cuda.Event, cupy_seconds)


def cupy_seconds(start: Any, stop: Any) -> float:
    """The seconds between two events of CuPy."""
    return float(cupy().cuda.get_elapsed_time(start, stop)) / 1e3


def torch_clock(pt: Any) -> Clock:
    """A clock with events on PyTorch's current stream."""
    return clock_of_events(
        lambda: pt.cuda.Event(enable_timing=True), lambda a, b: float(a.elapsed_time(b)) / 1e3
    )


# --- CuPy -----------------------------------------------------------------------------------------


def cupy() -> Any:
    """The array library of the device."""
    import cupy  # noqa: PLC0415

    return cupy


def move(x: Any) -> Any:
    """Copy a host array to the device."""
    return cupy().asarray(x)


def fill_normal(array: Any, seed: int) -> None:
    """Fill a float32 array on the device with normally distributed numbers."""
    random = cupy().random.default_rng(seed)
    array[...] = random.standard_normal(array.shape, dtype="float32")


def give_back() -> None:
    """Free the unused memory of CuPy's pools; an earlier failure of the device is raised."""
    cupy().cuda.Device().synchronize()
    gc.collect()
    cupy().get_default_memory_pool().free_all_blocks()


def taken_bytes() -> int:
    """Bytes in CuPy's pools: for captured steps, and for everything else.

    The driver's own count has a granularity of 2 MiB and includes loaded kernels.
    """
    captures = [x for x in gc.get_objects() if type(x) is CudaCapture]
    pools = [cupy().get_default_memory_pool(), *(capture.pool for capture in captures)]
    return sum(int(pool.total_bytes()) for pool in pools)


def machine() -> dict[str, Any]:
    """Date, GPU, driver and installed libraries."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    except OSError:  # no such program
        output = ""
    gpu, _, driver = (output.splitlines() or ["unknown GPU, unknown"])[0].partition(", ")
    version = int(cupy().cuda.runtime.runtimeGetVersion())
    return {
        "date": date.today().isoformat(),
        "gpu": gpu,
        "driver": driver,
        "cuda": f"{version // 1000}.{version % 1000 // 10}",
        "packages": versions(PACKAGES),
    }


# --- xpnet ----------------------------------------------------------------------------------------


def model_of(case: Case, **settings: Any) -> Sequential:
    """Build the network of a case on the device; the weights of a large one are drawn there."""
    phi = Sigmoid() if case.activation == "sigmoid" else ReLU()
    n_in, *hidden, n_out = case.widths
    settings |= {"activation": phi, "batch_norm": case.batch_norm, "backend": BACKEND}
    if n_parameters(case) <= MANY:
        return MLP(n_in, hidden, n_out, **settings)
    model = MLP(n_in, hidden, n_out, weight_init=Zeros(), **settings)
    weights = model.theta[model.layout.weights]
    fill_normal(weights, 0)
    weights *= 0.01
    return model


def labels(case: Case) -> np.ndarray[Any, Any]:
    """A class label for each row of all batches."""
    return np.random.default_rng(2).integers(0, case.widths[-1], n_steps(case) * case.batch)


def xpnet_graph(case: Case, precision: Precision, epilogues: bool = True) -> Contestant:
    """The epochs of `fit`, captured before the first, without copies of θ and callbacks.

    Without ``epilogues`` a separate kernel computes what could be fused into a product.
    """
    model, y = model_of(case), move(labels(case))
    X = cupy().empty((len(y), case.widths[0]), dtype="float32")
    fill_normal(X, 0)
    how = StepSettings(CrossEntropy(), Adam(), engine="replay", precision=precision)
    state = how.optimizer.init(model.theta, model.layout)
    without = patch.object(
        operations, "checked_product", lambda xp, precision, device: _unfused(precision)
    )
    rows = prepare(model.input_spec, X, y, how.loss).data
    with nullcontext() if epilogues else without:
        captured: Any = steps_for(
            model.state, rows, how, state, batch_size=case.batch, drop_last=False
        )
    assert captured.engine.startswith("replay")
    rng, lrs = np.random.default_rng(0), [how.optimizer.lr] * captured.n_steps
    orders = [rng.permutation(len(X))]

    def prepare_next() -> None:
        """Draw the next order while the device works, as `fit` does."""
        orders.append(rng.permutation(len(X)))
        captured.prepare(orders[-1], lrs)

    def queue(steps: int) -> None:
        for _ in range(max(steps // captured.n_steps, 1)):
            captured.epoch(orders.pop(0), lrs, prepare_next)

    return Contestant(queue, partial(fill_normal, X), cupy_clock())


def _unfused(precision: Precision) -> Product | None:
    """The products of a precision without epilogues."""
    product = cublas_product(precision)
    return product and replace(product, epilogues=frozenset())


def products_alone(case: Case, precision: Precision) -> Contestant:
    """The matrix products of a step, into preallocated arrays, replayed as a graph.

    In 16 bits the factors are rounded beforehand, which is not part of a product, and drawn once,
    because a graph reads fixed addresses.
    """
    product = cublas_product(precision)
    if product is None:
        raise ImportError("cublasLt")
    arrays: list[Any] = []

    def new(*shape: int) -> Any:
        arrays.append(cupy().empty(shape, dtype="float32"))
        return arrays[-1]

    work = []
    for kind, m, n, k in products(case):
        a = new(k, m).T if kind == "dW" else new(m, k)
        b = new(n, k).T if kind == "dx" else new(k, n)
        work.append((a, b, new(m, n)))
    for seed, array in enumerate(arrays):
        fill_normal(array, seed)
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

    return Contestant(queue, lambda seed: None, cupy_clock())


class Launches:
    """What was captured, and how long an epoch's launches take on the device and on the host.

    Attributes:
        graphs: the text of each captured graph, in the language of Graphviz.
        count: the launches of an epoch.
        seconds: on the device from the first launch of an epoch to the end of the last graph.
        host: on the host from before the first launch to after the last.
    """

    def __init__(self) -> None:
        self.graphs: list[str] = []
        self.seconds = self.host = 0.0
        self.count = self._n = 0
        self._marks: dict[str, tuple[Any, float]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch what is captured meanwhile."""
        stream, capture = cupy().cuda.Stream, CudaCapture.capture
        end = stream.end_capture

        def end_capture(stream: Any, *given: Any) -> Any:
            graph = end(stream, *given)
            with suppress(Exception):  # not every driver prints graphs
                self.graphs.append(str(graph.debug_dot_str(1)))
            return graph

        def captured(device: CudaCapture, step: Callable[[], None]) -> Work:
            return partial(self._launch, capture(device, step))

        ends = patch.object(stream, "end_capture", end_capture)
        with ends, patch.object(CudaCapture, "capture", captured):
            yield

    def _launch(self, replay: Work) -> None:
        """Launch a graph; before the first and after the last of an epoch note the time."""
        if self._n == 0:
            self._mark("begin")
        replay()
        self._n += 1
        if self._n == self.count:
            self._mark("end")

    def _mark(self, name: str) -> None:
        event = cupy().cuda.Event()
        event.record()
        self._marks[name] = event, perf_counter()

    def of_epoch(self, it: Contestant, steps: int) -> None:
        """Take the steps of an epoch twice: to count the launches, then to time them."""
        self._n = self.count = 0
        it.queue(steps)
        self._n, self.count = 0, self._n
        it.queue(steps)
        (first, begin), (last, end) = self._marks["begin"], self._marks["end"]
        last.synchronize()
        self.seconds, self.host = cupy_seconds(first, last), end - begin


def first_array() -> Any:
    """The operations of a first array on the device, which check their kernels."""
    return operations_for(get_backend(BACKEND).zeros(1))


def operations_report(precision: Precision = "float32") -> dict[str, Any]:
    """The classes of the operations and of the products, and the fused products that are usable."""
    ops = first_array().at_precision(precision)
    usable = [] if ops.product is None else sorted(ops.product.epilogues)
    return {
        "operations": type(ops).__name__,
        "products": type(ops.product).__name__,
        "epilogues": usable,
    }


def kernels_of_bytes(side: int) -> dict[str, tuple[Work, int]]:
    """Kernels that are limited by the bandwidth: name → work and the bytes that it moves."""
    ops, xp = first_array(), get_backend(BACKEND)
    x, y, z, g = (xp.zeros(side, side) + 0.5 for _ in range(4))
    sums, flat = xp.zeros(side), [v.reshape(-1) for v in (x, y, z, g)]
    halves = ops.at_precision("bf16").product
    derivative, adam = activations.relu_derivative, optimizers.adam
    numbers = (1e-3, 0.9, 0.1, 0.999, 0.001, 1.0, 1e-8)
    return {
        "rounding to bf16": (lambda: halves.factor(x), 6 * x.size),
        "ReLU's derivative and its column sums": (
            lambda: ops.chain_and_sum(derivative, x, y, sums, out=z),
            12 * x.size,
        ),
        "Adam": (lambda: ops.update(adam, flat[:3], flat[3:], numbers), 28 * x.size),
    }


if __name__ == "__main__":
    value = unavailable("cupy") or machine()
    print(json.dumps({"row": "machine", "column": "", "value": value}))
