"""Checkpoints of a minimization: files with which `minimize` continues to the bit."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xpnet.atomic import StrPath, require_writable
from xpnet.errors import (
    ArgumentError,
    FileFormatError,
    Phrase,
    describe,
    require,
    require_count,
    require_number,
    require_type,
)
from xpnet.state_dict import StateDict, load_state_dict, save_state_dict

if TYPE_CHECKING:
    from xpnet.minimize.loop import MinimizationLoop

KIND = "minimization"
"""The entry ``"kind"`` of a checkpoint of `minimize`."""


@dataclass(frozen=True)
class MinimizationCheckpoint:
    """When and where `minimize` writes its state, with which ``resume=path`` continues.

    The file is written between two iterations, after the call of the callback: at the start if
    there is none, after each interval, and at the end of the run, also after Ctrl-C in the
    callback. Where a run ends in the course of an iteration, as by Ctrl-C in the function, the file
    of the last interval remains. A point that is not finite is not written. The file appears
    completely or not at all.

    Exactly one of the two intervals is given.

    Args:
        path: the file, in the safetensors format; an existing one is replaced.
        iterations: write after each multiple of this number of iterations, an integer of at
            least 1.
        seconds: write after an iteration that ends this number of seconds or more after the last
            write, above 0.

    Raises:
        ArgumentError: if an argument has the wrong type or range, or not exactly one interval is
            given.

    >>> import tempfile
    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = f"{folder}/run.safetensors"
    ...     checkpoint = MinimizationCheckpoint(file, iterations=10)
    ...     part = minimize(Rosenbrock(), [-1.2, 1.0], max_iter=12, checkpoint=checkpoint)
    ...     whole = minimize(Rosenbrock(), [-1.2, 1.0], resume=file)
    >>> part.iterations, whole.success
    (12, True)
    >>> bool((whole.x == minimize(Rosenbrock(), [-1.2, 1.0]).x).all())
    True
    """

    path: StrPath
    iterations: int | None = field(default=None, kw_only=True)
    seconds: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        require_type(self.path, (str, bytes, os.PathLike), "path")
        if (self.iterations is None) == (self.seconds is None):
            got = f"iterations={self.iterations!r:.40} and seconds={self.seconds!r:.40}"
            raise ArgumentError(f"exactly one of iterations and seconds must be given; got {got}.")
        if self.iterations is not None:
            require_count(self.iterations, "iterations")
        if self.seconds is not None:
            require_number(self.seconds, "seconds", above=0)


class CheckpointWriter:
    """Writes the checkpoints of one run.

    Args:
        checkpoint: the file and the interval.

    Raises:
        ArgumentError: if ``checkpoint`` has another type, or its path is a folder or a device.
        OSError: if the file cannot be written.
    """

    def __init__(self, checkpoint: MinimizationCheckpoint) -> None:
        require_type(checkpoint, MinimizationCheckpoint, "checkpoint")
        require_writable(checkpoint.path, "checkpoint")
        self._checkpoint = checkpoint
        exists = os.path.exists(checkpoint.path)  # that of a run which may be resumed yet
        self._written: int | None = -1 if exists else None
        self._time = time.perf_counter()

    def write_if_due(self, loop: MinimizationLoop) -> None:
        """Write the state where the interval has passed; also at first, if there is no file."""
        every, seconds = self._checkpoint.iterations, self._checkpoint.seconds
        passed = every is not None and loop.iteration > 0 and loop.iteration % every == 0
        if seconds is not None:
            passed = time.perf_counter() - self._time >= seconds
        if passed or self._written is None:
            self.write(loop)

    def write(self, loop: MinimizationLoop) -> None:
        """Write the state of the loop, if that is possible and has not been done."""
        if loop.iteration == self._written or not loop.can_be_saved:
            return
        save_state_dict({"kind": KIND, "loop": loop.state_dict()}, self._checkpoint.path)
        self._written, self._time = loop.iteration, time.perf_counter()


def read_checkpoint(path: StrPath) -> StateDict:
    """Return the state of the loop in a file of `MinimizationCheckpoint`.

    Raises:
        ArgumentError: if ``path`` is not a path.
        FileFormatError: if the file is truncated, hostile or of another kind.
        FileNotFoundError: if there is no such file.
    """
    require_type(path, (str, bytes, os.PathLike), "resume")
    state = load_state_dict(path)
    kind, loop = state.get("kind"), state.get("loop")
    if not isinstance(kind, str) or kind != KIND or not isinstance(loop, dict):
        got = f"one of kind {kind!r:.40}" if isinstance(kind, str) else "one without a kind"
        raise FileFormatError(f"resume must be a file of MinimizationCheckpoint; got {got}.")
    return loop


@contextmanager
def errors_naming(path: StrPath | None) -> Iterator[None]:
    """Add the name of the file to a `FileFormatError`."""
    try:
        yield
    except FileFormatError as error:
        if path is None:
            raise
        raise FileFormatError(f"{os.fsdecode(path)!r} cannot be resumed: {error}") from None


def refuse_shared(settings: dict[str, object]) -> None:
    """Refuse arguments for checkpoints where several methods would use one file.

    Raises:
        ArgumentError: naming the argument.
    """
    for name in ("checkpoint", "resume"):
        value = settings.get(name)
        do = "Call minimize for each method."
        rule = "be left out where several methods would share the file"
        require(value is None, name, rule, Phrase(describe(value)), do)
