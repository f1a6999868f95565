"""A loop over a large array, its rows shared out to a few threads.

Threads of our own and not OpenMP's, which spin beside those of the BLAS and take the cores from
them. Elementwise results do not depend on the number of threads; sums do, by rounding only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import Any

LARGE = 1 << 22
"""The number of elements from which it pays: waking a thread takes some 50 microseconds, and beside
the threads of a BLAS, which wait busily for its next product, it has half a core at first."""


def n_threads() -> int:
    """How many threads share a large loop: ``NUMBA_NUM_THREADS``, by default one a usable core."""
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def at_once(loop: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """The loop with each of the arguments, the first here and the others by the helpers.

    It returns or raises only when all have ended: nothing writes to the arrays afterwards.
    """
    others: list[Future[Any]] = []
    try:
        for arguments in calls[1:]:
            helper = _submit(loop, arguments)
            if helper is None:
                break
            others.append(helper)
        first, *rest = [loop(*arguments) for arguments in (calls[0], *calls[1 + len(others) :])]
    finally:
        wait(others)
    return [first, *(other.result() for other in others), *rest]


def _submit(loop: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any] | None:
    """A call by a helper; ``None`` if helpers take no more, since the interpreter is ending."""
    try:
        return _pool(os.getpid()).submit(loop, *arguments)
    except RuntimeError as error:
        if str(error).startswith("cannot schedule new futures"):
            return None
        raise


@cache
def _pool(pid: int) -> ThreadPoolExecutor:
    """The helpers of one process: a forked one must not wait for threads that stayed behind."""
    return ThreadPoolExecutor(n_threads() - 1, thread_name_prefix="xpnet")


def pieces_of(arrays: Sequence[Any]) -> list[list[Any]]:
    """The arrays cut into as many pieces as there are threads; refuses unequal lengths."""
    rows, parts = len(arrays[0]), n_threads()
    if any(len(array) != rows for array in arrays):
        raise TypeError  # cut alike they would seem to fit
    cuts = [rows * part // parts for part in range(parts + 1)]
    return [[a[start:stop] for a in arrays] for start, stop in pairwise(cuts)]
