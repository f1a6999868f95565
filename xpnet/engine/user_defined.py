"""Detect user-defined components, which may hold hidden state that a replay would freeze."""

from __future__ import annotations

import sys
from typing import Any

from xpnet.initializers import Initializer
from xpnet.layers.base import components


def user_defined(*parts: Any) -> list[str]:
    """The names of the user-defined classes and functions in layers, losses or optimizers.

    Classes of xpnet, NumPy, CuPy and the standard library are not user-defined. Initializers are
    left out, because they run before training.

    >>> from xpnet import Dense, Tanh
    >>> user_defined(Dense(3, Tanh()), Dense(2))
    []
    """
    found = []
    for part in components(parts, leave_out=Initializer):
        origin = getattr(part, "__module__", "builtins").partition(".")[0]
        known = origin in ("xpnet", "numpy", "cupy") or origin in sys.stdlib_module_names
        if not known:
            found.append(getattr(part, "__name__", type(part).__name__))
    return found
