"""Every row of the table of operations: its partial derivatives against decimal differences."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest

from xpnet.ops.formulas import Formula, FormulaRule, Node, derivative_of
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.decimal_functions import CONTEXT, FUNCTIONS, evaluate
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace
from xpnet.ops.formulas.table import OPERATIONS

NUMBERS = [Decimal(x) for x in ("-1.7", "-0.45", "0.3", "0.8", "2.4")]
"""No kink, pole or limit of a domain is near them."""

FAR = [s * x for x in (1e-300, 1e-20, 0.3, 19.0, 700.0, 1e15, 1e150, 1e200, 1e300) for s in (1, -1)]

STEP = Decimal("1e-18")
"""The differences are exact to 20 digits or more, the numbers of formulas to 16."""

TOLERANCE = Decimal("1e-14")

ROWS = [name for name, row in OPERATIONS.items() if row.partials is not None]
CHOSEN = ["maximum", "minimum", "where"]


def alone(name):
    """The formula of an operation; the first operand of ``where`` is that of a comparison."""
    arity = OPERATIONS[name].arity
    nodes = [Node("argument", (), i) for i in range(arity)]
    if name == "where":
        nodes.append(Node("less", (0, 1)))
        return Formula(3, (*nodes, Node(name, (3, 1, 2))), 4)
    return Formula(arity, (*nodes, Node(name, tuple(range(arity)))), arity)


def of_table(name):
    """The partial derivatives of a row as formulas, as they are written."""
    arity = OPERATIONS[name].arity
    builder = FormulaBuilder(arity, simplifies=False)
    operands = [Symbol(builder, i) for i in range(arity)]
    y = Symbol(builder, builder.node(name, *range(arity)))
    found = OPERATIONS[name].partials(SymbolNamespace(builder, internal=True), y, *operands)
    assert len(found) == arity
    numbers = (Symbol(builder, builder.constant(x)) if isinstance(x, float) else x for x in found)
    return [builder.formula(x.index) for x in numbers]


def value(formula, point):
    return evaluate(formula, point)[formula.result]


def difference(function, point, i):
    """The central difference along one number; ``None`` where the function has no value."""
    with localcontext(CONTEXT):
        moved = [
            [x + sign * STEP * (k == i) for k, x in enumerate(point)] for sign in (Decimal(1), -1)
        ]
        ends = [function(p) for p in moved]
        return None if any(not x.is_finite() for x in ends) else (ends[0] - ends[1]) / (2 * STEP)


def assert_agree(got, want, where):
    assert abs(got - want) <= TOLERANCE * max(abs(want), TOLERANCE), (where, float(got), want)


def points(name):
    return [
        list(p) for p in product(NUMBERS, repeat=alone(name).n_arguments) if len({*p}) == len(p)
    ]


@pytest.mark.parametrize("name", ROWS)
def test_partial_derivatives_of_the_table(name):
    partials, n_compared = of_table(name), 0
    for point in points(name):
        for i, partial in enumerate(partials):
            want = difference(lambda p: Decimal(FUNCTIONS[name](*p)), point, i)
            if want is not None:
                n_compared += 1
                assert_agree(value(partial, point), want, (point, i))
    assert n_compared >= len(partials)


@pytest.mark.parametrize("name", [*ROWS, *CHOSEN])
def test_derivatives_of_each_operation(name):
    """Of first and second order, simplified as they are used."""
    formula = alone(name)
    n_compared = 0
    for i in range(formula.n_arguments):
        slope = derivative_of(formula, i)
        seconds = [derivative_of(slope, j) for j in range(formula.n_arguments)]
        for point in points(name):
            want = difference(lambda p: value(formula, p), point, i)
            if want is None:
                continue
            n_compared += 1
            assert_agree(value(slope, point), want, (point, i))
            for j, second in enumerate(seconds):
                want = difference(lambda p, slope=slope: value(slope, p), point, j)
                assert_agree(value(second, point), want, (point, i, j))
    assert n_compared >= formula.n_arguments


@pytest.mark.parametrize("name", ROWS)
def test_partial_derivatives_are_finite(name):
    """At numbers of any size, if their true value is below 1e305."""
    arity = OPERATIONS[name].arity
    far = list(product(FAR, repeat=arity))
    arrays = [np.array(column) for column in zip(*far, strict=True)]
    for partial in (derivative_of(alone(name), i) for i in range(arity)):
        found = np.broadcast_to(np.asarray(FormulaRule(partial)(np, *arrays)), len(far))
        for index in np.flatnonzero(~np.isfinite(found)).tolist():
            true = value(partial, far[index])
            assert not true.is_finite() or true.copy_abs() > Decimal("1e305"), (far[index], true)


def test_xlogy_has_a_derivative_at_0():
    """``a/b``, but 0 for a = 0, also where b is 0."""
    slope = derivative_of(alone("xlogy"), 1)
    points = {(0.0, 0.0): 0.0, (0.0, 2.0): 0.0, (2.0, 1.0): 2.0, (1.0, 4.0): 0.25}
    for point, want in points.items():
        assert FormulaRule(slope)(np, *map(np.array, point)) == want
