"""Lists of operations in compiled loops: each is an instruction, or a call that is inlined.

No source code is written: the compiler is given the operations themselves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic, register_jitable

from xpnet.ops.cpu.jit.definition import ListedRule, NotCompiled

OPERATORS: dict[str, Callable[..., Any]] = {
    **{"add": operator.add, "subtract": operator.sub, "multiply": operator.mul},
    **{"divide": operator.truediv, "negative": operator.neg, "pow": operator.pow},
    **{"less": operator.lt, "less_equal": operator.le, "greater": operator.gt},
    **{"greater_equal": operator.ge, "equal": operator.eq, "not_equal": operator.ne},
    **{"logical_and": operator.and_, "logical_or": operator.or_, "logical_not": operator.not_},
}
"""The operations that are operators; the others are functions of the namespace of the loop."""

VALUES = "argument", "constant"
"""The operations without operands."""


def listed_function(rule: ListedRule, dtype: Any) -> Any:
    """Return a function ``f(xp, *numbers)`` that evaluates a rule inside a loop.

    Args:
        rule: the rule.
        dtype: float32 or float64, the type of all numbers.
    """
    number = numba.from_dtype(np.dtype(dtype))

    @intrinsic
    def evaluate(typing: Any, xp: Any, arguments: Any) -> Any:
        kinds, calls = _typed_calls(typing, rule, xp.pymod, number)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            values: list[Any] = []
            for (name, operands, value), call in zip(rule.operations, calls, strict=True):
                if name == "argument":
                    found = builder.extract_value(given[1], int(value))
                    kind = signature.args[1][int(value)]
                    values.append(context.cast(builder, found, kind, number))
                elif name == "constant":
                    values.append(context.get_constant(number, value))
                else:
                    function, own = call
                    taken = [
                        context.cast(builder, values[i], kinds[i], kind)
                        for i, kind in zip(operands, own.args, strict=True)
                    ]
                    values.append(context.get_function(function, own)(builder, taken))
            return context.cast(builder, values[rule.result], kinds[rule.result], number)

        return number(xp, arguments), generate

    @register_jitable(forceinline=True)
    def function(xp: Any, *arguments: Any) -> Any:
        return evaluate(xp, arguments)

    return function


def _typed_calls(
    typing: Any, rule: ListedRule, namespace: Any, number: Any
) -> tuple[list[Any], list[Any]]:
    """Return the type of each operation, and its function and signature.

    Raises:
        NotCompiled: if there is no compiled version of an operation.
    """
    kinds: list[Any] = []
    calls: list[Any] = []
    for name, operands, _ in rule.operations:
        if name in VALUES:
            kinds.append(number)
            calls.append(None)
            continue
        function = OPERATORS.get(name) or getattr(namespace, name, None)
        if function is None:
            raise NotCompiled(f"there is no compiled version of {name}")
        resolved = typing.resolve_value_type(function)
        signature = typing.resolve_function_type(resolved, [kinds[i] for i in operands], {})
        kinds.append(signature.return_type)
        calls.append((resolved, signature))
    return kinds, calls
