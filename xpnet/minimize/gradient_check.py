"""The door check that a gradient is that of its function."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.errors import Phrase, require
from xpnet.minimize.differences import agreement, central_gradient
from xpnet.minimize.problem import Problem


def require_gradient(problem: Problem, x: Array) -> None:
    """Refuse an objective whose gradient disagrees with central differences of its value.

    Args:
        problem: what is minimized; its value is evaluated 2n times.
        x: where, shape ``(n,)``.

    Raises:
        ArgumentError: naming the worst component, if it is off by more than ``30 √eps`` relative to
            the largest, or absolutely if that is below 1.
    """
    given = to_numpy(problem.evaluate(x).grad)
    numerical = to_numpy(central_gradient(problem.value, x, problem.box))
    gap = np.abs(given - numerical)
    i = int(np.argmax(gap))
    limit = agreement(problem.eps) * max(1.0, float(np.abs(numerical).max()))
    got = Phrase(f"{given[i]:.8g} in component {i}, where differences give {numerical[i]:.8g}")
    require(gap[i] <= limit, "the gradient", "be that of the function", got)
