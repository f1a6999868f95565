"""SIGTERM during a training, by which container engines and batch systems end a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xpnet.training.callbacks import Run


class TerminationSignal:
    """A callback that ends the training after a step, as Ctrl-C does, when SIGTERM is received.

    Attributes:
        received: whether it has been.
    """

    stateless = True

    def __init__(self) -> None:
        self.received = False
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Keep the run, and end it at once if the signal has been received already."""
        self._run = run
        if self.received:
            run.interrupt()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """End the training after the current step."""
        self.received = True
        if self._run is not None:
            self._run.interrupt()


@contextmanager
def handled_termination() -> Iterator[TerminationSignal]:
    """Yield a callback that ends the training after SIGTERM, and restore the handler at the end.

    Nothing is handled in another thread than the main one, which signals do not reach, and if the
    process ignores SIGTERM or its handler is not one of Python, which could not be restored.
    """
    termination = TerminationSignal()
    handler = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or handler in (None, signal.SIG_IGN):
        yield termination
        return
    signal.signal(signal.SIGTERM, termination.handle)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, handler)
