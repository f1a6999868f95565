"""True derivatives of functions of mpmath's numbers, with the scale of their rounding errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath

STEP = mpmath.mpf(10) ** -25
"""The step of forward differences, of which the error is as small, relative to the scale."""


def truths(
    reference: Callable[..., Any], point: tuple[float, ...], parameters: tuple[float, ...]
) -> list[tuple[Any, Any]]:
    """Return ``q`` and its scale for the value and two derivatives ``q`` by the first number.

    The scale is the condition of ``q``, ``|q| + Σ |x ∂q/∂x|`` over the numbers ``x`` of the point:
    what rounding the point alone changes.
    """
    digits = 400 if len(point) == 1 else min(400, int(110 + 2 * abs(point[0])))
    with mpmath.workdps(digits):
        numbers = [mpmath.mpf(x) for x in point]
        given = [mpmath.mpf(x) for x in parameters]
        found = _differences(lambda z: reference(z, *numbers[1:], *given), numbers[0])
        scales = [abs(q) + abs(numbers[0] * slope) for q, slope in pairwise(found)]
        if len(numbers) == 2 and numbers[1]:
            moved = numbers[1] * (1 + STEP)
            beside = _differences(lambda z: reference(z, moved, *given), numbers[0])
            scales = [
                s + abs(b - q) / STEP for s, b, q in zip(scales, beside[:3], found[:3], strict=True)
            ]
        return list(zip(found[:3], scales, strict=True))


def _differences(function: Callable[[Any], Any], z: Any) -> list[Any]:
    """Return ``f, f', f'', f'''`` by forward differences."""
    step = STEP * max(abs(z), mpmath.mpf("1e-3"))
    values = [function(z + k * step) for k in range(4)]
    found = []
    for order in range(4):
        found.append(values[0] / step**order)
        values = [b - a for a, b in pairwise(values)]
    return found
