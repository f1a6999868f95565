"""The library's first-order optimizers as methods of minimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.errors import require_type
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem
from xpnet.optimizers.base import Optimizer


@dataclass(frozen=True)
class FirstOrder(Method):
    """A first-order optimizer, such as ``Adam(lr=0.1)``, as a method: one gradient a step.

    `minimize` makes one of any optimizer that it is given. There is no line search: the value may
    rise, and the result is then the best point met, unless it stopped at a solution.

    Args:
        optimizer: any of `xpnet.optimizers`.

    Raises:
        ArgumentError: if ``optimizer`` is not one.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Bowl
    >>> from xpnet.optimizers import SGD
    >>> minimize(Bowl(), [-7.0, 2.0], SGD(lr=0.9)).x.round(6) + 0.0
    array([0., 0.])
    """

    optimizer: Optimizer

    def __post_init__(self) -> None:
        require_type(self.optimizer, Optimizer, "optimizer")

    def start(self, problem: Problem, point: Point) -> Any:
        """The optimizer's state: its slots, like x, and the count of steps."""
        return self.optimizer.init(point.x)

    def step(self, problem: Problem, point: Point, state: Any) -> Point:
        """One update on a copy of x, and the gradient there."""
        x = problem.xp.asarray(point.x, copy=True)
        self.optimizer.step(x, point.grad, state)
        return problem.evaluate(x, problem.largest(x - point.x))
