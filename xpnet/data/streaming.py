"""Prefetching of batches: rows in host memory are copied to the device while it computes.

A thread gathers the rows of a batch into page-locked memory and enqueues their copy on a second
stream, while the steps on earlier batches are computed:

    thread               gather 2 │ gather 3 │ gather 4 │
    copy stream          copy 1   │ copy 2   │ copy 3   │
    compute stream       step 0   │ step 1   │ step 2   │

Events order the two streams, so the host never waits for a step. The thread waits for a copy
before it overwrites the page-locked memory that the copy reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np

from xpnet.backend import Array, Backend, HostArray
from xpnet.data.mapped import RowReader, release_pages

MAX_SHARE = 0.5
"""Maximum share of the free device memory that X may take; training needs memory as well."""

N_SLOTS = 3
"""Number of batches in flight: one is gathered, one is copied, one is computed on."""

RowIndex: TypeAlias = HostArray | slice
"""The rows of a batch: an array of indices, or a slice of consecutive rows."""

Event: TypeAlias = Any
"""A point in the work of a stream."""


class Copies(Protocol):
    """A device with a stream for copies beside the current stream, on which it computes."""

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[HostArray, Array]:
        """Return a page-locked host array and a device array, both uninitialized."""
        ...

    def copy(self, source: HostArray, target: Array, after: Event) -> Event:
        """Enqueue a copy to the device that starts after an event; return its completion event."""
        ...

    def wait(self, event: Event) -> None:
        """Block the host until the event completes."""
        ...

    def compute_after(self, event: Event) -> None:
        """Let work that is enqueued later on the current stream wait for the event."""
        ...

    def computed(self) -> Event:
        """Return the event that completes when the work enqueued on the current stream is done."""
        ...

    def finish(self) -> None:
        """Block the host until all copies are done."""
        ...


class CudaCopies:
    """`Copies` on the current CUDA device, with CuPy."""

    def __init__(self) -> None:
        import cupy  # noqa: PLC0415

        self._cupy = cupy
        self._device = cupy.cuda.Device()
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[HostArray, Array]:
        """See `Copies.allocate`."""
        target = self._cupy.empty(shape, dtype)
        memory = self._cupy.cuda.alloc_pinned_memory(target.nbytes)
        return np.ndarray(shape, dtype, memory), target

    def copy(self, source: HostArray, target: Array, after: Event) -> Event:
        """See `Copies.copy`."""
        self._stream.wait_event(after)
        target.set(source, stream=self._stream)
        return self._record(self._stream)

    def wait(self, event: Event) -> None:
        """See `Copies.wait`."""
        event.synchronize()

    def compute_after(self, event: Event) -> None:
        """See `Copies.compute_after`."""
        self._cupy.cuda.get_current_stream().wait_event(event)

    def computed(self) -> Event:
        """See `Copies.computed`."""
        return self._record(self._cupy.cuda.get_current_stream())

    def finish(self) -> None:
        """See `Copies.finish`."""
        self._stream.synchronize()

    def _record(self, stream: Any) -> Event:
        """Record an event on the device, which need not be the current device of a new thread."""
        with self._device:
            return stream.record(self._cupy.cuda.Event(block=True, disable_timing=True))


@dataclass
class _Slot:
    """Memory for a batch on the host and on the device, and the last events that use it."""

    host: HostArray
    device: Array
    computed: Event
    copied: Event | None = None


class Prefetcher:
    """Copies batches of rows from host memory to the device ahead of their use.

    Args:
        fill: ``fill(rows, out)`` writes the rows of a batch into the host array ``out``.
        width: the number of columns.
        dtype: the dtype of the rows, in which they are copied: bytes are transferred as bytes.
        copies: the device.
    """

    def __init__(
        self,
        fill: Callable[[RowIndex, HostArray], None],
        width: int,
        dtype: np.dtype[Any],
        copies: Copies,
    ) -> None:
        self._fill, self._width, self._dtype, self._copies = fill, width, dtype, copies
        self._slots: list[_Slot] = []

    def batches(self, batches: Sequence[RowIndex]) -> Generator[Array, None, None]:
        """Yield the rows of each batch, as a device array that a later batch overwrites.

        Work that reads a batch must be enqueued on the current stream before the next batch is
        requested. An error in the thread is raised here. The thread ends with the iteration, also
        if that is interrupted.
        """
        slots, self._slots = self._allocated(max(map(_length, batches), default=0)), []
        free: SimpleQueue[_Slot | None] = SimpleQueue()
        ready: SimpleQueue[_Slot | BaseException] = SimpleQueue()
        for slot in slots:
            free.put(slot)
        thread = threading.Thread(target=self._run, args=(batches, free, ready), daemon=True)
        thread.start()
        try:
            for rows in batches:
                filled = ready.get()
                if isinstance(filled, BaseException):
                    raise filled
                self._copies.compute_after(filled.copied)
                try:
                    yield filled.device[: _length(rows), ...]
                finally:
                    filled.computed = self._copies.computed()
                free.put(filled)
        finally:
            free.put(None)
            thread.join()
            self._copies.finish()
            self._slots = slots

    def _allocated(self, n_rows: int) -> list[_Slot]:
        """Return slots of at least ``n_rows`` rows: those of the last iteration if large enough."""
        if self._slots and self._slots[0].host.shape[0] >= n_rows:
            return self._slots
        pairs = [self._copies.allocate((n_rows, self._width), self._dtype) for _ in range(N_SLOTS)]
        # New device memory may still be used by a kernel that is enqueued.
        return [_Slot(host, device, self._copies.computed()) for host, device in pairs]

    def _run(
        self,
        batches: Sequence[RowIndex],
        free: SimpleQueue[_Slot | None],
        ready: SimpleQueue[_Slot | BaseException],
    ) -> None:
        """Gather each batch and enqueue its copy, in the thread."""
        try:
            for rows in batches:
                slot = free.get()
                if slot is None:
                    return
                if slot.copied is not None:
                    self._copies.wait(slot.copied)
                host, device = (x[: _length(rows), ...] for x in (slot.host, slot.device))
                self._fill(rows, host)
                slot.copied = self._copies.copy(host, device, slot.computed)
                ready.put(slot)
        except BaseException as error:  # raised in the thread that takes the batches
            ready.put(error)


def stays_on_host(backend: Backend, X: Array, dtype: Any) -> bool:
    """Return whether X remains in host memory: a mapped file, or too large as ``dtype``."""
    if isinstance(X, np.memmap):
        return True
    if not is_streamed(backend, X):
        return False
    n_bytes: int = X.size * np.dtype(dtype).itemsize
    return n_bytes > MAX_SHARE * backend.free_bytes


def is_streamed(backend: Backend, X: Array) -> bool:
    """Return whether the batches of X must be copied from host memory to a device."""
    return not backend.is_host and isinstance(X, np.ndarray) and not backend.owns(X)


def fill_rows(X: HostArray, reader: RowReader | None, rows: RowIndex, out: HostArray) -> None:
    """Copy rows of ``X`` to ``out``, both in host memory."""
    if isinstance(rows, slice):
        out[...] = X[rows]
        release_pages(X)
    elif reader is not None:
        reader.take_into(rows, out)
    elif X.flags.c_contiguous and X.dtype == out.dtype:
        np.take(X, rows, axis=0, out=out, mode="clip")  # mode "raise" would buffer the output
    else:
        out[...] = X[rows]


def _length(rows: RowIndex) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)
