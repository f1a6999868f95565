"""Print tables: with rich on a terminal, else as plain columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def show_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    *,
    first_number: int | None = None,
) -> None:
    """Print ``rows`` below ``head``; as plain text if standard output is not a terminal.

    Args:
        head: the names of the columns.
        rows: the cells.
        title: a line above the table; empty for none.
        first_number: the index of the first column of numbers, which are aligned to the right as
            are those after it; ``None`` (default) for none.
    """
    if title:  # as a title of rich's table it would be wrapped at the width of the table
        print(title)
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415  optional
        from rich.markup import escape  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        table = Table(header_style="bold cyan")
        for index, name in enumerate(head):
            is_number = first_number is not None and index >= first_number
            table.add_column(escape(name), justify="right" if is_number else "left")
        for row in rows:
            table.add_row(*map(escape, row))
        Console(highlight=False).print(table)
        return
    print(plain_table([head, *rows] if any(head) else rows, first_number))


def plain_table(rows: Sequence[Sequence[str]], first_number: int | None = None) -> str:
    """Return the rows as lines, with columns padded to the same width.

    >>> print(plain_table([("metric", "value"), ("accuracy", "0.97")], first_number=1))
    metric    value
    accuracy   0.97
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first = len(widths) if first_number is None else first_number
    pads = [str.ljust if index < first else str.rjust for index in range(len(widths))]
    lines = (
        "  ".join(pad(cell, width) for cell, width, pad in zip(row, widths, pads, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
