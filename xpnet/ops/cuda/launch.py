"""The one place where kernels are started: everything above only says which, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.ops.cuda.sources import Kernel

Size: TypeAlias = tuple[int, ...]

THREADS = 256
"""The threads of a block of a kernel over elements."""

BLOCKS = 4096
"""The most blocks of such a kernel; beyond, a thread takes several elements."""


class Launch(Protocol):
    """Starts a kernel on a grid of blocks of threads."""

    def __call__(self, kernel: Kernel, grid: Size, block: Size, arguments: Sequence[Any]) -> None:
        """Queue the kernel.

        Args:
            kernel: what to run.
            grid: the blocks along each axis.
            block: the threads of a block along each axis.
            arguments: arrays, NumPy scalars of the types of its parameters, ``None`` for no array.
        """
        ...


def launch(kernel: Kernel, grid: Size, block: Size, arguments: Sequence[Any]) -> None:
    """Start a kernel on CuPy's current device and stream, compiled when it is first seen."""
    given = (np.int64(0) if argument is None else argument for argument in arguments)
    compiled(kernel)(grid, block, tuple(given))


def launch_linear(start: Launch, kernel: Kernel, size: int, arguments: Sequence[Any]) -> None:
    """Start a kernel over ``size`` elements with ``start``."""
    start(kernel, (min(ceil(size / THREADS), BLOCKS),), (THREADS,), arguments)


@cache
def compiled(kernel: Kernel) -> Any:
    """The kernel for the current device; CuPy also keeps it in a file for other processes."""
    import cupy  # noqa: PLC0415

    return cupy.RawKernel(kernel.source, kernel.name)
