"""Coordinate descent: one variable at a time, each brought to its minimum."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from xpnet.errors import require_count, require_type
from xpnet.minimize.line_search import Exact, LineSearch, LineSearchError, Ray
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem


@dataclass(frozen=True)
class CoordinateDescent(Method):
    """Minimize f over one coordinate after the other, exactly; an iteration is a sweep over all.

    An objective with a ``sweep(x, order)`` of its own, such as `ElasticNet` with its soft
    thresholds, is swept in closed form; any other by the line search along ``±e_i``. Where the
    axes of the valley are oblique it is slow, and on a function that is neither smooth nor
    separable in its kinks it may stop short of the minimum.

    Args:
        seed: None goes through the coordinates in order; an integer of at least 0 draws each
            sweep's order at random from that seed.
        search: the line search where there is no closed form.

    Raises:
        ArgumentError: if an argument is of a wrong type or range.

    References: Wright, Coordinate descent algorithms, Math. Prog. 151 (2015) 3; Friedman, Hastie
    and Tibshirani, J. Stat. Software 33 (2010) 1.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Booth
    >>> minimize(Booth(), [0.0, 0.0], CoordinateDescent(seed=0)).x.round(6)
    array([1., 3.])
    """

    seed: int | None = None
    search: LineSearch = field(default=Exact())

    def __post_init__(self) -> None:
        if self.seed is not None:
            require_count(self.seed, "seed", low=0)
        require_type(self.search, LineSearch, "search")

    def start(self, problem: Problem, point: Point) -> _Sweeps:
        """The stream of orders, and a first step for every coordinate."""
        return _Sweeps(problem.n, self.seed)

    def step(self, problem: Problem, point: Point, state: _Sweeps) -> Point:
        """One sweep."""
        order = state.order()
        sweep = getattr(problem.objective, "sweep", None)
        if sweep is not None:
            return problem.evaluate(sweep(point.x, order), 1.0)
        now, failure, moved = point, None, False
        for i in order:
            slope = float(now.grad[i])
            if abs(slope) <= problem.eps * abs(now.value):
                continue
            direction = 0.0 * now.x
            direction[i] = -np.sign(slope)
            try:
                now = self.search.search(Ray(problem, now, direction), state.lengths[i])
            except LineSearchError as error:  # one flat coordinate does not end the sweep
                failure = error
                continue
            state.lengths[i], moved = now.step, True
        if failure is not None and not moved:
            raise failure
        return now


class _Sweeps:
    """The orders of the sweeps, and the last step length of each coordinate."""

    def __init__(self, n: int, seed: int | None) -> None:
        self.lengths = [1.0] * n
        self._random = None if seed is None else np.random.default_rng(seed)

    def order(self) -> list[int]:
        """The order of the next sweep."""
        n = len(self.lengths)
        return list(range(n)) if self._random is None else self._random.permutation(n).tolist()
