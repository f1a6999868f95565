"""Plots of minimizations: trajectories over contours, and convergence curves.

Each function takes ``ax=`` and returns it, which a notebook shows. Matplotlib is imported on the
first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import backend_of, to_numpy
from xpnet.errors import ArgumentError, Phrase, require
from xpnet.figure import new_figure
from xpnet.minimize.objective import Objective
from xpnet.minimize.result import Result

GRID = 81
"""The number of grid points along each axis for the contours."""

LEVELS = 20
"""The number of contours, equally spaced in the logarithm of ``f - min f``."""

Window = tuple[tuple[float, float], tuple[float, float]]


def plot_trajectories(
    function: Any, results: Sequence[Result], *, window: Window | None = None, ax: Any = None
) -> Any:
    """Draw the trajectories of several methods over the contours of a function of two variables.

    A cross marks the start, a star each known minimum of a test function.

    Args:
        function: the minimized function: a function of a vector or an `Objective`.
        results: results with trajectories (``keep_trajectory=True``) of two variables.
        window: ``((x_low, x_high), (y_low, y_high))``; default a test function's window, or
            one that contains every trajectory.
        ax: Matplotlib axes; default new ones.

    Returns:
        The axes.

    Raises:
        ArgumentError: if there is no result, one has no trajectory, or there are not two variables.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet.minimize import BFGS, GradientDescent, compare
    >>> from xpnet.minimize.functions import Bowl
    >>> ax = plot_trajectories(Bowl(), compare(Bowl(), [BFGS(), GradientDescent()]))
    >>> [line.get_label() for line in ax.get_lines()[:2]]
    ['BFGS', 'GradientDescent']
    """
    _require_trajectories(results)
    n = int(results[0].x.shape[0])
    require(n == 2, "results", "have two variables", Phrase(f"{n} variables"))
    ax = new_figure().add_subplot() if ax is None else ax
    paths = [np.stack([to_numpy(i.x) for i in result.trajectory]) for result in results]
    if window is None:
        window = getattr(function, "window", None) or _around(np.concatenate(paths))
    _draw_contours(function, results[0].x, window, ax)
    for result, path in zip(results, paths, strict=True):
        ax.plot(path[:, 0], path[:, 1], ".-", label=result.name, linewidth=1.2, markersize=4)
    ax.plot(*paths[0][0], "x", color="black", markersize=9, label="start")
    for i, minimum in enumerate(getattr(function, "minima", ())):
        label = "minimum" if i == 0 else "_"
        ax.plot(*minimum, "*", color="black", markersize=11, label=label)
    ax.set(xlim=window[0], ylim=window[1], xlabel="$x_1$", ylabel="$x_2$")
    ax.legend(fontsize="small")
    return ax


def plot_convergence(
    results: Sequence[Result], *, least: float | None = None, ax: Any = None
) -> Any:
    """Draw the convergence of several methods over iterations, on a logarithmic axis.

    Args:
        results: results with trajectories (``keep_trajectory=True``).
        least: the known minimum value, to draw ``f(x_k) - least``; default the gradient norm.
        ax: Matplotlib axes; default new ones.

    Returns:
        The axes.

    Raises:
        ArgumentError: if there is no result, or one has no trajectory.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet.minimize import BFGS, compare
    >>> from xpnet.minimize.functions import Bowl
    >>> plot_convergence(compare(Bowl(), [BFGS()]), least=0.0).get_yscale()
    'log'
    """
    _require_trajectories(results)
    ax = new_figure().add_subplot() if ax is None else ax
    for result in results:
        if least is None:
            heights = [iterate.grad_norm for iterate in result.trajectory]
        else:
            heights = [iterate.value - least for iterate in result.trajectory]
        # NaN hides what a logarithmic axis cannot show: 0, and values below a rounded ``least``.
        shown = [height if height > 0 else np.nan for height in heights]
        ax.plot([iterate.iteration for iterate in result.trajectory], shown, label=result.name)
    label = "max-norm of the gradient" if least is None else "value minus minimum"
    ax.set(yscale="log", xlabel="iteration", ylabel=label)
    ax.legend(fontsize="small")
    return ax


def _require_trajectories(results: Sequence[Result]) -> None:
    """Raise an error if a result has no trajectory."""
    if not results or not all(result.trajectory for result in results):
        raise ArgumentError(
            "results must contain at least one result, each with a trajectory. "
            "Minimize with keep_trajectory=True."
        )


def _around(points: np.ndarray[Any, Any]) -> Window:
    """Return a window that contains all points, with a margin of a tenth."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.1 * (high - low), 1e-3)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return (left, right), (bottom, top)


def _draw_contours(function: Any, like: Any, window: Window, ax: Any) -> None:
    """Draw contours, dense where the function is low."""
    call = function.value if isinstance(function, Objective) else function
    x, y = (np.linspace(*side, GRID) for side in window)
    backend = backend_of(like)
    heights = np.empty((GRID, GRID))
    for i, b in enumerate(y):
        for j, a in enumerate(x):
            out = call(backend.asarray([a, b], dtype=like.dtype))
            heights[i, j] = float(out[0] if isinstance(out, tuple) else out)
    heights -= np.nanmin(heights)
    top = float(np.nanmax(heights))
    if top > 0.0:
        levels = np.geomspace(1e-4 * top, top, LEVELS)
        ax.contour(x, y, heights, levels=levels, colors="0.75", linewidths=0.7)
