"""Which user-defined components use only their arguments: a check of their code, without a call.

A recorded step repeats the calls that Python made once, which is correct if these calls depend on
the arguments alone. A layer that counts its calls, draws numbers or reads the time keeps a state in
an attribute, a global or nonlocal variable, a default argument or a library. The check visits every
method and the functions that it calls, and refuses what could hold such a state. Numbers, such as a
hyperparameter or a global constant, are accepted with a `Guard`, because other code may assign them
between two steps.
"""

from __future__ import annotations

import sys
from abc import ABC, ABCMeta
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    EllipsisType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    NoneType,
    WrapperDescriptorType,
)
from typing import Any, Generic, NamedTuple, Protocol

import numpy as np

from xpnet.engine.code_reading import UNDEFINED, AttributeRead, Read, Write, uses
from xpnet.engine.user_defined import forbidden, is_known, name_of, vouched
from xpnet.ops.formulas.class_rules import DerivedRule
from xpnet.optimizers import Optimizer
from xpnet.random import hash32, stream_key

CONSTANTS = NoneType, bool, int, float, complex, str, bytes, EllipsisType, np.generic, np.dtype
"""Types of values that nothing can change."""

LIBRARIES = frozenset(
    {
        *("numpy", "cupy", "array_api_compat", "xpnet", "math", "cmath", "_operator", "operator"),
        *("typing", "itertools", "functools", "_functools"),
    }
)
"""Packages of functions that use only their arguments, apart from `REFUSED`."""

REFUSED = frozenset(
    {
        *("random", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "datetime64"),
        *("save", "savez", "savetxt", "tofile", "dump", "seterr", "seterrcall", "setbufsize"),
        *("ctypes", "masks", "frompyfunc", "attrgetter", "methodcaller"),
    }
)
"""Attributes that draw, read or count numbers outside the arguments, or lead to those that do."""

BUILTINS = frozenset(
    {
        *("abs", "all", "any", "bool", "callable", "complex", "dict", "divmod", "enumerate"),
        *("filter", "float", "format", "frozenset", "hasattr", "int", "isinstance", "issubclass"),
        *("iter", "len", "list", "map", "max", "min", "next", "pow", "range", "repr", "reversed"),
        *("round", "set", "slice", "sorted", "str", "sum", "super", "tuple", "zip"),
        *("NotImplemented", "Ellipsis", "__debug__"),
    }
)
"""Built-in names that use only their arguments."""

NOT_IN_A_STEP = frozenset(
    {
        *("__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", "__repr__"),
        *("__str__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__reduce__"),
        *("__getstate__", "__setstate__", "__replace__", "__class_getitem__"),
    }
)
"""Special methods that run before a training, or by tools."""

OUTSIDE = frozenset(
    {"specs", "jvp", "backward_jvp", "check", "decide", "probabilities", "scores", "init"}
)
"""Methods that no step calls, unless another method of the component reads them."""


NOT_IN_PYTHON = (
    *(BuiltinFunctionType, ClassMethodDescriptorType, MethodDescriptorType),
    WrapperDescriptorType,
)
"""Types of methods of classes that are not written in Python."""


class MayHoldStateError(Exception):
    """A component may hold a state; the message says where."""


class Guard(NamedTuple):
    """A value that a component reads beside its arguments, and that must stay the same object.

    Attributes:
        read: reads the current value.
        value: the value at the time of the check.
        name: its name in messages.
    """

    read: Callable[[], Any]
    value: Any
    name: str


def guards_of(*parts: Any) -> list[Guard]:
    """The values on which the code of user-defined components depends beside its arguments.

    Args:
        parts: instances of user-defined classes, or functions.

    Raises:
        MayHoldStateError: if one may hold a state that a replay would freeze.

    >>> rng = np.random.default_rng(0)
    >>> def noisy(x):
    ...     return x + rng.normal(size=x.shape)
    >>> noisy.__module__ = "mine"
    >>> guards_of(noisy)
    Traceback (most recent call last):
    xpnet.engine.argument_use.MayHoldStateError: noisy uses rng, a Generator
    """
    search = _Search()
    for part in parts:
        search.component(part, name_of(part))
    return search.guards


def changed(guards: list[Guard]) -> str:
    """The name of the first guarded value that has been replaced; empty if none has."""
    for read, value, name in guards:
        if read() is not value:
            return name
    return ""


class _Search:
    """Visits the code and the attributes of components.

    Attributes:
        guards: those found.
    """

    def __init__(self) -> None:
        self.guards: list[Guard] = []
        self._seen: dict[int, Any] = {}  # which keeps the objects, and so their identities, alive
        self._private: set[str] = set()
        self._read: set[str] = set()

    def component(self, part: Any, where: str) -> None:
        """Visit an instance of a user-defined class, or a function."""
        if isinstance(part, (FunctionType, partial, type)):
            self._value(part, where)
            return
        if id(part) in self._seen or vouched(part):
            return
        self._seen[id(part)] = part
        _refuse(forbidden(part), f"{where} sets replayable = False")
        classes = [cls for cls in type(part).__mro__ if not is_known(cls)]
        _refuse(not classes, f"{where}, {_article(type(part).__name__)}")
        for cls in type(part).__mro__:
            known = cls.__module__.partition(".")[0] == "xpnet"
            base = cls in classes or known or cls in (object, ABC, Protocol, Generic)
            _refuse(not base, f"{where} is {_article(cls.__name__)}")
        attributes = list(_attributes(part))
        self._private.update(name for cls in classes for name in vars(cls))
        self._private.update(name for name, _ in attributes)
        if hasattr(part, "__dict__"):
            count = partial(len, vars(part))
            self.guards.append(Guard(count, count(), f"the number of attributes of {where}"))
        for name, read in attributes:
            self._guarded(read(), read, f"{where}.{name}")
        self._classes(classes, isinstance(part, Optimizer))

    def _classes(self, classes: list[type], is_optimizer: bool) -> None:
        """Visit the classes of a component."""
        later: list[tuple[type, str, Any]] = []
        for cls in classes:
            if id(cls) in self._seen:
                continue
            self._seen[id(cls)] = cls
            kind = type(cls)
            ok = kind in (type, ABCMeta, type(Protocol))
            _refuse(not ok, f"{cls.__name__} has the metaclass {kind.__name__}")
            for name, value in list(vars(cls).items()):
                replaced = is_optimizer and name in ("step", "update_unless")
                _refuse(replaced, f"{cls.__name__} overrides {name}, which a replay does not call")
                if name in OUTSIDE:
                    later.append((cls, name, value))
                else:
                    self._member(cls, name, value, is_optimizer)
        while ready := [member for member in later if member[1] in self._read]:
            later = [member for member in later if member[1] not in self._read]
            for member in ready:
                self._member(*member, is_optimizer)

    def _member(self, cls: type, name: str, value: Any, is_optimizer: bool) -> None:
        """Visit a method or an attribute of a class."""
        where = f"{cls.__name__}.{name}"
        inner = getattr(value, "__func__", value)
        is_special = name.startswith("__") and name.endswith("__")
        is_python = not isinstance(inner, NOT_IN_PYTHON) or name in NOT_IN_A_STEP
        _refuse(not is_python, f"{where} is not written in Python")
        if (
            name in NOT_IN_A_STEP
            or name.startswith("_abc_")
            or isinstance(value, (GetSetDescriptorType, MemberDescriptorType))
            or (is_special and not isinstance(inner, FunctionType))
        ):
            return
        if isinstance(value, property):
            self._value(value.fget, where)
        elif isinstance(value, DerivedRule):
            self.guards.append(Guard(partial(vars(cls).get, name), value, where))
            self._value(value.function, where)
        elif isinstance(inner, FunctionType):
            self._function(inner, where, is_optimizer)
        elif isinstance(value, (staticmethod, classmethod)):
            self._value(inner, where)
        else:
            self._guarded(value, partial(vars(cls).get, name), where)

    def _guarded(self, value: Any, read: Callable[[], Any], where: str) -> None:
        self.guards.append(Guard(read, value, where))
        self._value(value, where)

    def _value(self, value: Any, where: str) -> None:
        """Refuse a value that can change, unless it is a function or component without state."""
        if isinstance(value, CONSTANTS):
            return
        is_record = isinstance(value, tuple) and is_known(value)  # such as the nodes of a formula
        if is_record or type(value) is frozenset:
            for item in value:
                self._value(item, where)
        elif type(value) is partial:
            self._value((value.func, *value.args, *value.keywords.values()), where)
        elif isinstance(value, FunctionType) and not is_known(value):
            self._function(value, where, False)
        elif _is_library(value):
            return
        elif isinstance(value, type):
            self._type(value, where)
        elif is_known(value):
            ok = is_dataclass(value) and _is_frozen(value)
            _refuse(not ok, f"{where}, {_article(type(value).__name__)}")
            self._value(tuple(getattr(value, field.name) for field in fields(value)), where)
        else:
            self.component(value, where)

    def _type(self, value: type, where: str) -> None:
        """Accept exceptions and named tuples; instances of other classes may hold a state."""
        if issubclass(value, BaseException) and "__init__" not in vars(value):
            return
        named = value.__bases__ == (tuple,) and hasattr(value, "_fields")
        _refuse(not named, f"{where}, a user-defined class")
        self._private.update(vars(value))
        for name, member in list(vars(value).items()):
            if isinstance(member, FunctionType) and not name.startswith("_"):
                self._function(member, f"{value.__name__}.{name}", False)

    def _function(self, function: FunctionType, where: str, is_optimizer: bool) -> None:
        """Visit the code of a function."""
        if id(function) in self._seen:
            return
        self._seen[id(function)] = function
        name = where.rpartition("<locals>.")[2]
        more = vars(function).keys() - {"__wrapped__", "__isabstractmethod__"}
        _refuse(bool(more), f"{name} has the attribute {min(more, default='')}")
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._value(default, f"a default argument of {name}")
        for use in uses(function):
            if isinstance(use, Write):
                sets = name.endswith(".scalars") and is_optimizer and use.name == "scalars"
                _refuse(not sets, f"{name} {use.action} {use.name}")
            elif isinstance(use, AttributeRead):
                live = is_optimizer and not name.endswith(".scalars")
                counts = live and use.name in ("step", "scalars")
                _refuse(counts, f"{name} reads {use.name}, which a replay would freeze")
                self._attribute(use.name, name)
            else:
                self._variable(use, name)

    def _attribute(self, attribute: str, function: str) -> None:
        """Refuse an attribute that may lead to a state."""
        private = attribute.startswith("_") and attribute not in self._private
        _refuse(private or attribute in REFUSED, f"{function} uses {attribute}")
        self._read.add(attribute)

    def _variable(self, read: Read, function: str) -> None:
        """Visit a global or nonlocal variable."""
        name, value, again = read
        if value is UNDEFINED:
            _refuse(True, f"{function} uses {name}, which is not defined")
        if again is None:
            is_error = isinstance(value, type) and issubclass(value, BaseException)
            _refuse(name not in BUILTINS and not is_error, f"{function} uses {name}")
            return
        where = f"{function} uses {name}"
        if isinstance(value, ModuleType):
            _refuse(not _is_library(value), f"{where}, a module")
        else:
            self._guarded(value, again, where)


def _attributes(part: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The names and readers of the attributes of an instance."""
    for name in getattr(part, "__dict__", {}):
        yield name, partial(vars(part).get, name)
    for cls in type(part).__mro__:
        for name, member in vars(cls).items():
            if isinstance(member, MemberDescriptorType):
                yield name, partial(getattr, part, name, UNDEFINED)


def _is_library(value: Any) -> bool:
    """Whether a value is a module, function or class of `LIBRARIES`."""
    if isinstance(value, np.ufunc):
        return getattr(np, value.__name__, None) is value or _is_of_scipy(value)
    if isinstance(value, BuiltinFunctionType) and not isinstance(
        value.__self__, (ModuleType, NoneType)
    ):
        return False  # a method, as of a list or a generator
    module = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
    parts = module.split(".")
    is_code = callable(value) and hasattr(value, "__name__")
    if value is hash32 or value is stream_key:
        return True
    if not (is_code or isinstance(value, ModuleType)) or "random" in parts[:2]:
        return False
    if parts[0] == "builtins":
        return value.__name__ in BUILTINS
    known = parts[0] in LIBRARIES or parts[:2] == ["scipy", "special"]
    return known and value.__name__ not in REFUSED


def _module_of(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "")


def _is_of_scipy(value: Any) -> bool:
    special = sys.modules.get("scipy.special")
    return getattr(special, value.__name__, None) is value


def _is_frozen(value: Any) -> bool:
    return bool(type(value).__dataclass_params__.frozen)


def _article(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' or name == 'ndarray' else 'a'} {name}"


def _refuse(condition: bool, reason: str) -> None:
    if condition:
        raise MayHoldStateError(reason)
