"""Kernel launches: every launch of the package goes through a `Launch`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

Size: TypeAlias = tuple[int, ...]

THREADS = 256
"""Threads in a block of an elementwise kernel."""

BLOCKS = 4096
"""The maximum number of such blocks; in larger arrays each thread computes several elements."""


class Kernel(NamedTuple):
    """A kernel before compilation.

    Attributes:
        name: the name of the function.
        source: the complete source text.
    """

    name: str
    source: str


class Launch(Protocol):
    """A function that launches a kernel; tests replace it."""

    def __call__(self, kernel: Kernel, grid: Size, block: Size, arguments: Sequence[Any]) -> None:
        """Enqueue the kernel.

        Args:
            kernel: the kernel.
            grid: the number of blocks along each axis.
            block: the number of threads of a block along each axis.
            arguments: arrays, NumPy scalars of the parameters' types, or ``None`` for a null
                pointer.
        """
        ...


def launch(kernel: Kernel, grid: Size, block: Size, arguments: Sequence[Any]) -> None:
    """Launch a kernel on CuPy's current device and stream; it is compiled at first use."""
    given = (np.int64(0) if argument is None else argument for argument in arguments)
    compiled(kernel)(grid, block, tuple(given))


def launch_linear(launch: Launch, kernel: Kernel, size: int, arguments: Sequence[Any]) -> None:
    """Launch a kernel over ``size`` elements by ``launch``."""
    launch(kernel, (min(ceil(size / THREADS), BLOCKS),), (THREADS,), arguments)


@cache
def compiled(kernel: Kernel) -> Any:
    """The kernel for the current device; CuPy also caches its machine code on disk."""
    import cupy  # noqa: PLC0415

    return cupy.RawKernel(kernel.source, kernel.name)
