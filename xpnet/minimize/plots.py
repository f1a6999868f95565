"""Pictures of minimizations: paths over contours, and how fast they converge.

Each takes ``ax=`` and returns it. Matplotlib is imported when one is drawn.
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
"""Points along each side of the grid under the contours."""

LEVELS = 20
"""Contours drawn, equally spaced in the logarithm of the height above the lowest."""

Window = tuple[tuple[float, float], tuple[float, float]]


def plot_trajectories(
    function: Any, results: Sequence[Result], *, window: Window | None = None, ax: Any = None
) -> Any:
    """Draw the paths of several methods over the contours of a function of two variables.

    A cross marks the start, a star each known minimum of a test function.

    Args:
        function: what was minimized: a function of a vector or an `Objective`.
        results: results with trajectories, of ``keep_trajectory=True``, over two variables.
        window: ``((x_low, x_high), (y_low, y_high))``; default a test function's own, or what
            holds every path.
        ax: Matplotlib axes; default new ones.

    Returns:
        The axes.

    Raises:
        ArgumentError: if there is no result, none has a trajectory, or there are not two variables.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet.minimize import BFGS, GradientDescent, compare
    >>> from xpnet.minimize.functions import Bowl
    >>> ax = plot_trajectories(Bowl(), compare(Bowl(), [BFGS(), GradientDescent()]))
    >>> [line.get_label() for line in ax.get_lines()[:2]]
    ['BFGS', 'GradientDescent']
    """
    _require_trajectories(results)
    n = int(results[0].x.shape[0])
    require(n == 2, "results", "be over two variables", Phrase(f"{n} variables"))
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
    """Draw how fast several methods converge, on a logarithmic axis, against iterations.

    Args:
        results: results with trajectories, of ``keep_trajectory=True``.
        least: the known least value, to draw ``f(x_k) - least``; default the gradient norm.
        ax: Matplotlib axes; default new ones.

    Returns:
        The axes.

    Raises:
        ArgumentError: if there is no result or none has a trajectory.
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
        # A logarithmic axis has no place for 0, and a value may fall below a rounded least one.
        shown = [height if height > 0 else np.nan for height in heights]
        ax.plot([iterate.iteration for iterate in result.trajectory], shown, label=result.name)
    label = "largest component of the gradient" if least is None else "value above the least"
    ax.set(yscale="log", xlabel="iteration", ylabel=label)
    ax.legend(fontsize="small")
    return ax


def _require_trajectories(results: Sequence[Result]) -> None:
    """Refuse results without anything to draw."""
    if not results or not all(result.trajectory for result in results):
        raise ArgumentError(
            "results must be results with a trajectory, one at least. "
            "Minimize with keep_trajectory=True."
        )


def _around(points: np.ndarray[Any, Any]) -> Window:
    """A window that holds all points, with a margin of a tenth."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.1 * (high - low), 1e-3)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return (left, right), (bottom, top)


def _draw_contours(function: Any, like: Any, window: Window, ax: Any) -> None:
    """Contours, dense where the function is low."""
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
