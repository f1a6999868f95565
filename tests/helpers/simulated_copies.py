"""A device with two streams that run as early, or as late, as their events let them.

What is queued runs when the policy or somebody's waiting makes it run, and not before. So a copy
that reads memory of the host too late, one that overwrites what has still to be read, and a step
that does not wait for its batch give wrong numbers here, each under one of the policies.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue

import numpy as np

from helpers.fake_device import DeviceArray, FakeCapture, plain

POLICIES = {
    "as late as can be": (),
    "copies run ahead": ("copies",),
    "computing runs ahead": ("computing",),
    "both at once": ("copies", "computing"),
}


class Event:
    """Whether a stream has come so far, and which."""

    def __init__(self, stream):
        self.stream, self.done = stream, False


class SimulatedCopies:
    """`xpnet.data.streaming.Copies` on NumPy arrays.

    Args:
        ahead: the streams that run whenever they can; the others only when they are waited for.
    """

    def __init__(self, ahead=()):
        self.ahead, self.lock = ahead, threading.RLock()
        self.queues = {"copies": deque(), "computing": deque()}
        self.sources, self.waited, self.rooms = [], [], 0
        self.queued = SimpleQueue()  # a batch's rows, when its copy is queued

    def room(self, shape, dtype):
        assert not FakeCapture.memory_of_graphs  # it may be what a graph writes
        self.rooms += 1
        host = np.full(shape, 77, dtype)
        return host, host.copy().view(DeviceArray)

    def copy(self, source, target, after):
        done = Event("copies")
        with self.lock:
            self.sources.append(source.dtype.name)
            self._queue("copies", after, lambda: plain(target).__setitem__(..., source), done)
        self.queued.put(len(source))
        return done

    def wait(self, event):
        with self.lock:
            self.waited.append(event.stream)
            self.run_until(event)

    def compute_after(self, event):
        with self.lock:
            self._queue("computing", event)

    def computed(self):
        event = Event("computing")
        with self.lock:
            self._queue("computing", event)
        return event

    def finish(self):
        with self.lock:
            self.drain("copies")

    def compute(self, work):
        """Queue what a step does."""
        with self.lock:
            self._queue("computing", work)

    def drain(self, stream):
        """Run all that is queued on a stream, and what it needs of the other."""
        while self.queues[stream]:
            self._run_first(stream)

    def run_until(self, event):
        """Run no more than an event needs."""
        while not event.done:
            self._run_first(event.stream)

    def _queue(self, stream, *pieces):
        """Queue work, events to wait for and events to set: an event of the stream's own is set."""
        self.queues[stream].extend(pieces)
        for each in self.ahead:
            while self.queues[each] and not self._is_blocked(each):
                self._run_first(each)

    def _is_blocked(self, stream):
        first = self.queues[stream][0]
        return isinstance(first, Event) and first.stream != stream and not first.done

    def _run_first(self, stream):
        first = self.queues[stream].popleft()
        if not isinstance(first, Event):
            first()
        elif first.stream == stream:
            first.done = True
        else:
            self.run_until(first)


class ComputingHost(SimulatedCopies):
    """Steps are computed by the host at once, as on the fake device; copies as late as can be."""

    def compute_after(self, event):
        self.run_until(event)

    def run_until(self, event):
        with self.lock:
            super().run_until(event)
