"""Derivatives of large formulas: their size is bounded by that of the formula."""

from __future__ import annotations

import tracemalloc

import pytest

from xpnet.ops.formulas import derivative_of
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
