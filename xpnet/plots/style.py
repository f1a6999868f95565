"""Shared style of the plots: colours, markers and axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import HostArray
from xpnet.figure import BLUE, ORANGE, logarithmic, new_figure, tidy

__all__ = [
    "BLACK",
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "MARKERS",
    "ORANGE",
    "PURPLE",
    "SKY",
    "YELLOW",
    "axes_or_new",
    "logarithmic",
    "rgb",
    "shortened",
    "tidy",
]

GREEN, PURPLE = "#009E73", "#CC79A7"
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


def rgb(colour: str, strength: float = 1.0) -> HostArray:
    """Return a colour as three numbers in [0, 1], mixed with white if ``strength`` is below 1.

    >>> rgb("#FF0000", 0.5).tolist()
    [1.0, 0.5, 0.5]
    """
    full = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return 1.0 - strength * (1.0 - full)


def shortened(text: str, width: int = 24) -> str:
    """Return a text of at most ``width`` characters, which keeps its beginning and its end.

    >>> shortened("Homo sapiens neanderthalensis", 16)
    'Homo sapi…lensis'
    """
    if len(text) <= width:
        return text
    end = (width - 1) * 2 // 5
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"
