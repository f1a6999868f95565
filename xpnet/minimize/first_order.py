"""First-order methods: gradient descent with a line search, and xpnet's optimizers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from xpnet.errors import NonFiniteError, require, require_type
from xpnet.minimize.line_search import Armijo, LineSearch, Ray
from xpnet.minimize.line_search.base import InitialStep
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import EvaluatedPoint, NonFiniteStepError, ScalarFunction
from xpnet.optimizers.base import Optimizer
from xpnet.state_dict import StateDict


@dataclass(frozen=True)
class GradientDescent(Method):
    """Steepest descent, ``x ← x - α∇f(x)``, with α from a line search.

    Within bounds it follows the projected path ``P(x - α∇f)``, for which the search must be
    `Armijo`. With the exact search it converges linearly at the rate ``((κ-1)/(κ+1))²``, where κ is
    the condition number of the Hessian. It is included for teaching; the other methods are faster.

    Args:
        search: the line search, `Armijo` (default), `StrongWolfe` or `Exact`.

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

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> InitialStep:
        """Return the rule for the initial step, which keeps the last value."""
        ok = function.box is None or isinstance(self.search, Armijo)
        require(ok, "search", "be Armijo() for a problem with bounds", self.search)
        return InitialStep()

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: InitialStep
    ) -> EvaluatedPoint:
        """Search along ``-∇f``; within bounds, without the components that point beyond a bound."""
        box, direction = function.box, -point.grad
        if box is not None:
            direction = direction * box.free(point.x, point.grad, 0.0)
        ray = Ray(function, point, direction)
        return self.search.search(ray, state.length(ray))


@dataclass(frozen=True)
class FirstOrder(Method):
    """A first-order optimizer, such as ``Adam(lr=0.1)``, as a method: one gradient per step.

    `minimize` wraps any optimizer that it is given. There is no line search, so the value may
    increase; the result is the best point of the run, unless it converged.

    Args:
        optimizer: any optimizer of `xpnet.optimizers`.

    Raises:
        ArgumentError: if ``optimizer`` is not an optimizer.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Bowl
    >>> from xpnet.optimizers import SGD
    >>> minimize(Bowl(), [-7.0, 2.0], SGD(lr=0.9)).x.round(6) + 0.0
    array([0., 0.])
    """

    optimizer: Optimizer

    def __post_init__(self) -> None:
        require_type(self.optimizer, Optimizer, "optimizer")
        rule, do = "need one gradient a step here", "SAM is for fit and TrainingStep."
        require(self.optimizer.ascent == 0, "optimizer", rule, self.optimizer, do)

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> Any:
        """Return the optimizer's state."""
        return self.optimizer.init(point.x)

    def resume(
        self, function: ScalarFunction, point: EvaluatedPoint, saved: StateDict | None
    ) -> Any:
        """See `Method.resume`."""
        state = self.optimizer.init(point.x)
        self.optimizer.load_state(state, {} if saved is None else saved)
        return state

    def step(self, function: ScalarFunction, point: EvaluatedPoint, state: Any) -> EvaluatedPoint:
        """Update a copy of x, and evaluate it.

        Raises:
            NonFiniteStepError: if the state of the optimizer became infinite or NaN.
        """
        x = function.xp.asarray(point.x, copy=True)
        try:
            self.optimizer.step(x, point.grad, state)
        except NonFiniteError as error:
            raise NonFiniteStepError(str(error)) from error
        return function.evaluate(x, function.max_norm(x - point.x))
