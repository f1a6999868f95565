"""A lock that serializes the steps of several threads, and that a forked process renews."""

from __future__ import annotations

import os
from threading import RLock
from weakref import WeakSet


class StepLock:
    """A re-entrant lock for steps, and whether one is running.

    Another thread of the parent process may hold the lock during a fork. That thread does not exist
    in the child, so the child gets a new lock.

    Attributes:
        lock: the lock; a signal handler may acquire it during a step of its own thread.
        busy: whether a step is running. Only the thread that holds the lock reads and writes it.
    """

    def __init__(self) -> None:
        self.lock, self.busy = RLock(), False
        _LOCKS.add(self)

    def renew(self) -> None:
        """Replace the lock and forget the step, unless this thread holds the lock."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock, self.busy = RLock(), False


_LOCKS: WeakSet[StepLock] = WeakSet()


def _renew() -> None:
    for lock in _LOCKS:
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
