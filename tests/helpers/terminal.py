"""A terminal that keeps what was written, and what a person sees of it."""

from __future__ import annotations

import io
import re

CONTROL = re.compile(r"\x1b\[(\??)(\d*)(?:;\d+)*([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True

    @property
    def screen(self):
        """The lines on the screen, with the effect of the control sequences that bars use."""
        lines, row, column = [""], 0, 0
        for private, number, letter, carriage, newline, text in CONTROL.findall(self.getvalue()):
            if text:
                old = lines[row].ljust(column)
                lines[row] = old[:column] + text + old[column + len(text) :]
                column += len(text)
            elif carriage:
                column = 0
            elif newline:
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif letter == "A":
                row -= int(number or 1)
            elif letter == "K":
                lines[row] = ""
            else:
                assert private or letter == "m", (private, number, letter)
        return [line.rstrip() for line in lines]

    @property
    def shows_cursor(self):
        """Whether the cursor is visible."""
        text = self.getvalue()
        return text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l")
