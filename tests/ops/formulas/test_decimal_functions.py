"""The decimal operations agree with mpmath at 50 digits, over the whole range of float64."""

from __future__ import annotations

from decimal import Decimal, localcontext

import mpmath
import numpy as np
import pytest

from xpnet.ops.formulas import Formula, Node
from xpnet.ops.formulas.decimal_functions import CONTEXT, FUNCTIONS, evaluate
from xpnet.ops.formulas.table import CONDITIONS, OPERATIONS

SIZES = (5e-324, 1e-200, 1e-70, 1e-30, 1e-5, 0.1, 0.5, 0.999, 1.0, 1.5, 2.9, 3.1, 8.0, 26.5, 745.2)
POINTS = [0.0, *SIZES, *(-x for x in SIZES), 1e5, -1e5]
FAR = [1e17, 1e100, 1e300, 1.7e308, -1e100, -1.7e308]
PAIRS = [(a, b) for a in (-745.2, -1.5, 0.0, 1e-30, 0.5, 2.9, 1e5) for b in (-3.0, 0.0, 0.5, 2.0)]


def log_of_sum(a, b):
    return max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b)))


REFERENCES = {
    **{name: getattr(mpmath, name) for name in ("sign", "floor", "ceil", "sqrt", "exp", "expm1")},
    **{name: getattr(mpmath, name) for name in ("log", "log1p", "log10", "sin", "cos", "tan")},
    **{name: getattr(mpmath, name) for name in ("asin", "acos", "atan", "sinh", "cosh", "tanh")},
    **{name: getattr(mpmath, name) for name in ("asinh", "acosh", "atanh", "atan2", "hypot")},
    **{name: getattr(mpmath, name) for name in ("erf", "erfc")},
    "negative": lambda a: -a,
    "abs": abs,
    "round": mpmath.nint,
    "trunc": lambda a: mpmath.floor(a) if a > 0 else mpmath.ceil(a),
    "square": lambda a: a * a,
    "log2": lambda a: mpmath.log(a) / mpmath.log(2),
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "maximum": max,
    "minimum": min,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
    "log_sigmoid": lambda a: -mpmath.log1p(mpmath.exp(-a)),
    "logaddexp": log_of_sum,
    "xlogy": lambda a, b: 0 if a == 0 else a * mpmath.log(b),
    "times_exp": lambda a, b: a * mpmath.exp(b),
    "sigmoid_slope": lambda a: mpmath.exp(-abs(a)) / (1 + mpmath.exp(-abs(a))) ** 2,
    "gaussian": lambda a: mpmath.exp(-a * a),
    "log_cosh": lambda a: mpmath.log1p(2 * mpmath.sinh(a / 2) ** 2),
    "pseudo_huber": lambda a: mpmath.sqrt(1 + a * a) - 1,
    "log1p_square": lambda a: mpmath.log1p(a * a),
}


def of(operation, *arguments):
    n = len(arguments)
    nodes = (*(Node("argument", (), i) for i in range(n)), Node(operation, tuple(range(n))))
    return evaluate(Formula(n, nodes, n), arguments)[n]


def true(operation, arguments):
    """The value by mpmath, ``None`` where it is complex, infinite or undefined."""
    with mpmath.workdps(800):
        try:
            found = mpmath.mpmathify(REFERENCES[operation](*map(mpmath.mpf, arguments)))
        except (ZeroDivisionError, ValueError):
            return None
        return found if isinstance(found, mpmath.mpf) and mpmath.isfinite(found) else None


def test_every_operation_has_a_function():
    assert set(FUNCTIONS) == set(OPERATIONS)


@pytest.mark.parametrize("operation", sorted(REFERENCES))
def test_functions_agree_with_mpmath(operation):
    arity = OPERATIONS[operation].arity
    for arguments in PAIRS if arity == 2 else [(x,) for x in POINTS]:
        want, got = true(operation, arguments), of(operation, *arguments)
        if want is None:
            assert not got.is_finite(), arguments
            continue
        with mpmath.workdps(80):
            error = abs(mpmath.mpf(str(got)) - want)
            assert error <= mpmath.mpf(10) ** -50 * abs(want), arguments


@pytest.mark.parametrize("operation", sorted(REFERENCES))
def test_functions_take_any_finite_number(operation):
    arity = OPERATIONS[operation].arity
    for x in FAR:  # an exponential by its series would never end
        assert of(operation, *[x] * arity) is not None


def test_sine_of_a_large_number_has_all_digits():
    with mpmath.workdps(100):
        want = mpmath.sin(mpmath.mpf(1.7e35))
        assert abs(mpmath.mpf(str(of("sin", 1.7e35))) - want) < mpmath.mpf(10) ** -50
    assert of("sin", 1e36).is_nan()  # a number that far has no digit of the angle


def test_exponential_beyond_all_numbers_is_infinite():
    assert of("exp", 1e308) == Decimal("Infinity")
    assert of("exp", -1e308) == 0
    assert of("exp", 1e6).is_finite()


def test_poles_are_infinite_and_others_undefined():
    assert of("log", 0.0) == Decimal("-Infinity")
    assert of("divide", 1.0, 0.0) == Decimal("Infinity")
    assert of("log", -1.0).is_nan()
    assert of("divide", 0.0, 0.0).is_nan()
    assert of("maximum", of("log", -1.0), 1.0).is_nan()


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name != "logical_not"])
def test_conditions_agree_with_numpy(name):
    for a in (0.0, 1.0, 2.0):
        for b in (0.0, 1.0):
            assert bool(of(name, a, b)) == bool(getattr(np, name)(a, b))
    assert of("logical_not", 0.0) == 1


def test_where_ignores_the_other_side():
    nan = of("log", -1.0)
    with localcontext(CONTEXT):
        assert of("where", 1.0, 2.0, nan) == 2
        assert of("where", 0.0, nan, 3.0) == 3
