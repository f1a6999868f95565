"""Simplification of operations as they are added to a formula, and stable functions for unstable.

``log(1 + eᵘ)`` overflows from u = 710 on, and rounds to 0 below −37; written as `softplus` it does
neither. The forms below are recognized in any order of the operands, multiplied by any number, and
with ``−u`` for ``u``. Each equals its stable function wherever it is defined; ``c`` is a number.

| formula | stable function |
|---|---|
| ``log(1 + eᵘ)``, ``log1p(eᵘ)``, ``u + softplus(−u)`` | ``softplus(u)`` |
| ``1/(1 + e⁻ᵘ)``, ``eᵘ/(1 + eᵘ)``, ``1 − σ(−u)``, ``½ + ½ tanh(u/2)`` | ``sigmoid(u)`` |
| ``e^(log σ(u))``, ``e^(−softplus(−u))``, ``1 − e^(−softplus(u))`` | ``sigmoid(u)`` |
| ``eᵘ/(eᵘ + eᵛ)``, ``eᵘ/(c + eᵘ)`` | ``σ(u − v)``, ``σ(u − log c)`` |
| ``eᵘ/(1 + eᵘ)²``, ``σ(u)(1 − σ(u))`` | ``sigmoid_slope(u)`` |
| ``1 − tanh² u`` | ``4 sigmoid_slope(2u)`` |
| ``log σ(u)``, ``log(1 − σ(−u))``, ``log1p(−σ(−u))``, ``u − softplus(u)`` | ``log_sigmoid(u)`` |
| ``log(eᵘ + eᵛ + …)``, ``log(c + eᵘ)`` | ``logaddexp(u, v)``, ``logaddexp(log c, u)`` |
| ``log(eᵘ − 1)`` | ``u + log(1 − e⁻ᵘ)`` |
| ``eᵘ − 1``, ``log(1 ± u)`` | ``expm1(u)``, ``log1p(±u)`` |
| ``1 ± erf u``, ``1 − erfc u``, ``2 − erfc u`` | ``erfc(∓u)``, ``erf(u)``, ``erfc(−u)`` |
| ``u log v``, ``u log(1 − v)`` | ``xlogy(u, v)``, 0 at u = 0 |
| ``v eᵘ``, ``v`` of other arguments | ``v e^(u/2) e^(u/2)``, 0 at v = 0 even if ``eᵘ`` is ∞ |
| ``(v + w) f(u) − v u`` for softplus or logaddexp | ``w f(u) + v (f(u) − u)``, a softplus |
| ``√(u² + v²)``, ``√(c + u²)`` | ``hypot(u, v)``, ``hypot(√c, u)`` |
| ``√(1 + u²) − 1`` | ``pseudo_huber(u)`` |
| ``u + √(c + u²)`` where ``u < 0`` | ``c/(√(c + u²) − u)`` |
| ``1 − e^(−u²)``, ``1 − cos u`` | ``−expm1(−u²)``, ``2 sin²(u/2)`` |
| ``½(eᵘ ± e⁻ᵘ)`` | ``cosh(u)``, ``sinh(u)`` |
| ``1 − 4 sigmoid_slope(u)`` | ``tanh²(u/2)`` |
| ``log(1 + u²)``, ``log(1 + u²/v)`` | ``log1p_square(u)``, ``log1p_square(u/√v)`` |
| ``log(u²)``, ``log(c + u²)`` | ``2 log abs u``, ``2 log hypot(√c, u)`` |
| ``u²/(v² + u²)``, ``u²/(c + u²)`` | ``(u/hypot(v, u))²`` |
| ``e^(−c u²)`` | ``gaussian(√c u)`` |
| ``(eᵘ − e⁻ᵘ)/(eᵘ + e⁻ᵘ)``, ``(1 − e⁻²ᵘ)/(1 + e⁻²ᵘ)`` | ``tanh(u)`` |
| ``sinh u/cosh u``, ``2σ(2u) − 1`` | ``tanh(u)`` |
| ``log cosh u``, ``log(½(eᵘ + e⁻ᵘ))`` | ``log_cosh(u)`` |
| ``v/eᵘ``, ``√eᵘ``, ``(eᵘ)ᵛ``, ``σ(u)ᵛ`` | ``v e⁻ᵘ``, ``e^(u/2)``, ``e^(uv)``, ``e^(v log σ(u))`` |
| ``(c + u²)ᵛ`` | ``hypot(√c, u)²ᵛ`` |
| ``c u²`` with ``c < 1`` | ``(c u) u`` |
| ``v u²``, ``u²/v``, ``v`` of other arguments | ``(v u) u``, ``(u/v) u`` |
"""

from __future__ import annotations

import math
from collections.abc import Callable

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.recognize import (
    DECAYING,
    EVEN,
    NUMBER_PLUS,
    factor_and_power,
    factors_of,
    logarithms_of,
    may_overflow,
    operand_of,
    power_beside,
    power_times,
    square_of,
    where_not_0,
)


def simplified(b: FormulaBuilder, operation: str, *operands: int) -> int:
    """Return the node of an operation in its simplest and best conditioned form."""
    folded = b.folded(operation, *operands)
    if folded is not None:
        return folded
    found = b.remembered(_form_of, operation, *operands) if b.simplifies else None
    return b.node(operation, *operands) if found is None else found


def _form_of(b: FormulaBuilder, operation: str, *operands: int) -> int | None:
    """Return the node of a simpler form of an operation, or ``None``."""
    for form in FORMS.get(operation, ()):
        found: int | None = form(b, *operands)
        if found is not None:
            return found
    return None


def _negated(b: FormulaBuilder, index: int) -> int:
    return simplified(b, "negative", index)


def _times(b: FormulaBuilder, number: float, index: int) -> int:
    return simplified(b, "multiply", b.constant(number), index)


def _quotient_of_square(b: FormulaBuilder, index: int) -> tuple[int, int] | None:
    """Return ``(u, v)`` of ``u²/v``, which may be ``(u/v) u``; or ``None``."""
    if (quotient := b.operands_of(index, "divide")) is not None:
        root = _root_of_square(b, quotient[0])
        return None if root is None else (root, quotient[1])
    factors = b.operands_of(index, "multiply")
    for one, other in (factors, factors[::-1]) if factors else ():
        quotient = b.operands_of(one, "divide")
        if quotient is not None and factors_of(b, quotient[0])[1] == other:
            scale, root = factors_of(b, quotient[0])
            return None if scale <= 0.0 else (_times(b, math.sqrt(scale), root), quotient[1])
    return None


def _root_of_square(b: FormulaBuilder, index: int) -> int | None:
    """Return a node of which ``index`` is the square, with a positive factor, or ``None``."""
    number = b.number_of(index)
    if number is not None:
        return b.constant(math.sqrt(number)) if number > 0.0 else None
    found = square_of(b, index)
    if found is None or found[0] <= 0.0:
        return None
    return _times(b, math.sqrt(found[0]), found[1])


def _add(b: FormulaBuilder, u: int, v: int) -> int | None:
    if b.number_of(v) is not None:
        u, v = v, u
    if (x := b.number_of(u)) is not None:
        return v if x == 0.0 else _number_plus(b, x, 1.0, v)
    if u == v:
        return _times(b, 2.0, u)
    for one, other in ((u, v), (v, u)):
        if (inner := operand_of(b, one, "negative")) is not None:
            return simplified(b, "subtract", other, inner)
        inner = operand_of(b, one, "softplus")
        if inner is not None and _negated(b, inner) == other:
            return b.node("softplus", other)
    return _on_both_sides(b, "add", u, v)


def _hypotenuse_plus(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``a + √(c² + a²)`` without cancellation where ``a`` is negative, or ``None``."""
    for one, other in ((u, v), (v, u)):
        sides = b.operands_of(one, "hypot")
        if sides is not None and b.number_of(sides[0]) and sides[1] == other:
            ratio = b.node("divide", sides[0], simplified(b, "subtract", one, other))
            below = simplified(b, "multiply", sides[0], ratio)
            is_positive = b.node("greater", other, b.constant(0.0))
            return b.node("where", is_positive, b.node("add", u, v), below)
    return None


def _subtract(b: FormulaBuilder, u: int, v: int) -> int | None:
    x, y = b.number_of(u), b.number_of(v)
    if x == 0.0:
        return _negated(b, v)
    if (inner := operand_of(b, v, "negative")) is not None:
        return simplified(b, "add", u, inner)
    if x is not None:
        return _number_plus(b, x, -1.0, v)
    if y is not None:
        return u if y == 0.0 else _number_plus(b, -y, 1.0, u)
    return _on_both_sides(b, "subtract", u, v)


def _softplus_less(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``softplus(a) − a`` or its negative, or ``None``."""
    if b.operands_of(u, "softplus") == (v,):
        return b.node("softplus", _negated(b, v))
    return b.node("log_sigmoid", u) if b.operands_of(v, "softplus") == (u,) else None


def _weighted_difference(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``(a + c) f − a g`` as ``c f + a (f − g)``, if ``f − g`` is a softplus; or ``None``.

    A negative binomial loss has this form, in which two large terms cancel.
    """
    for one, other, sign in ((u, v, 1.0), (v, u, -1.0)):
        above, below = (b.operands_of(i, "multiply") or () for i in (one, other))
        for weight, f in (above, above[::-1]) if above and below else ():
            terms = b.operands_of(weight, "add") or ()
            for a, g in (below, below[::-1]):
                excess = _excess(b, f, g) if a in terms else None
                if excess is not None:
                    rest = simplified(b, "multiply", terms[terms[0] == a], f)
                    total = simplified(b, "add", rest, simplified(b, "multiply", a, excess))
                    return _times(b, sign, total)
    return None


def _excess(b: FormulaBuilder, f: int, g: int) -> int | None:
    """Return ``f − g`` for ``softplus(g)`` and ``logaddexp(g, h)``, or ``None``."""
    if b.operands_of(f, "softplus") == (g,):
        return b.node("softplus", _negated(b, g))
    pair = b.operands_of(f, "logaddexp")
    if pair is None or g not in pair:
        return None
    return b.node("softplus", simplified(b, "subtract", pair[pair[0] == g], g))


def _on_both_sides(b: FormulaBuilder, operation: str, u: int, v: int) -> int | None:
    """Return one ``where`` for a sum of two with the same condition."""
    one, other = b.operands_of(u, "where"), b.operands_of(v, "where")
    if one is None or other is None or one[0] != other[0]:
        return None
    sides = [simplified(b, operation, one[i], other[i]) for i in (1, 2)]
    return simplified(b, "where", one[0], *sides)


def _number_plus(b: FormulaBuilder, x: float, sign: float, v: int) -> int | None:
    """Return ``x ± v`` without cancellation, or ``None``."""
    number, w = factors_of(b, v)
    operation, operands = b.nodes[w].operation, b.nodes[w].operands
    form = NUMBER_PLUS.get((operation, sign * number / x))
    if form is not None:
        factor, function, scale = form
        return _times(b, x * factor, simplified(b, function, _times(b, scale, *operands)))
    found = _number_plus_square(b, x, sign * number, w)
    if found is None and x == -1.0 and sign == 1.0:
        return b.node("subtract", v, b.constant(1.0))
    return found


def _number_plus_square(b: FormulaBuilder, x: float, number: float, w: int) -> int | None:
    """Return ``x + number·w`` for a square or its root ``w``, without cancellation, or ``None``."""
    operation, operands = b.nodes[w].operation, b.nodes[w].operands
    if number == -x and operation in ("gaussian", "cos"):
        if operation == "cos":
            half = simplified(b, "sin", _times(b, 0.5, *operands))
            return _times(b, 2.0 * x, simplified(b, "square", half))
        square = _negated(b, simplified(b, "square", *operands))
        return _times(b, -x, b.node("expm1", square))
    if operation == "sigmoid_slope" and number == -4.0 * x:
        half = simplified(b, "tanh", _times(b, 0.5, *operands))
        return _times(b, x, simplified(b, "square", half))
    inner = operand_of(b, operands[0], "tanh") if operation == "square" else None
    if inner is not None and number == -x:
        slope = simplified(b, "sigmoid_slope", _times(b, 2.0, inner))
        return _times(b, 4.0 * x, slope)
    scale = b.number_of(operands[0]) if operation == "hypot" else None
    if scale is not None and scale > 0.0 and number > 0.0 and scale * number == -x:
        ratio = simplified(b, "divide", operands[1], operands[0])  # √(c² + u²) − c
        return _times(b, -x, simplified(b, "pseudo_huber", ratio))
    return None


def _multiply(b: FormulaBuilder, u: int, v: int) -> int | None:
    if b.number_of(v) is not None:
        u, v = v, u
    if (x := b.number_of(u)) is not None:
        return _multiple(b, x, v)
    if u == v:
        return simplified(b, "square", u)
    for one, other in ((u, v), (v, u)):
        number, rest = factors_of(b, one)
        others, other_rest = factors_of(b, other)
        if number == -1.0 or abs(number) > 1.0 or (number != 1.0 and others != 1.0):
            # A number above 1 in a product that is finite must not let one factor overflow.
            product = simplified(b, "multiply", rest, other_rest)
            return _times(b, number * others, product)
        quotient = b.operands_of(one, "divide")
        if quotient is not None and b.number_of(quotient[0]) == 1.0:
            return simplified(b, "divide", other, quotient[1])
    return None


def _either(form: Callable[[FormulaBuilder, int, int], int | None]) -> Callable[..., int | None]:
    """Return a form of two nodes, none of them a number, in either order."""

    def found(b: FormulaBuilder, u: int, v: int) -> int | None:
        if b.number_of(u) is not None or b.number_of(v) is not None:
            return None
        first = form(b, u, v)
        return form(b, v, u) if first is None else first

    return found


def _with_power(operation: str) -> Callable[[FormulaBuilder, int, int], int | None]:
    """Return the form of ``a eᵘ`` times or over a function of other arguments."""

    def form(b: FormulaBuilder, one: int, other: int) -> int | None:
        found = power_beside(b, one, other)
        if found is None or b.number_of(other) is not None:
            return None
        factor = simplified(b, operation, found[0], other)
        return power_times(b, factor, found[1], b.operands_of(one, "times_exp") is None)

    return form


def _function_times(b: FormulaBuilder, one: int, other: int) -> int | None:
    """Return the product of a function and another node in a stable form, or ``None``."""
    if (inner := operand_of(b, one, "log")) is not None:
        return b.node("xlogy", other, inner)
    inner = operand_of(b, one, "log1p")
    if inner is not None and operand_of(b, inner, "negative") is not None:
        return where_not_0(b, other, b.node("multiply", other, one))
    number, rest = factors_of(b, other)
    if b.operands_of(one, "sign") == (rest,):
        return _times(b, number, simplified(b, "abs", rest))
    inner = operand_of(b, one, "sigmoid")
    if inner is not None and b.operands_of(other, "sigmoid") == (_negated(b, inner),):
        return simplified(b, "sigmoid_slope", inner)
    inner = operand_of(b, one, "square")
    if inner is not None and b.nodes[other].operation in DECAYING:
        return simplified(b, "multiply", inner, b.node("multiply", inner, other))
    return None


def _times_square(b: FormulaBuilder, one: int, other: int) -> int | None:
    """Return a square times a function of other arguments: ``u (u v)``, or ``None``.

    It overflows only where the product does.
    """
    square = square_of(b, one)
    if square is None or not b.are_independent(square[1], other):
        return None
    weight = simplified(b, "multiply", _times(b, *square), other)
    return b.node("multiply", square[1], weight)


def _square_over(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return a square over a function of other arguments: ``u (u/v)``, or ``None``."""
    square = square_of(b, u)
    if square is None or not b.are_independent(square[1], v):
        return None
    ratio = simplified(b, "divide", _times(b, *square), v)
    return simplified(b, "multiply", square[1], ratio)


def _multiple(b: FormulaBuilder, x: float, v: int) -> int | None:
    """Return the node ``v`` times a number."""
    if x == 1.0:
        return v
    number, rest = factors_of(b, v)
    if x == -1.0 and abs(number) == 1.0:
        return _negated(b, v)
    if number != 1.0:
        return _times(b, x * number, rest)
    return _multiple_of_function(b, x, v)


def _multiple_of_function(b: FormulaBuilder, x: float, v: int) -> int | None:
    sides, quotient = b.operands_of(v, "where"), b.operands_of(v, "divide")
    if sides is not None and any(b.number_of(side) is not None for side in sides[1:]):
        return simplified(b, "where", sides[0], *(_times(b, x, side) for side in sides[1:]))
    if quotient is not None and (above := b.number_of(quotient[0])) is not None:
        return simplified(b, "divide", b.constant(x * above), quotient[1])
    inner = operand_of(b, v, "square")
    if inner is not None and abs(x) < 1.0:
        return b.node("multiply", _times(b, x, inner), inner)
    operation, terms = b.nodes[v].operation, b.nodes[v].operands
    if x != 0.5 or operation not in ("add", "subtract"):
        return None
    first, second = (operand_of(b, i, "exp") for i in terms)  # ½(eᵘ ± e⁻ᵘ)
    if first is None or second is None or _negated(b, first) != second:
        return None
    return simplified(b, "cosh" if operation == "add" else "sinh", first)


def _part_of_sum(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``c (a + b)`` as ``c a + c b`` for ``c < 1`` and terms that may overflow, or ``None``.

    The sum may be the side of a ``where`` that `_hypotenuse_plus` makes.
    """
    number, v = (b.number_of(u), v) if b.number_of(v) is None else (b.number_of(v), u)
    if number is None or abs(number) >= 1.0:
        return None
    sides = b.operands_of(v, "where") or (v, v, v)
    operation, terms = b.nodes[sides[1]][:2]
    is_sum = operation in ("add", "subtract")
    if not is_sum or not any(may_overflow(b, factors_of(b, i)[1]) for i in terms):
        return None
    total = b.node(operation, *(_times(b, number, i) for i in terms))
    last = _times(b, number, sides[2])
    return total if sides[0] == v else b.node("where", sides[0], total, last)


def _divide(b: FormulaBuilder, u: int, v: int) -> int | None:
    divisor = b.number_of(v)
    if divisor is not None and abs(math.frexp(divisor)[0]) == 0.5 and abs(divisor) < 2.0**64:
        return _times(b, 1.0 / divisor, u)  # exact, as the divisor is a power of 2
    number, above = factors_of(b, u)
    if number == -1.0 or (abs(number) > 1.0 and divisor is None):
        return _times(b, number, simplified(b, "divide", above, v))
    if (inner := operand_of(b, v, "negative")) is not None:
        return _negated(b, simplified(b, "divide", u, inner))
    if (power := operand_of(b, v, "exp")) is not None:
        return simplified(b, "multiply", u, simplified(b, "exp", _negated(b, power)))
    for form in (_quotient_of_powers, _by_sum_of_powers, _quotient_of_squares):
        if (found := form(b, u, v)) is not None:
            return found
    return None


def _quotient_of_powers(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``tanh a`` for quotients such as ``(eᵃ − e⁻ᵃ)/(eᵃ + e⁻ᵃ)``, or ``None``."""
    above, below = b.operands_of(u, "subtract"), b.operands_of(v, "add")
    if (a := operand_of(b, u, "sinh")) is not None and operand_of(b, v, "cosh") == a:
        return simplified(b, "tanh", a)
    a = operand_of(b, u, "expm1")
    if a is not None and below is not None:  # over 1 + eᵃ, or 2 + expm1(a)
        number, function = b.number_of(below[0]), b.nodes[below[1]]
        if (number, *function[:2]) in ((1.0, "exp", (a,)), (2.0, "expm1", (a,))):
            return simplified(b, "tanh", _times(b, 0.5, a))
    if above is None or below is None or {*above} != {*below}:
        return None
    first, second = (operand_of(b, i, "exp") for i in above)
    if first is None or second is None:
        return None
    if _negated(b, first) == second:
        return simplified(b, "tanh", first)
    return simplified(b, "tanh", _times(b, 0.5, simplified(b, "subtract", first, second)))


def _by_sum_of_powers(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``u/(c + eᵖ)``, ``u/(eᵖ + e^q)`` or ``u/(1 + eᵖ)²`` by `sigmoid`, or ``None``."""
    square = operand_of(b, v, "square")
    pair = logarithms_of(b, v if square is None else square)
    if pair is None:
        return None
    one, other = pair
    number = b.number_of(one)
    for near, far in ((one, other), (other, one)):
        rest = _without_factor(b, u, far)
        if rest is not None:
            difference = simplified(b, "subtract", far, near)
            if square is None:
                return simplified(b, "multiply", rest, b.node("sigmoid", difference))
            if number == 0.0:
                return simplified(b, "multiply", rest, simplified(b, "sigmoid_slope", difference))
    if number is None:
        return None
    small = simplified(b, "sigmoid", simplified(b, "subtract", one, other))
    scaled = u if number == 0.0 else _times(b, math.exp(-number), u)
    if square is not None:
        if number != 0.0:
            return None
        small = simplified(b, "square", small)
    return simplified(b, "multiply", scaled, small)


def _without_factor(b: FormulaBuilder, index: int, power: int) -> int | None:
    """Return ``a`` of ``a·eᵖ``, or ``None``."""
    product = factor_and_power(b, index)
    if product is not None and product[1] == power:
        return product[0]
    factors = b.operands_of(index, "multiply") or ()
    for one, other in (factors, factors[::-1]) if factors else ():
        if (rest := b.remembered(_without_factor, other, power)) is not None:
            return simplified(b, "multiply", one, rest)
    return None


def _quotient_of_squares(b: FormulaBuilder, u: int, v: int) -> int | None:
    """Return ``(a/h)²`` for ``a²/(c + a²)``, or ``None``."""
    terms, above = b.operands_of(v, "add"), operand_of(b, u, "square")
    if terms is None or above is None or u not in terms:
        return None
    root = _root_of_square(b, terms[0] if terms[1] == u else terms[1])
    if root is None:
        return None
    return simplified(b, "square", simplified(b, "divide", above, b.node("hypot", root, above)))


def _log(b: FormulaBuilder, u: int) -> int | None:
    """Return the logarithm of a function of one number, or ``None``."""
    operation, operands = b.nodes[u].operation, b.nodes[u].operands
    if operation == "sigmoid":
        return b.node("log_sigmoid", *operands)
    if operation == "cosh":
        return simplified(b, "log_cosh", *operands)
    if operation == "exp":
        return operands[0]
    if operation == "expm1":
        rest = _negated(b, simplified(b, "expm1", _negated(b, *operands)))
        return simplified(b, "add", *operands, simplified(b, "log", rest))
    if operation == "square":
        return _times(b, 2.0, b.node("log", simplified(b, "abs", *operands)))
    return None


def _log_of_one_and(b: FormulaBuilder, u: int) -> int | None:
    """Return ``log(1 − a)``, ``log(1/a)`` or ``log √(1 + a²)``, or ``None``."""
    operation, operands = b.nodes[u].operation, b.nodes[u].operands
    if len(operands) != 2 or b.number_of(operands[0]) != 1.0:
        return None
    if operation == "divide":
        return _negated(b, simplified(b, "log", operands[1]))
    if operation == "subtract":
        return simplified(b, "log1p", _negated(b, operands[1]))
    if operation == "hypot":
        return _times(b, 0.5, simplified(b, "log1p_square", operands[1]))
    return None


def _log_of_sum(b: FormulaBuilder, u: int) -> int | None:
    terms = b.operands_of(u, "add")
    if terms is None:
        return None
    number = b.number_of(terms[0])
    if number == 1.0:
        return simplified(b, "log1p", terms[1])
    root = None if number is None else _root_of_square(b, terms[0])
    square = _root_of_square(b, terms[1])
    if root is not None and square is not None:
        return _times(b, 2.0, simplified(b, "log", b.node("hypot", root, square)))
    powers = [b.remembered(_logarithm, term) for term in terms]
    if powers[0] is None or powers[1] is None:
        return None
    if b.number_of(powers[0]) == 0.0:
        return b.node("softplus", powers[1])
    return b.node("logaddexp", powers[0], powers[1])


def _logarithm(b: FormulaBuilder, index: int) -> int | None:
    """Return the logarithm of a power, a positive number or a sum of them, or ``None``."""
    if (number := b.number_of(index)) is not None:
        return b.constant(math.log(number)) if number > 0.0 else None
    number, rest = factors_of(b, index)
    if number > 0.0 and (power := operand_of(b, rest, "exp")) is not None:
        return simplified(b, "add", b.constant(math.log(number)), power)
    terms = b.operands_of(index, "add")
    if terms is None or None in [b.remembered(_logarithm, term) for term in terms]:
        return None
    return simplified(b, "log", index)


def _log1p(b: FormulaBuilder, u: int) -> int | None:
    if (inner := operand_of(b, u, "exp")) is not None:
        return b.node("softplus", inner)
    if (inner := operand_of(b, u, "expm1")) is not None:
        return inner
    inner = operand_of(b, u, "negative")
    if inner is not None and (operand := operand_of(b, inner, "sigmoid")) is not None:
        return b.node("log_sigmoid", _negated(b, operand))
    terms = b.operands_of(u, "add")
    powers = [b.remembered(_logarithm, term) for term in terms or ()]
    if len(powers) == 2 and powers[0] is not None and powers[1] is not None:
        return b.node("logaddexp", powers[0], simplified(b, "softplus", powers[1]))
    return None


def _log1p_of_square(b: FormulaBuilder, u: int) -> int | None:
    if (root := _root_of_square(b, u)) is not None:
        return simplified(b, "log1p_square", root)
    found = _quotient_of_square(b, u)
    return None if found is None else _log1p_of_quotient(b, u, *found)


def _log1p_of_quotient(b: FormulaBuilder, u: int, root: int, v: int) -> int:
    """Return ``log(1 + a²/v)``, by `log1p_square` where ``v`` is positive."""
    if (other := operand_of(b, v, "square")) is not None:
        return simplified(b, "log1p_square", simplified(b, "divide", root, other))
    positive = b.node("greater", v, b.constant(0.0))
    scaled = simplified(b, "divide", root, b.node("sqrt", v))
    return b.node("where", positive, simplified(b, "log1p_square", scaled), b.node("log1p", u))


def _exp(b: FormulaBuilder, u: int) -> int | None:
    if (inner := operand_of(b, u, "log")) is not None:
        return inner
    if (inner := operand_of(b, u, "log_sigmoid")) is not None:
        return b.node("sigmoid", inner)
    inner = operand_of(b, u, "negative")
    if inner is not None and (operand := operand_of(b, inner, "softplus")) is not None:
        return b.node("sigmoid", _negated(b, operand))
    root = None if b.number_of(u) is not None else _root_of_square(b, _negated(b, u))
    return None if root is None else simplified(b, "gaussian", root)


def _expm1(b: FormulaBuilder, u: int) -> int | None:
    if (inner := operand_of(b, u, "log1p")) is not None:
        return inner
    if (inner := operand_of(b, u, "log_sigmoid")) is not None:
        return _negated(b, b.node("sigmoid", _negated(b, inner)))
    inner = operand_of(b, u, "negative")
    if inner is not None and (operand := operand_of(b, inner, "softplus")) is not None:
        return _negated(b, b.node("sigmoid", operand))
    return None


def _negative(b: FormulaBuilder, u: int) -> int | None:
    if (inner := operand_of(b, u, "negative")) is not None:
        return inner
    if (terms := b.operands_of(u, "subtract")) is not None:
        return b.node("subtract", terms[1], terms[0])
    quotient = b.operands_of(u, "divide")
    if quotient is not None and (above := b.number_of(quotient[0])) is not None:
        return b.node("divide", b.constant(-above), quotient[1])
    number, rest = factors_of(b, u)
    return None if number == 1.0 else _times(b, -number, rest)


def _sqrt(b: FormulaBuilder, u: int) -> int | None:
    if (inner := operand_of(b, u, "square")) is not None:
        return simplified(b, "abs", inner)
    if (power := operand_of(b, u, "exp")) is not None:
        return simplified(b, "exp", _times(b, 0.5, power))
    terms = b.operands_of(u, "add")
    roots = [b.remembered(_root_of_sum, term) for term in terms or ()]
    if len(roots) != 2 or roots[0] is None or roots[1] is None:
        return None
    return b.node("hypot", roots[0], roots[1])


def _root_of_sum(b: FormulaBuilder, index: int) -> int | None:
    """Return the root of a square, a positive number or a sum of squares, or ``None``."""
    root = _root_of_square(b, index)
    if root is None and b.operands_of(index, "add") is not None:
        return _sqrt(b, index)
    return root


def _positive(b: FormulaBuilder, index: int) -> int | None:
    """Return ``u`` of ``−u``, or ``c·u`` of ``−c·u``; ``None`` if there is no such sign."""
    number, rest = factors_of(b, index)
    return _times(b, -number, rest) if number < 0.0 else None


def _odd(operation: str) -> Callable[[FormulaBuilder, int], int | None]:
    def form(b: FormulaBuilder, u: int) -> int | None:
        positive = _positive(b, u)
        return None if positive is None else _negated(b, simplified(b, operation, positive))

    return form


def _even(operation: str) -> Callable[[FormulaBuilder, int], int | None]:
    def form(b: FormulaBuilder, u: int) -> int | None:
        positive = operand_of(b, u, "abs")
        if positive is None:
            positive = _positive(b, u)
        return None if positive is None else simplified(b, operation, positive)

    return form


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
    if exponent in POWERS:
        return POWERS[exponent](b, u)
    power = operand_of(b, u, "exp")
    if (operand := operand_of(b, u, "sigmoid")) is not None:
        power = b.node("log_sigmoid", operand)
    if power is not None:
        return simplified(b, "exp", simplified(b, "multiply", v, power))
    root = _sqrt(b, u)
    if root is None or b.operands_of(root, "hypot") is None:
        return None
    return simplified(b, "pow", root, _times(b, 2.0, v))


def _where(b: FormulaBuilder, condition: int, u: int, v: int) -> int | None:
    return u if u == v else None


FORMS: dict[str, tuple[Callable[..., int | None], ...]] = {
    "add": (_add, _hypotenuse_plus),
    "subtract": (_subtract, _softplus_less, _weighted_difference),
    "multiply": (
        _multiply,
        _part_of_sum,
        _either(_with_power("multiply")),
        _either(_function_times),
        _either(_times_square),
    ),
    "divide": (_divide, _square_over, _with_power("divide")),
    "log": (_log, _log_of_one_and, _log_of_sum),
    "log1p": (_log1p, _log1p_of_square),
    "exp": (_exp,),
    "expm1": (_expm1,),
    "negative": (_negative,),
    "sqrt": (_sqrt,),
    "tanh": (_odd("tanh"),),
    "erf": (_odd("erf"),),
    **{name: (_even(name),) for name in (*EVEN, "cosh", "cos")},
    "pow": (_pow,),
    "where": (_where,),
}
"""The functions that find a simpler form of an operation, or return ``None``; tried in turn."""
