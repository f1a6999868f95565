"""What has happened so far, and what is current in each thread."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager


class Counts(Counter):
    """How often each kind of work was done, by name; see the docstring of the package.

    Attributes:
        kernels: the distinct kernels that were launched, each of which a device has to compile.
    """

    def __init__(self):
        super().__init__()
        self.kernels = set()

    @property
    def launches(self):
        """The number of kernels, products and copies that the host enqueued."""
        return sum(n for name, n in self.items() if name.startswith(("kernel:", "raw:", "lt:")))

    @property
    def reads(self):
        """How often the host waited for the device, and read from it or copied to it."""
        return sum(n for name, n in self.items() if name.startswith(("sync:", "h2d:")))


class Current(threading.local):
    """The device, the streams and the allocator of a thread."""

    def __init__(self):
        self.device, self.allocator = 0, None
        self.streams = {}  # of each device, the last is the current one


class State:
    """The counts, and the current things of each thread."""

    def __init__(self):
        self.current, self.lock, self.counters = Current(), threading.RLock(), []
        self.null = None  # the stream of work for which no other is current

    @property
    def stream(self):
        """The current stream."""
        streams = self.current.streams.get(self.current.device)
        return streams[-1] if streams else self.null

    def streams(self):
        """The streams of the current device that are current in turn, to be changed."""
        return self.current.streams.setdefault(self.current.device, [self.null])

    @property
    def tape(self):
        """The work that a capture of the current stream has recorded; ``None`` without one."""
        return self.stream.tape

    def forbid(self, what, stream=None):
        """Raise an error if the stream is captured."""
        if (stream or self.stream).tape is not None:
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")

    def read(self, what, stream=None):
        """Count a read of the host, which waits for the device."""
        self.forbid(f"{what} reads a number on the host", stream)
        self.count(f"sync:{what}")

    def write(self, what, stream=None):
        """Count a copy from the host."""
        self.forbid(f"{what} copies from the host", stream)
        self.count(f"h2d:{what}")

    def count(self, name, kernel=None):
        """Count work by its name, and the kernel that does it."""
        if not self.counters:
            return
        with self.lock:
            for counter in self.counters:
                counter[name] += 1
                if kernel is not None:
                    counter.kernels.add(kernel)

    @contextmanager
    def counted(self):
        """Count what happens inside, in all threads."""
        counts = Counts()
        self.counters.append(counts)
        try:
            yield counts
        finally:
            self.counters[:] = [each for each in self.counters if each is not counts]


class CUDARuntimeError(RuntimeError):
    """An error of the device or of its driver."""

    __module__ = "cupy.cuda.runtime"


state = State()
