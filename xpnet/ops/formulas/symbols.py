"""Symbols: the operands on which a rule is run, instead of arrays, to find its formula."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.errors import ArgumentError, describe, unknown_name
from xpnet.ops.formulas.builder import FormulaBuilder, is_number
from xpnet.ops.formulas.simplify import simplified
from xpnet.ops.formulas.table import OPERATIONS, takes_conditions

PUBLIC = sorted(
    {*(name for name, found in OPERATIONS.items() if found.is_public)}
    | {"clip", "positive", "reciprocal"}
)
"""The functions that a rule may call."""

OPERATORS = {
    *("add", "subtract", "multiply", "divide", "pow"),
    *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
}
"""The functions that NumPy calls for an operator, if a number of its own is on the left."""


class NoFormulaError(TypeError):
    """A rule does what formulas cannot express. The message continues "a rule that"."""


class Symbol:
    """One value of a rule; operators and functions add nodes to the formula.

    Args:
        builder: the formula that is being made.
        index: the node.
    """

    __slots__ = ("builder", "index")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: FormulaBuilder, index: int) -> None:
        self.builder, self.index = builder, index

    def __repr__(self) -> str:
        return "a value"

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Symbol:
        """Take an operator with a NumPy number on its left; refuse the functions of NumPy."""
        named = (name for name in PUBLIC if getattr(np, name, None) is ufunc)
        name = next(named, ufunc.__name__)
        if name in OPERATORS and method == "__call__" and not options:
            return self._with(name, *operands)
        called_as = name if method == "__call__" else f"{name}.{method}"
        do = f"write xp.{name}" if called_as in PUBLIC else "use the functions of xp"
        raise NoFormulaError(f"calls {called_as} of NumPy or SciPy: {do}")

    def __array__(self, *dtype: Any, **options: Any) -> Any:
        raise NoFormulaError("gives a value to NumPy: use the functions of xp, such as xp.where")

    def _with(self, operation: str, *operands: Any) -> Symbol:
        return called(self.builder, operation, *operands)

    def __add__(self, other: Any) -> Symbol:
        return self._with("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self._with("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self._with("subtract", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._with("subtract", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self._with("multiply", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._with("multiply", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self._with("divide", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._with("divide", other, self)

    def __pow__(self, other: Any) -> Symbol:
        return self._with("pow", self, other)

    def __rpow__(self, other: Any) -> Symbol:
        return self._with("pow", other, self)

    def __neg__(self) -> Symbol:
        return self._with("negative", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self._with("abs", self)

    def __lt__(self, other: Any) -> Symbol:
        return self._with("less", self, other)

    def __le__(self, other: Any) -> Symbol:
        return self._with("less_equal", self, other)

    def __gt__(self, other: Any) -> Symbol:
        return self._with("greater", self, other)

    def __ge__(self, other: Any) -> Symbol:
        return self._with("greater_equal", self, other)

    def __eq__(self, other: object) -> Symbol:  # type: ignore[override]
        return self._with("equal", self, other)

    def __ne__(self, other: object) -> Symbol:  # type: ignore[override]
        return self._with("not_equal", self, other)

    def __and__(self, other: Any) -> Symbol:
        return self._with("logical_and", self, other)

    def __or__(self, other: Any) -> Symbol:
        return self._with("logical_or", self, other)

    def __invert__(self) -> Symbol:
        return self._with("logical_not", self)

    def __bool__(self) -> bool:
        raise NoFormulaError("branches on a value: use xp.where(condition, a, b)")

    def __float__(self) -> float:
        raise NoFormulaError(
            "needs a value as a number, as float() and math.exp do: use the functions of xp"
        )

    __int__ = __index__ = __float__

    def __iter__(self) -> Any:
        raise NoFormulaError("uses a value as a sequence: a formula is elementwise")

    def __getitem__(self, index: Any) -> Any:
        raise NoFormulaError("indexes a value: a formula is elementwise")


class SymbolNamespace:
    """The ``xp`` of a rule that is run on symbols: the functions of the table.

    Args:
        builder: the formula that is being made.
        internal: whether the functions that only derivatives call are there too.
    """

    pi, e, inf, nan = np.pi, np.e, np.inf, np.nan

    def __init__(self, builder: FormulaBuilder, internal: bool = False) -> None:
        self._builder, self._internal = builder, internal

    def __getattr__(self, name: str) -> Any:
        found = OPERATIONS.get(name)
        if found is None or not (found.is_public or self._internal):
            raise unknown_name("a function of xp in a formula", name, PUBLIC)
        return lambda *operands: called(self._builder, name, *operands)

    def clip(self, x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - the standard's
        """Return ``x``, held within bounds."""
        x = x if min is None else self.maximum(x, min)
        return x if max is None else self.minimum(x, max)

    def reciprocal(self, x: Any) -> Any:
        """Return ``1/x``."""
        return 1.0 / x

    def positive(self, x: Any) -> Any:
        """Return ``x``."""
        return x


def called(builder: FormulaBuilder, operation: str, *operands: Any) -> Symbol:
    """Return the symbol of an operation.

    Raises:
        ArgumentError: if there are not as many operands as it has, or one is of another kind.
    """
    arity = OPERATIONS[operation].arity
    if len(operands) != arity:
        raise ArgumentError(
            f"xp.{operation} must be given {arity} operand{'s' * (arity > 1)} in a formula; got "
            f"{len(operands)}."
        )
    nodes = [
        _as_condition(builder, x) if wanted else _as_number(builder, x)
        for x, wanted in zip(operands, takes_conditions(operation), strict=True)
    ]
    return Symbol(builder, simplified(builder, operation, *nodes))


def _as_number(builder: FormulaBuilder, value: Any) -> int:
    """Return the node of a number; a condition is 1 or 0."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if is_number(value) or isinstance(value, bool):
        return builder.constant(float(value))
    if not isinstance(value, Symbol) or value.builder is not builder:
        raise ArgumentError(
            f"the operands of a formula must be its arguments and numbers; got {describe(value)}."
        )
    if builder.is_condition(value.index):
        one, zero = builder.constant(1.0), builder.constant(0.0)
        return builder.node("where", value.index, one, zero)
    return value.index


def _as_condition(builder: FormulaBuilder, value: Any) -> int:
    """Return the node of a condition; a number is true unless it is 0."""
    if isinstance(value, Symbol) and value.builder is builder and builder.is_condition(value.index):
        return value.index
    return builder.node("not_equal", _as_number(builder, value), builder.constant(0.0))
