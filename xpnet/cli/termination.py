"""SIGTERM during a training, by which container engines and batch systems end a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xpnet.training.callbacks import Run

STEPS_ON_DEVICE = 256
"""After how many steps the signal is looked at on a GPU, which the host waits for."""


class TerminationSignal:
    """A callback that ends the training, as Ctrl-C does, after SIGTERM has been received.

    Attributes:
        received: whether it has been.
        every: after how many steps it is looked at.
    """

    stateless = True

    def __init__(self) -> None:
        self.received = False
        self.every = 1

    def begin(self, run: Run) -> None:
        """Look at the signal after every step on a CPU."""
        self.every = 1 if run.model.backend.is_host else STEPS_ON_DEVICE

    def step(self, run: Run) -> None:
        """End the training after this step if the signal has been received."""
        if self.received:
            run.interrupt()

    epoch = step  # an epoch may have fewer steps, or none

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal."""
        self.received = True


@contextmanager
def handled_termination() -> Iterator[TerminationSignal]:
    """Yield a callback that ends the training after SIGTERM, and put the handler back at the end.

    Nothing is handled in another thread than the main one, which signals do not reach, and if the
    process ignores SIGTERM or its handler is not one of Python, which could not be put back.
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
