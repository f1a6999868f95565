"""Captures restore the stream and the allocator, and keep the memory that graphs write."""

from __future__ import annotations

import gc
import sys
import weakref
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from xpnet.engine.cuda_graph import CudaCapture


class Driver:
    """A fake CuPy that records the current stream, the current allocator and every call."""

    def __init__(self):
        self.streams, self.allocators, self.done = ["the usual"], ["the usual"], []
        self.fails = ""
        driver = self

        class Stream:
            made = 0

            def __init__(self, non_blocking):
                assert non_blocking
                self.name = ("of captures", "of copies")[Stream.made % 2]
                Stream.made += 1

            def __enter__(self):
                driver.streams.append(self.name)

            def __exit__(self, *error):
                driver.streams.pop()

            def __getattr__(self, method):
                return lambda *_: driver.do(f"{method} {self.name}")

        class MemoryPool:
            def __init__(self, allocator):
                self.allocator, self.malloc = allocator, "of captures"

            def free_all_blocks(self):
                driver.do("end the pool")

        class Memory:
            def __init__(self, size):
                self.size = size

        @contextmanager
        def using_allocator(allocator):
            driver.allocators.append(allocator)
            try:
                yield
            finally:
                driver.allocators.pop()

        self.cuda = SimpleNamespace(
            Stream=Stream,
            MemoryPool=MemoryPool,
            Memory=Memory,
            MemoryPointer=lambda memory, offset: (memory, offset),
            using_allocator=using_allocator,
            Device=nullcontext,
            get_current_stream=lambda: SimpleNamespace(
                synchronize=lambda: driver.do(f"synchronize {driver.streams[-1]}")
            ),
        )
        self.get_default_memory_pool = lambda: SimpleNamespace(
            free_all_blocks=lambda: driver.do("give back")
        )

    def do(self, what):
        self.done.append(what)
        if what == self.fails:
            raise RuntimeError(what)
        return SimpleNamespace(
            upload=lambda stream: self.do("upload"),
            launch=lambda: self.do(f"launch {self.streams[-1]}"),
        )

    @property
    def current(self):
        return self.streams[-1], self.allocators[-1]


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setitem(sys.modules, "cupy", driver)
    return driver


def test_only_captures_use_the_memory_of_graphs(driver):
    capture = CudaCapture()
    with capture.capturing():
        assert driver.current == ("of captures", "of captures")
        replay = capture.capture(lambda: driver.do("a step"))
    with capture.running():
        assert driver.current == ("of captures", "the usual")
        replay()
    assert driver.current == ("the usual", "the usual")
    assert driver.done == [
        *("synchronize the usual", "give back", "begin_capture of captures", "a step"),
        *("end_capture of captures", "upload", "synchronize of captures"),
        *("synchronize the usual", "launch of captures", "synchronize of captures"),
    ]


def test_copies_have_a_stream_that_does_not_wait(driver):
    capture = CudaCapture()
    with capture.running():
        with capture.copying():
            assert driver.current == ("of copies", "the usual")
        assert driver.current == ("of captures", "the usual")
        assert driver.done[-1] == "synchronize of copies"


def test_blocks_live_as_long_as_the_graphs(driver):
    """CuPy's pool frees its unused blocks when memory runs out."""
    capture = CudaCapture()
    blocks = [weakref.ref(capture.pool.allocator(size)[0]) for size in (512, 1024)]
    replay = capture.capture(lambda: None)
    del capture
    gc.collect()
    assert [block().size for block in blocks] == [512, 1024]
    assert "end the pool" not in driver.done
    del replay
    gc.collect()
    assert [block() for block in blocks] == [None, None]
    assert driver.done.count("end the pool") == 1


@pytest.mark.parametrize("fails", ["a step", "synchronize"])
@pytest.mark.parametrize("how", ["capturing", "running", "copying"])
def test_failure_restores_stream_and_allocator(how, fails, driver):
    if fails == "synchronize":
        fails += " of copies" if how == "copying" else " of captures"
    capture, driver.fails = CudaCapture(), fails

    with pytest.raises(RuntimeError, match=fails), getattr(capture, how)():
        driver.do("a step")
    assert driver.current == ("the usual", "the usual")


def test_failed_capture_is_ended(driver):
    capture, driver.fails = CudaCapture(), "a step"
    with pytest.raises(RuntimeError, match="a step"), capture.capturing():
        capture.capture(lambda: driver.do("a step"))
    assert driver.done[-2:] == ["end_capture of captures", "synchronize of captures"]
