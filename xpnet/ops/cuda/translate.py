"""A rule as CUDA code: it is run once on symbols, which write down what is done to them.

The namespace and the symbols below take part in a rule like arrays do. So a rule that calls another
rule, loops over constants or computes with `math` needs no parser: what remains is one line of code
for every operation on an element, each value named once and used wherever it comes up again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from xpnet.ops.operations import Rule

Operand: TypeAlias = "Symbol | float | int"


class Code:
    """The lines of a kernel's body in the making."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, str] = {}

    def value(self, expression: str, kind: str = "T") -> Symbol:
        """The name of an expression's value; the same expression keeps the name it has."""
        name = self._names.get(expression)
        if name is None:
            name = self._names[expression] = f"v{len(self._names)}"
            self.lines.append(f"const {kind} {name} = {expression};")
        return Symbol(self, name)


@dataclass(frozen=True, eq=False)
class Symbol:
    """A value of one element, known by its name in the code.

    Attributes:
        code: where what is done to it is written.
        name: its name there.
    """

    code: Code = field(repr=False)
    name: str

    def _infix(self, left: Operand, sign: str, right: Operand, kind: str = "T") -> Symbol:
        return self.code.value(f"{written(left)} {sign} {written(right)}", kind)

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

    # Python's own would compare the symbols themselves, and hand the rule a constant.
    def __eq__(self, other: Operand) -> Symbol:  # type: ignore[override]
        return self._infix(self, "==", other, "bool")

    def __ne__(self, other: Operand) -> Symbol:  # type: ignore[override]
        return self._infix(self, "!=", other, "bool")

    def __bool__(self) -> bool:
        raise TypeError("a rule must not branch on values: xp.where chooses between two")


def written(operand: Operand) -> str:
    """An operand as it stands in an expression: a name, or a number in the kernel's type.

    >>> written(0.1), written(-2), written(math.inf)
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
"""The functions that a rule may use, and their names in CUDA or in ``kernels/numbers.cuh``."""


class Namespace:
    """What a rule gets for ``xp``: functions that write calls."""

    def __init__(self, code: Code) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        called = FUNCTIONS.get(name)
        if called is None:
            raise AttributeError(f"xp.{name} is not among the functions of rules")

        def call(*operands: Operand) -> Symbol:
            return self._code.value(f"{called}({', '.join(map(written, operands))})")

        return call

    def where(self, condition: Operand, a: Operand, b: Operand) -> Symbol:
        """One of two values; both are computed."""
        return self._code.value(f"{written(condition)} ? {written(a)} : {written(b)}")


def translate(rule: Rule, arguments: int) -> tuple[list[str], list[str]]:
    """The lines that compute a rule of the variables ``a0, a1, …``, and the names of its values.

    Args:
        rule: a rule; see `xpnet.ops.rules`.
        arguments: how many arrays and scalars it takes.

    Raises:
        TypeError: if it is no rule: it branches on values, or does what symbols do not.
        AttributeError: if it uses another function of ``xp`` than `FUNCTIONS`.

    >>> translate(lambda xp, z, alpha: xp.where(z > 0.0, z, alpha * z), 2)[0]
    ['const bool v0 = a0 > T(0.0);', 'const T v1 = a1 * a0;', 'const T v2 = v0 ? a0 : v1;']
    """
    code = Code()
    result: Any = rule(Namespace(code), *(Symbol(code, f"a{i}") for i in range(arguments)))
    values = result if isinstance(result, tuple) else (result,)
    return code.lines, [written(value) for value in values]
