"""Search for numbers at which a formula overflows though its true value does not.

A formula such as ``eᶻ/(2 + eᶻ)`` is NaN from z = 710 on, where its true value is 1. The value and
two derivatives are computed over the whole range of float32 and float64; wherever one is not finite
the true value follows from `xpnet.ops.formulas.decimal_functions`. Of each interval in which it is
not, the ends are found too: there the value is about the largest number of the dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import ArgumentError
from xpnet.ops.formulas.backward import backward_of
from xpnet.ops.formulas.decimal_functions import evaluate
from xpnet.ops.formulas.derivative import derivative_of
from xpnet.ops.formulas.formula import Formula
from xpnet.ops.formulas.refusal import Failing, refusal
from xpnet.ops.formulas.rule import FormulaRule

DTYPES: tuple[type, ...] = np.float64, np.float32

VALUE, FIRST, SECOND = "value", "first derivative", "second derivative"

CHECKED = 5
"""The points of an interval, and the targets, for which the true value is computed."""

ROUNDS, PARTS = 3, 64
"""How often an end of an interval is searched, and among how many parts, to 1e-6 of its size."""

MARGIN = 1024
"""Values up to ``max/1024`` must be finite.

Closer to the largest number of a dtype any formula with a factor or a quotient may overflow early,
as ``a (z + t eᶻ)`` does for ``a < 1``.
"""

TARGETS = {
    "values": (1e-5, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 2.0, 3.0, 10.0, 100.0, 1e4, 1e10),
    "binary": (0.0, 1e-5, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
    "signs": (1.0,),
}
"""The sizes of the targets, by their kind; those of 0 and 1 may be soft."""


class Targets(NamedTuple):
    """The targets that a loss takes.

    Attributes:
        kind: ``"values"``, ``"binary"`` or ``"signs"``.
        low: the smallest target that is a value; ``None`` for none.
        high: the largest.
    """

    kind: str = "values"
    low: float | None = None
    high: float | None = None

    def contain(self, t: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which numbers are between the smallest and the largest target."""
        low, high = (-np.inf if self.low is None else self.low), self.high
        return (t >= low) & (t <= (np.inf if high is None else high))

    def points(self, dtype: type) -> NDArray[np.floating]:
        """Return targets of a dtype; an error names the first of them at which a loss fails."""
        sizes = np.array(TARGETS[self.kind])
        if self.kind == "binary":
            return np.concatenate([[1.0], sizes]).astype(dtype)
        ends = [x for x in (self.low, self.high) if x is not None]
        signed = np.concatenate([[1.0], sizes, -sizes, [0.0] * (self.kind == "values"), ends])
        return signed[self.contain(signed)].astype(dtype)


class Quantity(NamedTuple):
    """A formula that must be finite where its true value is.

    Attributes:
        text: what it is, for the message.
        formula: its formula.
        grids: the points by dtype: for each grid an array for each argument that is an array. The
            first ascends along the last axis.
        symbol: the first argument, for the message.
    """

    text: str
    formula: Formula
    grids: dict[type, list[tuple[NDArray[np.floating], ...]]]
    symbol: str = "z"


def require_finite(
    formula: Formula, parameters: tuple[float, ...], name: str, targets: Targets | None = None
) -> None:
    """Raise an error where a formula is not finite though its true value is.

    Args:
        formula: a function ``f(z, *parameters)`` or ``f(z, t, *parameters)``.
        parameters: the values of its parameters.
        name: the name of the formula, for the message.
        targets: the targets ``t``; default ``None``, for an activation.

    Raises:
        ArgumentError: if ``f``, ``∂f/∂z`` or ``∂²f/∂z²`` is infinite or NaN in float32 or float64
            for a finite ``z``, though the true value is defined and not too large for the dtype;
            or, where the derivatives of an activation are computed from its output, these.

    >>> from xpnet.ops.formulas import trace
    >>> require_finite(trace(lambda xp, z: xp.sqrt(1.0 + xp.exp(z)), 1), (), "root")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: formula 'root' must be finite where its true value is; got a value \
that is not for z of 709.8 and above in float64, where xp.exp overflows. Write it with \
xp.softplus, xp.sigmoid, xp.logaddexp or xp.expm1.
    """
    for quantity in _quantities(formula, parameters, targets):
        for dtype, grids in quantity.grids.items():
            for arrays in grids:
                found = _failure(quantity.formula, parameters, arrays, dtype)
                if found is not None:
                    what = f"formula {name!r}", quantity.text, quantity.symbol
                    hint = _hint(targets, found)
                    raise ArgumentError(refusal(quantity.formula, parameters, found, what) + hint)


def _quantities(
    formula: Formula, parameters: tuple[float, ...], targets: Targets | None
) -> Iterator[Quantity]:
    """Yield what must be finite: the value, and two derivatives by the input and by the output."""
    grids = {dtype: list(_grids(dtype, targets)) for dtype in DTYPES}
    yield Quantity(VALUE, formula, grids)
    first = derivative_of(formula)
    yield Quantity(FIRST, first, grids)
    yield Quantity(SECOND, derivative_of(first), grids)
    backward = None if targets is not None else backward_of(formula)
    if backward is None or backward.saves == "input":
        return
    outputs = {dtype: [_outputs(formula, parameters, grids[dtype][0])] for dtype in DTYPES}
    given = " as a function of the output a"
    yield Quantity(FIRST + given, backward.derivative, outputs, "a")
    if backward.curvature is not None:
        yield Quantity(SECOND + given, backward.curvature, outputs, "a")


def _hint(targets: Targets | None, found: Failing) -> str:
    """Return how to say that there is no such target, or ``""``."""
    if targets is None or targets.kind != "values" or found.point[1] == 1.0:
        return ""
    return (
        f" If no target is {found.point[1]:.4g}, say so by target_kind, target_min or target_max."
    )


def _sizes(dtype: type) -> NDArray[np.float64]:
    """Return positive numbers of a dtype: over its range, and closely from 1/16 to 2000."""
    info = np.finfo(dtype)
    decades = np.arange(np.log10(float(info.smallest_subnormal)), np.log10(float(info.max)), 3.7)
    largest = float(info.max) * np.array([0.24, 0.49, 0.98, 1.0])
    close = np.geomspace(0.0625, 2000.0, 192)
    small = np.arange(1.0, 13.0)
    limits = np.array([88.72, 88.73, 103.9, 104.0, 709.78, 709.79, 745.1, 745.2, 1000.0])
    subnormal = float(info.smallest_subnormal) * np.array([1.0, 3.0, 1e3])
    return np.concatenate([subnormal, 10.0**decades, largest, close, small, limits, [0.5]])


def _grids(dtype: type, targets: Targets | None) -> Iterator[tuple[NDArray[np.floating], ...]]:
    """Yield the points: arrays of ``z``, ascending along the last axis, or of ``z`` and ``t``."""
    sizes = _sizes(dtype)
    z: NDArray[Any] = np.unique(np.concatenate([-sizes, [0.0], sizes]).astype(dtype))
    if targets is None:
        yield (z[None],)
        return
    largest, t = float(np.finfo(dtype).max), targets.points(dtype)
    near = np.abs(t) <= 1.0
    for ts in filter(len, (t[near], t[~near])):
        # Sums and products of z and t can be represented, and z over a scale.
        inner = z[np.abs(z) <= largest / (4096 * max(1.0, float(np.abs(ts).max())))]
        shape = len(ts), len(inner)
        yield np.broadcast_to(inner, shape), np.broadcast_to(ts[:, None], shape)
    if targets.kind != "values":
        return
    # Sums and differences of z, t and z log z can be represented.
    inner = z[np.abs(z) <= largest / 4096]
    for same in (inner, -inner, inner * dtype(0.5), inner + dtype(1.0)):
        known = targets.contain(same)
        yield inner[known][None], same[known][None]


def _outputs(
    formula: Formula, parameters: tuple[float, ...], arrays: tuple[NDArray[np.floating], ...]
) -> tuple[NDArray[np.floating], ...]:
    """Return the finite values of an activation, ascending."""
    found = np.asarray(FormulaRule(formula)(np, *arrays, *parameters), arrays[0].dtype)
    return (np.unique(found[np.isfinite(found)])[None],)


def _failure(
    formula: Formula,
    parameters: tuple[float, ...],
    arrays: tuple[NDArray[np.floating], ...],
    dtype: type,
) -> Failing | None:
    """Return the first points at which a formula fails, or ``None``."""
    values = np.asarray(FormulaRule(formula)(np, *arrays, *parameters))
    bad = ~np.isfinite(np.broadcast_to(values, arrays[0].shape))
    if not bad.any():
        return None
    limit = Decimal(float(np.finfo(dtype).max)) / MARGIN
    for run, bad_rows in _runs(bad).items():
        rows = [*bad_rows[:2], *bad_rows[2 :: max(1, len(bad_rows) // CHECKED)]]
        inner = np.linspace(*run, CHECKED).round().astype(int).tolist()[1:-1]
        columns = sorted({*inner, *(i for i in run if i in (0, bad.shape[1] - 1))})
        points = [(row, tuple(float(x[row, i]) for x in arrays)) for row in rows for i in columns]
        for row, point in _ends(formula, parameters, arrays, rows, run) + points:
            true = evaluate(formula, [*point, *parameters])[formula.result]
            if true.is_finite() and true.copy_abs() <= limit:
                return Failing(point, arrays[0][row])
    return None


def _ends(
    formula: Formula,
    parameters: tuple[float, ...],
    arrays: tuple[NDArray[np.floating], ...],
    rows: list[int],
    run: tuple[int, int],
) -> list[tuple[int, tuple[float, ...]]]:
    """Return the row and the point of the ends of an interval, next to finite values."""
    first, last = run
    sides = [(first - 1, first)] * (first > 0)
    sides += [(last + 1, last)] * (last + 1 < arrays[0].shape[1])
    if not sides:
        return []
    rule, dtype = FormulaRule(formula), arrays[0].dtype
    good, bad = (
        np.array([[[x[row, side[i]]] for row in rows for side in sides] for x in arrays], float)
        for i in (0, 1)
    )
    parts, every = np.linspace(0.0, 1.0, PARTS + 1), np.arange(good.shape[1])
    for _ in range(ROUNDS):
        between = (good * (1.0 - parts) + bad * parts).astype(dtype)
        values = np.broadcast_to(np.asarray(rule(np, *between, *parameters)), between.shape[1:])
        place = np.maximum(np.argmin(np.isfinite(values), axis=1), 1)  # the first that is not
        good, bad = between[:, every, place - 1, None], between[:, every, place, None]
        good, bad = good.astype(float), bad.astype(float)
    ends = map(tuple, bad[:, :, 0].T.tolist())
    return list(zip((row for row in rows for _ in sides), ends, strict=True))


def _runs(bad: NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """Return the first and last columns of all runs of true values, with the rows that have it."""
    runs: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(bad.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(np.concatenate([[False], bad[row], [False]]).astype(int)))
        for first, end in edges.reshape(-1, 2).tolist():
            runs.setdefault((first, end - 1), []).append(row)
    return runs
