"""The closed table of operations that formulas consist of, with their derivatives.

An operation is a function ``f(xp, *operands)`` in array code, which runs on arrays, on symbols and
inside compiled loops, and its partial derivatives, a function ``(xp, y, *operands)`` of the value
``y`` and the operands that returns a tuple. Derivatives are written so that they neither overflow
nor cancel where the true value does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from xpnet.backend import Namespace
from xpnet.ops.rules import erf as error_function
from xpnet.ops.rules.activations import sigmoid, softplus

Partials = Callable[..., tuple[Any, ...]]


class Operation(NamedTuple):
    """An operation of the table.

    Attributes:
        function: the function ``f(xp, *operands)``.
        arity: the number of operands.
        partials: the partial derivatives; ``None`` for conditions, which have none, and for
            selections, which have the derivative of the chosen side.
        is_condition: whether its value is a truth value.
        is_primitive: whether ``function`` is one call, which every namespace has.
        is_public: whether a rule may call it; a file may name any, as stable forms are saved.
    """

    function: Callable[..., Any]
    arity: int
    partials: Partials | None
    is_condition: bool = False
    is_primitive: bool = True
    is_public: bool = True


def _called(name: str) -> Callable[..., Any]:
    """Return the function that calls ``xp.<name>``."""
    return lambda xp, *operands: getattr(xp, name)(*operands)


def log_sigmoid(xp: Namespace, a: Any) -> Any:
    """``log σ(a) = min(a, 0) − log(1 + e^(−|a|))``."""
    return xp.minimum(a, 0.0) - xp.log1p(xp.exp(-xp.abs(a)))


def logaddexp(xp: Namespace, a: Any, b: Any) -> Any:
    """``log(eᵃ + eᵇ) = max(a, b) + log(1 + e^(−|a − b|))``."""
    return xp.maximum(a, b) + xp.log1p(xp.exp(-xp.abs(a - b)))


def sigmoid_slope(xp: Namespace, a: Any) -> Any:
    """``σ(a) σ(−a) = e/(1 + e)²`` with ``e = e^(−|a|)``, which keeps all digits."""
    e = xp.exp(-xp.abs(a))
    return e / ((1.0 + e) * (1.0 + e))


def gaussian(xp: Namespace, a: Any) -> Any:
    """``e^(−a²)``, with the rounding error of ``a²`` made up for."""
    return error_function._gaussian(xp, xp.minimum(xp.abs(a), error_function.FAR), -1.0)


def log_cosh(xp: Namespace, a: Any) -> Any:
    """``log cosh a = log(1 + ½(e − 1)²/e)`` with ``e`` the exponential of ``|a|``, at most 20.

    Beyond 20 it has the slope 1: ``|a| − log 2`` but for ``e⁻⁴⁰``.
    """
    size = xp.abs(a)
    near = xp.minimum(size, 20.0)
    e = xp.expm1(near)
    return xp.log1p(0.5 * e * e / (1.0 + e)) + (size - near)


def log1p_square(xp: Namespace, a: Any) -> Any:
    """``log(1 + a²) = 2 log b + log(1 + (c/b)²)`` with ``b = max(|a|, 1)``, ``c = min(|a|, 1)``."""
    size = xp.abs(a)
    larger = xp.maximum(size, 1.0)
    ratio = xp.minimum(size, 1.0) / larger
    return 2.0 * xp.log(larger) + xp.log1p(ratio * ratio)


def pseudo_huber(xp: Namespace, a: Any) -> Any:
    """``√(1 + a²) − 1 = a·a/(1 + √(1 + a²))``."""
    return a * (a / (1.0 + xp.hypot(1.0, a)))


def xlogy(xp: Namespace, a: Any, b: Any) -> Any:
    """``a log b``, which is 0 where ``a`` is 0."""
    is_zero = a == 0.0
    return xp.where(is_zero, 0.0 * a, a * xp.log(xp.where(is_zero, 0.0 * a + 1.0, b)))


def times_exp(xp: Namespace, a: Any, b: Any) -> Any:
    """``a eᵇ``, also where ``eᵇ`` overflows and ``a`` is small; NaN if ``a`` is 0 there."""
    e = xp.exp(0.5 * b)
    return a * e * e


def _of_power(xp: Namespace, y: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return b * a ** (b - 1.0), xp.xlogy(y, a)


def _of_log1p_square(xp: Namespace, y: Any, a: Any) -> tuple[Any, ...]:
    r = xp.hypot(1.0, a)
    return (2.0 * (a / r / r),)


def _of_atan(xp: Namespace, y: Any, a: Any) -> tuple[Any, ...]:
    r = xp.hypot(1.0, a)
    return (1.0 / r / r,)


def _of_atan2(xp: Namespace, y: Any, a: Any, b: Any) -> tuple[Any, ...]:
    r = xp.hypot(a, b)
    return b / r / r, -a / r / r


UNARY: dict[str, Partials] = {
    "negative": lambda xp, y, a: (-1.0,),
    "abs": lambda xp, y, a: (xp.sign(a),),
    "sign": lambda xp, y, a: (0.0,),
    "floor": lambda xp, y, a: (0.0,),
    "ceil": lambda xp, y, a: (0.0,),
    "round": lambda xp, y, a: (0.0,),
    "trunc": lambda xp, y, a: (0.0,),
    "square": lambda xp, y, a: (2.0 * a,),
    "sqrt": lambda xp, y, a: (0.5 / y,),
    "exp": lambda xp, y, a: (y,),
    "expm1": lambda xp, y, a: (xp.exp(a),),
    "log": lambda xp, y, a: (1.0 / a,),
    "log1p": lambda xp, y, a: (1.0 / (1.0 + a),),
    "log2": lambda xp, y, a: (1.0 / math.log(2.0) / a,),
    "log10": lambda xp, y, a: (1.0 / math.log(10.0) / a,),
    "sin": lambda xp, y, a: (xp.cos(a),),
    "cos": lambda xp, y, a: (-xp.sin(a),),
    "tan": lambda xp, y, a: (1.0 + xp.square(y),),
    "asin": lambda xp, y, a: (1.0 / xp.sqrt((1.0 - a) * (1.0 + a)),),
    "acos": lambda xp, y, a: (-1.0 / xp.sqrt((1.0 - a) * (1.0 + a)),),
    "atan": _of_atan,
    "sinh": lambda xp, y, a: (xp.cosh(a),),
    "cosh": lambda xp, y, a: (xp.sinh(a),),
    "tanh": lambda xp, y, a: (4.0 * xp.sigmoid_slope(2.0 * a),),
    "asinh": lambda xp, y, a: (1.0 / xp.hypot(1.0, a),),
    "acosh": lambda xp, y, a: (1.0 / xp.sqrt(a - 1.0) / xp.sqrt(a + 1.0),),
    "atanh": lambda xp, y, a: (1.0 / ((1.0 - a) * (1.0 + a)),),
}
"""The functions of one number, with their derivatives."""

BINARY: dict[str, Partials] = {
    "add": lambda xp, y, a, b: (1.0, 1.0),
    "subtract": lambda xp, y, a, b: (1.0, -1.0),
    "multiply": lambda xp, y, a, b: (b, a),
    "divide": lambda xp, y, a, b: (1.0 / b, -y / b),
    "pow": _of_power,
    "hypot": lambda xp, y, a, b: (a / y, b / y),
    "atan2": _of_atan2,
}
"""The functions of two numbers, with their partial derivatives."""

CONDITIONS = {
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal", "equal"), 2),
    **{"not_equal": 2, "logical_and": 2, "logical_or": 2, "logical_not": 1},
}
"""The operations with a truth value, and their numbers of operands."""

COMPOSITE: dict[str, tuple[Callable[..., Any], Partials]] = {
    "sigmoid": (sigmoid, lambda xp, y, a: (xp.sigmoid_slope(a),)),
    "softplus": (softplus, lambda xp, y, a: (xp.sigmoid(a),)),
    "log_sigmoid": (log_sigmoid, lambda xp, y, a: (xp.sigmoid(-a),)),
    "logaddexp": (logaddexp, lambda xp, y, a, b: (xp.sigmoid(a - b), xp.sigmoid(b - a))),
    "erf": (error_function.erf, lambda xp, y, a: (2.0 / math.sqrt(math.pi) * xp.gaussian(a),)),
    "erfc": (error_function.erfc, lambda xp, y, a: (-2.0 / math.sqrt(math.pi) * xp.gaussian(a),)),
    "xlogy": (
        xlogy,
        lambda xp, y, a, b: (xp.log(b), xp.where(a == 0.0, 0.0, a / b)),
    ),
    "times_exp": (times_exp, lambda xp, y, a, b: (xp.exp(b), y)),
    "sigmoid_slope": (sigmoid_slope, lambda xp, y, a: (-y * xp.tanh(0.5 * a),)),
    "gaussian": (gaussian, lambda xp, y, a: (-2.0 * (a * y),)),
    "log_cosh": (log_cosh, lambda xp, y, a: (xp.tanh(a),)),
    "log1p_square": (log1p_square, _of_log1p_square),
    "pseudo_huber": (pseudo_huber, lambda xp, y, a: (a / xp.hypot(1.0, a),)),
}
"""The functions that are made of others, with their partial derivatives."""

INTERNAL = {
    *("sigmoid_slope", "gaussian", "log_cosh", "log1p_square", "pseudo_huber", "times_exp"),
}
"""The functions that rules do not call: stable forms and derivatives of the others."""

TWO = "logaddexp", "xlogy", "times_exp"

OPERATIONS: dict[str, Operation] = {
    **{name: Operation(_called(name), 1, partials) for name, partials in UNARY.items()},
    **{name: Operation(_called(name), 2, partials) for name, partials in BINARY.items()},
    **{name: Operation(_called(name), n, None, True) for name, n in CONDITIONS.items()},
    **{name: Operation(_called(name), 2, None) for name in ("maximum", "minimum")},
    "where": Operation(_called("where"), 3, None),
    **{
        name: Operation(function, 1 + (name in TWO), partials, False, False, name not in INTERNAL)
        for name, (function, partials) in COMPOSITE.items()
    },
}
"""The table: every operation of a formula, by its name."""


def takes_conditions(name: str) -> list[bool]:
    """Return of each operand of an operation whether it is a truth value."""
    return [
        name.startswith("logical_") or (name == "where" and i == 0)
        for i in range(OPERATIONS[name].arity)
    ]
