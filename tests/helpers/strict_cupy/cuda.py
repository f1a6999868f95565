"""``cupy.cuda``: devices, streams, events and graphs. All work is done when it is enqueued.

Work on a stream that is captured is not done but recorded, and done when its graph is launched.
"""

from __future__ import annotations

import itertools
import time
import weakref

from helpers.strict_cupy import memory
from helpers.strict_cupy.state import CUDARuntimeError, Current, state


def enqueue(name, work, blocks, stream=None, kernel=None):
    """Do work on a stream, or record it where the stream is captured.

    Args:
        name: the name by which it is counted.
        work: does it, on host arrays; it must keep no device array alive.
        blocks: the memory that it uses.
        stream: the stream; ``None`` for the current one.
        kernel: what distinguishes the kernel that a device would have to compile.
    """
    current = state.current
    stream = stream or current.stream
    if stream.device_id not in (-1, current.device):
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: a stream of another device")
    state.count(name, kernel)
    if stream.tape is None:
        work()
    else:
        stream.tape.add(name, work, blocks)


class Device:
    """A device; the current one by default."""

    def __init__(self, device=None):
        self.id = state.current.device if device is None else int(device)

    def __int__(self):
        return self.id

    def use(self):
        if not 0 <= self.id < memory.N_DEVICES:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        state.current.use(self.id)

    def __enter__(self):
        before = state.current.device
        self.use()
        state.current.entered.append(before)
        return self

    def __exit__(self, *error):
        state.current.use(state.current.entered.pop())

    def synchronize(self):
        state.read("device")

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    compute_capability = "90"

    @property
    def mem_info(self):
        """The free bytes, of which allocations take 2 MiB at a time, and all bytes."""
        step = 2 << 20
        return memory.TOTAL - -(-memory.used[self.id] // step) * step, memory.TOTAL


class Tape:
    """The work that a capture records."""

    def __init__(self):
        self.names, self.work = [], []
        self.first, self.last = next(memory.serials), None
        self.older, self.own = {}, {}

    def add(self, name, work, blocks):
        self.names.append(name)
        self.work.append(work)
        for block in blocks:
            if block.size and block.serial < self.first:
                self.older[block.serial] = weakref.ref(block)
            elif block.size:
                self.own[block.root.serial] = weakref.ref(block.root)


class Graph:
    """Captured work.

    Attributes:
        nodes: the name of each kernel, product or copy.
    """

    def __init__(self, tape):
        self._tape, self.nodes = tape, tuple(tape.names)

    def upload(self, stream=None):
        """Nothing is left to do."""

    def launch(self, stream=None):
        state.forbid("a graph within a graph", stream)
        self._require_memory()
        state.count("graph")
        for work in self._tape.work:
            work()

    def _require_memory(self):
        """Refuse a launch that a device would not notice, but that uses memory of others."""
        tape = self._tape
        roots = [ref() for ref in tape.own.values()]
        if not all(ref() for ref in tape.older.values()) or not all(roots):
            raise CUDARuntimeError("cudaErrorIllegalAddress: the graph uses memory that was freed")
        users = [root.user() for root in roots if root.user is not None]
        if any(user and user.serial > tape.last and not user.captured for user in users):
            raise CUDARuntimeError("the graph writes to memory that an array holds since")


class Event:
    """A point in the work of a stream."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._timed, self.time = not disable_timing, None

    done = True

    def record(self, stream=None):
        state.forbid("events of captures are not implemented", stream)
        self.time = time.perf_counter()

    def synchronize(self):
        state.count("sync:event")


def get_elapsed_time(start_event, end_event):
    if not (start_event._timed and end_event._timed and start_event.time and end_event.time):
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event without a time")
    return (end_event.time - start_event.time) * 1e3


streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
"""All streams by address."""


class Stream:
    """A queue of work."""

    null = None
    _numbers = itertools.count(0x1000, 16)

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        assert not ptds
        self.ptr = 0 if null else next(self._numbers)
        self.device_id = -1 if null else state.current.device
        self.tape = None
        streams[self.ptr] = self

    @classmethod
    def at(cls, address):
        """The stream at an address."""
        stream = streams.get(address)
        assert stream is not None, "no stream, or one that was destroyed"
        return stream

    def _require_device(self):
        if self.device_id not in (-1, state.current.device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with "
                f"the current device ({state.current.device})"
            )

    def __enter__(self):
        self._require_device()
        state.current.entered.append(state.current.device)
        state.current.push(self)
        return self

    def __exit__(self, *error):
        state.current.pop()

    def use(self):
        self._require_device()
        state.current.streams[state.current.device].pop()
        state.current.push(self)
        return self

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return hash(self.ptr)

    done = True

    def synchronize(self):
        state.read("stream", self)

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        assert event.time is not None, "an event that was never recorded"

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self.tape is not None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is captured already")
        self.tape = Tape()

    def end_capture(self):
        if self.tape is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not captured")
        tape, self.tape = self.tape, None
        tape.last = next(memory.serials)
        return Graph(tape)

    def is_capturing(self):
        return self.tape is not None


Stream.null = Current.null = Stream(null=True)
state.current.__init__()  # of this thread, which began before there was a stream


def get_current_stream(device_id=-1):
    current = state.current
    return current.stream if device_id == -1 else current.streams[device_id][-1]
