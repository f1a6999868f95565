"""Shared style of the plots: colours, markers and axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import HostArray
from xpnet.figure import new_figure

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
YELLOW, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#222222", "#999999"

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, BLACK, GREY)
"""The colour-blind-safe palette of M. Okabe and K. Ito (2008)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def axes_or_new(ax: Any, figsize: tuple[float, float] = (6, 4)) -> Any:
    """Return ``ax``, or new axes in a figure of ``figsize`` inches if it is ``None``.

    >>> axes_or_new(None, (3, 2)).figure.get_size_inches().tolist()
    [3.0, 2.0]
    """
    return new_figure(figsize=figsize).add_subplot() if ax is None else ax


def tidy(ax: Any) -> None:
    """Remove the top and right spines, and draw a light grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)


def logarithmic(ax: Any) -> None:
    """Make the y axis logarithmic; if it spans less than two decades, label 2 and 5 as well.

    >>> ax = axes_or_new(None)
    >>> line = ax.plot([0, 1], [0.1, 0.6])
    >>> logarithmic(ax)
    >>> ax.get_yscale()
    'log'
    """
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 100 * low:
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.get_minor_locator().set_params(subs=(2.0, 5.0))
        ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")


def rgb(colour: str, strength: float = 1.0) -> HostArray:
    """Return a colour as three numbers in [0, 1], mixed with white if ``strength`` is below 1.

    >>> rgb("#FF0000", 0.5).tolist()
    [1.0, 0.5, 0.5]
    """
    full = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return 1.0 - strength * (1.0 - full)
