"""Powers, squares and multiples among the nodes of a formula."""

from __future__ import annotations

import math

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import ARGUMENT

GROWING = "hypot", "cosh", "sinh", "expm1"
"""The functions that may overflow, beside squares and exponentials."""

DECAYING = "gaussian", "exp", "sigmoid_slope", "erfc"
"""The functions that are 0 where their operand is large, faster than any power of it."""

NUMBER_PLUS: dict[tuple[str, float], tuple[float, str, float]] = {
    ("tanh", 1.0): (2.0, "sigmoid", 2.0),
    ("tanh", -1.0): (2.0, "sigmoid", -2.0),
    ("erf", 1.0): (1.0, "erfc", -1.0),
    ("erf", -1.0): (1.0, "erfc", 1.0),
    ("erfc", -1.0): (1.0, "erf", 1.0),
    ("erfc", -0.5): (0.5, "erfc", -1.0),
    ("sigmoid", -1.0): (1.0, "sigmoid", -1.0),
    ("sigmoid", -2.0): (-1.0, "tanh", 0.5),
    ("exp", -1.0): (-1.0, "expm1", 1.0),
    ("expm1", 1.0): (1.0, "exp", 1.0),
}
"""``1 + c f(u)`` for a function ``f`` and a number ``c``: it is ``p g(q u)`` for ``(p, g, q)``."""

EVEN = "abs", "square", "gaussian", "sigmoid_slope", "log_cosh", "log1p_square", "pseudo_huber"
"""The functions with ``f(−u) = f(u)``."""


def operand_of(b: FormulaBuilder, index: int, operation: str) -> int | None:
    """Return the operand of a node if it is such a function of one number."""
    operands = b.operands_of(index, operation)
    return None if operands is None else operands[0]


def factors_of(b: FormulaBuilder, index: int) -> tuple[float, int]:
    """Return ``(c, u)`` of ``c·u``; 1 and the node itself if there is no number."""
    if (inner := operand_of(b, index, "negative")) is not None:
        return -1.0, inner
    factors = b.operands_of(index, "multiply")
    number = None if factors is None else b.number_of(factors[0])
    return (1.0, index) if factors is None or number is None else (number, factors[1])


def square_of(b: FormulaBuilder, index: int) -> tuple[float, int] | None:
    """Return ``(c, u)`` of ``c·u²``, or ``None``."""
    number, rest = factors_of(b, index)
    if (inner := operand_of(b, rest, "square")) is not None:
        return number, inner
    factors = b.operands_of(rest, "multiply")
    for one, other in (factors, factors[::-1]) if factors else ():
        above, divisor = quotient_by_number(b, one)
        scale, inner = factors_of(b, above)
        if inner == other:
            return number * scale / divisor, inner
    above, divisor = quotient_by_number(b, rest)
    found = square_of(b, above) if above != rest else None
    return None if found is None else (number * found[0] / divisor, found[1])


def quotient_by_number(b: FormulaBuilder, index: int) -> tuple[int, float]:
    """Return ``(u, c)`` of ``u/c``; the node itself and 1 if there is no number."""
    quotient = b.operands_of(index, "divide")
    number = None if quotient is None else b.number_of(quotient[1])
    return (index, 1.0) if quotient is None or not number else (quotient[0], number)


def factor_and_power(b: FormulaBuilder, index: int) -> tuple[int, int] | None:
    """Return ``(a, u)`` of ``a eᵘ``, also where it is 0 for ``a = 0``; or ``None``."""
    if (power := operand_of(b, index, "exp")) is not None:
        return b.constant(1.0), power
    sides = b.operands_of(index, "where")
    if sides is not None and b.number_of(sides[1]) == 0.0:
        found = b.operands_of(sides[2], "times_exp")
        is_own = found is not None and sides[0] == b.node("equal", b.constant(0.0), found[0])
        return (found[0], found[1]) if found is not None and is_own else None
    found = b.operands_of(index, "times_exp")
    return None if found is None else (found[0], found[1])


def power_beside(b: FormulaBuilder, one: int, other: int) -> tuple[int, int] | None:
    """Return ``(a, u)`` of ``a eᵘ`` beside a factor of other arguments than ``u``; or ``None``."""
    found = factor_and_power(b, one)
    base = (b.operands_of(other, "pow") or (other,))[0]
    if b.nodes[base].operation != ARGUMENT:  # a power may share the exponent
        base = other
    if found is None or b.are_independent(base, found[1]):
        return found
    # Alone, eᵘ may be the output, of which its derivative is a multiple.
    is_alone = b.operands_of(one, "exp") is not None
    return found if b.are_independent(other, 0) and not is_alone else None


def power_times(b: FormulaBuilder, factor: int, power: int, may_be_0: bool) -> int:
    """Return ``a eᵘ``, which is 0 where ``a`` is if ``may_be_0``."""
    product = b.node("times_exp", factor, power)
    return where_not_0(b, factor, product) if may_be_0 else product


def where_not_0(b: FormulaBuilder, factor: int, product: int) -> int:
    """Return a product that is 0 where a factor is, even if the other one is infinite."""
    zero = b.constant(0.0)
    return b.node("where", b.node("equal", factor, zero), zero, product)


def may_overflow(b: FormulaBuilder, index: int) -> bool:
    """Return whether a term may overflow, or be another that did not."""
    found = square_of(b, index) is not None or factor_and_power(b, index) is not None
    return found or b.nodes[index].operation in GROWING


def logarithms_of(b: FormulaBuilder, index: int) -> tuple[int, int] | None:
    """Return the nodes ``p`` and ``q`` of ``eᵖ + e^q``; a positive number is a power as well."""
    terms = b.operands_of(index, "add")
    if terms is None:
        return None
    number = b.number_of(terms[0])
    if number is not None:
        one = b.constant(math.log(number)) if number > 0.0 else None
    else:
        one = operand_of(b, terms[0], "exp")
    other = operand_of(b, terms[1], "exp")
    return None if one is None or other is None else (one, other)
