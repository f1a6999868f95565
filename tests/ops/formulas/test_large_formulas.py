"""Derivatives of large formulas: their size is bounded by that of the formula."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from xpnet import ArgumentError
from xpnet.ops.formulas import FormulaRule, derivative_of, trace
from xpnet.ops.formulas import builder as builder_module
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import MAX_OPERATIONS, require_small
from xpnet.ops.formulas.table import OPERATIONS

WIDTH = 5
NAMES = [name for name, operation in OPERATIONS.items() if not operation.is_condition]
LARGEST = "atan2"


def shared(name, n):
    """A formula of up to ``n`` operations, each of which is an operand of two others."""
    builder, arity = FormulaBuilder(1, simplifies=False), OPERATIONS[name].arity
    row = [builder.node("multiply", builder.constant(1.5 + i), 0) for i in range(WIDTH)]
    size = 2 * WIDTH - 1
    while size + WIDTH * (1 + (name == "where")) <= n:
        pairs = list(zip(row, [*row[1:], row[0]], strict=True))
        conditions = [[builder.node("less", *p)] if name == "where" else [] for p in pairs]
        row = [
            builder.node(name, *condition, *pair[:arity])
            for condition, pair in zip(conditions, pairs, strict=True)
        ]
        size += WIDTH * (1 + (name == "where"))
    result = row[0]
    for other in row[1:]:
        result = builder.node("add", result, other)
    return builder.formula(result)


def sums(builder, operation, base, n=120):
    """Fibonacci numbers: a node to which there are 1.6ⁿ paths."""
    one, other = (builder.node(base, i) for i in (0, builder.node("sin", 0)))
    for _ in range(n):
        one, other = builder.node(operation, one, other), one
    return one


def chosen(builder, first, n=100):
    """A nested ``where``, to each side of which there are 2ⁿ paths."""
    one, other = (builder.node("multiply", builder.constant(c), 0) for c in (first, first + 1))
    for i in range(n):
        condition = builder.node("less", 0, builder.constant(float(i)))
        one, other = (
            builder.node("where", condition, *sides) for sides in ((one, other), (other, one))
        )
    return one


SHARED = {
    "the logarithm of a sum": lambda b: b.node("xlogy", 0, sums(b, "add", "exp")),
    "the logarithm of 1 and a sum": lambda b: b.node(
        "xlogy", 0, b.node("add", b.constant(1.0), sums(b, "add", "exp"))
    ),
    "the root of a sum": lambda b: b.node("sqrt", sums(b, "add", "square")),
    "a product over a sum": lambda b: b.node(
        "divide",
        sums(b, "multiply", "exp"),
        b.node("add", *(b.node("exp", b.node(name, 0)) for name in ("cos", "tan"))),
    ),
    "a sum of choices": lambda b: b.node("add", chosen(b, 2.0), chosen(b, 4.0)),
    "a difference of choices": lambda b: b.node("subtract", chosen(b, 2.0), chosen(b, 4.0)),
}


@pytest.mark.parametrize("case", SHARED)
def test_shared_nodes_are_visited_once(case):
    """With a visit for each path to a node, this would take longer than the universe exists."""
    builder = FormulaBuilder(1, simplifies=False)
    formula = builder.formula(SHARED[case](builder))
    require_small(formula)
    assert len(second_derivative(formula).nodes) <= 40 * formula.n_operations

    def rule(xp, z):
        """The same formula, simplified as it is traced."""
        values = []
        for node in formula.nodes:
            given = [values[i] for i in node.operands]
            known = {"argument": z, "constant": node.number}
            values.append(
                known[node.operation]
                if node.operation in known
                else getattr(xp, node.operation)(*given)
            )
        return values[-1]

    assert trace(rule, 1).n_operations <= MAX_OPERATIONS


def test_products_of_zero_and_infinity_are_kept():
    builder = FormulaBuilder(1, simplifies=False)
    infinite = builder.node("multiply", builder.constant(float("inf")), builder.node("sin", 0))
    formula = builder.formula(builder.node("multiply", builder.constant(0.0), infinite))
    assert np.isnan(FormulaRule(derivative_of(formula))(np, np.ones(3))).all()


def test_derivatives_have_a_largest_size(monkeypatch):
    monkeypatch.setattr(builder_module, "MAX_BUILT", 500)
    with pytest.raises(ArgumentError, match="derivatives of at most 500 operations; got more"):
        second_derivative(shared("pow", 64))


def second_derivative(formula):
    return derivative_of(derivative_of(formula))


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_have_40_nodes_an_operation(name):
    formula = shared(name, 64)
    assert formula.n_operations > 50
    assert len(second_derivative(formula).nodes) <= 40 * formula.n_operations


def test_the_largest_second_derivative_is_small():
    formula = shared(LARGEST, MAX_OPERATIONS)
    require_small(formula)
    assert formula.n_operations > 0.98 * MAX_OPERATIONS
    tracemalloc.start()
    try:
        assert len(second_derivative(formula).nodes) <= 40 * MAX_OPERATIONS
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 << 20
