"""Loops shared out to threads, where the threads fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(why_not_compiled(), allow_module_level=True)

from xpnet.ops.cpu import threads

PARTS = 5


class Closing(ThreadPoolExecutor):
    """Helpers that take some pieces and are then shut down, as when the interpreter ends."""

    def __init__(self, takes):
        super().__init__(1)
        self.takes = takes

    def submit(self, *arguments):
        if not self.takes:
            self.shutdown()
        self.takes -= 1
        return super().submit(*arguments)


def add_one(x):
    x += 1
    return x[0]


@pytest.mark.parametrize("takes", range(PARTS))
def test_what_helpers_refuse_the_calling_thread_does(takes, monkeypatch):
    with Closing(takes) as pool:
        monkeypatch.setattr(threads, "_pool", lambda pid: pool)
        x = np.arange(40)
        calls = [(piece,) for piece in x.reshape(PARTS, -1)]
        assert threads.at_once(add_one, calls) == [1, 9, 17, 25, 33]
    assert x.tolist() == list(range(1, 41))


def test_other_errors_of_helpers_are_raised(monkeypatch):
    """After a failed start of a thread its piece may still be taken: it must not run twice."""

    class Exhausted:
        def submit(self, *arguments):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", lambda pid: Exhausted())
    with pytest.raises(RuntimeError, match="can't start new thread"):
        threads.at_once(add_one, [(np.arange(2),), (np.arange(2),)])
