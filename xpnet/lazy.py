"""Attributes of a package that are imported on first access, which keeps ``import xpnet`` fast."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attributes(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the function ``__getattr__`` of a package.

    Args:
        package: the name of the package.
        modules: the module in the package that defines each attribute.

    >>> load = attributes("xpnet", {"ArgumentError": "errors"})
    >>> load("ArgumentError").__name__
    'ArgumentError'
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return load
