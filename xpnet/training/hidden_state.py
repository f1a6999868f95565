"""Detection of functions that may hold state, which a trial call would change."""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

STATELESS = (
    *(type(None), bool, int, float, complex, str, bytes, range, np.generic, np.dtype),
    *(ModuleType, np.ufunc, type(np.mean)),
)
"""Types of immutable values, of modules, and of NumPy's functions."""

WRITES = {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"}
"""The instructions that change a global variable or an attribute."""


def holds_state(function: Any) -> bool:
    """Return whether a call of a function may depend on earlier calls, or change later ones.

    It is false for a function in Python, or a `functools.partial` of one, that assigns no global
    variable, nonlocal variable or attribute, and of which all global and nonlocal variables,
    default values and bound arguments are modules, functions and classes of other modules,
    immutable constants, or other such functions. It is true for methods and all other objects,
    because their state is unknown.

    >>> from xpnet.metrics import accuracy
    >>> results = iter([0.25, 0.5])
    >>> holds_state(accuracy), holds_state(lambda predicted, target: next(results))
    (False, True)
    """
    pending, seen = [function], {}
    while pending:
        value = pending.pop()
        if isinstance(value, STATELESS) or id(value) in seen:
            continue
        seen[id(value)] = value
        parts = _parts(value)
        if parts is None:
            return True
        pending += parts
    return False


def _parts(value: Any) -> Iterable[Any] | None:
    """Return the values that an immutable value or function refers to; ``None`` for any other."""
    if isinstance(value, (tuple, frozenset)):
        return value
    if isinstance(value, BuiltinFunctionType):
        return (value.__self__,)  # a module; of a method such as ``results.append`` the object
    if type(value) is partial:
        return value.func, value.args, *value.keywords.values()
    if not isinstance(value, FunctionType) or vars(value).keys() - {"__wrapped__"}:
        return None
    try:
        return None if _writes(value) else _variables(value)
    except ValueError:  # a nonlocal variable that is not assigned yet
        return None


def _writes(function: FunctionType) -> bool:
    """Return whether a function assigns a global or nonlocal variable, or an attribute."""
    nonlocals = function.__code__.co_freevars
    return any(
        step.opname in WRITES or (step.opname == "STORE_DEREF" and step.argval in nonlocals)
        for code in _codes(function.__code__)
        for step in dis.get_instructions(code)
    )


def _variables(function: FunctionType) -> list[Any]:
    """Return the values of global and nonlocal variables of a function, and its default values."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    values = [value for name, value in function.__globals__.items() if name in names]
    return [
        *(value for value in values if not _is_of_another_module(value, function)),
        *(cell.cell_contents for cell in function.__closure__ or ()),
        *(function.__defaults__ or ()),
        *(function.__kwdefaults__ or {}).values(),
    ]


def _is_of_another_module(value: Any, function: FunctionType) -> bool:
    """Return whether a global variable is a function or class that ``function`` imports."""
    return isinstance(value, (FunctionType, type)) and value.__module__ != function.__module__


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
