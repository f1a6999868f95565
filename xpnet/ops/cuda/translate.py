"""Translate a rule to CUDA C by executing it once on symbols, which emit one line per operation.

The namespace and the symbols below replace the namespace and the arrays of a rule. A rule that
calls another rule, loops over constants or uses `math` therefore needs no parser, and common
subexpressions are computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from xpnet.ops.operations import Rule

Operand: TypeAlias = "Symbol | float | int"


class KernelBody:
    """The lines of a kernel's body, emitted so far."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, str] = {}

    def value(self, expression: str, kind: str = "T") -> Symbol:
        """The variable that holds an expression; an expression seen before is reused."""
        name = self._names.get(expression)
        if name is None:
            name = self._names[expression] = f"v{len(self._names)}"
            self.lines.append(f"const {kind} {name} = {expression};")
        return Symbol(self, name)


@dataclass(frozen=True, eq=False)
class Symbol:
    """The value of one element, a variable of the kernel.

    Attributes:
        code: the body to which operations on the symbol append.
        name: the name of the variable.
    """

    code: KernelBody = field(repr=False)
    name: str

    def _infix(self, left: Operand, sign: str, right: Operand, kind: str = "T") -> Symbol:
        return self.code.value(f"{c_expression(left)} {sign} {c_expression(right)}", kind)

    def __add__(self, other: Operand) -> Symbol:
        return self._infix(self, "+", other)

    def __radd__(self, other: Operand) -> Symbol:
        return self._infix(other, "+", self)

    def __sub__(self, other: Operand) -> Symbol:
        return self._infix(self, "-", other)

    def __rsub__(self, other: Operand) -> Symbol:
        return self._infix(other, "-", self)

    def __mul__(self, other: Operand) -> Symbol:
        return self._infix(self, "*", other)

    def __rmul__(self, other: Operand) -> Symbol:
        return self._infix(other, "*", self)

    def __truediv__(self, other: Operand) -> Symbol:
        return self._infix(self, "/", other)

    def __rtruediv__(self, other: Operand) -> Symbol:
        return self._infix(other, "/", self)

    def __neg__(self) -> Symbol:
        return self.code.value(f"-{self.name}")

    def __lt__(self, other: Operand) -> Symbol:
        return self._infix(self, "<", other, "bool")

    def __le__(self, other: Operand) -> Symbol:
        return self._infix(self, "<=", other, "bool")

    def __gt__(self, other: Operand) -> Symbol:
        return self._infix(self, ">", other, "bool")

    def __ge__(self, other: Operand) -> Symbol:
        return self._infix(self, ">=", other, "bool")

    __hash__ = None  # type: ignore[assignment]

    # The default compares identities, which would insert a constant into the kernel.
    def __eq__(self, other: Operand) -> Symbol:  # type: ignore[override]
        return self._infix(self, "==", other, "bool")

    def __ne__(self, other: Operand) -> Symbol:  # type: ignore[override]
        return self._infix(self, "!=", other, "bool")

    def __bool__(self) -> bool:
        raise TypeError("a rule must not branch on values: use xp.where")


def c_expression(operand: Operand) -> str:
    """The C expression of an operand: a variable, or a literal of the kernel's type.

    >>> c_expression(0.1), c_expression(-2), c_expression(math.inf)
    ('T(0.1)', 'T(-2.0)', 'infinity()')
    """
    if isinstance(operand, Symbol):
        return operand.name
    number = float(operand)
    if math.isfinite(number):
        return f"T({number!r})"
    if math.isnan(number):
        return "(infinity() - infinity())"
    return "infinity()" if number > 0 else "(-infinity())"


FUNCTIONS = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "tanh", "sqrt", "floor")},
    "abs": "fabs",
    "sign": "sign_of",
    "square": "square_of",
    "maximum": "larger",
    "minimum": "smaller",
}
"""The functions that rules may call, and their names in CUDA or ``kernels/numbers.cuh``."""


class SymbolNamespace:
    """The ``xp`` of a rule that is translated: functions that emit calls."""

    def __init__(self, code: KernelBody) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        called = FUNCTIONS.get(name)
        if called is None:
            raise AttributeError(f"xp.{name} is not among the functions of rules")

        def call(*operands: Operand) -> Symbol:
            return self._code.value(f"{called}({', '.join(map(c_expression, operands))})")

        return call

    def where(self, condition: Operand, a: Operand, b: Operand) -> Symbol:
        """Select one of two values; both are computed."""
        return self._code.value(
            f"{c_expression(condition)} ? {c_expression(a)} : {c_expression(b)}"
        )


def translate(rule: Rule, arguments: int) -> tuple[list[str], list[str]]:
    """The C code of a rule: its lines, and the expressions of its values.

    Args:
        rule: a rule; see `xpnet.ops.rules`.
        arguments: the number of arrays and scalars, which are the variables ``a0, a1, …``.

    Raises:
        TypeError: if the rule branches on values, or uses an operator that symbols do not have.
        AttributeError: if it calls a function of ``xp`` that is not in `FUNCTIONS`.

    >>> translate(lambda xp, z, alpha: xp.where(z > 0.0, z, alpha * z), 2)[0]
    ['const bool v0 = a0 > T(0.0);', 'const T v1 = a1 * a0;', 'const T v2 = v0 ? a0 : v1;']
    """
    code = KernelBody()
    result: Any = rule(SymbolNamespace(code), *(Symbol(code, f"a{i}") for i in range(arguments)))
    values = result if isinstance(result, tuple) else (result,)
    return code.lines, [c_expression(value) for value in values]
