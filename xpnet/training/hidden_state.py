"""Detection of functions that may hold state, which a trial call would change."""

from __future__ import annotations

import inspect
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from xpnet.metrics.protocol import ATTRIBUTES

CONSTANTS = type(None), bool, int, float, str, np.generic
"""Types of values that a function cannot change."""


def holds_state(function: Any) -> bool:
    """Return whether a call of a function may change what later calls return.

    It is false for a function in Python, or a `functools.partial` of one with constant arguments,
    if its global and nonlocal variables are modules, and functions and classes of other modules. It
    is true for all others, because their state is unknown.

    >>> from xpnet.metrics import accuracy
    >>> results = iter([0.25, 0.5])
    >>> holds_state(lambda z, t: accuracy(z, t)), holds_state(lambda z, t: next(results))
    (False, True)
    """
    if isinstance(function, partial) and vars(function).keys() <= {*ATTRIBUTES}:
        bound = *function.args, *function.keywords.values()
        return holds_state(function.func) or not _are_constant(bound)
    if not isinstance(function, FunctionType) or not vars(function).keys() <= {*ATTRIBUTES}:
        return True
    inner = any(isinstance(constant, CodeType) for constant in function.__code__.co_consts)
    defaults = *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()
    if inner or not _are_constant(defaults):  # `inspect` does not look into inner functions
        return True
    try:
        used = inspect.getclosurevars(function)
    except ValueError:  # a nonlocal variable that is not assigned yet
        return True
    variables = *used.nonlocals.values(), *used.globals.values()
    return not all(_is_imported(value, function.__module__) for value in variables)


def _are_constant(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, CONSTANTS) for value in values)


def _is_imported(value: Any, module: str) -> bool:
    """Return whether a value is a module, or a function or class of another one than ``module``."""
    if isinstance(value, (FunctionType, type)):
        return value.__module__ != module
    if isinstance(value, BuiltinFunctionType):
        return isinstance(value.__self__, ModuleType)  # else a method, as of a list
    return isinstance(value, (ModuleType, np.ufunc))
