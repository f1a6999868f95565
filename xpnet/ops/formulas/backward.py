"""The derivatives of an activation, by the array that the forward pass keeps."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.derivative import derivative_of, derived
from xpnet.ops.formulas.formula import CONSTANT, Formula


class Backward(NamedTuple):
    """The derivatives of an activation ``φ``.

    Attributes:
        saves: the array ``s`` that they take, the ``"input"`` or the ``"output"`` of ``φ``.
        derivative: ``φ'`` as a formula of ``s`` and the parameters.
        curvature: ``∂φ'/∂s``; ``None`` if it is 0 almost everywhere.
    """

    saves: Literal["input", "output"]
    derivative: Formula
    curvature: Formula | None


@lru_cache(256)
def backward_of(formula: Formula) -> Backward:
    """Return the derivatives of an activation, by the output if they take no more than that.

    A layer that keeps the output alone needs one array less than one that keeps the input. So the
    output is chosen if ``φ'`` is a formula of it that has no more operations.

    >>> from xpnet.ops.formulas import trace
    >>> backward_of(trace(lambda xp, z: xp.exp(z), 1)).saves
    'output'
    """
    by_input = derivative_of(formula)
    by_output = _by_output(formula)
    if by_output is not None and by_output.n_operations <= by_input.n_operations:
        return Backward("output", by_output, nonzero(derivative_of(by_output)))
    return Backward("input", by_input, nonzero(derivative_of(by_input)))


def nonzero(formula: Formula) -> Formula | None:
    """Return a formula, or ``None`` for the constant 0."""
    node = formula.nodes[formula.result]
    return None if node.operation == CONSTANT and node.number == 0.0 else formula


def _by_output(formula: Formula) -> Formula | None:
    """Return ``φ'`` as a formula of the output; ``None`` if it depends on the input otherwise."""
    builder, places, slope = derived(formula, 0)
    output = places[formula.result]
    needed = builder.reached(slope, output)
    if output == 0 or 0 in needed:
        return None
    kept = FormulaBuilder(formula.n_arguments)
    moved = {output: 0}
    for index in sorted(needed - {output}):
        node = builder.nodes[index]
        moved[index] = kept.kept(node._replace(operands=tuple(moved[i] for i in node.operands)))
    return kept.formula(moved[slope])
