"""Rules with literals and constants of one floating type.

A Python float is a double to the compiler: one literal ``1.0`` makes a float32 loop compute in
float64, at half the speed. NumPy gives such a number the type of the array beside it. So does the
rule made here, and every rule that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dis import get_instructions
from types import FunctionType
from typing import Any

import numpy as np
from numba.extending import register_jitable

from xpnet.ops.cpu.jit.definition import ListedRule, NotCompiled
from xpnet.ops.cpu.jit.listed_function import listed_function


def typed_rule(rule: Callable[..., Any], dtype: Any) -> Any:
    """``rule`` with its literals and constants of a type, for use inside a loop.

    Args:
        rule: a plain function of numbers, which refers to constants and other rules only; or a
            `ListedRule`.
        dtype: float32 or float64.

    Raises:
        NotCompiled: if ``rule`` is not a plain function.
    """
    if isinstance(rule, ListedRule):
        return listed_function(rule, dtype)
    if not isinstance(rule, FunctionType):
        raise NotCompiled(f"a rule must be a plain function; got {rule!r}")
    loads = [step for step in get_instructions(rule) if step.opname == "LOAD_GLOBAL"]
    own = {step.argval for step in loads} & rule.__globals__.keys()
    number = np.dtype(dtype).type
    names = {name: _typed(rule.__globals__[name], number) for name in own}
    names["__name__"] = rule.__module__
    code = rule.__code__.replace(co_consts=_typed(rule.__code__.co_consts, number))
    typed = FunctionType(code, names, rule.__name__, rule.__defaults__, rule.__closure__)
    # LLVM vectorizes no loop that calls a function, and does not inline a long one by itself.
    return register_jitable(forceinline=True)(typed)


def _typed(value: Any, number: Any) -> Any:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, tuple):
        return tuple(_typed(item, number) for item in value)
    if isinstance(value, FunctionType):
        return typed_rule(value, number)
    return value
