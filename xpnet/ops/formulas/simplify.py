"""Simplification of operations as they are added to a formula, and stable functions for unstable.

``log(1 + eᵘ)`` overflows from u = 710 on, and rounds to 0 below −37; written as `softplus` it does
neither. The forms below are recognized, in any order of the operands:

| formula | stable function |
|---|---|
| ``log(1 + eᵘ)``, ``log1p(eᵘ)`` | ``softplus(u)`` |
| ``1/(1 + e⁻ᵘ)``, ``eᵘ/(1 + eᵘ)``, ``1 − σ(−u)`` | ``sigmoid(u)`` |
| ``log σ(u)``, ``log(1 − σ(−u))`` | ``log_sigmoid(u)`` |
| ``log(eᵘ + eᵛ)`` | ``logaddexp(u, v)`` |
| ``eᵘ − 1`` | ``expm1(u)`` |
| ``log(1 + u)`` | ``log1p(u)`` |
| ``1 ± erf u`` | ``erfc(∓u)`` |
| ``u log u`` | ``xlogy(u, u)``, 0 at 0 |
| ``√(u²)``, ``√(u² + v²)`` | ``abs(u)``, ``hypot(u, v)`` |
| ``(eᵘ − e⁻ᵘ)/(eᵘ + e⁻ᵘ)`` | ``tanh(u)`` |
| ``1 − tanh² u`` | ``4σ(2u)σ(−2u)`` |
"""

from __future__ import annotations

from collections.abc import Callable

from xpnet.ops.formulas.builder import FormulaBuilder


def simplified(b: FormulaBuilder, operation: str, *operands: int) -> int:
    """Return the node of an operation in its simplest and best conditioned form."""
    folded = b.folded(operation, *operands)
    if folded is not None:
        return folded
    if not b.simplifies:
        return b.node(operation, *operands)
    found = FORMS[operation](b, *operands) if operation in FORMS else None
    return b.node(operation, *operands) if found is None else found


def _add(b: FormulaBuilder, u: int, v: int) -> int | None:
    x, y = b.number_of(u), b.number_of(v)
    if y is not None:
        u, v, x, y = v, u, y, x
    if x == 0.0:
        return v
    negative = b.operands_of(v, "negative")
    if negative is not None:
        return simplified(b, "subtract", u, *negative)
    negative = b.operands_of(u, "negative")
    if negative is not None:
        return simplified(b, "subtract", v, *negative)
    if x == -1.0:
        return simplified(b, "subtract", v, b.constant(1.0))
    error_function = b.operands_of(v, "erf")
    if x == 1.0 and error_function is not None:
        return b.node("erfc", simplified(b, "negative", *error_function))
    return None


def _subtract(b: FormulaBuilder, u: int, v: int) -> int | None:
    x, y = b.number_of(u), b.number_of(v)
    if y == 0.0:
        return u
    if x == 0.0:
        return simplified(b, "negative", v)
    negative = b.operands_of(v, "negative")
    if negative is not None:
        return simplified(b, "add", u, *negative)
    if y == 1.0 and (power := b.operands_of(u, "exp")) is not None:
        return b.node("expm1", *power)
    return _one_less(b, v) if x == 1.0 else None


def _one_less(b: FormulaBuilder, v: int) -> int | None:
    """Return ``1 − v`` without cancellation."""
    if (power := b.operands_of(v, "exp")) is not None:
        return simplified(b, "negative", b.node("expm1", *power))
    if (operand := b.operands_of(v, "erf")) is not None:
        return b.node("erfc", *operand)
    if (operand := b.operands_of(v, "sigmoid")) is not None:
        return b.node("sigmoid", simplified(b, "negative", *operand))
    square = b.operands_of(v, "square")
    if square is not None and (operand := b.operands_of(square[0], "tanh")) is not None:
        twice = simplified(b, "multiply", b.constant(2.0), *operand)
        return simplified(b, "multiply", b.constant(4.0), b.node("sigmoid_slope", twice))
    return None


def _multiply(b: FormulaBuilder, u: int, v: int) -> int | None:
    if u == v:
        return b.node("square", u)
    if b.number_of(v) is not None:
        u, v = v, u
    x = b.number_of(u)
    if x is not None:
        return _multiple(b, x, v)
    for one, other in ((u, v), (v, u)):
        if b.operands_of(one, "log") == (other,):
            return b.node("xlogy", other, other)
        if (negative := b.operands_of(one, "negative")) is not None:
            return simplified(b, "negative", simplified(b, "multiply", negative[0], other))
    return None


def _multiple(b: FormulaBuilder, x: float, v: int) -> int | None:
    """Return the node ``v`` times a number."""
    if x == 1.0:
        return v
    if x == -1.0:
        return simplified(b, "negative", v)
    if (negative := b.operands_of(v, "negative")) is not None:
        return simplified(b, "multiply", b.constant(-x), *negative)
    factors = b.operands_of(v, "multiply")
    y = None if factors is None else b.number_of(factors[0])
    if factors is None or y is None:
        return None
    return simplified(b, "multiply", b.constant(x * y), factors[1])


def _divide(b: FormulaBuilder, u: int, v: int) -> int | None:
    if b.number_of(v) == 1.0:
        return u
    if (negative := b.operands_of(u, "negative")) is not None:
        return simplified(b, "negative", simplified(b, "divide", negative[0], v))
    if (power := _exponent_beside_one(b, v)) is not None:
        if b.operands_of(u, "exp") == (power,):
            return b.node("sigmoid", power)
        small = b.node("sigmoid", simplified(b, "negative", power))
        return simplified(b, "multiply", u, small)
    return _quotient_of_powers(b, u, v)


def _quotient_of_powers(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``tanh a`` for ``(eᵃ − e⁻ᵃ)/(eᵃ + e⁻ᵃ)``."""
    above, below = b.operands_of(u, "subtract"), b.operands_of(v, "add")
    if above is None or below is None or {*above} != {*below}:
        return None
    first, second = (b.operands_of(i, "exp") for i in above)
    if first is None or second is None:
        return None
    if b.operands_of(second[0], "negative") == first:
        return b.node("tanh", *first)
    if b.operands_of(first[0], "negative") == second:
        return simplified(b, "negative", b.node("tanh", *second))
    return None


def _exponent_beside_one(b: FormulaBuilder, index: int) -> int | None:
    """Return ``u`` of ``1 + eᵘ``, or ``None``."""
    terms = b.operands_of(index, "add")
    if terms is None or b.number_of(terms[0]) != 1.0:
        return None
    power = b.operands_of(terms[1], "exp")
    return None if power is None else power[0]


def _log(b: FormulaBuilder, u: int) -> int | None:
    if (power := b.operands_of(u, "exp")) is not None:
        return power[0]
    if (operand := b.operands_of(u, "sigmoid")) is not None:
        return b.node("log_sigmoid", *operand)
    terms = b.operands_of(u, "add")
    if terms is None:
        return None
    powers = [b.operands_of(i, "exp") for i in terms]
    if b.number_of(terms[0]) == 1.0:
        return simplified(b, "log1p", terms[1])
    if powers[0] is not None and powers[1] is not None:
        return b.node("logaddexp", powers[0][0], powers[1][0])
    return None


def _log1p(b: FormulaBuilder, u: int) -> int | None:
    power = b.operands_of(u, "exp")
    return None if power is None else b.node("softplus", *power)


def _negative(b: FormulaBuilder, u: int) -> int | None:
    if (inner := b.operands_of(u, "negative")) is not None:
        return inner[0]
    if (terms := b.operands_of(u, "subtract")) is not None:
        return b.node("subtract", terms[1], terms[0])
    factors = b.operands_of(u, "multiply")
    if factors is not None and (x := b.number_of(factors[0])) is not None:
        return simplified(b, "multiply", b.constant(-x), factors[1])
    return None


def _sqrt(b: FormulaBuilder, u: int) -> int | None:
    if (inner := b.operands_of(u, "square")) is not None:
        return b.node("abs", *inner)
    terms = b.operands_of(u, "add")
    if terms is None:
        return None
    squares = [b.operands_of(i, "square") for i in terms]
    if squares[0] is not None and squares[1] is not None:
        return b.node("hypot", squares[0][0], squares[1][0])
    return None


def _abs(b: FormulaBuilder, u: int) -> int | None:
    for name in ("negative", "abs"):
        if (inner := b.operands_of(u, name)) is not None:
            return b.node("abs", *inner)
    return None


def _square(b: FormulaBuilder, u: int) -> int | None:
    for name in ("negative", "abs"):
        if (inner := b.operands_of(u, name)) is not None:
            return b.node("square", *inner)
    return None


POWERS: dict[float, Callable[[FormulaBuilder, int], int]] = {
    -2.0: lambda b, u: simplified(b, "divide", b.constant(1.0), simplified(b, "square", u)),
    -1.0: lambda b, u: simplified(b, "divide", b.constant(1.0), u),
    0.0: lambda b, u: b.constant(1.0),
    0.5: lambda b, u: simplified(b, "sqrt", u),
    1.0: lambda b, u: u,
    2.0: lambda b, u: simplified(b, "square", u),
    3.0: lambda b, u: simplified(b, "multiply", u, simplified(b, "square", u)),
    4.0: lambda b, u: simplified(b, "square", simplified(b, "square", u)),
}
"""Constant exponents of which the power is cheaper without `pow`."""


def _pow(b: FormulaBuilder, u: int, v: int) -> int | None:
    exponent = b.number_of(v)
    return None if exponent not in POWERS else POWERS[exponent](b, u)


def _where(b: FormulaBuilder, condition: int, u: int, v: int) -> int | None:
    return u if u == v else None


FORMS: dict[str, Callable[..., int | None]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "log": _log,
    "log1p": _log1p,
    "negative": _negative,
    "sqrt": _sqrt,
    "abs": _abs,
    "square": _square,
    "pow": _pow,
    "where": _where,
}
"""The function that finds a simpler form of an operation, or returns ``None``."""
