"""A simulated device with a copy stream and a compute stream, scheduled by a policy.

Work is enqueued, and executed only when the policy or a wait requires it. A copy that reads host
memory too late, a copy that overwrites data before they are read, and a step that does not wait
for its batch each give wrong numbers under one of the policies.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue

import numpy as np

from helpers.fake_device import DeviceArray, FakeCapture, plain

POLICIES = {
    "as late as possible": (),
    "copies run ahead": ("copies",),
    "computing runs ahead": ("computing",),
    "both run ahead": ("copies", "computing"),
}


class Event:
    """A point in the work of a stream, and whether the stream has reached it."""

    def __init__(self, stream):
        self.stream, self.done = stream, False


class SimulatedCopies:
    """`xpnet.data.streaming.Copies` on NumPy arrays.

    Args:
        ahead: the streams that execute work as soon as possible; the others only on a wait.
    """

    def __init__(self, ahead=()):
        self.ahead, self.lock = ahead, threading.RLock()
        self.queues = {"copies": deque(), "computing": deque()}
        self.sources, self.waited, self.n_allocated = [], [], 0
        self.enqueued = SimpleQueue()  # the number of rows of each copy

    def allocate(self, shape, dtype):
        assert not FakeCapture.memory_of_graphs  # a graph may overwrite that memory
        self.n_allocated += 1
        host = np.full(shape, 77, dtype)
        return host, host.copy().view(DeviceArray)

    def copy(self, source, target, after):
        done = Event("copies")
        with self.lock:
            self.sources.append(source.dtype.name)
            self._enqueue("copies", after, lambda: plain(target).__setitem__(..., source), done)
        self.enqueued.put(len(source))
        return done

    def wait(self, event):
        with self.lock:
            self.waited.append(event.stream)
            self.run_until(event)

    def compute_after(self, event):
        with self.lock:
            self._enqueue("computing", event)

    def computed(self):
        event = Event("computing")
        with self.lock:
            self._enqueue("computing", event)
        return event

    def finish(self):
        with self.lock:
            self.drain("copies")

    def compute(self, work):
        """Enqueue the work of a step."""
        with self.lock:
            self._enqueue("computing", work)

    def drain(self, stream):
        """Execute all work of a stream, and the work of the other that it waits for."""
        while self.queues[stream]:
            self._run_first(stream)

    def run_until(self, event):
        """Execute the work that an event requires."""
        while not event.done:
            self._run_first(event.stream)

    def _enqueue(self, stream, *items):
        """Enqueue functions and events: the stream completes its own, and waits for others."""
        self.queues[stream].extend(items)
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
    """Executes steps immediately, as the fake device does, and copies as late as possible."""

    def compute_after(self, event):
        self.run_until(event)

    def run_until(self, event):
        with self.lock:
            super().run_until(event)
