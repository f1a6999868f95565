"""Whose the parts of a training are: what xpnet did not write may draw or count numbers itself."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from typing import Any

from xpnet.initializers import Initializer


def strangers(part: Any) -> list[str]:
    """What is not xpnet's in a layer, loss or optimizer, and in what it is put together of.

    >>> from xpnet import Dense, Tanh
    >>> strangers([Dense(3, Tanh()), Dense(2)])
    []
    """
    if isinstance(part, Initializer):  # it has done its work
        return []
    origin = getattr(part, "__module__", "builtins").partition(".")[0]
    known = origin in ("xpnet", "numpy", "cupy") or origin in sys.stdlib_module_names
    inner: list[Any] = list(part) if isinstance(part, (tuple, list)) else []
    if is_dataclass(part) and not isinstance(part, type):
        inner = [getattr(part, field.name) for field in fields(part)]
    own = [] if known else [getattr(part, "__name__", type(part).__name__)]
    return own + [name for x in inner for name in strangers(x)]
