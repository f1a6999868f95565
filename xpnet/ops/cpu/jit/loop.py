"""Loops as functions: read from the disk, or compiled where they are not there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.ops.cpu.jit import code_cache
from xpnet.ops.cpu.jit.arguments import Block, Packer, place_of
from xpnet.ops.cpu.jit.definition import FLAT, Entry, Kind, Which

FORM = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)
"""How the compiler's functions are called: where the result and the error go, and a block. What
they return is 0 if all is well."""

COMPILER = "xpnet.ops.cpu.jit.compile"

OFTEN = 10_000
"""After how many calls from Python the compiler makes a faster way in for a loop: a tenth of a
second, and half of one more if Numba is not loaded, for some microseconds a call."""

REFUSED = "a compiled loop refuses its arguments"

UNREAD = np.zeros(2, np.int64)
NOTES = place_of(UNREAD), place_of(UNREAD[1:])
"""Where results and errors go."""


class Loop:
    """A compiled loop. It refuses what it does not take with a `TypeError`.

    Args:
        entry: its code.
        kinds: the types of its arguments.

    Attributes:
        entry: its code.
        pack: makes a block of its arguments.
    """

    def __init__(self, entry: Entry, kinds: Sequence[Kind]) -> None:
        self.entry, self.pack = entry, Packer(kinds)
        self._call, self._kinds, self._calls = FORM(entry.address), tuple(kinds), 0
        self._n_flat = sum(kind.ndim == FLAT for kind in kinds)
        self._callers: dict[int, Any] = {}

    def __call__(self, *arguments: Any) -> None:
        """Run it."""
        if self._calls < OFTEN:
            block = self.pack(arguments)
            self._run(block.address, block)
            self._calls += 1
            return
        for x in arguments:  # in a tuple Numba does not look at the order of their bytes
            if isinstance(x, np.ndarray) and not x.dtype.isnative:
                raise TypeError(REFUSED)
        flat, others = arguments[: self._n_flat], arguments[self._n_flat :]
        ndim = getattr(flat[0], "ndim", 0) if flat else 0
        caller = self._callers.get(ndim)
        if caller is None:
            caller = self._callers[ndim] = import_module(COMPILER).caller(self._kinds, ndim)
        if caller(self.entry.address, flat, others):
            raise TypeError(REFUSED)

    def bound(self, *arguments: Any) -> Callable[[], None]:
        """What runs it on these arguments."""
        block = self.pack(arguments)
        return partial(self._run, block.address, block)

    def _run(self, place: int, block: Block) -> None:
        """Run it on the block at an address, which lives meanwhile."""
        if self._call(*NOTES, place):
            raise TypeError(REFUSED)


def loop_of(*which: Any) -> Loop:
    """The loop that ``which[0]`` makes of the rest, compiled when it is first asked for.

    Raises:
        TypeError: where there is none, and NumPy is to compute instead.
    """
    loop = _found(*which)
    if loop is None:
        raise TypeError
    return loop


@cache
def _found(*which: Any) -> Loop | None:
    try:
        return new_loop(which)
    except (TypeError, ImportError):  # or a compiler that has gone since the first loop
        return None


def new_loop(which: Which) -> Loop:
    """A loop read from the disk; or compiled, and kept there.

    Raises:
        TypeError: if the compiler cannot take it.
        ImportError: if the compiler is needed, and cannot be loaded.
    """
    path = code_cache.path_of(which)
    code = None if path is None else code_cache.read(path)
    if code is not None:
        return Loop(code_cache.linked(code), code.kinds)
    # By name, for it loads the compiler.
    entry, kinds, code = import_module(COMPILER).compiled(which)
    if path is not None and code is not None:
        code_cache.write(path, code)
    return Loop(entry, kinds)
