"""Ctrl-C during a training, deferred to the end of a step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """A context in which Ctrl-C sets `requested`, which a training reads after every step.

    An exception in the middle of a step would leave θ of one step beside the optimizer's state of
    another. Every Ctrl-C after the first raises `KeyboardInterrupt` at once. Only Python's own
    handler is replaced, and only in the main thread; any other one stays. A training in a callback
    of another one takes the Ctrl-C, and its `KeyboardInterrupt` ends the outer one.

    Args:
        raises: whether a Ctrl-C that no step has followed raises `KeyboardInterrupt` at the end;
            default true.

    Attributes:
        requested: whether the training has been asked to end after the current step.

    >>> with Interrupts() as interrupts:
    ...     signal.raise_signal(signal.SIGINT)
    ...     requested, interrupts.requested = interrupts.requested, False
    >>> requested
    True
    """

    def __init__(self, raises: bool = True) -> None:
        self.requested, self._pressed, self._raises = False, False, raises
        self._replaced: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            outer = isinstance(getattr(handler, "__self__", None), Interrupts)
            if outer or handler is signal.default_int_handler:
                self._replaced = handler
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the handler; raise `KeyboardInterrupt` for a Ctrl-C that ended nothing."""
        if self._replaced is not None:
            signal.signal(signal.SIGINT, self._replaced)
        if self._raises and error is None and self.requested:
            raise KeyboardInterrupt

    def raise_if_requested(self) -> None:
        """Raise `KeyboardInterrupt` if the training has been asked to end."""
        if self.requested:
            self.requested = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pressed:
            raise KeyboardInterrupt
        self.requested = self._pressed = True
