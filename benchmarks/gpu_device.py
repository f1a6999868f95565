"""Access to CuPy and clocks for the GPU benchmark; tests replace these functions by fakes."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib import metadata
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.cases import Case
from xpnet import MLP, ReLU, Sequential, Sigmoid
from xpnet.engine.cuda_graph import CudaCapture

BACKEND: Any = "cupy"
PACKAGES = "xpnet", "numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "jax"

Work = Callable[[], None]
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
    cuda = cupy().cuda
    return clock_of_events(cuda.Event, lambda a, b: float(cuda.get_elapsed_time(a, b)) / 1e3)


def torch_clock(pt: Any) -> Clock:
    """A clock with events on PyTorch's current stream."""
    return clock_of_events(
        lambda: pt.cuda.Event(enable_timing=True), lambda a, b: float(a.elapsed_time(b)) / 1e3
    )


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
    """Free the unused memory of CuPy's pools."""
    gc.collect()
    cupy().get_default_memory_pool().free_all_blocks()


def taken_bytes() -> int:
    """Bytes in CuPy's pools: for captured steps, and for everything else.

    The driver's own count has a granularity of 2 MiB and includes loaded kernels.
    """
    captures = [x for x in gc.get_objects() if type(x) is CudaCapture]
    pools = [cupy().get_default_memory_pool(), *(capture.pool for capture in captures)]
    return sum(int(pool.total_bytes()) for pool in pools)


def model_of(case: Case, **settings: Any) -> Sequential:
    """Build the network of a case on the device."""
    phi = Sigmoid() if case.activation == "sigmoid" else ReLU()
    n_in, *hidden, n_out = case.widths
    norm = case.batch_norm
    return MLP(n_in, hidden, n_out, activation=phi, batch_norm=norm, backend=BACKEND, **settings)


def machine() -> dict[str, Any]:
    """Date, GPU, driver and installed libraries."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    except OSError:  # no such program
        output = ""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    gpu, _, driver = (output.splitlines() or ["unknown GPU, unknown"])[0].partition(", ")
    return {
        "date": date.today().isoformat(),
        "gpu": gpu,
        "driver": driver,
        "cuda": cuda_version(),
        "packages": versions,
    }


def cuda_version() -> str:
    """The version of the CUDA runtime that CuPy uses."""
    version = int(cupy().cuda.runtime.runtimeGetVersion())
    return f"{version // 1000}.{version % 1000 // 10}"
