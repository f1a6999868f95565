"""Construction of formulas: equal operations are one node, and constants are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.errors import ArgumentError, Phrase, require
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula, Node
from xpnet.ops.formulas.table import OPERATIONS

COMMUTATIVE = "add", "multiply", "hypot", "logaddexp", "equal", "not_equal"
"""Operations of which the operands may be exchanged without a change of any bit.

The derivative of `maximum` and `minimum` at equal operands depends on their order.
"""

MAX_BUILT = 100_000
"""The largest number of nodes of a formula and its derivative: six times what any that was found
has, of `MAX_OPERATIONS`. It bounds the memory that a file takes."""

MAX_LEVEL = 80
"""The largest number of forms inside each other that `remembered` looks for."""


class NotANumberError(ArgumentError):
    """A number of a formula is NaN."""


class FormulaBuilder:
    """The nodes of a formula that is being made.

    Args:
        n_arguments: the number of its arguments, which are its first nodes.
        simplifies: whether operations are simplified, and unstable forms replaced; default true.
    """

    def __init__(self, n_arguments: int, simplifies: bool = True) -> None:
        self.n_arguments, self.simplifies = n_arguments, simplifies
        self.nodes: list[Node] = []
        self._known: dict[Node, int] = {}
        self._found: dict[tuple[Any, ...], int | None] = {}
        self._arguments: list[int] = []
        self._level = 0
        for index in range(n_arguments):
            self.kept(Node(ARGUMENT, (), index))

    def constant(self, number: float) -> int:
        """Return the node of a number.

        Raises:
            ArgumentError: if it is NaN, in a formula that is simplified.
        """
        if self.simplifies and math.isnan(number):
            raise NotANumberError("the numbers of a formula must not be NaN.")
        return self.kept(Node(CONSTANT, (), float(number) + 0.0))  # −0 is 0

    def number_of(self, index: int) -> float | None:
        """Return the value of a constant, or ``None``."""
        node = self.nodes[index]
        return node.number if node.operation == CONSTANT else None

    def operands_of(self, index: int, operation: str) -> tuple[int, ...] | None:
        """Return the operands of a node if it is such an operation."""
        node = self.nodes[index]
        return node.operands if node.operation == operation else None

    def is_condition(self, index: int) -> bool:
        """Return whether the value of a node is a truth value."""
        name = self.nodes[index].operation
        return name in OPERATIONS and OPERATIONS[name].is_condition

    def node(self, operation: str, *operands: int) -> int:
        """Return the node of an operation as it is, without simplification."""
        if operation in COMMUTATIVE:
            operands = tuple(sorted(operands, key=lambda i: (self.number_of(i) is None, i)))
        return self.kept(Node(operation, operands))

    def folded(self, operation: str, *operands: int) -> int | None:
        """Return the constant that an operation on constants is, or ``None``."""
        numbers = [self.number_of(i) for i in operands]
        if any(number is None for number in numbers) or self._is_conditional(operation):
            return None
        with np.errstate(all="ignore"):
            value = float(OPERATIONS[operation].function(np, *map(np.float64, numbers)))
        return None if math.isnan(value) else self.constant(value)

    def _is_conditional(self, operation: str) -> bool:
        return OPERATIONS[operation].is_condition or operation == "where"

    def kept(self, node: Node) -> int:
        """Return the index of a node, which is added if there is no equal one.

        Raises:
            ArgumentError: if there are `MAX_BUILT`.
        """
        index = self._known.get(node)
        if index is None:
            rule = f"have derivatives of at most {MAX_BUILT} operations"
            require(len(self.nodes) < MAX_BUILT, "formula", rule, Phrase("more"))
            index = self._known[node] = len(self.nodes)
            self.nodes.append(node)
        return index

    def remembered(self, form: Callable[..., int | None], *operands: Any) -> int | None:
        """Return ``form(self, *operands)``, computed once; ``None`` inside `MAX_LEVEL` others.

        Without it the forms of shared nodes would be looked for once on each path to them, of which
        there may be 2¹²⁸. A form must depend on its operands alone.
        """
        key = form, *operands
        if key not in self._found:
            if self._level == MAX_LEVEL:
                return None
            self._level += 1
            self._found[key] = None
            try:
                self._found[key] = form(self, *operands)
            except NotANumberError:  # as of 0·(∞·u), which stays as it is
                pass
            finally:
                self._level -= 1
        return self._found[key]

    def reached(self, result: int, cut: int = -1) -> set[int]:
        """Return the nodes that a result depends on, without passing through the node ``cut``."""
        found: set[int] = set()
        waiting = [result]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += () if index == cut else self.nodes[index].operands
        return found

    def are_independent(self, one: int, other: int) -> bool:
        """Return whether two nodes have no argument in common, apart from those of conditions."""
        for node in self.nodes[len(self._arguments) : max(one, other) + 1]:
            found = 1 << int(node.number) if node.operation == ARGUMENT else 0
            for i in node.operands[node.operation == "where" :]:
                found |= self._arguments[i]
            self._arguments.append(found)
        return not self._arguments[one] & self._arguments[other]

    def formula(self, result: int) -> Formula:
        """Return the formula of a node, without nodes that it does not need."""
        order = sorted(self.reached(result) | set(range(self.n_arguments)))
        places = {index: place for place, index in enumerate(order)}
        nodes = tuple(
            node._replace(operands=tuple(places[i] for i in node.operands))
            for node in map(self.nodes.__getitem__, order)
        )
        return Formula(self.n_arguments, nodes, places[result])

    def copied(self, formula: Formula) -> list[int]:
        """Return the nodes of a formula in this builder, by their index in the formula."""
        places: list[int] = []
        for node in formula.nodes:
            operands = tuple(places[i] for i in node.operands)
            places.append(self.kept(node._replace(operands=operands)))
        return places


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, not a truth value."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
