"""Threads that share large arrays, where the threads fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(why_not_compiled(), allow_module_level=True)

from xpnet.ops.cpu import threads
from xpnet.ops.cpu.jit import NotCompiled

PARTS = 5


class ClosingPool(ThreadPoolExecutor):
    """A pool that accepts some calls and then shuts down, as when the interpreter ends."""

    def __init__(self, accepted):
        super().__init__(1)
        self.accepted = accepted

    def submit(self, *arguments):
        if not self.accepted:
            self.shutdown()
        self.accepted -= 1
        return super().submit(*arguments)


class ExhaustedPool:
    """A pool that cannot start a thread, although it may have queued the call."""

    def submit(self, *arguments):
        raise RuntimeError("can't start new thread")


def add_one(x):
    x += 1
    return x[0]


@pytest.mark.parametrize("accepted", range(PARTS))
def test_caller_runs_what_a_closing_pool_rejects(accepted, monkeypatch):
    with ClosingPool(accepted) as pool:
        monkeypatch.setattr(threads, "_pool", lambda pid: pool)
        x = np.arange(40)
        calls = [(piece,) for piece in x.reshape(PARTS, -1)]
        assert threads.run_in_threads(add_one, calls) == [1, 9, 17, 25, 33]
    assert x.tolist() == list(range(1, 41))


def test_other_errors_of_the_pool_are_raised(monkeypatch):
    """The pool may still run the call, so the caller must not run it too."""
    monkeypatch.setattr(threads, "_pool", lambda pid: ExhaustedPool())
    with pytest.raises(RuntimeError, match="can't start new thread"):
        threads.run_in_threads(add_one, [(np.arange(2),), (np.arange(2),)])


def test_pieces_cover_the_rows_once(monkeypatch):
    monkeypatch.setattr(threads, "n_threads", lambda: 3)
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    pieces = threads.split_rows([x, y])
    assert [len(a) for a, _ in pieces] == [3, 3, 4]
    for whole, parts in zip((x, y), zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("other", [np.zeros(9), np.zeros((1, 10)), np.zeros(())])
def test_arrays_of_other_lengths_are_not_split(other):
    with pytest.raises(NotCompiled, match="different lengths"):
        threads.split_rows([np.zeros(10), other])
