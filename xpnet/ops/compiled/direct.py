"""How a loop is run: at once, or by several threads where it is long enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from xpnet.backend import Array
from xpnet.ops.compiled.compile import Which, loop_of
from xpnet.ops.compiled.threads import LARGE, share, share_sums


class Runner(Protocol):
    """What runs a loop on arrays. Each method raises `TypeError` for what the loop refuses."""

    def alone(self, which: Which, *arguments: Any) -> None:
        """Run a loop on its arguments as they are."""
        ...

    def run(self, which: Which, arrays: Sequence[Array], *rest: Any) -> None:
        """Run a loop on arrays that may be cut along their first axis, and what follows them."""
        ...

    def sums(self, which: Which, arrays: Sequence[Array], sums: Array, *rest: Any) -> None:
        """Run a loop that fills ``sums`` over the rows of arrays that may be cut."""
        ...

    def number(self, dtype: Any, sums: Array) -> Any:
        """The one number of ``sums`` in another type."""
        ...


class Direct:
    """Runs each loop when it is asked for."""

    def alone(self, which: Which, *arguments: Any) -> None:
        """See `Runner.alone`."""
        loop_of(*which)(*arguments)

    def run(self, which: Which, arrays: Sequence[Array], *rest: Any) -> None:
        """See `Runner.run`."""
        loop = loop_of(*which)
        if arrays[-1].size < LARGE:
            loop(*arrays, *rest)
        else:
            share(loop, arrays, *rest)

    def sums(self, which: Which, arrays: Sequence[Array], sums: Array, *rest: Any) -> None:
        """See `Runner.sums`."""
        loop = loop_of(*which)
        if arrays[-1].size < LARGE:
            loop(*arrays, sums, *rest)
        else:
            share_sums(loop, arrays, sums, *rest)

    def number(self, dtype: Any, sums: Array) -> Any:
        """See `Runner.number`."""
        return dtype.type(sums[0])
