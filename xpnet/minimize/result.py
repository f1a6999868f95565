"""What a minimization returns: the point, what it cost, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.minimize.scalar_function import Evaluations
from xpnet.minimize.stopping import Reason


class Iterate(NamedTuple):
    """One iterate, as a trajectory keeps it and a callback sees it.

    Attributes:
        iteration: 0 at the start.
        x: the variables, shape ``(n,)``; not to be written to.
        value: f(x).
        grad_norm: ``max_i |∂f/∂x_i|``, with bounds of the projected gradient.
        step: the step length α that led here.
    """

    iteration: int
    x: Array
    value: float
    grad_norm: float
    step: float


@dataclass(frozen=True)
class Result:
    """The outcome of `minimize`; ``print(result)`` shows it as a table.

    Attributes:
        x: the solution, or the best point if there is none, shape ``(n,)``, on the backend of x0.
        value: f(x).
        grad_norm: ``max_i |∂f/∂x_i|``, with bounds of ``P(x - ∇f) - x``.
        reason: why it stopped.
        detail: the numbers behind the reason, such as the steps that a line search tried.
        iterations: steps taken.
        evaluations: how often the function, its gradient and its Hessian were evaluated.
        seconds: wall-clock time.
        method: the method, a value.
        trajectory: every iterate with the start, if asked for; else empty.
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
        """Whether x solves the problem as far as it was asked; see `Reason`."""
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
    """Several results below each other, one a row, as text for a terminal.

    Args:
        results: what `compare` returned, or any results.

    Returns:
        Lines of equal columns: method, value, gradient norm, iterations, evaluations, reason.

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
