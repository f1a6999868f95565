"""Search for numbers at which a formula overflows though its true value does not.

A formula such as ``eᶻ/(2 + eᶻ)`` is NaN from z = 710 on, where its true value is 1. The value and
two derivatives are computed over the whole range of float32 and float64; wherever one is not finite
the true value follows from `xpnet.ops.formulas.decimal_functions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import ArgumentError
from xpnet.ops.formulas.decimal_functions import evaluate
from xpnet.ops.formulas.derivative import derivative_of
from xpnet.ops.formulas.formula import CONSTANT, Formula
from xpnet.ops.formulas.rule import FormulaRule
from xpnet.ops.formulas.table import OPERATIONS

DTYPES = np.float64, np.float32

QUANTITIES = "value", "first derivative", "second derivative"

CHECKED = 5
"""The points of an interval, and the targets, for which the true value is computed."""

LIMIT = 0.8
"""A value must be finite up to this power of the largest number of a dtype.

Closer to it a formula may overflow too early: ``c z²`` is ``c (z z)``, for any small ``c``.
"""

FAR = 1e15
"""Beyond it even decimal arithmetic may have no value, as for ``∞·0``."""

FUNCTIONS = {
    "exp": "xp.softplus, xp.sigmoid, xp.logaddexp or xp.expm1",
    "expm1": "xp.tanh, xp.softplus or xp.sigmoid",
    "sinh": "xp.tanh or xp.logaddexp",
    "cosh": "xp.tanh or xp.logaddexp",
    "log": "xp.xlogy, xp.log1p or xp.log_sigmoid",
    "log2": "xp.xlogy, xp.log1p or xp.log_sigmoid",
    "log10": "xp.xlogy, xp.log1p or xp.log_sigmoid",
    "log1p": "xp.softplus or xp.log_sigmoid",
    "sqrt": "xp.hypot",
    "square": "xp.hypot",
    "pow": "xp.hypot or xp.exp",
}
"""Functions that may do what an operation cannot, for the message."""


class Interval(NamedTuple):
    """Numbers ``z`` at which a formula is not finite though it should be."""

    low: float
    high: float
    is_first: bool
    is_last: bool
    others: tuple[float, ...]

    def __str__(self) -> str:
        if self.low == self.high:
            text = f"at z = {self.low:.4g}"
        elif self.is_last:
            text = f"for z of {self.low:.4g} and above"
        elif self.is_first:
            text = f"for z of {self.high:.4g} and below"
        else:
            text = f"for z from {self.low:.4g} to {self.high:.4g}"
        return text + "".join(f" and t = {t:.4g}" for t in self.others)


def require_finite(
    formula: Formula, parameters: tuple[float, ...], n_arrays: int, name: str
) -> None:
    """Raise an error where a formula is not finite though its true value is.

    Args:
        formula: a function ``f(z, *parameters)`` or ``f(z, t, *parameters)``.
        parameters: the values of its parameters.
        n_arrays: 1 for ``f(z, …)``, 2 for ``f(z, t, …)``.
        name: the name of the formula, for the message.

    Raises:
        ArgumentError: if ``f``, ``∂f/∂z`` or ``∂²f/∂z²`` is infinite or NaN in float32 or float64
            for a finite ``z``, though the true value is defined and not too large for the dtype.

    >>> from xpnet.ops.formulas import trace
    >>> require_finite(trace(lambda xp, z: xp.sqrt(1.0 + xp.exp(z)), 1), (), 1, "root")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: formula 'root' must be finite where its true value is; got a value \
that is not for z of 709.8 and above in float64, where xp.exp overflows. Write it with \
xp.softplus, xp.sigmoid, xp.logaddexp or xp.expm1.
    """
    grids = {dtype: list(_grids(dtype, n_arrays)) for dtype in DTYPES}
    for quantity in QUANTITIES:
        for dtype in DTYPES:
            for arrays in grids[dtype]:
                found = _failure(formula, parameters, arrays, dtype)
                if found is not None:
                    raise ArgumentError(_message(formula, parameters, name, quantity, dtype, found))
        if quantity != QUANTITIES[-1]:
            formula = derivative_of(formula)


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


def _grids(dtype: type, n_arrays: int) -> Iterator[tuple[NDArray[np.floating], ...]]:
    """Yield the points: arrays of ``z``, ascending along the last axis, or of ``z`` and ``t``."""
    sizes = _sizes(dtype)
    z: NDArray[Any] = np.unique(np.concatenate([-sizes, [0.0], sizes]).astype(dtype))
    if n_arrays == 1:
        yield (z[None],)
        return
    sizes = np.array([1e-5, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 2.0, 3.0, 10.0, 100.0, 1e4, 1e10])
    t: NDArray[Any] = np.concatenate([[1.0, 0.0], sizes, -sizes]).astype(
        dtype
    )  # an error names the first
    # Sums and differences of z, t and z log z can be represented.
    inner = z[np.abs(z) <= np.finfo(dtype).max / 4096]
    yield (np.broadcast_to(inner, (len(t), len(inner))), np.broadcast_to(t[:, None], (len(t), 1)))
    for same in (inner, -inner, inner * dtype(0.5), inner + dtype(1.0)):
        yield inner[None], same[None]


class _Failure(NamedTuple):
    """Where a formula fails: the row of a grid, its points that fail, and one that must not."""

    z: NDArray[np.floating]
    first: int
    last: int
    point: tuple[float, ...]


def _failure(
    formula: Formula,
    parameters: tuple[float, ...],
    arrays: tuple[NDArray[np.floating], ...],
    dtype: type,
) -> _Failure | None:
    """Return the first points at which a formula fails, or ``None``."""
    values = FormulaRule(formula)(np, *arrays, *parameters)
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    bad = ~np.isfinite(np.broadcast_to(np.asarray(values), shape))
    if not bad.any():
        return None
    limit = Decimal(float(np.finfo(dtype).max) ** LIMIT)
    rows = [np.broadcast_to(array, shape) for array in arrays]
    for (first, last), bad_rows in _runs(bad).items():
        others = bad_rows[2 :: max(1, len(bad_rows) // CHECKED)]
        for row in (*bad_rows[:2], *others):
            for column in sorted({*np.linspace(first, last, CHECKED).round().astype(int).tolist()}):
                point = tuple(float(array[row, column]) for array in rows)
                true = evaluate(formula, [*point, *parameters])[formula.result]
                if true.is_finite() and true.copy_abs() <= limit:
                    z, place = rows[0][row], (first, column, last)
                    return _Failure(z, *_defined(formula, parameters, z, point, place), point)
    return None


def _defined(
    formula: Formula,
    parameters: tuple[float, ...],
    z: NDArray[np.floating],
    point: tuple[float, ...],
    place: tuple[int, int, int],
) -> tuple[int, int]:
    """Return the ends of the part of an interval, around a point, in which a formula is defined."""
    first, column, last = place
    ends = []
    for step, end in ((-1, first), (1, last)):
        here = column
        while here != end:
            x = float(z[here + step])
            true = evaluate(formula, [x, *point[1:], *parameters])[formula.result]
            if true.is_nan() and abs(x) < FAR:
                break
            here += step
        ends.append(here)
    return ends[0], ends[1]


def _runs(bad: NDArray[np.bool_]) -> dict[tuple[int, int], list[int]]:
    """Return the first and last columns of all runs of true values, with the rows that have it."""
    runs: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(bad.any(axis=1)).tolist():
        edges = np.flatnonzero(np.diff(np.concatenate([[False], bad[row], [False]]).astype(int)))
        for first, end in edges.reshape(-1, 2).tolist():
            runs.setdefault((first, end - 1), []).append(row)
    return runs


def _message(
    formula: Formula,
    parameters: tuple[float, ...],
    name: str,
    quantity: str,
    dtype: type,
    failure: _Failure,
) -> str:
    z, first, last, point = failure
    others = point[1:]
    low, high = (
        _edge(formula, parameters, others, z[max(0, min(i, len(z) - 1))], z[j])
        for i, j in ((first - 1, first), (last + 1, last))
    )
    interval = Interval(low, high, first == 0, last == len(z) - 1, others)
    operation, reason, above = _culprit(formula, tuple(map(dtype, point)), parameters)
    return (
        f"formula {name!r} must be finite where its true value is; got a {quantity} that is not "
        f"{interval} in {np.dtype(dtype)}, where {_spelled(operation)} {reason}. "
        f"{_advice(operation, above)}"
    )


def _edge(
    formula: Formula,
    parameters: tuple[float, ...],
    others: tuple[float, ...],
    good: np.floating,
    bad: np.floating,
) -> float:
    """Return the number next to ``good`` at which a formula is not finite, to four digits.

    If it is not finite at ``good`` either, because it is undefined there, that is ``bad``.
    """
    rule, kind = FormulaRule(formula), type(bad)
    for _ in range(3):
        between = np.linspace(float(good), float(bad), 33).astype(kind)
        given = [np.full(len(between), t, kind) for t in others]
        values = np.broadcast_to(np.asarray(rule(np, between, *given, *parameters)), between.shape)
        place = int(np.argmin(np.isfinite(values)))  # the first that is not
        if place == 0:
            return float(bad)
        good, bad = between[place - 1], between[place]
    return float(bad)


def _culprit(
    formula: Formula, point: tuple[Any, ...], parameters: tuple[float, ...]
) -> tuple[str, str, str]:
    """Return the operation that is not finite first, the reason, and the operation that uses it."""
    values = _node_values(formula, (*point, *parameters))
    true = evaluate(formula, [*map(float, point), *parameters])
    index, above = formula.result, ""
    while True:
        node = formula.nodes[index]
        operands = node.operands[1:] if node.operation == "where" else node.operands
        if node.operation == "where":
            operands = operands[:1] if values[node.operands[0]] else operands[1:]
        wrong = [i for i in operands if not np.isfinite(values[i])]
        if not wrong:
            is_0 = any(values[i] == 0.0 for i in operands)
            return node.operation, "is given 0" if is_0 else "overflows", above
        above = node.operation
        index = next((i for i in wrong if true[i].is_finite()), wrong[0])


def _node_values(formula: Formula, arguments: tuple[float, ...]) -> list[float]:
    """Return the value of every node in the dtype of the arguments."""
    values: list[float] = []
    kind = type(arguments[0])
    with np.errstate(all="ignore"):
        for node in formula.nodes:
            if node.operation == CONSTANT:
                values.append(kind(node.number))
            elif node.operation not in OPERATIONS:
                values.append(kind(arguments[int(node.number)]))
            else:
                function = OPERATIONS[node.operation].function
                values.append(function(np, *(values[i] for i in node.operands)))
    return values


def _spelled(operation: str) -> str:
    """Return the operation as it is written in a formula."""
    signs = {"add": "a sum", "subtract": "a difference", "multiply": "a product"}
    powers = {"divide": "a quotient", "square": "a square", "pow": "a power"}
    return {**signs, **powers}.get(operation, f"xp.{operation}")


def _advice(operation: str, above: str) -> str:
    """Return what to do about an operation, of which another one takes the value."""
    if (operation, above) in (("divide", "log"), ("divide", "xlogy")):
        return "Write the logarithm of a quotient as the difference of two."
    functions = FUNCTIONS.get(operation)
    if operation in ("exp", "expm1", "sinh", "cosh", "log", "log2", "log10", "log1p"):
        return f"Write it with {functions}."
    bounds = "keep z within bounds by xp.clip"
    if functions is not None:
        return f"Write it with {functions}, or {bounds}."
    return f"Write it without large intermediate values, or {bounds}."
