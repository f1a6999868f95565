"""The operations of formulas in decimal arithmetic of 50 digits, as an independent reference.

Exponents are practically unbounded, so that no intermediate value of a formula overflows or
underflows that its true value does not need: ``e^1000`` is a number here. What is beyond even that,
such as ``e^(1e308)``, is ∞ or 0; what is undefined or indeterminate is NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any

from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula

DIGITS = 60
"""The digits of an operation; a function that is composed of others loses some ten."""

CONTEXT = Context(DIGITS, ROUND_HALF_EVEN, MIN_EMIN, MAX_EMAX, 1, 0, [], [])
"""The arithmetic: nothing is an error, the result is ∞ or NaN."""

ZERO, HALF, ONE, TWO = Decimal(0), Decimal("0.5"), Decimal(1), Decimal(2)
INFINITE, UNDEFINED = Decimal("Infinity"), Decimal("NaN")


def evaluate(formula: Formula, arguments: Sequence[Decimal | float]) -> list[Decimal]:
    """Return the value of every node of a formula; a condition is 1 or 0.

    >>> from xpnet.ops.formulas import trace
    >>> formula = trace(lambda xp, z: xp.exp(z) / xp.exp(z - 1.0), 1)
    >>> round(evaluate(formula, [1000.0])[formula.result], 20)
    Decimal('2.71828182845904523536')
    """
    values: list[Decimal] = []
    with localcontext(CONTEXT):
        for node in formula.nodes:
            if node.operation == CONSTANT:
                values.append(Decimal(node.number))
            elif node.operation == ARGUMENT:
                values.append(Decimal(arguments[int(node.number)]))
            else:
                operands = [values[i] for i in node.operands]
                values.append(Decimal(FUNCTIONS[node.operation](*operands)))
    return values


def _sign(a: Decimal) -> Decimal:
    return ONE.copy_sign(a) if a else a


def _sqrt(a: Decimal) -> Decimal:
    return a.sqrt()


def _more_digits(a: Decimal) -> int:
    """Return the digits that ``1 + a`` loses of a small number."""
    return max(0, -a.adjusted())


def _expm1(a: Decimal) -> Decimal:
    if not a.is_finite() or not a or a.adjusted() >= 1:
        return a.exp() - ONE
    if a.adjusted() < -DIGITS:
        return a + HALF * a * a
    with localcontext(CONTEXT) as context:
        context.prec += _more_digits(a)
        return a.exp() - ONE


def _log1p(a: Decimal) -> Decimal:
    if not a.is_finite() or not a or a.adjusted() >= 0:
        return (ONE + a).ln()
    if a.adjusted() < -DIGITS:
        return a - HALF * a * a
    with localcontext(CONTEXT) as context:
        context.prec += _more_digits(a)
        return (ONE + a).ln()


def _pow(a: Decimal, b: Decimal) -> Decimal:
    if not b or a == ONE:
        return ONE
    if not a and b > 0:
        return ZERO
    if not a:
        return INFINITE
    if a > 0 and b.is_finite() and a.is_finite():
        return (b * a.ln()).exp() if abs(b) > 1000 else a**b
    return a**b


def _pi(digits: int) -> Decimal:
    """Return π by Machin's formula, ``16 atan(1/5) − 4 atan(1/239)``, in integers."""
    unit = int(10 ** (digits + 10))

    def inverse_tangent(n: int) -> int:
        total = power = unit // n
        k = 1
        while power:
            power //= -n * n
            k += 2
            total += power // k
        return total

    return Decimal(16 * inverse_tangent(5) - 4 * inverse_tangent(239)).scaleb(-digits - 10)


def _reduced(a: Decimal) -> Decimal:
    """Return ``a`` modulo ``2π`` in ``[−π, π]``; NaN from 10³⁶ on, where no dtype has a digit."""
    if not a.is_finite() or a.adjusted() >= 36:
        return UNDEFINED
    with localcontext(CONTEXT) as context:
        context.prec += 20 + max(0, a.adjusted())
        turn = TWO * _pi(context.prec)
        return a - turn * (a / turn).to_integral_value()


def _sin(a: Decimal) -> Decimal:
    if a and a.adjusted() < -DIGITS:
        return a
    return _series(r := _reduced(a), r, 2)


def _cos(a: Decimal) -> Decimal:
    return _series(_reduced(a), ONE, 1)


def _series(r: Decimal, term: Decimal, k: int) -> Decimal:
    """Return ``Σ (−1)ⁿ r²ⁿ⁺ᵏ⁻¹/(2n + k − 1)!``; ``|r| ≤ π``, of which it loses two digits."""
    if r.is_nan():
        return r
    total, square = term, r * r
    for n in range(k, 120, 2):
        term = -term * square / (n * (n + 1))
        total += term
    return total


def _atan(a: Decimal) -> Decimal:
    if a.is_nan() or not a:
        return a
    if abs(a) > ONE:
        return (HALF * _pi(DIGITS)).copy_sign(a) - _atan(ONE / a)
    for _ in range(4):
        a = a / (ONE + (ONE + a * a).sqrt())
    total = power = a
    for n in range(3, 70, 2):
        power = -power * a * a
        total += power / n
    return 16 * total


def _atan2(a: Decimal, b: Decimal) -> Decimal:
    if b > 0:
        return _atan(a / b)
    if b.is_nan() or a.is_nan():
        return UNDEFINED
    half = (HALF * _pi(DIGITS)).copy_sign(a)
    if not b:
        return half if a else (TWO * half if b.is_signed() else a)
    return TWO * half + _atan(a / b)


def _asin(a: Decimal) -> Decimal:
    return _atan2(a, ((ONE - a) * (ONE + a)).sqrt())


def _acos(a: Decimal) -> Decimal:
    return _atan2(((ONE - a) * (ONE + a)).sqrt(), a)


def _sinh(a: Decimal) -> Decimal:
    e = _expm1(abs(a))
    return (HALF * (e + (e / (e + ONE) if e.is_finite() else ONE))).copy_sign(a)


def _cosh(a: Decimal) -> Decimal:
    return HALF * (a.exp() + (-a).exp())


def _tanh(a: Decimal) -> Decimal:
    e = _expm1(-TWO * abs(a))
    return (e / (TWO + e)).copy_sign(a) if a else a


def _asinh(a: Decimal) -> Decimal:
    size = abs(a)
    return _log1p(size + size * size / (ONE + _hypot(ONE, size))).copy_sign(a)


def _acosh(a: Decimal) -> Decimal:
    t = a - ONE
    return _log1p(t + (t * (t + TWO)).sqrt())


def _atanh(a: Decimal) -> Decimal:
    return (HALF * _log1p(TWO * abs(a) / (ONE - abs(a)))).copy_sign(a)


def _hypot(a: Decimal, b: Decimal) -> Decimal:
    return (a * a + b * b).sqrt()


def _sigmoid(a: Decimal) -> Decimal:
    e = (-abs(a)).exp()
    return (ONE if a > 0 else e) / (ONE + e)


def _softplus(a: Decimal) -> Decimal:
    return (ZERO if a < 0 else a) + _log1p((-abs(a)).exp())


def _log_sigmoid(a: Decimal) -> Decimal:
    return -_softplus(-a)


def _sigmoid_slope(a: Decimal) -> Decimal:
    e = (-abs(a)).exp()
    return e / ((ONE + e) * (ONE + e))


def _logaddexp(a: Decimal, b: Decimal) -> Decimal:
    return a + _softplus(b - a) if a > b else b + _softplus(a - b)


def _gaussian(a: Decimal) -> Decimal:
    return (-a * a).exp()


def _erf(a: Decimal) -> Decimal:
    if a.is_nan():
        return a
    return _near_erf(a) if abs(a) < 3 else (ONE - _far_erfc(abs(a))).copy_sign(a)


def _erfc(a: Decimal) -> Decimal:
    if a.is_nan():
        return a
    if abs(a) < 3:
        return ONE - _near_erf(a)
    return _far_erfc(a) if a > 0 else TWO - _far_erfc(-a)


def _near_erf(a: Decimal) -> Decimal:
    """Return ``2/√π e^(−a²) Σ 2ⁿ a²ⁿ⁺¹/(2n + 1)!!`` for ``|a| < 3``."""
    total = term = a
    n = 1
    while term and term.adjusted() > total.adjusted() - DIGITS - 5:
        n += 2
        term = term * TWO * a * a / n
        total += term
    return TWO * total * (-a * a).exp() / _pi(DIGITS).sqrt()


def _far_erfc(a: Decimal) -> Decimal:
    """Return ``e^(−a²)/√π / (a + ½/(a + 1/(a + ³⁄₂/(a + …))))`` for ``a ≥ 3``."""
    rest = a
    for n in range(300, 0, -1):
        rest = a + HALF * n / rest
    return (-a * a).exp() / rest / _pi(DIGITS).sqrt()


def _xlogy(a: Decimal, b: Decimal) -> Decimal:
    return a * b.ln() if a else ZERO


def _log_cosh(a: Decimal) -> Decimal:
    e = _expm1(abs(a))
    return _log1p(HALF * e * e / (ONE + e)) if e.is_finite() else abs(a)


def _maximum(a: Decimal, b: Decimal) -> Decimal:
    return UNDEFINED if a.is_nan() or b.is_nan() else max(a, b)


def _minimum(a: Decimal, b: Decimal) -> Decimal:
    return UNDEFINED if a.is_nan() or b.is_nan() else min(a, b)


def _rounded(rounding: str) -> Callable[[Decimal], Decimal]:
    return lambda a: a.to_integral_value(rounding)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "negative": operator.neg,
    "abs": abs,
    "sign": _sign,
    "floor": _rounded("ROUND_FLOOR"),
    "ceil": _rounded("ROUND_CEILING"),
    "round": _rounded("ROUND_HALF_EVEN"),
    "trunc": _rounded("ROUND_DOWN"),
    "square": lambda a: a * a,
    "sqrt": _sqrt,
    "exp": Decimal.exp,
    "expm1": _expm1,
    "log": Decimal.ln,
    "log1p": _log1p,
    "log2": lambda a: a.ln() / TWO.ln(),
    "log10": Decimal.log10,
    "sin": _sin,
    "cos": _cos,
    "tan": lambda a: _sin(a) / _cos(a),
    "asin": _asin,
    "acos": _acos,
    "atan": _atan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "pow": _pow,
    "hypot": _hypot,
    "atan2": _atan2,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "logical_and": lambda a, b: bool(a and b),
    "logical_or": lambda a, b: bool(a or b),
    "logical_not": operator.not_,
    "maximum": _maximum,
    "minimum": _minimum,
    "where": lambda condition, a, b: a if condition else b,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "logaddexp": _logaddexp,
    "erf": _erf,
    "erfc": _erfc,
    "xlogy": _xlogy,
    "times_exp": lambda a, b: a * b.exp(),
    "sigmoid_slope": _sigmoid_slope,
    "gaussian": _gaussian,
    "log_cosh": _log_cosh,
    "pseudo_huber": lambda a: a * a / (ONE + _hypot(ONE, a)),
    "log1p_square": lambda a: _log1p(a * a),
}
"""The operations of the table, by their names."""
