"""Bound constraints ``lower ≤ x ≤ upper``: the projection, and the optimality condition."""

from __future__ import annotations

from typing import Any, NamedTuple

from xpnet.backend import Array, Backend, Namespace, to_numpy
from xpnet.errors import Phrase, require

PAIR = "bounds is one pair (lower, upper), each for all variables, not a pair for each variable."
"""What to do about bounds in the order of `scipy.optimize.minimize`."""


class Box(NamedTuple):
    """The set ``{x: lower ≤ x ≤ upper}``; `box_of` constructs it.

    Attributes:
        lower: shape ``(n,)``; -∞ where there is no bound.
        upper: shape ``(n,)``; ∞ where there is no bound.
        xp: the namespace of both.
    """

    lower: Array
    upper: Array
    xp: Namespace

    def project(self, x: Array) -> Array:
        """Return the projection ``P(x) = min(max(x, lower), upper)``."""
        return self.xp.minimum(self.xp.maximum(x, self.lower), self.upper)

    def residual(self, x: Array, grad: Array) -> Array:
        """Return ``P(x - ∇f) - x``, which is zero exactly at the stationary points of f."""
        return self.project(x - grad) - x

    def free(self, x: Array, grad: Array, margin: float) -> Array:
        """Return 0 for each variable that is active, and 1 for the others.

        A variable is active if it is within ``margin`` of a bound and -∇f points beyond it.
        """
        at_lower = (x <= self.lower + margin) & (grad > 0)
        at_upper = (x >= self.upper - margin) & (grad < 0)
        return self.xp.astype(~(at_lower | at_upper), x.dtype)


def box_of(bounds: tuple[Any, Any] | None, x0: Array, backend: Backend) -> Box | None:
    """Return the box for a caller's ``bounds=(lower, upper)``, or None if there are none.

    Args:
        bounds: two bounds, each a number, an array of shape ``(n,)`` or None (unbounded).
        x0: the start, shape ``(n,)``.
        backend: the backend of ``x0``.

    Raises:
        ArgumentError: if a bound has the wrong shape or contains NaN, if a lower bound exceeds the
            upper one, or if ``x0`` is out of bounds.
    """
    if bounds is None:
        return None
    is_pair = isinstance(bounds, (tuple, list)) and len(bounds) == 2
    require(is_pair, "bounds", "be a pair (lower, upper) of numbers, arrays or None", bounds, PAIR)
    lower = _bound(bounds[0], -float("inf"), "the lower bound", x0, backend)
    upper = _bound(bounds[1], float("inf"), "the upper bound", x0, backend)
    _require_order(lower, upper, "bounds", "have lower ≤ upper", "lower", "upper")
    _require_order(lower, x0, "x0", "be within bounds", "lower", "x0")
    _require_order(x0, upper, "x0", "be within bounds", "x0", "upper")
    return Box(lower, upper, backend.xp)


def _bound(bound: Any, unbounded: float, name: str, x0: Array, backend: Backend) -> Array:
    """Return one bound as an array of the shape of ``x0``."""
    array = backend.asarray(unbounded if bound is None else bound, dtype=x0.dtype)
    fits = array.shape in ((), x0.shape)
    require(fits, name, f"be a number or an array of shape {tuple(x0.shape)}", array)
    array = backend.xp.zeros_like(x0) + array
    require(not bool(backend.xp.any(backend.xp.isnan(array))), name, "not contain NaN", array)
    return array


def _require_order(low: Array, high: Array, argument: str, rule: str, *names: str) -> None:
    """Raise an error that names the first component with ``low > high``."""
    a, b = to_numpy(low), to_numpy(high)
    for i in (a > b).nonzero()[0][:1]:
        got = Phrase(f"{names[0]}[{i}] = {a[i]:g} and {names[1]}[{i}] = {b[i]:g}")
        require(False, argument, rule, got, PAIR)
