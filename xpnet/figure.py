"""Figures of Matplotlib, an optional dependency, created without its global state.

A figure of `pyplot` appears in a notebook at the end of its cell. These appear where they, or their
axes, are the value of a cell or the argument of ``display``: they have ``_repr_png_``.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np

from xpnet.errors import MissingExtraError

BLUE, ORANGE = "#0072B2", "#D55E00"
"""Two colours of the colour-blind-safe palette of M. Okabe and K. Ito (2008)."""

DPI = 100
"""The resolution of a figure in a notebook, in pixels per inch."""


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
        import matplotlib.figure  # noqa: F401, PLC0415  an optional dependency
    except ImportError:
        raise MissingExtraError(
            "Figures need Matplotlib. Install it: pip install 'xpnet[plots]'."
        ) from None
    return _types()["NotebookFigure"](layout="constrained", **settings)


def png_of(figure: Any) -> bytes:
    """Return a figure as a PNG file."""
    content = io.BytesIO()
    root = getattr(figure, "figure", figure)  # of a subfigure
    root.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def tidy(ax: Any) -> None:
    """Remove the top and right spines, and draw a light grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)


def logarithmic(ax: Any) -> None:
    """Make the y axis logarithmic; if it spans less than two decades, label 2 and 5 as well.

    >>> ax = new_figure().add_subplot()
    >>> line = ax.plot([0, 1], [0.1, 0.6])
    >>> logarithmic(ax)
    >>> ax.get_yscale()
    'log'
    """
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 100 * low:
        ax.yaxis.set_major_formatter(_label)
        ax.yaxis.get_minor_locator().set_params(subs=(2.0, 5.0))
        ax.yaxis.set_minor_formatter(_label)


def _label(value: float, position: int | None) -> str:
    """Return a label of an axis; not a lambda, so that figures can be pickled."""
    return f"{value:g}"


class AxesArray(np.ndarray[Any, Any]):
    """An array of axes of one figure, which a notebook shows as this figure.

    >>> grid = as_axes_array(new_figure().subplots(2, 2))
    >>> grid[0]._repr_png_()[1:4]
    b'PNG'
    """

    def _repr_png_(self) -> bytes | None:
        return png_of(self.flat[0].figure) if self.size else None


def as_axes_array(axes: Any) -> AxesArray:
    """Return an array of axes that a notebook shows."""
    return np.asarray(axes, dtype=object).view(AxesArray)


@cache
def _types() -> dict[str, type[Any]]:
    """Return the subclasses of Matplotlib's classes, which are imported on the first call."""
    from matplotlib.axes import Axes  # noqa: PLC0415  an optional dependency
    from matplotlib.figure import Figure  # noqa: PLC0415

    class NotebookAxes(Axes):
        """Axes that a notebook shows as their figure."""

        def _repr_png_(self) -> bytes:
            return png_of(self.figure)

    class NotebookFigure(Figure):
        """A figure that a notebook shows, with such axes."""

        def add_subplot(self, *args: Any, **settings: Any) -> Any:
            if not settings.keys() & {"projection", "polar", "axes_class"}:
                settings["axes_class"] = NotebookAxes
            return super().add_subplot(*args, **settings)

        def _repr_png_(self) -> bytes:
            return png_of(self)

    types = {kind.__name__: kind for kind in (NotebookAxes, NotebookFigure)}
    for name, kind in types.items():  # where pickle looks for them
        kind.__module__, kind.__qualname__ = __name__, name
    return types


def __getattr__(name: str) -> Any:
    """Return a subclass of a class of Matplotlib."""
    if name in ("NotebookAxes", "NotebookFigure"):
        return _types()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
