"""Derivatives of formulas."""

from __future__ import annotations

from typing import Any

from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula, Node
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace
from xpnet.ops.formulas.table import OPERATIONS

FLAT = {
    *("exp", "expm1", "sigmoid", "softplus", "log_sigmoid", "logaddexp", "tanh", "erf", "erfc"),
    *("sigmoid_slope", "gaussian"),
}
"""The functions with a derivative that decays exponentially, on one side or both."""

BOUNDED = {
    *("sign", "sigmoid", "tanh", "sigmoid_slope", "gaussian", "erf", "erfc", "sin", "cos", "atan"),
    CONSTANT,
}
"""The operations with bounded values."""

COMBINED = {"negative", "abs", "square", "add", "subtract", "multiply", "maximum", "minimum"}
"""The operations with bounded values for bounded operands."""


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


def derived(
    formula: Formula, argument: int, builder: FormulaBuilder | None = None
) -> tuple[FormulaBuilder, list[int], int]:
    """Return a builder with a formula and its derivative, the nodes of the one, and the other.

    Args:
        formula: the formula.
        argument: the index of the argument by which it is differentiated.
        builder: the builder to add them to; default: a new one.
    """
    builder = builder or FormulaBuilder(formula.n_arguments)
    places = builder.copied(formula)
    chain = _ChainRule(builder, argument)
    slopes: list[Symbol | None] = []
    for node, place in zip(formula.nodes, places, strict=True):
        operands = [Symbol(builder, places[i]) for i in node.operands]
        given = [slopes[i] for i in node.operands]
        slopes.append(chain.slope(node, Symbol(builder, place), operands, given))
    slope = slopes[formula.result]
    return builder, places, builder.constant(0.0) if slope is None else slope.index


class _ChainRule:
    """The derivatives of operations by the argument of a formula.

    Args:
        builder: the formula that is being made.
        argument: the index of the argument.
    """

    def __init__(self, builder: FormulaBuilder, argument: int) -> None:
        self.builder, self.argument = builder, argument
        self.xp = SymbolNamespace(builder, internal=True)
        # Of each node, in the order of the builder: whether it depends on the argument, is bounded.
        self._depends: list[bool] = []
        self._bounded: list[bool] = []

    def slope(
        self, node: Node, y: Symbol, operands: list[Symbol], slopes: list[Symbol | None]
    ) -> Symbol | None:
        """Return the derivative of a node by those of its operands; ``None`` is 0."""
        if node.operation == ARGUMENT and node.number == self.argument:
            return Symbol(self.builder, self.builder.constant(1.0))
        partials = OPERATIONS[node.operation].partials if node.operation in OPERATIONS else None
        if all(slope is None for slope in slopes):
            return None
        if node.operation == "where":
            return self._chosen(operands[0], slopes[1], slopes[2])
        if node.operation in ("maximum", "minimum"):
            a, b = operands
            return self._chosen(a > b if node.operation == "maximum" else a < b, *slopes)
        if node.operation == "divide":
            return self._of_quotient(y, operands, slopes)
        found = () if partials is None else partials(self.xp, y, *operands)
        is_flat = node.operation in FLAT
        return self._sum(
            self._product(partial, slope, is_flat)
            for partial, slope in zip(found, slopes, strict=bool(found))
        )

    def _chosen(self, condition: Symbol, a: Symbol | None, b: Symbol | None) -> Symbol | None:
        """Return the derivative of the chosen side."""
        if a is None and b is None:
            return None
        sides = (0.0 if a is None else a, 0.0 if b is None else b)
        chosen: Symbol = self.xp.where(condition, *sides)
        return chosen

    def _product(self, partial: Any, slope: Symbol | None, is_flat: bool) -> Symbol | None:
        """Return a term of the chain rule.

        Where a slope is 0 because another side was chosen, or a partial derivative has decayed to
        0, so is their product, even if the other factor overflows.
        """
        if slope is None or (isinstance(partial, float) and partial == 0.0):
            return None
        b, xp = self.builder, self.xp
        sides = b.operands_of(slope.index, "where")
        if sides is not None and 0.0 in (numbers := [b.number_of(i) for i in sides[1:]]):
            condition, *values = (Symbol(b, i) for i in sides)
            terms = [
                0.0 if number == 0.0 else partial * value
                for number, value in zip(numbers, values, strict=True)
            ]
            return xp.where(condition, *terms)  # type: ignore[no-any-return]
        product: Symbol = partial * slope
        is_finite = slope.index == self.argument or self._is_bounded(slope.index)
        if is_flat and isinstance(partial, Symbol) and not is_finite:
            return xp.where(partial == 0.0, 0.0, product)  # type: ignore[no-any-return]
        return product

    def _of_quotient(
        self, y: Symbol, operands: list[Symbol], slopes: list[Symbol | None]
    ) -> Symbol | None:
        """Return ``u'/v − (u/v)(v'/v)``, or what it is without cancellation."""
        (u, v), (above, below) = operands, slopes
        terms = self.builder.operands_of(v.index, "add")
        if above is not None and below is not None and terms is not None:
            for c, w in (terms, terms[::-1]):
                product = above * Symbol(self.builder, w)
                if self._is_independent(c) and product.index == (u * below).index:
                    # u/(c + w) with u' w = u w', such as z/(1 + |z|)
                    return Symbol(self.builder, c) * above / v / v
        sides = self.builder.operands_of(v.index, "hypot")
        if above is not None and sides is not None and u.index in sides:
            other = sides[0] if sides[1] == u.index else sides[1]
            if self._is_independent(other):
                ratio = Symbol(self.builder, other) / v
                return ratio * ratio * (above / v)
        return self._sum(
            (
                None if above is None else above / v,
                None if below is None else -y * (below / v),
            )
        )

    def _sum(self, terms: Any) -> Symbol | None:
        total: Symbol | None = None
        for term in terms:
            if term is not None:
                total = term if total is None else total + term
        return total

    def _is_independent(self, index: int) -> bool:
        self._examine(index)
        return not self._depends[index]

    def _is_bounded(self, index: int) -> bool:
        """Return whether a node is known to be bounded, for any value of the argument."""
        self._examine(index)
        return self._bounded[index]

    def _examine(self, index: int) -> None:
        """Find out about all nodes up to one; each operand has been before."""
        for node in self.builder.nodes[len(self._bounded) : index + 1]:
            sides = node.operands[1:] if node.operation == "where" else node.operands
            is_own = node.operation == ARGUMENT and node.number == self.argument
            depends = is_own or any(self._depends[i] for i in node.operands)
            is_combined = node.operation in COMBINED or node.operation == "where"
            is_bounded = not depends or node.operation in BOUNDED
            is_bounded = is_bounded or (is_combined and all(self._bounded[i] for i in sides))
            self._depends.append(depends)
            self._bounded.append(is_bounded)
