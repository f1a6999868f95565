"""Print tables: with rich on a terminal, else as plain columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print ``rows`` below ``head``; as plain text if standard output is not a terminal."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415  optional
        from rich.markup import escape  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        table = Table(*head, title=title or None, title_justify="left", header_style="bold cyan")
        for row in rows:
            table.add_row(*map(escape, row))
        Console(highlight=False).print(table)
        return
    if title:
        print(title)
    print(plain_table([head, *rows] if any(head) else rows))


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as lines, with columns padded to the same width.

    >>> print(plain_table([("metric", "value"), ("accuracy", "0.97")]))
    metric    value
    accuracy  0.97
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
