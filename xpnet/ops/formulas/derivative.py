"""Derivatives of formulas."""

from __future__ import annotations

from typing import Any

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula, Node
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace
from xpnet.ops.formulas.table import OPERATIONS


def derivative_of(formula: Formula, argument: int = 0) -> Formula:
    """Return ``∂f/∂x``, where ``x`` is an argument of a formula ``f``.

    It follows by the chain rule in the order of the operations, with each shared one once. At a
    kink of `maximum`, `minimum` or ``where`` it is the derivative of one side: of the second
    operand of ``maximum(a, b)`` where ``a = b``. The derivative of `abs` and `sign` at 0 is 0.

    Args:
        formula: the formula ``f``.
        argument: the index of ``x``; default 0.

    >>> import numpy as np
    >>> from xpnet.ops.formulas import FormulaRule, trace
    >>> slope = derivative_of(trace(lambda xp, z: z * z, 1))
    >>> FormulaRule(slope)(np, np.array([1.0, 3.0])).tolist()
    [2.0, 6.0]
    """
    builder, _, slope = derived(formula, argument)
    return builder.formula(slope)


def derived(formula: Formula, argument: int) -> tuple[FormulaBuilder, list[int], int]:
    """Return a builder with a formula and its derivative, the nodes of the one, and the other."""
    builder = FormulaBuilder(formula.n_arguments)
    places = builder.copied(formula)
    xp = SymbolNamespace(builder, internal=True)
    slopes: list[Symbol | None] = []
    for node, place in zip(formula.nodes, places, strict=True):
        operands = [Symbol(builder, places[i]) for i in node.operands]
        given = [slopes[i] for i in node.operands]
        slopes.append(_slope(xp, builder, node, Symbol(builder, place), operands, given, argument))
    slope = slopes[formula.result]
    return builder, places, builder.constant(0.0) if slope is None else slope.index


def _slope(
    xp: SymbolNamespace,
    builder: FormulaBuilder,
    node: Node,
    y: Symbol,
    operands: list[Symbol],
    slopes: list[Symbol | None],
    argument: int,
) -> Symbol | None:
    """Return the derivative of a node, ``None`` for 0."""
    if node.operation in (ARGUMENT, CONSTANT):
        is_own = node.operation == ARGUMENT and node.number == argument
        return Symbol(builder, builder.constant(1.0)) if is_own else None
    if node.operation == "where":
        return _chosen(xp, operands[0], slopes[1], slopes[2])
    if node.operation in ("maximum", "minimum"):
        a, b = operands
        return _chosen(xp, a > b if node.operation == "maximum" else a < b, *slopes)
    partials = OPERATIONS[node.operation].partials
    if partials is None or all(slope is None for slope in slopes):
        return None
    terms: list[Any] = []
    for partial, slope in zip(partials(xp, y, *operands), slopes, strict=True):
        is_zero = isinstance(partial, float) and partial == 0.0
        if slope is not None and not is_zero:
            terms.append(partial * slope)
    if not terms:
        return None
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total if isinstance(total, Symbol) else Symbol(builder, builder.constant(total))


def _chosen(
    xp: SymbolNamespace, condition: Symbol, a: Symbol | None, b: Symbol | None
) -> Symbol | None:
    """Return the derivative of the chosen side."""
    if a is None and b is None:
        return None
    chosen: Symbol = xp.where(condition, 0.0 if a is None else a, 0.0 if b is None else b)
    return chosen
