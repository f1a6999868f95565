"""The objective as the methods evaluate it: counted, validated, and differenced where necessary."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, backend_of, to_numpy
from xpnet.errors import Phrase, describe, require
from xpnet.minimize.bounds import Box
from xpnet.minimize.differences import agreement, central_gradient, central_product
from xpnet.minimize.objective import Function


class TimeLimitError(Exception):
    """The time limit of a run has passed."""


class NonFiniteStepError(ArithmeticError):
    """A Hessian or the state of an optimizer is infinite or NaN, so it determines no step."""


class EvaluatedPoint(NamedTuple):
    """A point, with the value and the gradient of the function there.

    Attributes:
        x: the variables, shape ``(n,)``.
        value: f(x), on the host.
        grad: ∇f(x), shape ``(n,)``.
        step: the step length α that led here; 0 at the start.
    """

    x: Array
    value: float
    grad: Array
    step: float = 0.0


@dataclass
class Evaluations:
    """The number of evaluations of each part of an objective.

    Attributes:
        functions: values, with or without the gradient, including those of finite differences.
        gradients: gradients, given or from finite differences.
        hessians: Hessian matrices.
        products: Hessian-vector products.
    """

    functions: int = 0
    gradients: int = 0
    hessians: int = 0
    products: int = 0

    def __str__(self) -> str:
        counts = [f"{self.functions} functions", f"{self.gradients} gradients"]
        if self.hessians:
            counts.append(f"{self.hessians} Hessians")
        if self.products:
            counts.append(f"{self.products} Hessian-vector products")
        return ", ".join(counts)


class ScalarFunction:
    """An objective on one backend, optionally within bounds; it counts every evaluation.

    Args:
        objective: an object with ``value`` or ``value_and_grad``; see `Objective`.
        x0: the start, shape ``(n,)``; it determines the backend, the device, the dtype and n.
        hess: ``x → ∇²f(x)``, shape ``(n, n)``; default the objective's ``hess``.
        hessp: ``(x, v) → ∇²f(x) v``, shape ``(n,)``; default the objective's ``hessp``.
        box: the bounds, or None.

    Attributes:
        backend, xp, dtype: the backend, its namespace and the dtype of ``x0``.
        n: the number of variables.
        eps: the machine precision of the dtype.
        evaluations: the counts so far.
        deadline: the reading of `time.perf_counter` after which every evaluation raises
            `TimeLimitError`, which ends the inner loops of a method too; default ∞.
    """

    def __init__(
        self,
        objective: Any,
        x0: Array,
        hess: Function | None = None,
        hessp: Any = None,
        box: Box | None = None,
    ) -> None:
        self.objective, self.box = objective, box
        self.backend = backend_of(x0)
        self.xp, self.n, self.dtype = self.backend.xp, int(x0.shape[0]), x0.dtype
        self.eps = float(np.finfo(self.backend.dtype_name).eps)
        self.evaluations = Evaluations()
        self.deadline = math.inf
        self._value = getattr(objective, "value", None)
        self._pair = getattr(objective, "value_and_grad", None)
        # An explicit hessp takes precedence over the objective's own hess.
        self._hess = hess or (getattr(objective, "hess", None) if hessp is None else None)
        self._hessp = hessp or (getattr(objective, "hessp", None) if hess is None else None)
        self._last: EvaluatedPoint | None = None

    @property
    def has_gradient(self) -> bool:
        """Whether the objective has a gradient; otherwise central differences are used."""
        return self._pair is not None

    def is_last(self, point: EvaluatedPoint) -> bool:
        """Return whether `evaluate` returns ``point`` again without evaluating the objective."""
        return self._last is not None and self._last.x is point.x

    def resume(self, evaluations: Evaluations, last: EvaluatedPoint | None) -> None:
        """Continue with the counts of an earlier run, and with its last point if it is known."""
        self.evaluations, self._last = evaluations, last

    def value(self, x: Array) -> float:
        """Return f(x) on the host, from ``value_and_grad`` if the objective has no ``value``."""
        if self._value is None:
            return self.evaluate(x).value
        if self.deadline < math.inf:
            self._require_time()
        self.evaluations.functions += 1
        return self._scalar(self._value(x))

    def evaluate(self, x: Array, step: float = 0.0) -> EvaluatedPoint:
        """Return f(x) and ∇f(x), by central differences if the objective has no gradient.

        The point of the previous call is not evaluated again if ``x`` is the same array.
        """
        if self._last is not None and self._last.x is x:
            return self._last._replace(step=step)
        if self._pair is None:
            value = self.value(x)
            grad = central_gradient(self.value, x, self.box)
        else:
            if self.deadline < math.inf:
                self._require_time()
            self.evaluations.functions += 1
            value, grad = self._pair(x)
            value, grad = self._scalar(value), self._vector(grad, "the gradient")
        self.evaluations.gradients += 1
        self._last = EvaluatedPoint(x, value, grad, step)
        return self._last

    def hess(self, x: Array) -> Array:
        """Return ∇²f(x), shape ``(n, n)``: as given, or from n Hessian-vector products.

        Raises:
            ArgumentError: if a given Hessian has the wrong shape or is not symmetric.
            NonFiniteStepError: if the Hessian contains infinity or NaN.
        """
        if self._hess is None:
            identity = self.xp.eye(self.n, dtype=self.dtype, device=self.backend.device)
            columns = [self.hessp(x, identity[i, ...]) for i in range(self.n)]
            matrix = self.xp.stack(columns)
            self._require_finite(self.max_norm(matrix), "the Hessian")
            return 0.5 * (matrix + matrix.T)
        if self.deadline < math.inf:
            self._require_time()
        self.evaluations.hessians += 1
        matrix = self.backend.asarray(self._hess(x), dtype=self.dtype)
        shape = (self.n, self.n)
        require(tuple(matrix.shape) == shape, "the Hessian", f"be of shape {shape}", matrix)
        size = self.max_norm(matrix)
        self._require_finite(size, "the Hessian")
        gap = self.max_norm(matrix - matrix.T)
        limit = 10 * self.eps**0.5 * size
        got = Phrase(f"entries that differ by {gap:.3g} from those of its transpose")
        require(not gap > limit, "the Hessian", "be symmetric", got)
        return matrix

    def hessp(self, x: Array, v: Array) -> Array:
        """Return ∇²f(x) v: as given, from the Hessian, or by central differences of ∇f.

        Raises:
            NonFiniteStepError: if a given product or Hessian contains infinity or NaN.
        """
        if self._hessp is not None:
            if self.deadline < math.inf:
                self._require_time()
            self.evaluations.products += 1
            product = self._vector(self._hessp(x, v), "the Hessian-vector product")
            self._require_finite(self.max_norm(product), "the Hessian-vector product")
            return product
        if self._hess is not None:
            return self.hess(x) @ v
        self.evaluations.products += 1
        return central_product(lambda at: self.evaluate(at).grad, x, v, self.max_norm)

    def max_norm(self, x: Array) -> float:
        """Return ``max_i |x_i|`` on the host, without a temporary array; NaN if x contains NaN."""
        return max(float(self.xp.max(x)), -float(self.xp.min(x)))

    def range_scale(self, size: float) -> float:
        """Return a power of two s with ``s · size`` near 1, so that products stay in range.

        Scaling by a power of two is exact. s is 1 if ``size`` is 0, infinite or NaN.
        """
        if size == 0.0 or not math.isfinite(size):
            return 1.0
        largest = 1000 if self.eps < 1e-10 else 120
        return math.ldexp(1.0, max(-largest, min(-math.frexp(size)[1], largest)))

    def grad_norm(self, point: EvaluatedPoint) -> float:
        """Return ``max_i |∂f/∂x_i|``; within bounds, ``max_i |P(x - ∇f) - x|_i``."""
        if self.box is None:
            return self.max_norm(point.grad)
        return self.max_norm(self.box.residual(point.x, point.grad))

    def require_gradient(self, x: Array) -> None:
        """Raise an error if the gradient at ``x`` disagrees with central differences.

        The value is evaluated 2n times.

        Raises:
            ArgumentError: if a component differs by more than ``30 √eps``, relative to the largest
                component, or absolutely if that is below 1. The message names the worst component.
        """
        given = to_numpy(self.evaluate(x).grad)
        numerical = to_numpy(central_gradient(self.value, x, self.box))
        gap = np.abs(given - numerical)
        i = int(np.argmax(gap))
        limit = agreement(self.eps) * max(1.0, float(np.abs(numerical).max()))
        got = Phrase(
            f"{given[i]:.8g} in component {i}, where central differences give {numerical[i]:.8g}"
        )
        require(gap[i] <= limit, "the gradient", "be that of the function", got)

    def _require_time(self) -> None:
        if time.perf_counter() > self.deadline:
            raise TimeLimitError

    def _require_finite(self, size: float, name: str) -> None:
        if not math.isfinite(size):
            raise NonFiniteStepError(f"{name} is infinite or NaN: its largest entry is {size:g}")

    def _scalar(self, value: Any) -> float:
        shape = getattr(value, "shape", ())
        require(tuple(shape) == (), "fun", "return one number as value", value)
        try:
            return float(value)
        except (TypeError, ValueError):
            require(False, "fun", "return one real number as value", describe(value))
            raise

    def _vector(self, array: Any, name: str) -> Array:
        """Return a copy on the backend, since the objective may overwrite ``array`` later."""
        array = self.backend.asarray(array)
        require(tuple(array.shape) == (self.n,), name, f"be of shape ({self.n},)", array)
        return self.xp.asarray(array, dtype=self.dtype, copy=True)
