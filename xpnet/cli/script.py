"""Run a user's script as Python does, after the command has configured the BLAS."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from xpnet.errors import require


def run_script(path: Path, arguments: Sequence[str]) -> int:
    """Run the script at ``path`` like ``python path arguments...``.

    Returns:
        The exit code: 1 after an exception, for which a traceback is printed that begins at the
        script.

    Raises:
        ArgumentError: if there is no such file.
        SystemExit: if the script raises it.
    """
    require(path.is_file(), "SCRIPT", "be a file", str(path))
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        runpy.run_path(str(path), run_name="__main__")
    except Exception as error:  # a script may raise anything
        error.__traceback__ = _from_script(error.__traceback__, path)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _from_script(trace: TracebackType | None, path: Path) -> TracebackType | None:
    """Return the traceback without the frames that precede those of the script."""
    at = trace
    while at is not None and at.tb_frame.f_code.co_filename != str(path):
        at = at.tb_next
    return at
