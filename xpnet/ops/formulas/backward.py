"""The derivatives of an activation, by the array that the forward pass keeps."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.derivative import derivative_of, derived
from xpnet.ops.formulas.expand import expanded
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula

CHEAP = {
    *("add", "subtract", "multiply", "negative", "abs", "sign", "square", "where"),
    *("maximum", "minimum", "less", "less_equal", "greater", "greater_equal", "equal"),
    *("not_equal", "logical_and", "logical_or", "logical_not"),
}
"""The operations that take about the time of one multiplication."""

COST = 8
"""The time of any other operation, such as `exp`, in multiplications."""


class Backward(NamedTuple):
    """The derivatives of an activation ``φ``.

    Attributes:
        saves: the array ``s`` that they take: the ``"input"`` or the ``"output"`` of ``φ``, or an
            ``"intermediate"`` ``u = h(z)``.
        derivative: ``φ'`` as a formula of ``s`` and the parameters.
        curvature: ``∂φ'/∂s`` of an output, or ``φ''`` as a formula of the input or intermediate;
            ``None`` if it is 0 almost everywhere.
        inner: ``h`` as a formula of ``z``, if there is an intermediate.
        outer: ``φ`` as a formula of the intermediate.
    """

    saves: Literal["input", "output", "intermediate"]
    derivative: Formula
    curvature: Formula | None
    inner: Formula | None = None
    outer: Formula | None = None


@lru_cache(256)
def backward_of(formula: Formula) -> Backward:
    """Return the derivatives of an activation, by the array with which they are cheapest.

    It is that of `simple_backward_of`, or an intermediate in the place of the input if this saves a
    function such as `exp` in ``φ'``.

    >>> from xpnet.ops.formulas import trace
    >>> backward_of(trace(lambda xp, z: xp.exp(-xp.exp(-z)), 1)).saves
    'intermediate'
    """
    simple = simple_backward_of(formula)
    found = _by_intermediate(formula) if simple.saves == "input" else None
    if found is None or cost_of(found.derivative) + COST > cost_of(simple.derivative):
        return simple
    return found


@lru_cache(256)
def simple_backward_of(formula: Formula) -> Backward:
    """Return the derivatives of an activation by its output or its input.

    A layer that keeps the output alone needs one array less. So the output is chosen if ``φ'`` is a
    formula of it that has no more operations.

    >>> from xpnet.ops.formulas import trace
    >>> simple_backward_of(trace(lambda xp, z: xp.exp(z), 1)).saves
    'output'
    """
    builder, places, slope = derived(formula, 0)
    by_input, output = builder.formula(slope), places[formula.result]
    by_output = None if output == 0 else _in_terms_of(builder, output, slope)
    if by_output is not None and by_output.n_operations <= by_input.n_operations:
        return Backward("output", by_output, nonzero(derivative_of(by_output)))
    return Backward("input", by_input, nonzero(derivative_of(by_input)))


def cost_of(formula: Formula) -> int:
    """Return about how long a formula takes for one number, in multiplications."""
    operations = (node.operation for node in expanded(formula).nodes)
    return sum(
        1 if name in CHEAP else COST for name in operations if name not in (ARGUMENT, CONSTANT)
    )


def nonzero(formula: Formula) -> Formula | None:
    """Return a formula, or ``None`` for the constant 0."""
    node = formula.nodes[formula.result]
    return None if node.operation == CONSTANT and node.number == 0.0 else formula


def _by_intermediate(formula: Formula) -> Backward | None:
    """Return the derivatives by the last operation ``u`` that all paths to the input pass.

    They are the graphs of ``φ``, ``φ'`` and ``φ''`` with ``u`` as their argument, so that no
    number differs from what it is by the input. With an earlier ``u`` they would be larger.
    """
    builder, places, slope = derived(formula, 0)
    _, _, curvature = derived(builder.formula(slope), 0, builder)
    results = places[formula.result], slope, curvature
    cut = _last_cut(builder, results)
    if cut is None:
        return None
    outer, first, second = (_in_terms_of(builder, cut, result) for result in results)
    if outer is None or first is None or second is None:
        return None
    return Backward("intermediate", first, nonzero(second), builder.formula(cut), outer)


def _last_cut(builder: FormulaBuilder, results: tuple[int, ...]) -> int | None:
    """Return the last operation, but the first result, on every path from results to the input.

    Operands precede their operations, so it is a node that no edge of a path skips.
    """
    depends = [True]
    for node in builder.nodes[1:]:
        depends.append(any(depends[i] for i in node.operands))
    ends = [i for i in results if depends[i]]
    reached = set().union(*map(builder.reached, ends))
    lowest = min(ends, default=0)
    for index in sorted((i for i in reached if depends[i] and i > 0), reverse=True):
        if index == lowest and index != results[0]:
            return index
        lowest = min(lowest, *(i for i in builder.nodes[index].operands if depends[i]))
    return None


def _in_terms_of(builder: FormulaBuilder, cut: int, result: int) -> Formula | None:
    """Return a node as a formula of another one instead of the first argument.

    It is ``None`` if the node depends on the argument otherwise.
    """
    needed = builder.reached(result, cut)
    if 0 in needed:
        return None
    kept = FormulaBuilder(builder.n_arguments)
    moved = {cut: 0}
    for index in sorted(needed - {cut}):
        node = builder.nodes[index]
        moved[index] = kept.kept(node._replace(operands=tuple(moved[i] for i in node.operands)))
    return kept.formula(moved[result])
