"""A point of a minimization: where it is, what the function is there, and how it was reached."""

from __future__ import annotations

from typing import NamedTuple

from xpnet.backend import Array


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
