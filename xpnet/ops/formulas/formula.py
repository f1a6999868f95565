"""Formulas: graphs of elementwise operations, as values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from xpnet.errors import ArgumentError, Phrase, require
from xpnet.ops.formulas.table import OPERATIONS

MAX_OPERATIONS = 512
"""The largest number of operations of a formula."""

MAX_DEPTH = 128
"""The largest number of operations from an argument to the result."""

MAX_ARGUMENTS = 64
"""The largest number of arrays and parameters of a formula."""

ARGUMENT, CONSTANT = "argument", "constant"
"""The nodes without operands."""


class Node(NamedTuple):
    """One operation of a formula.

    Attributes:
        operation: a name of `xpnet.ops.formulas.table.OPERATIONS`, `ARGUMENT` or `CONSTANT`.
        operands: the indices of earlier nodes.
        number: the value of a constant; the index of an argument; else 0.
    """

    operation: str
    operands: tuple[int, ...] = ()
    number: float = 0.0


@dataclass(frozen=True)
class Formula:
    """A formula: operations in an order in which each follows its operands.

    Attributes:
        n_arguments: the number of arrays and numbers that it takes.
        nodes: the operations.
        result: the index of the node that is the value of the formula.

    Raises:
        ArgumentError: if a node is not one of the table or does not follow its operands.

    >>> Formula(1, (Node("argument"), Node("exp", (0,))), 1).depth
    1
    """

    n_arguments: int
    nodes: tuple[Node, ...]
    result: int

    def __post_init__(self) -> None:
        if not 0 <= self.result < len(self.nodes):
            raise ArgumentError(f"result must be the index of a node; got {self.result}.")
        for index, node in enumerate(self.nodes):
            self._check(index, node)

    def _check(self, index: int, node: Node) -> None:
        name = node.operation
        known = name in OPERATIONS or name in (ARGUMENT, CONSTANT)
        require(known, "operation", "be one of those of formulas", name)
        arity = OPERATIONS[name].arity if name in OPERATIONS else 0
        follows = all(0 <= i < index for i in node.operands)
        is_argument = name != ARGUMENT or node.number in range(self.n_arguments)
        if len(node.operands) != arity or not follows or not is_argument:
            raise ArgumentError(f"nodes must follow their {arity} operands; got {node}.")

    @property
    def n_operations(self) -> int:
        """The number of operations."""
        return sum(node.operation not in (ARGUMENT, CONSTANT) for node in self.nodes)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """The number of operations from an argument to each node."""
        depths: list[int] = []
        for node in self.nodes:
            depths.append(1 + max((depths[i] for i in node.operands), default=-1))
        return tuple(depths)

    @property
    def depth(self) -> int:
        """The number of operations from an argument to the result."""
        return self.depths[self.result]


def require_small(formula: Formula) -> None:
    """Refuse a formula that is too large, as one that is made in a loop.

    Raises:
        ArgumentError: naming the limit.
    """
    for what, size, limit in (
        ("arguments", formula.n_arguments, MAX_ARGUMENTS),
        ("operations", formula.n_operations, MAX_OPERATIONS),
        ("operations one after another", formula.depth, MAX_DEPTH),
    ):
        require(size <= limit, "formula", f"have at most {limit} {what}", Phrase(size))
