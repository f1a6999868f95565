"""Fingerprints of functions: equal in every process if and only if they compute the same.

A function is its bytecode, its defaults, and the fingerprints of all that it refers to. So a loop
on disk is not found any more once its builder changes, or a rule, a constant, or a function in
another file that one of them uses. Numba's own cache compares only the file that defines the
function.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np

from xpnet.ops.cpu.jit.definition import LazyModule, ListedRule

Fingerprint: TypeAlias = tuple[Any, ...]

BY_VALUE = {type(None), bool, int, float, complex, str, bytes}
"""Types of which `repr` identifies a value."""

BY_NAME = {"numpy", "math"}
"""Modules that their names identify: the versions of NumPy and of Python are compared apart."""


class NoFingerprint(Exception):  # noqa: N818 - an answer, as `StopIteration` is
    """A value that another process could not identify, such as an open file."""


def fingerprint_of(value: Any, callers: tuple[Any, ...] = ()) -> Fingerprint:
    """A value as plain data, which no other value has.

    Args:
        value: a number, a text, an array, a type of NumPy's, a plain function, a `LazyModule`, or a
            tuple of them.
        callers: the functions that refer to it.

    Raises:
        NoFingerprint: for anything else, such as an open file or an imported module.

    >>> fingerprint_of(1) == fingerprint_of(1.0)
    False
    """
    kind = type(value)
    if kind in BY_VALUE:
        found: Fingerprint = (repr(value),)
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        found = value.dtype.str, value.shape, value.tobytes()
    elif isinstance(value, np.dtype):
        found = (value.str,)
    elif kind is tuple or (isinstance(value, tuple) and _is_named(kind)):
        found = tuple(fingerprint_of(item, callers) for item in value)
    elif kind is LazyModule:
        found = value.name, source_of(value.name)
    elif kind is CodeType:
        found = _of_code(value, callers)
    elif _is_named(value):
        found = getattr(value, "__module__", ""), value.__name__
    elif kind is FunctionType:
        found = _of_function(value, callers)
    elif isinstance(value, ListedRule):
        found = _of_listed(value)
    else:
        raise NoFingerprint(f"{value!r} has no fingerprint that another process would find equal")
    return kind.__name__, *found


def _is_named(value: Any) -> bool:
    """Whether its name identifies a module, a type or a function.

    Those of this package are: the source code of the package is compared apart.
    """
    if isinstance(value, ModuleType):
        return value.__name__ in BY_NAME
    if isinstance(value, type) and issubclass(value, np.generic):
        return True
    module = getattr(value, "__module__", None) or ""
    home = sys.modules.get(module) if module.startswith(f"{__package__}.") else None
    return getattr(home, getattr(value, "__name__", ""), None) is value


def _of_code(code: CodeType, callers: tuple[Any, ...]) -> Fingerprint:
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    consts = fingerprint_of(code.co_consts, callers)
    return code.co_code, code.co_exceptiontable, names, counts, consts


def _of_function(function: FunctionType, callers: tuple[Any, ...]) -> Fingerprint:
    if function in callers:
        return "caller", callers.index(function)
    callers = (*callers, function)
    used = _names_in(function.__code__) & function.__globals__.keys()
    try:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError as error:
        raise NoFingerprint(f"{function!r} refers to a variable without a value") from error
    defaults = function.__defaults__, *sorted((function.__kwdefaults__ or {}).items())
    referred = tuple((name, function.__globals__[name]) for name in sorted(used))
    return (
        _of_code(function.__code__, callers),
        *(fingerprint_of(part, callers) for part in (defaults, cells, referred)),
    )


def _of_listed(rule: ListedRule) -> Fingerprint:
    """The operations, in which the numbers are told apart by `repr`."""
    return rule.result, *(tuple(map(repr, operation)) for operation in rule.operations)


def _names_in(code: CodeType) -> set[str]:
    """The names that code, and code inside it, may look up among the globals."""
    inside = [_names_in(const) for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*inside)


@cache
def source_of(name: str) -> bytes:
    """The source code of a module, which is not imported; it may be in a zip file.

    Raises:
        NoFingerprint: if the module has no file, as a built-in one, or it cannot be read.
    """
    try:
        spec = find_spec(name)
        found: bytes = spec.loader.get_data(spec.origin)  # type: ignore[union-attr]
    except (ImportError, AttributeError, TypeError, OSError) as error:
        raise NoFingerprint(f"the module {name} has no source file") from error
    return found
