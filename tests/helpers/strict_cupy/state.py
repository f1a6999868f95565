"""What has happened so far, and what is current in each thread."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
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
    """What is current in a thread.

    Attributes:
        device: the number of the device.
        stream: the stream of the device.
        streams: the streams of each device, of which the last is the current one.
        allocator: allocates memory; ``None`` for the default pool.
        entered: the device before each block of a device or a stream that is entered.
    """

    null = None  # the stream where no other is current

    def __init__(self):
        self.device, self.allocator, self.stream, self.entered = 0, None, self.null, []
        self.streams = defaultdict(lambda: [self.null])

    def use(self, device):
        """Make a device current."""
        self.device, self.stream = device, self.streams[device][-1]

    def push(self, stream):
        """Make a stream of the current device current."""
        self.streams[self.device].append(stream)
        self.stream = stream

    def pop(self):
        """Make the stream current that was before the last that was entered."""
        self.streams[self.entered.pop()].pop()
        self.stream = self.streams[self.device][-1]


class State:
    """The counts, and the current things of each thread."""

    def __init__(self):
        self.current, self.lock, self.counters = Current(), threading.RLock(), []

    @property
    def tape(self):
        """The work that a capture of the current stream has recorded; ``None`` without one."""
        return self.current.stream.tape

    def forbid(self, what, stream=None):
        """Raise an error if the stream is captured."""
        if (stream or self.current.stream).tape is not None:
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
