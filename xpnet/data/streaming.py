"""Rows that do not fit on the device: copied there batch by batch, beside the computing.

A thread gathers the rows of a batch into page-locked memory and queues their copy on a stream of
its own, while the steps of the batches before are computed:

    thread       gather 2 │ gather 3 │ gather 4 │
    copies       copy 1   │ copy 2   │ copy 3   │
    computing    step 0   │ step 1   │ step 2   │

Nobody waits for a step: events order the streams, and the thread alone waits, for a copy whose
page-locked memory it wants to fill again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.backend import Array, Backend, HostArray
from xpnet.data.mapped import RowReader, forget_pages

SHARE = 0.5
"""Up to which share of the device's free memory X moves there as a whole: steps need room too."""

SLOTS = 3
"""How many batches are on their way: one is gathered, one is copied, one is computed on."""

Part: TypeAlias = HostArray | slice
"""The rows of a batch: their indices, or a slice of rows that follow each other."""

Event: TypeAlias = Any
"""What a stream has done when it has come so far."""


class Copies(Protocol):
    """A device with a stream for copies beside the current stream, on which it computes."""

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[HostArray, Array]:
        """A page-locked array of the host and an array of the device, both uninitialized."""
        ...

    def copy(self, source: HostArray, target: Array, after: Event) -> Event:
        """Queue a copy to the device behind ``after``; the event is that it is done."""
        ...

    def wait(self, event: Event) -> None:
        """Return when the event has come."""
        ...

    def compute_after(self, event: Event) -> None:
        """Let what is queued on the current stream from now on wait for the event."""
        ...

    def computed(self) -> Event:
        """The event that all that is queued on the current stream is done."""
        ...

    def finish(self) -> None:
        """Return when every copy is done."""
        ...


class CudaCopies:
    """`Copies` on the current CUDA device, by CuPy."""

    def __init__(self) -> None:
        import cupy  # noqa: PLC0415

        self._cupy = cupy
        self._device = cupy.cuda.Device()
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def room(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[HostArray, Array]:
        """See `Copies.room`."""
        target = self._cupy.empty(shape, dtype)
        memory = self._cupy.cuda.alloc_pinned_memory(target.nbytes)
        return np.ndarray(shape, dtype, memory), target

    def copy(self, source: HostArray, target: Array, after: Event) -> Event:
        """See `Copies.copy`."""
        self._stream.wait_event(after)
        target.set(source, stream=self._stream)
        return self._mark(self._stream)

    def wait(self, event: Event) -> None:
        """See `Copies.wait`."""
        event.synchronize()

    def compute_after(self, event: Event) -> None:
        """See `Copies.compute_after`."""
        self._cupy.cuda.get_current_stream().wait_event(event)

    def computed(self) -> Event:
        """See `Copies.computed`."""
        return self._mark(self._cupy.cuda.get_current_stream())

    def finish(self) -> None:
        """See `Copies.finish`."""
        self._stream.synchronize()

    def _mark(self, stream: Any) -> Event:
        """An event of the device's; a thread of its own may be on another device."""
        with self._device:
            return stream.record(self._cupy.cuda.Event(block=True, disable_timing=True))


@dataclass
class _Slot:
    """The memory of a batch on both sides, and the last uses of it."""

    host: HostArray
    device: Array
    computed: Event
    copied: Event | None = None


class Feed:
    """Batches of rows in host memory, as arrays on the device.

    Args:
        fill: ``(part, out)``: writes the rows of a part into an array of the host.
        width: the numbers of a row.
        dtype: of the rows; they are copied in it, so that bytes stay bytes on their way.
        copies: the device.
    """

    def __init__(
        self,
        fill: Callable[[Part, HostArray], None],
        width: int,
        dtype: np.dtype[Any],
        copies: Copies,
    ) -> None:
        self._fill, self._width, self._dtype, self._copies = fill, width, dtype, copies
        self._slots: list[_Slot] = []

    def batches(self, parts: Sequence[Part]) -> Generator[Array, None, None]:
        """The rows of each part in turn, in memory that is used again for a later one.

        What is queued on the current stream before the next batch is asked for may read a batch.
        An error of the thread's is raised here, and however the iteration ends, the thread does.
        """
        slots, self._slots = self._room(max(map(_length, parts), default=0)), []
        free: SimpleQueue[_Slot | None] = SimpleQueue()
        ready: SimpleQueue[_Slot | BaseException] = SimpleQueue()
        for slot in slots:
            free.put(slot)
        thread = threading.Thread(target=self._run, args=(parts, free, ready), daemon=True)
        thread.start()
        try:
            for part in parts:
                arrived = ready.get()
                if isinstance(arrived, BaseException):
                    raise arrived
                self._copies.compute_after(arrived.copied)
                try:
                    yield arrived.device[: _length(part), ...]
                finally:
                    arrived.computed = self._copies.computed()
                free.put(arrived)
        finally:
            free.put(None)
            thread.join()
            self._copies.finish()
            self._slots = slots

    def _room(self, rows: int) -> list[_Slot]:
        """Slots of at least so many rows; those of a run that has ended if they are enough."""
        if self._slots and self._slots[0].host.shape[0] >= rows:
            return self._slots
        pairs = [self._copies.room((rows, self._width), self._dtype) for _ in range(SLOTS)]
        # New memory may be what a kernel that is still queued has given back.
        return [_Slot(host, device, self._copies.computed()) for host, device in pairs]

    def _run(
        self,
        parts: Sequence[Part],
        free: SimpleQueue[_Slot | None],
        ready: SimpleQueue[_Slot | BaseException],
    ) -> None:
        """What the thread does: gather each part and queue its copy."""
        try:
            for part in parts:
                slot = free.get()
                if slot is None:
                    return
                if slot.copied is not None:
                    self._copies.wait(slot.copied)
                host, device = (x[: _length(part), ...] for x in (slot.host, slot.device))
                self._fill(part, host)
                slot.copied = self._copies.copy(host, device, slot.computed)
                ready.put(slot)
        except BaseException as error:  # raised where the batches are taken
            ready.put(error)


def stays_on_host(backend: Backend, X: Array, dtype: Any) -> bool:
    """Whether X is left in host memory: a mapped file, or too large as ``dtype`` for the device."""
    if isinstance(X, np.memmap):
        return True
    if not streams(backend, X):
        return False
    n_bytes: int = X.size * np.dtype(dtype).itemsize
    return n_bytes > SHARE * backend.free_bytes


def streams(backend: Backend, X: Array) -> bool:
    """Whether X has to be copied to a device batch by batch."""
    return not backend.is_host and isinstance(X, np.ndarray) and not backend.owns(X)


def fill_rows(X: HostArray, reader: RowReader | None, part: Part, out: HostArray) -> None:
    """Copy the rows of a part of ``X`` into ``out``, both in host memory."""
    if isinstance(part, slice):
        out[...] = X[part]
        forget_pages(X)
    elif reader is not None:
        reader.take_into(part, out)
    elif X.flags.c_contiguous and X.dtype == out.dtype:
        np.take(X, part, axis=0, out=out, mode="clip")  # the default mode copies through a buffer
    else:
        out[...] = X[part]


def _length(part: Part) -> int:
    return part.stop - part.start if isinstance(part, slice) else len(part)
