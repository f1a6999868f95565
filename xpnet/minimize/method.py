"""What every method of minimization is: a value that says how to start and how to step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from xpnet.minimize.point import Point
    from xpnet.minimize.problem import Problem


class Method:
    """The base of all methods, which are frozen dataclasses of their hyperparameters.

    A method computes the next point and nothing else: `minimize` keeps the count, the clock, the
    trajectory and the tests for stopping.

    Attributes:
        bounded: whether the method keeps bounds.
        dense: whether it holds a matrix of shape ``(n, n)``.
    """

    bounded: ClassVar[bool] = False
    dense: ClassVar[bool] = False

    def start(self, problem: Problem, point: Point) -> Any:
        """What the method remembers between steps, made at the start ``point``."""
        raise NotImplementedError

    def step(self, problem: Problem, point: Point, state: Any) -> Point:
        """The point after ``point``; ``state`` is brought up to date.

        Raises:
            LineSearchError: if no acceptable step was found.
        """
        raise NotImplementedError
