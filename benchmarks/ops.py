"""Compare each compiled rule and operation with NumPy's, to compile only what becomes faster.

Run: ``python -m benchmarks.ops``. It prints microseconds for 64 × 200 float32 numbers, medians of
alternating repeats, and the ratio; a rule with a ratio above 1 should run on NumPy.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np

from xpnet.ops.cpu.jit import loop
from xpnet.ops.cpu.operations import CompiledOperations
from xpnet.ops.numpy import NumPyOperations
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations, losses, optimizers

SHAPE = 64, 200
REPEATS, CALLS = 15, 50
SCALARS = (0.5, 0.4, 0.3, 0.2, 0.6, 0.1, 0.7, 0.8)


def rules_of(module: object) -> list[Callable[..., object]]:
    own = [f for _, f in inspect.getmembers(module, inspect.isfunction)]
    return [f for f in own if f.__module__ == module.__name__]


def arrays_and_scalars(rule: Callable[..., object]) -> tuple[int, tuple[float, ...]]:
    kinds = list(inspect.signature(rule).parameters.values())[1:]
    n_arrays = sum(str(kind.annotation) == "Array" for kind in kinds)
    return n_arrays, SCALARS[: len(kinds) - n_arrays]


def microseconds(calls: list[Callable[[], object]]) -> list[float]:
    """The median time of each call; the calls alternate."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, measured in zip(calls, times, strict=True):
            start = perf_counter()
            for _ in range(CALLS):
                call()
            measured.append((perf_counter() - start) / CALLS * 1e6)
    return [statistics.median(measured) for measured in times]


def elementwise(ops: Operations, rule: Callable[..., object]) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    n_arrays, scalars = arrays_and_scalars(rule)
    arrays = [rng.uniform(0.1, 1, SHAPE).astype(np.float32) for _ in range(n_arrays)]
    if rule.__module__ == optimizers.__name__:
        flat = [array.reshape(-1) for array in arrays]
        old = [array.copy() for array in flat]
        n_targets = max(n_arrays - 1, 1)
        if rule is optimizers.norm_scaled:
            n_targets = 1

        def step() -> None:
            for array, value in zip(flat, old, strict=True):
                array[...] = value  # otherwise some rules produce subnormal numbers
            ops.update(rule, flat[:n_targets], flat[n_targets:], scalars)

        return step
    out = np.empty(SHAPE, np.float32)
    return lambda: ops.apply(rule, *arrays, scalars=scalars, out=out)


def main() -> None:
    loop.CALLS_BEFORE_NATIVE_WRAPPER = 0  # as in a long training
    host, compiled = NumPyOperations(np), CompiledOperations(np)
    print("| rule | NumPy | compiled | ratio |\n|---|---|---|---|")
    for module in (activations, losses, optimizers):
        for rule in rules_of(module):
            calls = [elementwise(ops, rule) for ops in (host, compiled)]
            calls[1]()
            plain, fused = microseconds(calls)
            print(f"| {rule.__name__} | {plain:.1f} | {fused:.1f} | {fused / plain:.2f} |")


if __name__ == "__main__":
    main()
