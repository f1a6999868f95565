"""Execution of loops: immediately, and by several threads if the arrays are large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from xpnet.backend import Array, HostArray
from xpnet.ops.cpu.jit import LoopKey, loop_of
from xpnet.ops.cpu.threads import MIN_PARALLEL_SIZE, run_in_threads, split_rows

Arguments: TypeAlias = tuple[Any, ...]


class LoopRunner:
    """Runs loops on arrays.

    Each method raises `NotCompiled` if there is no such loop, or it does not accept the arguments.
    """

    def call(self, key: LoopKey, *arguments: Any) -> None:
        """Run a loop on these arguments."""
        raise NotImplementedError

    def call_in_threads(self, key: LoopKey, calls: list[Arguments]) -> None:
        """Run a loop on each of several arguments, in threads."""
        raise NotImplementedError

    def add_parts(self, parts: HostArray, sums: Any) -> None:
        """``sums ← Σ parts``."""
        raise NotImplementedError

    def scalar(self, dtype: Any, sums: Any) -> Any:
        """The number in ``sums``, in another type."""
        raise NotImplementedError

    def fall_back(
        self, out: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a function of NumPy arrays instead of a loop, and return its result.

        Args:
            out: the array that it writes its result to; ``None`` if it returns none.
            function: any function.
            args: its arguments.
            kwargs: its keyword arguments.
        """
        raise NotImplementedError

    def run(self, key: LoopKey, arrays: Sequence[Array], *rest: Any) -> None:
        """Run a loop on arrays that may be split along their first axis, and on other arguments."""
        if arrays[-1].size < MIN_PARALLEL_SIZE:
            self.call(key, *arrays, *rest)
        else:
            self.call_in_threads(key, [(*piece, *rest) for piece in split_rows(arrays)])

    def run_sums(self, key: LoopKey, arrays: Sequence[Array], sums: Any, *rest: Any) -> None:
        """Run a loop that fills ``sums`` from arrays that may be split along their first axis."""
        if arrays[-1].size < MIN_PARALLEL_SIZE:
            self.call(key, *arrays, sums, *rest)
            return
        pieces = split_rows(arrays)
        parts = np.empty((len(pieces), *sums.shape), sums.dtype)
        each = zip(pieces, parts, strict=True)
        self.call_in_threads(key, [(*piece, part, *rest) for piece, part in each])
        self.add_parts(parts, sums)


class EagerRunner(LoopRunner):
    """Runs each loop at once."""

    def call(self, key: LoopKey, *arguments: Any) -> None:
        """See `LoopRunner.call`."""
        loop_of(*key)(*arguments)

    def call_in_threads(self, key: LoopKey, calls: list[Arguments]) -> None:
        """See `LoopRunner.call_in_threads`."""
        run_in_threads(loop_of(*key), calls)

    def add_parts(self, parts: HostArray, sums: Any) -> None:
        """See `LoopRunner.add_parts`."""
        np.add.reduce(parts, axis=0, out=sums)

    def scalar(self, dtype: Any, sums: Any) -> Any:
        """See `LoopRunner.scalar`."""
        return dtype.type(sums[0])

    def fall_back(
        self, out: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """See `LoopRunner.fall_back`."""
        return function(*args, **kwargs)
