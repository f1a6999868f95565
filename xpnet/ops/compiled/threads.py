"""A loop over a large array, its rows shared out to a few threads.

Threads of our own and not OpenMP's, which spin beside those of the BLAS and take the cores from
them. Elementwise results do not depend on the number of threads; sums do, by rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np

from xpnet.ops.compiled.loops import Loop

LARGE = 1 << 20
"""The number of elements from which it pays: waking a thread takes some 50 microseconds."""


def n_threads() -> int:
    """How many threads share a large loop: Numba's number, by default one a usable core."""
    return int(numba.config.NUMBA_NUM_THREADS)


def share(loop: Loop, arrays: Sequence[Any], *rest: Any) -> list[Any]:
    """``loop(*arrays, *rest)`` with ``arrays`` cut along their first axis.

    Returns:
        What the loop returned for each piece.
    """
    _require_same_length(arrays)
    if n_threads() == 1:
        return [loop(*arrays, *rest)]
    others = [_pool(os.getpid()).submit(loop, *piece, *rest) for piece in _pieces(arrays)[1:]]
    first = loop(*_pieces(arrays)[0], *rest)
    return [first, *(other.result() for other in others)]


def share_sums(loop: Loop, arrays: Sequence[Any], sums: Any, *rest: Any) -> None:
    """``loop(*arrays, sums, *rest)`` likewise, where the loop fills ``sums`` over the rows."""
    _require_same_length(arrays)
    if n_threads() == 1:
        loop(*arrays, sums, *rest)
        return
    pieces = _pieces(arrays)
    partial = np.empty((len(pieces), *sums.shape), sums.dtype)
    others = [
        _pool(os.getpid()).submit(loop, *piece, into, *rest)
        for piece, into in zip(pieces[1:], partial[1:], strict=True)
    ]
    loop(*pieces[0], partial[0], *rest)
    for other in others:
        other.result()
    np.add.reduce(partial, axis=0, out=sums)


@cache
def _pool(pid: int) -> ThreadPoolExecutor:
    """The helpers of one process: a forked one must not wait for threads that stayed behind."""
    return ThreadPoolExecutor(n_threads() - 1, thread_name_prefix="xpnet")


def _require_same_length(arrays: Sequence[Any]) -> None:
    """Refuse arrays that cutting would make fit: a loop sees only its own piece."""
    if any(len(array) != len(arrays[0]) for array in arrays):
        raise TypeError


def _pieces(arrays: Sequence[Any]) -> list[list[Any]]:
    rows, parts = len(arrays[0]), n_threads()
    cuts = [rows * part // parts for part in range(parts + 1)]
    return [[a[start:stop] for a in arrays] for start, stop in pairwise(cuts)]
