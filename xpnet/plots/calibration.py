"""Plots of the errors of a model: reliability diagrams, and residuals of a regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, as_array, is_real, to_numpy
from xpnet.calibration import Reliability, reliability
from xpnet.errors import require
from xpnet.losses.base import require_finite
from xpnet.plots.style import BLACK, BLUE, COLOURS, GREY, ORANGE, axes_or_new, rgb, tidy

MANY_POINTS = 10_000
"""More residuals than this are drawn as densities, which take a constant time and file size."""

Predictions = tuple[Array, Array]
"""Probabilities and targets, the first two arguments of `xpnet.calibration.reliability`."""


def reliability_diagram(found: Reliability | Predictions, *, ax: Any = None) -> Any:
    """Plot accuracy against confidence, with the gap to the diagonal and a histogram.

    A point is a bin. Predictions above the diagonal are right more often than their confidence
    says, those below it are overconfident. Grey bars show the number of rows of each bin, the
    largest at a quarter of the height.

    Args:
        found: the result of `xpnet.calibration.reliability`, or the pair of its first two
            arguments, ``(probabilities, target)``.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if ``found`` is neither, or `reliability` refuses the pair.
        MissingExtraError: if Matplotlib is not installed.

    >>> ax = reliability_diagram(([0.1, 0.3, 0.8, 0.9], [0, 1, 1, 1]))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('predicted probability', 'frequency')
    """
    if isinstance(found, tuple) and len(found) == 2:
        found = reliability(*found)
    rule = "be a Reliability or a pair (probabilities, target)"
    require(isinstance(found, Reliability), "found", rule, found)
    assert isinstance(found, Reliability)
    ax = axes_or_new(ax, (4.8, 4.6))
    used = found.weight > 0
    share = found.weight / found.weight.max() / 4.0
    accuracy, confidence = found.accuracy[used], found.confidence[used]
    what = "accuracy" if found.is_top_label else "frequency"
    left, width = found.edges[:-1], np.diff(found.edges)
    ax.bar(left, share, width, color=GREY, alpha=0.45, align="edge", linewidth=0, label="rows")
    ax.plot([0, 1], [0, 1], "--", color=BLACK, linewidth=1, label="calibrated")
    ax.vlines(confidence, accuracy, confidence, color=ORANGE, linewidth=2, label="gap")
    dots = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 3}
    ax.plot(confidence, accuracy, "o", color=BLUE, label=what, clip_on=False, **dots)
    text = f"ECE {found.ece:.3f}\nMCE {found.mce:.3f}"
    ax.text(0.04, 0.64, text, transform=ax.transAxes, va="top")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel=what)
    ax.set_xlabel("confidence" if found.is_top_label else "predicted probability")
    tidy(ax)
    ax.legend(frameon=False, loc="upper left")
    return ax


def residuals(predicted: Array, target: Array, *, ax: Any = None) -> Any:
    """Plot the residuals ``target − predicted`` of a regression against its predictions.

    Without a pattern around the zero line, the model has used what the features say about the mean.
    A curve is a nonlinearity that it has missed; a funnel is a variance that depends on the
    prediction. More than 10 000 residuals are drawn as the density of points in hexagons.

    Args:
        predicted: predictions, ``(m,)`` or ``(m, k)``.
        target: the targets in the same units, with as many elements. Each of several columns has a
            colour.
        ax: Matplotlib axes; default new axes.

    Returns:
        The axes.

    Raises:
        ArgumentError: if the arrays are empty, do not hold finite numbers, or differ in shape.
        MissingExtraError: if Matplotlib is not installed.

    >>> ax = residuals([1.0, 2.0, 3.0], [1.5, 2.0, 2.0])
    >>> ax.collections[0].get_offsets().tolist()
    [[1.0, 0.5], [2.0, 0.0], [3.0, -1.0]]
    """
    z, t = _columns(predicted, "predicted"), _columns(target, "target")
    require(z.shape == t.shape, "target", f"have the shape of the predictions, {z.shape}", t)
    ax = axes_or_new(ax)
    difference, k = t - z, z.shape[1]
    if z.size > MANY_POINTS:
        grid = {"gridsize": 60, "bins": "log", "mincnt": 1, "linewidths": 0.1, "cmap": _shades()}
        image = ax.hexbin(z.ravel(), difference.ravel(), **grid)
        ax.figure.colorbar(image, ax=ax, label="residuals", pad=0.02)
    else:
        alpha = float(np.clip(30.0 / np.sqrt(z.size), 0.25, 0.8))
        for column in range(k):
            colour = COLOURS[column % len(COLOURS)]
            points = z[:, column], difference[:, column]
            ax.scatter(*points, s=14, color=colour, alpha=alpha, linewidths=0, label=str(column))
        if k > 1:
            ax.legend(frameon=False, title="target", loc="upper left", bbox_to_anchor=(1.01, 1))
    ax.axhline(0.0, color=ORANGE if z.size > MANY_POINTS else BLACK, linewidth=1)
    ax.set(xlabel="prediction", ylabel="residual: target − prediction")
    tidy(ax)
    return ax


def _shades() -> Any:
    """Return a colour map of which the lightest colour is visible on white."""
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415

    return LinearSegmentedColormap.from_list("density", [rgb(BLUE, 0.25), rgb(BLUE), rgb(BLACK)])


def _columns(values: Array, argument: str) -> HostArray:
    """Return numbers as a float64 array ``(m, k)`` in host memory."""
    values = as_array(values, argument)
    require(is_real(values), argument, "hold real numbers", values)
    require_finite(values, argument)
    host = to_numpy(values).astype(np.float64)
    ok = host.ndim in (1, 2) and host.size > 0
    require(ok, argument, "have the shape (m,) or (m, k), with at least one row", host)
    return host.reshape(host.shape[0], -1)
