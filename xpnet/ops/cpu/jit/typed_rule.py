"""A rule whose numbers are of one floating type, ready to be compiled.

Python's floats are double precision to the compiler: one literal ``1.0`` makes a float32 loop
compute in float64 at half its speed. NumPy takes such a number in the type of the array beside it;
so does the rule made here, and that of every rule it calls.
"""

from __future__ import annotations

from dis import get_instructions
from types import FunctionType
from typing import Any

from numba.extending import register_jitable

from xpnet.ops.operations import Rule


def typed_rule(rule: Rule, number: Any) -> Rule:
    """``rule`` with its literals and constants as ``number``, known to the compiler.

    Args:
        rule: a plain function of a module of `xpnet.ops.rules`, or one of its form.
        number: `numpy.float32` or `numpy.float64`.

    Raises:
        TypeError: if ``rule`` is not a plain function.
    """
    if not isinstance(rule, FunctionType):
        raise TypeError(f"a rule must be a plain function; got {rule!r}")
    loads = [step for step in get_instructions(rule) if step.opname == "LOAD_GLOBAL"]
    own = {step.argval for step in loads} & rule.__globals__.keys()
    names = {name: _typed(rule.__globals__[name], number) for name in own}
    names["__name__"] = rule.__module__
    code = rule.__code__.replace(co_consts=_typed(rule.__code__.co_consts, number))
    made = FunctionType(code, names, rule.__name__, rule.__defaults__, rule.__closure__)
    # LLVM vectorizes no loop that calls a function, and inlines no long one by itself.
    compiled: Rule = register_jitable(forceinline=True)(made)
    return compiled


def _typed(value: Any, number: Any) -> Any:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, tuple):
        return tuple(_typed(item, number) for item in value)
    if isinstance(value, FunctionType):
        return typed_rule(value, number)
    return value
