"""Simple bounds ``lower ≤ x ≤ upper``: the projection on the box, and optimality inside it."""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet.backend import Array, Backend, Namespace, to_numpy
from xpnet.errors import Phrase, require


class Box(NamedTuple):
    """The set ``{x: lower ≤ x ≤ upper}``; made by `box_of`.

    Attributes:
        lower: shape ``(n,)``, may hold -∞.
        upper: shape ``(n,)``, may hold +∞.
        xp: the namespace of both.
    """

    lower: Array
    upper: Array
    xp: Namespace

    def project(self, x: Array) -> Array:
        """The nearest point of the box, ``P(x) = min(max(x, lower), upper)``."""
        return self.xp.minimum(self.xp.maximum(x, self.lower), self.upper)

    def residual(self, x: Array, grad: Array) -> Array:
        """``P(x - ∇f) - x``: zero exactly where x is a stationary point of f in the box."""
        return self.project(x - grad) - x

    def free(self, x: Array, grad: Array, margin: float) -> Array:
        """1 for every free variable, 0 for one within ``margin`` of a bound it is pushed to."""
        at_lower = (x <= self.lower + margin) & (grad > 0)
        at_upper = (x >= self.upper - margin) & (grad < 0)
        return self.xp.astype(~(at_lower | at_upper), x.dtype)


def box_of(bounds: tuple[Any, Any] | None, x0: Array, backend: Backend) -> Box | None:
    """The box that a caller's ``bounds=(lower, upper)`` mean for the start ``x0``.

    Args:
        bounds: two sides, each a number, an array of shape ``(n,)`` or None (unbounded).
        x0: the start, shape ``(n,)``.
        backend: where ``x0`` lives.

    Raises:
        ArgumentError: if a side has another shape or holds NaN, the sides cross, or ``x0`` is out.
    """
    if bounds is None:
        return None
    is_pair = isinstance(bounds, (tuple, list)) and len(bounds) == 2
    require(is_pair, "bounds", "be a pair (lower, upper) of numbers, arrays or None", bounds)
    lower = _side(bounds[0], -float("inf"), "the lower bound", x0, backend)
    upper = _side(bounds[1], float("inf"), "the upper bound", x0, backend)
    _require_order(lower, upper, "bounds", "not cross", "lower", "upper")
    _require_order(lower, x0, "x0", "lie within bounds", "lower", "x0")
    _require_order(x0, upper, "x0", "lie within bounds", "x0", "upper")
    return Box(lower, upper, backend.xp)


def _side(side: Any, unbounded: float, name: str, x0: Array, backend: Backend) -> Array:
    """One bound as an array of the shape of ``x0``."""
    array = backend.asarray(unbounded if side is None else side, dtype=x0.dtype)
    fits = array.shape in ((), x0.shape)
    require(fits, name, f"be a number or an array of shape {tuple(x0.shape)}", array)
    array = backend.xp.zeros_like(x0) + array
    require(not bool(backend.xp.any(backend.xp.isnan(array))), name, "not hold NaN", array)
    return array


def _require_order(low: Array, high: Array, argument: str, rule: str, *names: str) -> None:
    """Refuse ``low > high`` anywhere, naming the first component where it is so."""
    a, b = to_numpy(low), to_numpy(high)
    for i in (a > b).nonzero()[0][:1]:
        got = Phrase(f"{names[0]}[{i}] = {a[i]:g} and {names[1]}[{i}] = {b[i]:g}")
        require(False, argument, rule, got)
