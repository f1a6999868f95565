"""Write rules and formulas in CUDA C, one line for each operation.

A rule is run once on symbols, which gives the nodes of its formula (`xpnet.ops.formulas`). A rule
that calls another rule, loops over constants or uses `math` therefore needs no parser, and common
subexpressions are computed once. The nodes are those that the rule calls: nothing is simplified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpnet.ops.formulas import FormulaRule, Node
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.expand import expanded
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace
from xpnet.ops.formulas.table import OPERATIONS
from xpnet.ops.operations import Rule

SIGNS = {
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/"},
    **{"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="},
    **{"equal": "==", "not_equal": "!=", "logical_and": "&&", "logical_or": "||"},
}
"""The operators of two operands."""

FUNCTIONS = {
    "abs": "fabs",
    "sign": "sign_of",
    "square": "square_of",
    "maximum": "larger",
    "minimum": "smaller",
    "round": "rint",
}
"""Functions that have another name in CUDA or ``kernels/numbers.cuh``."""


def translate(rule: Rule, arguments: int) -> tuple[list[str], list[str]]:
    """The C code of a rule: its lines, and the expressions of its values.

    Args:
        rule: a rule; see `xpnet.ops.rules`.
        arguments: the number of arrays and scalars, which are the variables ``a0, a1, …``.

    Raises:
        TypeError: if the rule branches on values, or uses an operator that symbols do not have.
        ArgumentError: if it calls a function of ``xp`` that formulas do not have.

    >>> translate(lambda xp, z, alpha: xp.where(z > 0.0, z, alpha * z), 2)[0]
    ['const bool v0 = a0 > T(0.0);', 'const T v1 = a0 * a1;', 'const T v2 = v0 ? a0 : v1;']
    """
    if isinstance(rule, FormulaRule):
        formula = expanded(rule.formula)
        return written(formula.nodes, [formula.result])
    builder = FormulaBuilder(arguments, simplifies=False)
    given = [Symbol(builder, index) for index in range(arguments)]
    result: Any = rule(SymbolNamespace(builder), *given)
    values = result if isinstance(result, tuple) else (result,)
    return written(builder.nodes, [_node_of(builder, value) for value in values])


def _node_of(builder: FormulaBuilder, value: Any) -> int:
    """Return the node of a value of a rule, which may be a number."""
    return value.index if isinstance(value, Symbol) else builder.constant(value)


def written(nodes: Sequence[Node], results: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the lines of operations, and the expressions of results.

    Args:
        nodes: the operations, each after its operands.
        results: the indices of nodes.
    """
    lines: list[str] = []
    names: list[str] = []
    for node in nodes:
        if node.operation == ARGUMENT:
            names.append(f"a{int(node.number)}")
        elif node.operation == CONSTANT:
            names.append(c_number(node.number))
        else:
            kind = "bool" if OPERATIONS[node.operation].is_condition else "T"
            name = f"v{len(lines)}"
            expression = _expression(node.operation, [names[i] for i in node.operands])
            lines.append(f"const {kind} {name} = {expression};")
            names.append(name)
    return lines, [names[index] for index in results]


def _expression(operation: str, operands: Sequence[str]) -> str:
    """Return the C expression of an operation."""
    if operation in SIGNS:
        return f"{operands[0]} {SIGNS[operation]} {operands[1]}"
    if operation == "where":
        return "{} ? {} : {}".format(*operands)
    if operation in ("negative", "logical_not"):
        return f"{'-' if operation == 'negative' else '!'}{operands[0]}"
    return f"{FUNCTIONS.get(operation, operation)}({', '.join(operands)})"


def c_number(number: float) -> str:
    """The literal of a number, of the kernel's type.

    >>> c_number(0.1), c_number(-2), c_number(math.inf)
    ('T(0.1)', 'T(-2.0)', 'infinity()')
    """
    number = float(number)
    if math.isfinite(number):
        return f"T({number!r})"
    if math.isnan(number):
        return "(infinity() - infinity())"
    return "infinity()" if number > 0 else "(-infinity())"
