"""Formulas as rules, which are called with a namespace and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.ops.formulas.expand import expanded
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula
from xpnet.ops.formulas.table import OPERATIONS


@dataclass(frozen=True)
class FormulaRule:
    """A formula as a rule ``f(xp, *arrays, *scalars)``; see `xpnet.ops.rules`.

    Args:
        formula: the formula.
        name: the name of the rule; default ``"formula"``.

    >>> from xpnet.ops.formulas import trace
    >>> rule = FormulaRule(trace(lambda xp, z: xp.maximum(z, 0.0), 1))
    >>> rule(np, np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    formula: Formula
    name: str = "formula"

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.formula, self.name))

    @property
    def __name__(self) -> str:
        return self.name

    @cached_property
    def operations(self) -> tuple[tuple[str, tuple[int, ...], float], ...]:
        """The formula in primitive operations, which compiled loops consist of."""
        return tuple(map(tuple, expanded(self.formula).nodes))  # type: ignore[arg-type]

    @property
    def result(self) -> int:
        """The index of the operation with the value of the formula."""
        return expanded(self.formula).result

    @cached_property
    def _steps(self) -> tuple[tuple[int, Any, tuple[int, ...], tuple[int, ...]], ...]:
        """The index, the function and the operands of each operation, and what is used last."""
        nodes, last = self.formula.nodes, {}
        for index, node in enumerate(nodes):
            last.update(dict.fromkeys(node.operands, index))
        return tuple(
            (
                index,
                OPERATIONS[node.operation].function,
                node.operands,
                tuple(i for i in node.operands if last[i] == index and i != self.formula.result),
            )
            for index, node in enumerate(nodes)
            if node.operation not in (ARGUMENT, CONSTANT)
        )

    def __call__(self, xp: Any, *arguments: Any) -> Any:
        """Return the value of the formula for arrays and numbers."""
        like = next((x for x in arguments if hasattr(x, "dtype")), None)
        values: list[Any] = [
            arguments[int(node.number)] if node.operation == ARGUMENT else node.number
            for node in self.formula.nodes
        ]
        with np.errstate(all="ignore"):  # such as an overflow that is not in the result
            for index, function, operands, used in self._steps:
                given = [values[i] for i in operands]
                if len(given) == 3 and like is not None:
                    given[1:] = _with_dtype(xp, like, given[1:])
                values[index] = function(xp, *given)
                for i in used:
                    values[i] = None
        return values[self.formula.result]


def _with_dtype(xp: Any, like: Any, sides: list[Any]) -> list[Any]:
    """Return both sides of ``where`` in the dtype of an array, which two numbers do not have."""
    if any(hasattr(side, "dtype") for side in sides):
        return sides
    return [xp.asarray(side, dtype=like.dtype, device=like.device) for side in sides]
