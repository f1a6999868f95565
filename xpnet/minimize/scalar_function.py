"""The objective as the methods evaluate it: counted, validated, differentiated numerically."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, backend_of, to_numpy
from xpnet.errors import Phrase, describe, require
from xpnet.minimize.bounds import Box
from xpnet.minimize.differences import agreement, central_gradient, central_product
from xpnet.minimize.objective import Function


class Point(NamedTuple):
    """An evaluated point.

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
    """How often each part of an objective was evaluated.

    Attributes:
        functions: values, alone or with the gradient, and those of numerical differences.
        gradients: gradients that the objective gave, and those of numerical differences.
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


class Problem:
    """An objective on one backend, in a box if there is one; counts every evaluation.

    Args:
        objective: anything with ``value`` or ``value_and_grad``; see `Objective`.
        x0: a start, shape ``(n,)``: fixes the backend, the device, the dtype and n.
        hess: ``x → ∇²f(x)``, shape ``(n, n)``; default the objective's own.
        hessp: ``(x, v) → ∇²f(x) v``, shape ``(n,)``; default the objective's own.
        box: the bounds, or None.

    Attributes:
        backend, xp, dtype, n, eps: where and in what it computes, of what size, how precisely.
        evaluations: the counts so far.
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
        self._value = getattr(objective, "value", None)
        self._pair = getattr(objective, "value_and_grad", None)
        # A caller's own hessp wins over the objective's hess: it was given to be used.
        self._hess = hess or (getattr(objective, "hess", None) if hessp is None else None)
        self._hessp = hessp or (getattr(objective, "hessp", None) if hess is None else None)
        self._last: Point | None = None

    def value(self, x: Array) -> float:
        """f(x), read to the host; from the pair where the objective gives no value alone."""
        if self._value is None:
            return self.evaluate(x).value
        self.evaluations.functions += 1
        return self._scalar(self._value(x))

    def evaluate(self, x: Array, step: float = 0.0) -> Point:
        """f(x) and ∇f(x), by central differences if the objective has no gradient.

        The same array as in the call before is not evaluated again.
        """
        if self._last is not None and self._last.x is x:
            return self._last._replace(step=step)
        if self._pair is None:
            value = self.value(x)
            grad = central_gradient(self.value, x, self.box)
        else:
            self.evaluations.functions += 1
            value, grad = self._pair(x)
            value, grad = self._scalar(value), self._vector(grad, "the gradient")
        self.evaluations.gradients += 1
        self._last = Point(x, value, grad, step)
        return self._last

    def hess(self, x: Array) -> Array:
        """∇²f(x), shape ``(n, n)``: given, or its columns from n Hessian-vector products.

        Raises:
            ArgumentError: if a given Hessian has another shape or is not symmetric.
        """
        if self._hess is None:
            identity = self.xp.eye(self.n, dtype=self.dtype, device=self.backend.device)
            columns = [self.hessp(x, identity[i, ...]) for i in range(self.n)]
            matrix = self.xp.stack(columns)
            return 0.5 * (matrix + matrix.T)
        self.evaluations.hessians += 1
        matrix = self.backend.asarray(self._hess(x), dtype=self.dtype)
        shape = (self.n, self.n)
        require(tuple(matrix.shape) == shape, "the Hessian", f"be of shape {shape}", matrix)
        gap = self.largest(matrix - matrix.T)
        limit = 10 * self.eps**0.5 * self.largest(matrix)
        got = Phrase(f"entries that differ by {gap:.3g} from their mirror images")
        require(not gap > limit, "the Hessian", "be symmetric", got)
        return matrix

    def hessp(self, x: Array, v: Array) -> Array:
        """∇²f(x) v: given, from the Hessian, or by central differences of the gradient."""
        if self._hessp is not None:
            self.evaluations.products += 1
            return self._vector(self._hessp(x, v), "the Hessian-vector product")
        if self._hess is not None:
            return self.hess(x) @ v
        self.evaluations.products += 1
        return central_product(lambda at: self.evaluate(at).grad, x, v, self.largest)

    def largest(self, x: Array) -> float:
        """``max_i |x_i|`` on the host, without a temporary array; NaN if there is one."""
        return max(float(self.xp.max(x)), -float(self.xp.min(x)))

    def grad_norm(self, point: Point) -> float:
        """``max_i |∂f/∂x_i|``; in a box, of ``P(x - ∇f) - x``, zero at a stationary point."""
        if self.box is None:
            return self.largest(point.grad)
        return self.largest(self.box.residual(point.x, point.grad))

    def _scalar(self, value: Any) -> float:
        shape = getattr(value, "shape", ())
        require(tuple(shape) == (), "fun", "return one number as value", value)
        try:
            return float(value)
        except (TypeError, ValueError):
            require(False, "fun", "return one real number as value", describe(value))
            raise

    def _vector(self, array: Any, name: str) -> Array:
        """A fresh copy on the backend: an objective may write the next gradient into the same."""
        array = self.backend.asarray(array)
        require(tuple(array.shape) == (self.n,), name, f"be of shape ({self.n},)", array)
        return self.xp.asarray(array, dtype=self.dtype, copy=True)


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
