"""CUDA graphs: the device work of a function, captured once and enqueued again in one launch.

A graph repeats the captured kernels on the same memory, with the same arguments from the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeAlias
from weakref import finalize

ENGINE = "replay: a CUDA graph"
"""The text for ``history.engine``."""

WARM_UP = 2
"""The number of steps before a capture, which compile the kernels and fill the memory pool."""

Replay: TypeAlias = Callable[[], None]


class Capture(Protocol):
    """The captures of a device."""

    def running(self) -> AbstractContextManager[None]:
        """Make the capture stream current after all queued work; at the end synchronize it."""
        ...

    def capturing(self) -> AbstractContextManager[None]:
        """`running`, with memory from a pool that only captures use."""
        ...

    def capture(self, step: Callable[[], None]) -> Replay:
        """Capture the device work of ``step``; the result enqueues it on the current stream."""
        ...

    def copying(self) -> AbstractContextManager[None]:
        """Make a stream for copies current, which runs beside the others; then wait for it."""
        ...


class CudaCapture:
    """Captures on a separate stream, with a memory pool that lives as long as the graphs.

    A graph also writes to memory that its step has freed. Therefore only captures allocate from
    this pool, and its memory is not returned to the device while a graph exists: a pool that runs
    out of memory would release its free blocks. The blocks are released when this object is
    deleted, so nothing that outlives the graphs may be allocated from the pool.

    Attributes:
        pool: the memory pool of the captures.
    """

    def __init__(self) -> None:
        import cupy  # noqa: PLC0415

        self._cuda, self._default_pool = cupy.cuda, cupy.get_default_memory_pool()
        self._stream, self._copies = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        blocks: list[Any] = []

        def allocate(size: int) -> Any:
            blocks.append(cupy.cuda.Memory(size))
            return cupy.cuda.MemoryPointer(blocks[-1], 0)

        self.pool = cupy.cuda.MemoryPool(allocate)
        finalize(self, _free, self.pool, cupy.cuda.Device()).atexit = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """See `Capture.running`."""
        self._cuda.get_current_stream().synchronize()
        with self._stream:
            try:
                yield
            finally:
                self._stream.synchronize()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """See `Capture.capturing`."""
        with self.running(), self._cuda.using_allocator(self.pool.malloc):
            self._default_pool.free_all_blocks()  # the pool of the captures cannot use them
            yield

    def capture(self, step: Callable[[], None]) -> Replay:
        """See `Capture.capture`."""
        self._stream.begin_capture()
        try:
            step()
        except BaseException:
            with suppress(RuntimeError):  # it reports the failed capture a second time
                self._stream.end_capture()
            raise
        graph = self._stream.end_capture()
        graph.upload(self._stream)
        return partial(self._launch, graph)

    def _launch(self, graph: Any) -> None:
        """Launch a graph on the current stream; a method, so that the memory pool lives on."""
        graph.launch()

    @contextmanager
    def copying(self) -> Iterator[None]:
        """See `Capture.copying`."""
        with self._copies:
            try:
                yield
            finally:
                self._copies.synchronize()


def _free(pool: Any, device: Any) -> None:
    """Return the blocks of a pool to its device, which need not be the current one."""
    with device:
        pool.free_all_blocks()
