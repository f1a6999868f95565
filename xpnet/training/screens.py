"""Where a progress bar is drawn: a terminal, by rich, or a notebook, by IPython."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from typing import Any

from xpnet.training.progress_bar import BarView

WIDTH = 20
"""The number of characters of a bar."""


NARROW = 5
"""The least number of characters of a bar that has something beside it."""


def is_terminal(stream: Any) -> bool:
    """Return whether a stream, which may be ``None``, is a terminal."""
    return stream is not None and not getattr(stream, "closed", False) and stream.isatty()


def is_notebook() -> bool:
    """Return whether this is a notebook, and standard output is that of its cells."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    is_own = type(sys.stdout).__module__ != "_io"  # else it is captured
    return getattr(shell, "kernel", None) is not None and is_own


def global_console() -> Any:
    """Return the global console of rich, or ``None`` if rich is not installed.

    What a callback prints by `rich.print` then appears above a bar, too.
    """
    try:
        from rich import get_console  # noqa: PLC0415  an optional dependency
    except ImportError:
        return None
    return get_console()


def is_redirected() -> bool:
    """Return whether a display of rich has replaced standard output."""
    return type(sys.stdout).__module__ == "rich.file_proxy"


def coloured(parts: Sequence[tuple[str, str]]) -> Any:
    """Return names and texts as a line of rich; a text without a name at its beginning is a head.

    >>> coloured([("", "epoch 1/2"), ("loss", "0.5000"), ("", "1.50 s")]).plain
    'epoch 1/2  loss 0.5000  1.50 s'
    """
    from rich.text import Text  # noqa: PLC0415  an optional dependency

    line = Text()
    for index, (name, text) in enumerate(parts):
        line.append("  " if index else "")
        line.append(f"{name} " if name else "", "dim")
        line.append(text, "bold" if name else "" if index else "bold cyan")
    return line


class TerminalScreen:
    """A line of a terminal; what is printed meanwhile appears above it.

    Where standard output is no terminal, or another bar is being drawn, only the summary appears.

    Args:
        console: a console of rich.
    """

    def __init__(self, console: Any) -> None:
        self._console = console
        self._live: Any = None
        self._is_drawn = is_terminal(sys.stdout) and not is_redirected()

    def show(self, view: BarView) -> None:
        """Draw the bar."""
        if self._live is None and self._is_drawn:
            self._begin()
        if self._live is not None:
            self._live.update(self._text(view), refresh=True)

    def end(self, summary: str | None) -> None:
        """Remove the bar, and print the summary."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        if summary is not None:
            print(summary, flush=True)

    def _begin(self) -> None:
        """Start a display, without a thread of its own."""
        from rich.errors import LiveError  # noqa: PLC0415  an optional dependency
        from rich.live import Live  # noqa: PLC0415

        live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=is_terminal(sys.stderr),
        )
        try:
            live.start()
        except LiveError:  # another display that does not redirect standard output
            self._is_drawn = False
        else:
            self._live = live
            self._console.show_cursor(True)  # a process that is killed could not do it

    def _text(self, view: BarView) -> Any:
        """Return the bar as one line, without the last parts if the terminal is too narrow."""
        from rich.cells import cell_len  # noqa: PLC0415  an optional dependency
        from rich.text import Text  # noqa: PLC0415

        full, empty = ("#", "-") if self._console.options.ascii_only else ("━", "━")
        if self._console.color_system is None or self._console.no_color:
            empty = "-" if full == "#" else "─"
        rest = Text()
        space = self._console.width - len(view.head) - 2
        for name, text in [("", view.steps), ("", view.left), *view.numbers]:
            part = coloured([(name, text)]) if name else Text(text)
            if text and rest.cell_len + 2 + cell_len(part.plain) > space - NARROW:
                break
            rest.append("  " if text else "").append_text(part)
        width = max(min(WIDTH, space - rest.cell_len), 0)
        done = round(width * view.fraction)
        line = Text(no_wrap=True, overflow="crop", end="")
        line.append(view.head, "bold cyan")
        line.append(f"  {full * done}", "green").append(empty * (width - done), "bright_black")
        return line.append_text(rest)


class NotebookScreen:
    """The output of a cell, which IPython replaces; it needs no widgets."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, view: BarView) -> None:
        """Draw the bar."""
        numbers = [f"{name} {number}" for name, number in view.numbers]
        parts = [part for part in (view.steps, view.left, *numbers) if part]
        markup = (
            f"<div><code>{html.escape(view.head)}</code> "
            f'<progress value="{view.fraction:.4f}" max="1"></progress> '
            f"<code>{html.escape('  '.join(parts))}</code></div>"
        )
        self._update({"text/plain": "  ".join([view.head, *parts]), "text/html": markup})

    def end(self, summary: str | None) -> None:
        """Replace the bar by the summary."""
        if summary is None and self._handle is None:
            return
        text = summary or ""
        markup = f"<div><code>{html.escape(text)}</code></div>"
        self._update({"text/plain": text, "text/html": markup})

    def _update(self, bundle: dict[str, str]) -> None:
        if self._handle is None:
            from IPython.display import display  # noqa: PLC0415  there is a kernel

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
