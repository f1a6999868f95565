"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array, as_array, to_numpy
from xpnet.errors import Phrase, require
from xpnet.plots.style import GREY, axes_or_new

MOST_NUMBERED = 20
"""Up to how many classes every cell has its number written in."""


def confusion_matrix(matrix: Array, classes: Sequence[Any] | None = None, *, ax: Any = None) -> Any:
    """Draw a confusion matrix: the counts as numbers, each row's shares as shades.

    Args:
        matrix: ``(K, K)`` counts, the true class by row and the predicted one by column, as
            `xpnet.metrics.confusion_matrix` makes them.
        classes: the K names, in order; default 0 to K − 1.
        ax: Matplotlib axes; default new ones.

    Returns:
        The axes.

    Raises:
        ArgumentError: if ``matrix`` is not square counts, or there is not a name for each class.
        MissingExtraError: if Matplotlib is not installed.

    >>> ax = confusion_matrix([[3, 1], [0, 4]], ["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['3', '1', '0', '4']
    """
    counts = to_numpy(as_array(matrix))
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.size > 0
    require(square, "matrix", "be square, a row and a column for each class", counts)
    ok = counts.dtype.kind in "iuf" and np.all(np.isfinite(counts)) and np.all(counts >= 0)
    require(ok, "matrix", "hold counts of at least 0", counts)
    n = counts.shape[0]
    names = list(map(str, range(n) if classes is None else classes))
    got = Phrase(f"{len(names)} names")
    require(len(names) == n, "classes", f"name each of the {n} classes", got)
    side = min(3.0 + 0.45 * n, 11.0)
    ax = axes_or_new(ax, (side + 1.0, side))
    shares = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    if n <= MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 55 else "black" if count else GREY
            size = 10 if n <= 10 else 7.5
            text = f"{count:g}" if counts.dtype.kind == "f" else str(count)
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    long = max(map(len, names)) * n > 36
    ax.set_xticks(range(n), names, rotation=45 if long else 0, ha="right" if long else "center")
    ax.set_yticks(range(n), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.tick_params(length=0)
    ax.figure.colorbar(image, ax=ax, label="share of the true class (%)", fraction=0.046, pad=0.03)
    return ax
