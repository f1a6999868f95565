"""The namespace on which rules run inside a compiled loop: functions of one number that vectorize.

Numba compiles ``exp`` to a call of the C library for each number, which prevents vectorization. The
functions below are arithmetic on the number and on the bits of its exponent. Their constants are
computed from their formulas. The errors are those of rounding: below 2 units in the last place for
`exp` and `expm1`, and below 4 for `tanh`.

The module imports no other module of xpnet, because its own source code identifies the loops that
use it on disk.

Reference: W. Cody, W. Waite, "Software Manual for the Elementary Functions", 1980, chapter 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload, register_jitable
from numpy import (
    abs,  # noqa: A004
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    ceil,
    cos,
    cosh,
    floor,
    hypot,
    log,
    log2,
    log10,
    maximum,
    minimum,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    trunc,
)
from numpy import rint as round  # noqa: A004

__all__ = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "floor",
    "hypot",
    "log",
    "log1p",
    "log2",
    "log10",
    "maximum",
    "minimum",
    "round",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "where",
]

# Without "reassoc", which would merge the two parts of log 2.
EXACT: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}


class FloatFormat(NamedTuple):
    """The constants of a floating type.

    Attributes:
        number: the type.
        integer: the type of integers of its size.
        bias: the bias of its exponent.
        digits: the number of bits of its significand.
        lowest: the least ``x`` for which ``eˣ`` is computed; below it ``eˣ`` is 0.
        highest: the greatest ``x`` for which ``eˣ`` is finite.
        log2_e: ``log₂ e``.
        ln2_high: the first bits of ``log 2``.
        ln2_low: ``log 2`` less `ln2_high`.
        coefficients: those of ``eʳ - 1``, from ``r`` on.
        odd: those of ``artanh(s)/s`` in ``s²``.
    """

    number: Any
    integer: Any
    bias: Any
    digits: Any
    lowest: Any
    highest: Any
    log2_e: Any
    ln2_high: Any
    ln2_low: Any
    coefficients: tuple[Any, ...]
    odd: tuple[Any, ...]


def _format(number: Any, integer: Any, terms: int, odd_terms: int, high_bits: int) -> FloatFormat:
    """The constants of a type.

    Args:
        number: the type.
        integer: the type of integers of its size.
        terms: the number of terms of the series of ``eʳ``, ``|r| ≤ ½ log 2``.
        odd_terms: the number of terms of the series of ``artanh(s)/s``, ``|s| ≤ 3 - √8``.
        high_bits: the number of bits of `ln2_high`: few enough that its product with an exponent is
            exact.
    """
    info = np.finfo(number)
    with localcontext() as context:
        context.prec = 50
        ln2 = Decimal(2).ln()
        high = Decimal(math.floor(ln2 * 2**high_bits)) / 2**high_bits
        low = ln2 - high
    smallest = float(np.log(np.float64(info.smallest_normal))) - math.log(2) * info.nmant - 1.0
    return FloatFormat(
        number=number,
        integer=integer,
        bias=integer(info.maxexp - 1),
        digits=integer(info.nmant),
        lowest=number(smallest),
        highest=number(np.log(info.max)),
        log2_e=number(1.0 / math.log(2)),
        ln2_high=number(high),
        ln2_low=number(low),
        coefficients=tuple(number(1.0 / math.factorial(k)) for k in range(1, terms)),
        odd=tuple(number(1.0 / (2 * k + 1)) for k in range(odd_terms)),
    )


FORMATS = {
    types.float32: _format(np.float32, np.int32, terms=8, odd_terms=5, high_bits=9),
    types.float64: _format(np.float64, np.int64, terms=14, odd_terms=11, high_bits=32),
}


def _reduced(form: FloatFormat) -> Any:
    """``x ↦ (n, eʳ - 1)`` with ``x = n log 2 + r``."""
    log2_e, high, low = form.log2_e, form.ln2_high, form.ln2_low
    coefficients = form.coefficients[::-1]

    @register_jitable(**EXACT)
    def reduced(x: Any) -> Any:
        n = np.rint(x * log2_e)
        r = (x - n * high) - n * low
        p = coefficients[0]
        for c in coefficients[1:]:
            p = p * r + c
        return n, p * r

    return reduced


def _power(form: FloatFormat) -> Any:
    """``n ↦ 2ⁿ`` by the bits of the exponent, for an integer ``n`` for which it is normal."""
    number, integer, bias, digits = form.number, form.integer, form.bias, form.digits

    @register_jitable(**EXACT)
    def power(n: Any) -> Any:
        return integer((n + bias) << digits).view(number)

    return power


def exp(x: Any) -> Any:
    """``eˣ``: the Taylor series of ``eʳ`` times ``2ⁿ``, with ``x = n log 2 + r``."""
    return np.exp(x)


@overload(exp, jit_options=EXACT)
def _exp(x: Any) -> Callable[[Any], Any]:
    form = FORMATS[x]
    reduced, power, integer, one = _reduced(form), _power(form), form.integer, form.integer(1)
    lowest, highest, unit = form.lowest, form.highest, form.number(1)
    infinity = form.number(np.inf)

    def compiled(x: Any) -> Any:
        # A comparison with NaN is false, so NaN passes both bounds.
        near = highest if x > highest else x
        near = lowest if near < lowest else near
        n, p = reduced(near)
        half = integer(n) >> one  # in two factors, since 2ⁿ itself may be subnormal
        value = (p + unit) * power(half) * power(integer(n) - half)
        return infinity if x > highest else value

    return compiled


def expm1(x: Any) -> Any:
    """``eˣ - 1 = 2ⁿ(eʳ - 1) + (2ⁿ - 1)``, exact to rounding near 0."""
    return np.expm1(x)


@overload(expm1, jit_options=EXACT)
def _expm1(x: Any) -> Callable[[Any], Any]:
    form = FORMATS[x]
    reduced, power, integer, one = _reduced(form), _power(form), form.integer, form.integer(1)
    highest, infinity = form.highest, form.number(np.inf)
    lowest = form.number(-(form.digits + 3) * math.log(2))
    half, two = form.number(0.5), form.number(2)

    def compiled(x: Any) -> Any:
        near = highest if x > highest else x
        near = lowest if near < lowest else near
        n, p = reduced(near)
        scale = power(integer(n) - one)  # 2ⁿ/2, which is finite wherever the result is
        value = two * (scale * p + (scale - half))
        return infinity if x > highest else value

    return compiled


def tanh(x: Any) -> Any:
    """``tanh x = -t/(2 + t)`` with the sign of ``x``, ``t = e^(-2|x|) - 1``."""
    return np.tanh(x)


@overload(tanh, jit_options=EXACT)
def _tanh(x: Any) -> Callable[[Any], Any]:
    minus_two, two = FORMATS[x].number(-2), FORMATS[x].number(2)

    def compiled(x: Any) -> Any:
        t = expm1(minus_two * np.abs(x))
        return np.copysign(t / (two + t), x)

    return compiled


def log1p(x: Any) -> Any:
    """``log(1 + x) = k log 2 + 2 artanh(f/(2 + f))`` with ``1 + x = 2ᵏ(1 + f)``.

    The rounding error of ``1 + x`` is corrected by ``(x - ((1 + x) - 1))/(1 + x)``; for ``k = 0``
    there is none, since ``f = x``.
    """
    return np.log1p(x)


@overload(log1p, jit_options=EXACT)
def _log1p(x: Any) -> Callable[[Any], Any]:
    form = FORMATS[x]
    number, integer, digits, odd = form.number, form.integer, form.digits, form.odd[::-1]
    high, low, unit, two = form.ln2_high, form.ln2_low, form.number(1), form.number(2)
    root_half = np.sqrt(form.number(0.5)).view(integer)
    zero, infinity, nan = form.number(0), form.number(np.inf), form.number(np.nan)

    def compiled(x: Any) -> Any:
        u = unit + x
        bits = number(u).view(integer)
        k = integer(integer(bits - root_half) >> digits)
        m = integer(bits - (k << digits)).view(number)
        f = x if k == 0 else m - unit
        lost = zero if k == 0 else (x - (u - unit)) / u
        s = f / (two + f)
        square = s * s
        p = odd[0]
        for c in odd[1:]:
            p = p * square + c
        n = number(k)
        value = n * high + (two * s * p + (n * low + lost))
        value = infinity if x == infinity else value
        value = -infinity if x == -unit else value
        return nan if x < -unit else value

    return compiled


@register_jitable
def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` if the condition holds, else ``b``; `numpy.where` would return an array."""
    return a if condition else b
