"""How a loop is run: at once, or by several threads where it is long enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from xpnet.backend import Array, HostArray
from xpnet.ops.cpu.jit.definition import Which
from xpnet.ops.cpu.jit.loop import loop_of
from xpnet.ops.cpu.threads import LARGE, at_once, pieces_of

Arguments: TypeAlias = tuple[Any, ...]


class Runner:
    """What runs a loop on arrays. Each method raises `TypeError` for what the loop refuses."""

    def alone(self, which: Which, *arguments: Any) -> None:
        """Run a loop on its arguments as they are."""
        raise NotImplementedError

    def together(self, which: Which, calls: list[Arguments]) -> None:
        """Run a loop on several arguments, each in a thread of its own."""
        raise NotImplementedError

    def add_up(self, parts: HostArray, sums: Any) -> None:
        """``sums ← Σ parts``."""
        raise NotImplementedError

    def number(self, dtype: Any, sums: Any) -> Any:
        """The one number of ``sums`` in another type."""
        raise NotImplementedError

    def plainly(self, into: Any, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """What a function that knows no compiler makes of arrays; it may write it ``into`` one."""
        raise NotImplementedError

    def run(self, which: Which, arrays: Sequence[Array], *rest: Any) -> None:
        """Run a loop on arrays that may be cut along their first axis, and what follows them."""
        if arrays[-1].size < LARGE:
            self.alone(which, *arrays, *rest)
        else:
            self.together(which, [(*piece, *rest) for piece in pieces_of(arrays)])

    def sums(self, which: Which, arrays: Sequence[Array], sums: Any, *rest: Any) -> None:
        """Run a loop that fills ``sums`` over the rows of arrays that may be cut."""
        if arrays[-1].size < LARGE:
            self.alone(which, *arrays, sums, *rest)
            return
        pieces = pieces_of(arrays)
        parts = np.empty((len(pieces), *sums.shape), sums.dtype)
        each = zip(pieces, parts, strict=True)
        self.together(which, [(*piece, into, *rest) for piece, into in each])
        self.add_up(parts, sums)


class Direct(Runner):
    """Runs each loop when it is asked for."""

    def alone(self, which: Which, *arguments: Any) -> None:
        """See `Runner.alone`."""
        loop_of(*which)(*arguments)

    def together(self, which: Which, calls: list[Arguments]) -> None:
        """See `Runner.together`."""
        at_once(loop_of(*which), calls)

    def add_up(self, parts: HostArray, sums: Any) -> None:
        """See `Runner.add_up`."""
        np.add.reduce(parts, axis=0, out=sums)

    def number(self, dtype: Any, sums: Any) -> Any:
        """See `Runner.number`."""
        return dtype.type(sums[0])

    def plainly(self, into: Any, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """See `Runner.plainly`."""
        return function(*given, **named)
