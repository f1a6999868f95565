"""Threads that share the rows of large arrays.

OpenMP is not used: its idle threads spin beside those of the BLAS and take the cores from them.
Elementwise results do not depend on the number of threads; sums do, by rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from threading import local
from typing import Any

from xpnet.ops.cpu.jit import NotCompiled

MIN_PARALLEL_SIZE = 1 << 22
"""The number of elements from which threads are used. To wake one takes some 50 microseconds, and
at first it has half a core only, since the threads of the BLAS spin until its next product."""


def n_threads() -> int:
    """The number of threads that share a large loop.

    It is ``NUMBA_NUM_THREADS``, by default the number of cores that this process may use.
    """
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def run_in_threads(function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Call a function with each of several arguments: the first in this thread, others in a pool.

    It returns or raises only when all calls have ended, so that none writes to an array later.
    """
    others: list[Future[Any]] = []
    try:
        for arguments in calls[1:]:
            future = _submit(function, arguments)
            if future is None:
                break
            others.append(future)
        here = (calls[0], *calls[1 + len(others) :])
        first, *rest = [function(*arguments) for arguments in here]
    finally:
        wait(others)
    return [first, *(other.result() for other in others), *rest]


_THIS_THREAD = local()
"""``submits``: whether this thread is submitting a call, and holds locks of the pool."""


def _submit(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any] | None:
    """A call in the pool; ``None`` if it accepts none.

    It accepts none when the interpreter is shutting down, or in a signal handler that interrupts
    another submission of this thread.
    """
    if getattr(_THIS_THREAD, "submits", False):
        return None
    _THIS_THREAD.submits = True
    try:
        return _pool(os.getpid()).submit(function, *arguments)
    except RuntimeError as error:
        if str(error).startswith("cannot schedule new futures"):
            return None
        raise
    finally:
        _THIS_THREAD.submits = False


@cache
def _pool(pid: int) -> ThreadPoolExecutor:
    """The threads of one process: after a fork the child has none of its parent's."""
    return ThreadPoolExecutor(n_threads() - 1, thread_name_prefix="xpnet")


def split_rows(arrays: Sequence[Any]) -> list[list[Any]]:
    """Split arrays along their first axis into as many pieces as there are threads.

    Raises:
        NotCompiled: if they have different lengths, since the pieces could have equal ones.
    """
    lengths, parts = {array.shape[:1] for array in arrays}, n_threads()
    if len(lengths) > 1 or () in lengths:
        raise NotCompiled("arrays of different lengths cannot be split among threads")
    rows = len(arrays[0])
    cuts = [rows * part // parts for part in range(parts + 1)]
    return [[a[start:stop] for a in arrays] for start, stop in pairwise(cuts)]
