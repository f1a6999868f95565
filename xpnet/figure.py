"""Figures of Matplotlib, an optional dependency, created without its global state."""

from __future__ import annotations

from typing import Any

from xpnet.errors import MissingExtraError


def new_figure(**settings: Any) -> Any:
    """Create an empty figure, which opens no window.

    Args:
        **settings: arguments of `matplotlib.figure.Figure`, such as ``figsize``.

    Raises:
        MissingExtraError: if Matplotlib is not installed.

    >>> new_figure(figsize=(6, 4)).get_axes()
    []
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an optional dependency
    except ImportError:
        raise MissingExtraError(
            "Figures need Matplotlib. Install it: pip install 'xpnet[plots]'."
        ) from None
    return Figure(layout="constrained", **settings)
