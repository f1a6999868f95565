"""Run a process that prints results, within limits of time; all that it started ends with it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import IO, Any, TypeAlias

ROOT = Path(__file__).parents[1]
PREFIX = '{"row"'
"""How a result begins; libraries print other lines."""

ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""By default JAX reserves three quarters of the device's memory."""

NO_TIME = "not measured: no time left"

LAST_WORDS = 5
"""The seconds that a process which was killed, or its output, has until nobody waits for it."""

Clock: TypeAlias = Callable[[], float]
Output: TypeAlias = "queue.Queue[str | None]"
"""The lines of the output of a process, then ``None``."""


def results(
    words: Sequence[str],
    environment: Mapping[str, str],
    limit: float,
    end: float,
    log: IO[str],
    clock: Clock = monotonic,
    queue_of: Callable[[], Output] = queue.Queue,
) -> Generator[dict[str, Any], None, str]:
    """Yield the results of a process as they arrive; return why others are missing, if they are.

    Args:
        words: the command.
        environment: environment variables beside those of this process.
        limit: the seconds without a result after which the process is ended.
        end: when it is ended in any case, by the clock.
        log: gets the output of the process.
        clock: the time in seconds.
        queue_of: makes the queue of its output.
    """
    started = clock()
    with running(words, environment, queue_of()) as (process, output):
        while True:
            try:
                text = output.get(timeout=max(min(started + limit, end) - clock(), 0.0))
            except queue.Empty:
                return NO_TIME if end < started + limit else f"took more than {limit:g} s"
            if text is None:
                status = process.returncode
                return f"failed (its process ended with {status})" if status else ""
            log.write(text)
            log.flush()
            line = parsed(text)
            if line is not None:
                yield line
                started = clock()


def parsed(text: str) -> dict[str, Any] | None:
    """The result in a line of output, if any; what another process writes may break it.

    >>> parsed('... [100%]{"row": "a", "column": "b", "value": 1}')
    {'row': 'a', 'column': 'b', 'value': 1}
    >>> parsed('{"row": "a", Fatal error')
    """
    with suppress(ValueError):
        line: dict[str, Any] = json.loads(text[text.index(PREFIX) :])
        return line
    return None


@contextmanager
def running(
    words: Sequence[str], environment: Mapping[str, str], output: Output
) -> Iterator[tuple[subprocess.Popen[str], Output]]:
    """A process whose lines of output arrive in a queue; at the end it and its children are killed.

    Nothing waits for a process that cannot be killed, or for one that has left the group and holds
    the output.
    """
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None

    def read() -> None:
        for text in process.stdout or ():
            output.put(text)

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def wait() -> None:
        process.wait()
        kill()  # a compiler's workers, which hold the output
        reader.join(LAST_WORDS)
        output.put(None)

    reader, waiter = (Thread(target=work, daemon=True) for work in (read, wait))
    reader.start()
    waiter.start()
    try:
        yield process, output
    finally:
        kill()
        waiter.join(2 * LAST_WORDS)
        if not reader.is_alive():
            process.stdout.close()
