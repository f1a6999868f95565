"""Detect user-defined components, which may hold hidden state that a replay would freeze."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

from xpnet.errors import require
from xpnet.initializers import Initializer
from xpnet.layers.base import components
from xpnet.optimizers.grouping import Selector


def user_defined(*parts: Any) -> list[Any]:
    """The instances of user-defined classes, and functions, in layers, losses or optimizers.

    Classes of xpnet, NumPy, CuPy and the standard library are not user-defined. Initializers and
    the conditions of `Grouped` are left out, because they run before training.

    >>> from xpnet import Dense, Tanh
    >>> user_defined(Dense(3, Tanh()), Dense(2))
    []
    """
    return [
        part for part in components(parts, leave_out=(Initializer, Selector)) if not is_known(part)
    ]


def is_known(value: Any) -> bool:
    """Whether a value, or its class, is of xpnet, NumPy, CuPy or the standard library."""
    origin = getattr(value, "__module__", None) or "builtins"
    root = origin.partition(".")[0]
    return root in ("xpnet", "numpy", "cupy") or _is_standard(root)


@cache
def _is_standard(module: str) -> bool:
    """Whether a module is of the standard library; a script may have the name of one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    folder = os.path.dirname(os.__file__)
    is_file = file is None or (file.startswith(folder) and "site-packages" not in file)
    return module in sys.stdlib_module_names and is_file


def name_of(part: Any) -> str:
    """The name of a function or class, or of the class of an instance."""
    return str(getattr(part, "__name__", type(part).__name__))


def vouched(part: Any) -> bool:
    """Whether the class of a component itself sets ``replayable = True``.

    A subclass does not inherit it, because it may override methods.

    Raises:
        ArgumentError: if ``replayable`` is neither ``True`` nor ``False``.
    """
    value = vars(type(part)).get("replayable", False)
    rule = "be True or False, set in the body of the class"
    require(isinstance(value, bool), f"{name_of(part)}.replayable", rule, value)
    return bool(value)


def forbidden(part: Any) -> bool:
    """Whether the class of a component, or one that it inherits from, sets ``replayable = False``.

    A subclass that sets ``True`` overrides it.
    """
    return getattr(type(part), "replayable", None) is False
