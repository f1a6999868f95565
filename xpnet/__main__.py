"""The entry point of the command ``xpnet``, also ``python -m xpnet``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from typing import TextIO

from xpnet.blas import restart_with_better_kernel


def main() -> None:
    """Run the command; without the extra ``cli`` say so and exit with 2."""
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        print(
            "xpnet's command needs the extra 'cli': pip install 'xpnet[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    if not {"--help", "--version"} & set(sys.argv[1:2]):
        restart_with_better_kernel()
    if sys.argv[1:2] != ["run"]:  # a script's warnings are its own
        warnings.showwarning = _show_warning
    importlib.import_module("xpnet.cli.app").app(prog_name="xpnet")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line, without the position in the source."""
    print(f"Warning: {message}", file=file or sys.stderr)


if __name__ == "__main__":
    main()
