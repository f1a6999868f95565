"""Formulas in primitive operations, each of which is one call in every namespace."""

from __future__ import annotations

from functools import lru_cache

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace
from xpnet.ops.formulas.table import OPERATIONS


@lru_cache(256)
def expanded(formula: Formula) -> Formula:
    """Return a formula with functions such as `sigmoid` replaced by the operations of their rules.

    Equal operations of several functions become one.

    >>> from xpnet.ops.formulas import trace
    >>> [node.operation for node in expanded(trace(lambda xp, z: xp.sigmoid(z), 1)).nodes][1:4]
    ['abs', 'negative', 'exp']
    """
    builder = FormulaBuilder(formula.n_arguments, simplifies=False)
    xp = SymbolNamespace(builder, internal=True)
    values: list[Symbol] = []
    for node in formula.nodes:
        if node.operation == ARGUMENT:
            values.append(Symbol(builder, int(node.number)))
        elif node.operation == CONSTANT:
            values.append(Symbol(builder, builder.constant(node.number)))
        else:
            operation = OPERATIONS[node.operation]
            values.append(operation.function(xp, *(values[i] for i in node.operands)))
    return builder.formula(values[formula.result].index)
