"""Formulas as rules, which are called with a namespace and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.ops import formulas  # its names load on first access
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

    def __reduce__(self) -> tuple[type[FormulaRule], tuple[Formula, str]]:
        """Return what a copy is made of: a hash differs between processes."""
        return FormulaRule, (self.formula, self.name)

    @cached_property
    def _hash(self) -> int:
        return hash((self.formula, self.name))

    @property
    def __name__(self) -> str:
        return self.name

    @cached_property
    def operations(self) -> tuple[tuple[str, tuple[int, ...], float], ...]:
        """The formula in primitive operations, which compiled loops consist of."""
        return tuple(map(tuple, formulas.expanded(self.formula).nodes))  # type: ignore[arg-type]

    @property
    def result(self) -> int:
        """The index of the operation with the value of the formula."""
        return formulas.expanded(self.formula).result

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
        """Return the value of the formula for arrays and numbers, an array if one is given.

        Raises:
            TypeError: if there are not as many arguments as the formula has.
        """
        if len(arguments) != self.formula.n_arguments:
            raise TypeError(
                f"{self.name} must be called with xp and {self.formula.n_arguments} arrays and "
                f"parameters; got {len(arguments)}."
            )
        like = next((x for x in arguments if hasattr(x, "dtype")), None)
        values: list[Any] = [
            arguments[int(node.number)] if node.operation == ARGUMENT else node.number
            for node in self.formula.nodes
        ]
        with np.errstate(all="ignore"):  # such as an overflow that is not in the result
            for index, function, operands, used in self._steps:
                given = [values[i] for i in operands]
                if all(isinstance(x, (bool, int, float)) for x in given):
                    values[index] = _of_numbers(function, given)
                elif len(given) == 3:
                    values[index] = _chosen(xp, like, given)
                else:
                    values[index] = function(xp, *given)
                for i in used:
                    values[i] = None
        result = values[self.formula.result]
        if like is None or hasattr(result, "dtype"):
            return result
        return xp.full_like(like, result)  # of parameters alone, such as the derivative of a·z


def _of_numbers(function: Any, given: list[Any]) -> Any:
    """Return a number, as of parameters alone; NumPy's would raise the precision of arrays."""
    return np.asarray(function(np, *map(np.asarray, given))).item()


def _chosen(xp: Any, like: Any, given: list[Any]) -> Any:
    """Return a side of ``where``, of which two numbers get the dtype of an array."""
    condition, *sides = given
    if isinstance(condition, bool):
        return sides[0] if condition else sides[1]
    if like is not None and not any(hasattr(side, "dtype") for side in sides):
        sides = [xp.asarray(x, dtype=like.dtype, device=like.device) for x in sides]
    return xp.where(condition, *sides)
