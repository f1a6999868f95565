"""The message about a formula that overflows though its true value does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.ops.formulas.decimal_functions import evaluate
from xpnet.ops.formulas.formula import CONSTANT, Formula
from xpnet.ops.formulas.rule import FormulaRule
from xpnet.ops.formulas.table import OPERATIONS

FAR = 1e15
"""Beyond it even decimal arithmetic may have no value, as for ``∞·0``."""

STEPS = 60
"""The largest number of points at which an end of an interval is searched."""

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
FUNCTIONS["times_exp"] = FUNCTIONS["exp"]
"""Functions that may do what an operation cannot, for the message."""

LOGARITHMS = {"log", "log2", "log10", "log1p", "xlogy"}

POWERS = {"exp", "times_exp"}

ALONE = LOGARITHMS & FUNCTIONS.keys() | POWERS | {"expm1", "sinh", "cosh"}
"""The operations to which bounds are no alternative."""

PRODUCTS = {"multiply", "square"}

QUOTIENTS = {"divide", "times_exp"}

SMALL = 1e-3
"""A divisor below it may be 0 somewhere else."""


class Failing(NamedTuple):
    """Where a formula is not finite though its true value is.

    Attributes:
        point: the values of its arrays.
        z: the numbers of a dtype, ascending, over its range.
    """

    point: tuple[float, ...]
    z: NDArray[np.floating]


class Culprit(NamedTuple):
    """The operation of a formula that is not finite first.

    Attributes:
        operation: its name.
        values: the values of its operands.
        above: the names of the operations that use it, up to the result.
    """

    operation: str
    values: tuple[float, ...]
    above: tuple[str, ...]


def refusal(
    formula: Formula, parameters: tuple[float, ...], found: Failing, what: tuple[str, str, str]
) -> str:
    """Return the message about a formula: the interval, the reason and what to write instead.

    Args:
        formula: the formula that is not finite: a function or a derivative.
        parameters: the values of its parameters.
        found: where it fails.
        what: the name of the function, of the formula and of its first argument.
    """
    name, quantity, symbol = what
    dtype = found.z.dtype
    culprit = _culprit(formula, tuple(map(dtype.type, found.point)), parameters)
    return (
        f"{name} must be finite where its true value is; got a {quantity} that is not "
        f"{_interval(formula, parameters, found, symbol)} in {dtype}, where {_reason(culprit)}. "
        f"{_advice(culprit)}"
    )


def _interval(formula: Formula, parameters: tuple[float, ...], found: Failing, symbol: str) -> str:
    """Return the interval in which a formula is not finite though defined, around a point."""
    rule, (place, *others), z = FormulaRule(formula), found.point, found.z

    def fails(x: float) -> bool:
        given = [z.dtype.type(number) for number in (x, *others)]
        if np.isfinite(np.asarray(rule(np, *given, *parameters))):
            return False
        true = evaluate(formula, [*map(float, given), *parameters])[formula.result]
        return not true.is_nan() or abs(x) >= FAR

    below, above = z[z < place][::-1], z[z > place]
    low, high = (_end(fails, place, side.tolist()) for side in (below, above))
    texts = [f"{x:.4g}" for x in (low, high)]
    if texts[0] == texts[1]:
        text = f"at {symbol} = {texts[0]}"
    elif high == float(z[-1]):
        text = f"for {symbol} of {texts[0]} and above"
    elif low == float(z[0]):
        text = f"for {symbol} of {texts[1]} and below"
    else:
        text = f"for {symbol} from {texts[0]} to {texts[1]}"
    return text + "".join(f" and t = {t:.4g}" for t in others)


def _end(fails: Callable[[float], bool], place: float, others: list[float]) -> float:
    """Return the last number at which a formula fails, to four digits.

    Args:
        fails: whether it does at a number.
        place: a number at which it does.
        others: numbers, from the one next to ``place``.
    """
    good = None
    for other in others:
        if not fails(other):
            good = other
            break
        place = other
    for _ in range(STEPS):
        if good is None:
            break
        middle = _between(place, good)
        if middle in (place, good) or abs(good - place) <= 1e-5 * abs(place):
            break
        place, good = (middle, good) if fails(middle) else (place, middle)
    return place


def _between(one: float, other: float) -> float:
    """Return the geometric mean of two numbers with the same sign, else 0 or half of one."""
    if one * other < 0.0:
        return 0.0
    if one == 0.0 or other == 0.0:
        return 0.5 * (one + other)
    return math.copysign(math.sqrt(abs(one)) * math.sqrt(abs(other)), one)


def _culprit(formula: Formula, point: tuple[Any, ...], parameters: tuple[float, ...]) -> Culprit:
    """Return the operation that is not finite first."""
    values = _node_values(formula, (*point, *parameters))
    true = evaluate(formula, [*map(float, point), *parameters])
    above: list[str] = []
    index = formula.result
    while True:
        node = formula.nodes[index]
        operands = node.operands[1:] if node.operation == "where" else node.operands
        if node.operation == "where":
            operands = operands[:1] if values[node.operands[0]] else operands[1:]
        wrong = [i for i in operands if not np.isfinite(values[i])]
        if not wrong:
            given = tuple(float(values[i]) for i in operands)
            return Culprit(node.operation, given, tuple(above))
        above.append(node.operation)
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


def _reason(culprit: Culprit) -> str:
    """Return why an operation is not finite, as the end of a sentence."""
    signs = {"add": "a sum", "subtract": "a difference", "multiply": "a product"}
    powers = {"divide": "a quotient", "square": "a square", "pow": "a power"}
    others = {"times_exp": "xp.exp"}
    spelled = {**signs, **powers, **others}.get(culprit.operation, f"xp.{culprit.operation}")
    return f"{spelled} {'is given 0' if 0.0 in culprit.values else 'overflows'}"


def _advice(culprit: Culprit) -> str:
    """Return what to do about an operation."""
    operation, functions = culprit.operation, FUNCTIONS.get(culprit.operation)
    bounds = "keep z within bounds by xp.clip"
    for applies, advice in ADVICE:
        if applies(culprit):
            return advice
    if operation in PRODUCTS and QUOTIENTS & {*culprit.above}:
        return f"Write it as a product of quotients, such as (a / b)**2 or a / b * a, or {bounds}."
    if operation in ALONE:
        return f"Write it with {functions}."
    if functions is not None:
        return f"Write it with {functions}, or {bounds}."
    return f"Write it without large intermediate values, or {bounds}."


ADVICE: tuple[tuple[Callable[[Culprit], bool], str], ...] = (
    (
        lambda found: found.operation == "divide" and found.above[-1:] in (("log",), ("xlogy",)),
        "Write the logarithm of a quotient as the difference of two.",
    ),
    (
        lambda found: found.operation in POWERS and bool(LOGARITHMS & {*found.above}),
        "Write xp.log(a + b * xp.exp(c)) as xp.logaddexp(xp.log(a), xp.log(b) + c).",
    ),
    (
        lambda found: found.operation == "pow" and found.above[-1:] == ("times_exp",),
        "Write a**b * xp.exp(c) as xp.exp(b * xp.log(a) + c).",
    ),
    (
        lambda found: found.operation == "divide" and 0.0 < abs(found.values[1]) < SMALL,
        "Add a small number to the divisor, such as 1e-8.",
    ),
)
"""What to write instead of an operation in a certain place."""
