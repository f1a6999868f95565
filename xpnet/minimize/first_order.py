"""First-order methods: steepest descent, and the optimizers of xpnet.optimizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from xpnet.errors import require, require_type
from xpnet.minimize.line_search import Armijo, LineSearch, Ray
from xpnet.minimize.line_search.base import ExpectedStep
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import Point, Problem
from xpnet.optimizers.base import Optimizer


@dataclass(frozen=True)
class GradientDescent(Method):
    """Steepest descent, ``x ← x - α∇f(x)``, with α from a line search.

    In a box it walks on the projected path ``P(x - α∇f)``, for which the search must be `Armijo`.
    It converges linearly, at the rate ``((κ-1)/(κ+1))²`` for a Hessian of condition number κ with
    the exact search: use it to learn, not to solve.

    Args:
        search: the line search: an `Armijo`, `StrongWolfe` or `Exact`.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., theorem 3.3.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Bowl
    >>> minimize(Bowl(), [-7.0, 2.0], GradientDescent()).x.round(6) + 0.0
    array([0., 0.])
    """

    search: LineSearch = field(default=Armijo())

    bounded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, problem: Problem, point: Point) -> ExpectedStep:
        """It remembers the last value: the last decrease says how far to look next."""
        ok = problem.box is None or isinstance(self.search, Armijo)
        require(ok, "search", "be Armijo() for a problem with bounds", self.search)
        return ExpectedStep()

    def step(self, problem: Problem, point: Point, state: ExpectedStep) -> Point:
        """One line search along ``-∇f``, in a box without the components that lead out of it."""
        box, direction = problem.box, -point.grad
        if box is not None:
            direction = direction * box.free(point.x, point.grad, 0.0)
        ray = Ray(problem, point, direction)
        return self.search.search(ray, state.length(ray))


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
