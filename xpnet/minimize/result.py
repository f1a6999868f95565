"""The result of a minimization: the point, the evaluation counts, and the reason for stopping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.minimize.scalar_function import Evaluations
from xpnet.minimize.stopping import Reason


class Iterate(NamedTuple):
    """One iterate of a trajectory, which is also the argument of a callback.

    Attributes:
        iteration: 0 at the start.
        x: the variables, shape ``(n,)``; read-only by convention.
        value: f(x).
        grad_norm: ``max_i |∂f/∂x_i|``; with bounds, ``max_i |P(x - ∇f) - x|_i``.
        step: the step length α that led here.
    """

    iteration: int
    x: Array
    value: float
    grad_norm: float
    step: float


@dataclass(frozen=True)
class Result:
    """The result of `minimize`; ``print(result)`` shows it as a table.

    Attributes:
        x: the solution, or else the best point, shape ``(n,)``, on the backend of x0.
        value: f(x).
        grad_norm: ``max_i |∂f/∂x_i|``; with bounds, ``max_i |P(x - ∇f) - x|_i``.
        reason: why the method stopped.
        detail: the numbers behind the reason, such as the trials of a line search.
        iterations: the number of steps.
        evaluations: the number of evaluations of the function, its gradient and its Hessian.
        seconds: wall-clock time.
        method: the method.
        trajectory: every iterate including the start, if ``keep_trajectory`` was set; else empty.
    """

    x: Array
    value: float
    grad_norm: float
    reason: Reason
    detail: str
    iterations: int
    evaluations: Evaluations
    seconds: float
    method: Any
    trajectory: tuple[Iterate, ...] = ()

    @property
    def success(self) -> bool:
        """Whether x is a solution within the tolerances; see `Reason`."""
        return self.reason.success

    @property
    def name(self) -> str:
        """The name of the method."""
        return type(self.method).__name__

    def __str__(self) -> str:
        rows = (
            ("method", str(self.method)),
            ("success", "yes" if self.success else "no"),
            ("reason", self.reason.value),
            ("", self.detail),
            ("value", f"{self.value:.10g}"),
            ("gradient norm", f"{self.grad_norm:.3g}"),
            ("iterations", str(self.iterations)),
            ("evaluations", str(self.evaluations)),
            ("seconds", f"{self.seconds:.3g}"),
        )
        return "\n".join(f"{key:<14} {text}".rstrip() for key, text in rows if key or text)


def table(results: list[Result]) -> str:
    """Format several results as a text table, one row per result.

    Args:
        results: the results of `compare`, or any others.

    Returns:
        The table with the columns method, value, gradient norm, iterations, evaluations, reason.

    >>> from xpnet.minimize import BFGS, Newton, compare
    >>> from xpnet.minimize.functions import Booth
    >>> results = compare(Booth(), [BFGS(), Newton()])
    >>> table(results).splitlines()[0].split()
    ['method', 'value', 'gradient', 'iterations', 'functions', 'gradients', 'stopped', 'by']
    """
    head = ("method", "value", "gradient", "iterations", "functions", "gradients", "stopped by")
    rows = [head] + [
        (
            r.name,
            f"{r.value:.6g}",
            f"{r.grad_norm:.2g}",
            str(r.iterations),
            str(r.evaluations.functions),
            str(r.evaluations.gradients),
            r.reason.name.lower().replace("_", " "),
        )
        for r in results
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
