"""Formulas in compiled loops: each operation is an instruction, or a call that is inlined.

No source code is written: the compiler is given the operations themselves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic, register_jitable

from xpnet.ops.cpu import vector_math
from xpnet.ops.cpu.jit.definition import NotCompiled
from xpnet.ops.formulas.expand import expanded
from xpnet.ops.formulas.formula import ARGUMENT, CONSTANT, Formula

OPERATORS: dict[str, Callable[..., Any]] = {
    **{"add": operator.add, "subtract": operator.sub, "multiply": operator.mul},
    **{"divide": operator.truediv, "negative": operator.neg, "pow": operator.pow},
    **{"less": operator.lt, "less_equal": operator.le, "greater": operator.gt},
    **{"greater_equal": operator.ge, "equal": operator.eq, "not_equal": operator.ne},
    **{"logical_and": operator.and_, "logical_or": operator.or_, "logical_not": operator.not_},
}
"""The operations that are operators; the others are functions of `xpnet.ops.cpu.vector_math`."""


def formula_function(formula: Formula, dtype: Any) -> Any:
    """Return a function ``f(xp, *numbers)`` that evaluates a formula inside a loop.

    Args:
        formula: the formula.
        dtype: float32 or float64, the type of all numbers.

    Raises:
        NotCompiled: if there is no compiled version of an operation.
    """
    plain, number = expanded(formula), numba.from_dtype(np.dtype(dtype))
    functions = [_function_of(node.operation) for node in plain.nodes]

    @intrinsic
    def evaluate(typing: Any, arguments: Any) -> Any:
        kinds, calls = _typed_calls(typing, plain, functions, number)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            values: list[Any] = []
            for node, call in zip(plain.nodes, calls, strict=True):
                if node.operation == ARGUMENT:
                    index = int(node.number)
                    value = builder.extract_value(given[0], index)
                    kind = signature.args[0][index]
                    values.append(context.cast(builder, value, kind, number))
                elif node.operation == CONSTANT:
                    values.append(context.get_constant(number, node.number))
                else:
                    function, own = call
                    operands = [
                        context.cast(builder, values[i], kinds[i], kind)
                        for i, kind in zip(node.operands, own.args, strict=True)
                    ]
                    values.append(context.get_function(function, own)(builder, operands))
            last = plain.result
            return context.cast(builder, values[last], kinds[last], number)

        return number(arguments), generate

    @register_jitable(forceinline=True)
    def function(xp: Any, *arguments: Any) -> Any:
        return evaluate(arguments)

    return function


def _function_of(operation: str) -> Callable[..., Any] | None:
    if operation in (ARGUMENT, CONSTANT):
        return None
    found = OPERATORS.get(operation) or getattr(vector_math, operation, None)
    if found is None:
        raise NotCompiled(f"there is no compiled version of {operation}")
    return found


def _typed_calls(
    typing: Any, formula: Formula, functions: list[Any], number: Any
) -> tuple[list[Any], list[Any]]:
    """Return the type of each node, and the function and signature of each operation."""
    kinds: list[Any] = []
    calls: list[Any] = []
    for node, function in zip(formula.nodes, functions, strict=True):
        if function is None:
            kinds.append(number)
            calls.append(None)
            continue
        resolved = typing.resolve_value_type(function)
        signature = typing.resolve_function_type(resolved, [kinds[i] for i in node.operands], {})
        kinds.append(signature.return_type)
        calls.append((resolved, signature))
    return kinds, calls
