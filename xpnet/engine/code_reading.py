"""What the code of a function reads and writes besides its local variables, without a call of it.

It reads CPython's instructions, so that no source code is needed.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
CELLS = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"})
STORES = {
    "STORE_GLOBAL": "assigns the global variable",
    "DELETE_GLOBAL": "deletes the global variable",
    "STORE_ATTR": "assigns the attribute",
    "DELETE_ATTR": "deletes the attribute",
    "IMPORT_NAME": "imports",
    "LOAD_BUILD_CLASS": "defines a class",
}
"""Instructions by which a call of a function may change what later calls return."""

IGNORED = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL"})

UNDEFINED = object()
"""The value of a variable that is not assigned."""


class Read(NamedTuple):
    """A global or nonlocal variable, or an attribute of a module, that a function reads.

    Attributes:
        name: its name, such as ``np.pi``.
        value: its value now, or `UNDEFINED`.
        again: reads it again; ``None`` for a built-in.
    """

    name: str
    value: Any
    again: Callable[[], Any] | None


class Write(NamedTuple):
    """An instruction that may change what later calls return.

    Attributes:
        action: what it does.
        name: the name of the variable or attribute.
    """

    action: str
    name: str


class AttributeRead(NamedTuple):
    """A name of an attribute that the function reads, of any object."""

    name: str


def uses(function: FunctionType) -> Iterator[Read | Write | AttributeRead]:
    """What a function, and the functions defined inside it, read and write.

    >>> def scaled(x):
    ...     return print(x.real)
    >>> [use.name for use in uses(scaled)]
    ['print', 'real']
    """
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    yield from _uses(function.__code__, function.__globals__, cells)


def _uses(
    code: CodeType, variables: dict[str, Any], cells: dict[str, Any]
) -> Iterator[Read | Write | AttributeRead]:
    found = [i for i in dis.get_instructions(code) if i.opname not in IGNORED]
    for index, instruction in enumerate(found):
        kind, name = instruction.opname, str(instruction.argval)
        if kind in STORES:
            yield Write(STORES[kind], name)
        elif kind in ("STORE_DEREF", "DELETE_DEREF") and name in cells:
            yield Write("assigns the nonlocal variable", name)
        elif kind in ATTRIBUTES:
            yield AttributeRead(name)
        elif kind in GLOBALS or (kind in CELLS and name in cells and name != "__class__"):
            read = _global(name, variables) if kind in GLOBALS else _cell(name, cells[name])
            for following in found[index + 1 :]:
                if not (isinstance(read.value, ModuleType) and following.opname in ATTRIBUTES):
                    break
                read = _attribute(read, str(following.argval))
            yield read
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = {key: cells[key] for key in constant.co_freevars if key in cells}
            yield from _uses(constant, variables, inner)


def _global(name: str, variables: dict[str, Any]) -> Read:
    if name in variables:
        return Read(name, variables[name], partial(variables.get, name))
    return Read(name, getattr(builtins, name, UNDEFINED), None)


def _cell(name: str, cell: Any) -> Read:
    return Read(name, _contents(cell), partial(_contents, cell))


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a nonlocal variable that is not assigned yet
        return UNDEFINED


def _attribute(read: Read, name: str) -> Read:
    again = partial(getattr, read.value, name, UNDEFINED)
    return Read(f"{read.name}.{name}", again(), again)
