"""The one door to Matplotlib, an optional dependency, without its global state: no window opens."""

from __future__ import annotations

from typing import Any

from xpnet.errors import MissingExtraError


def new_figure(**settings: Any) -> Any:
    """An empty figure.

    Args:
        **settings: what `matplotlib.figure.Figure` takes, such as ``figsize``.

    Raises:
        MissingExtraError: if Matplotlib is not installed.

    >>> new_figure(figsize=(6, 4)).get_axes()
    []
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an optional dependency
    except ImportError:
        raise MissingExtraError(
            "Pictures need Matplotlib. Install it: pip install 'xpnet[plots]'."
        ) from None
    return Figure(layout="constrained", **settings)
