"""The parameters of a formula: named numbers after its arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.errors import Phrase, require, require_number, require_type, unknown_name
from xpnet.ops.formulas.formula import Formula
from xpnet.ops.formulas.trace import trace

Parameters = tuple[tuple[str, float], ...]
"""Names and values, in the order in which the formula takes them."""


def formula_of(rule: Callable[..., Any], n_arrays: int, parameters: Mapping[str, Any]) -> Formula:
    """Return the formula of a rule ``f(xp, *arrays, **parameters)``.

    Raises:
        ArgumentError: if the rule has no formula; see `trace`.
    """
    require(callable(rule), "formula", "be a function of xp and of what it computes with", rule)
    names = list(parameters)

    def positional(xp: Any, *values: Any) -> Any:
        return rule(xp, *values[:n_arrays], **dict(zip(names, values[n_arrays:], strict=True)))

    return trace(positional, n_arrays + len(names))


def as_parameters(parameters: Mapping[str, Any]) -> Parameters:
    """Return parameters as floats.

    Raises:
        ArgumentError: naming the parameter that is not a finite number.
    """
    for name, value in parameters.items():
        require_number(value, name)
    return tuple((name, float(value)) for name, value in parameters.items())


def changed(parameters: Parameters, changes: Mapping[str, Any]) -> Parameters:
    """Return parameters with other values.

    Raises:
        ArgumentError: if there is no such parameter, or a value is not a finite number.
    """
    known = dict(parameters)
    for name in changes:
        if name not in known:
            raise unknown_name("a parameter of the formula", name, known)
    return as_parameters(known | dict(changes))


def require_name(name: Any) -> None:
    """Refuse what is not a name, such as ``"mish"``."""
    require_type(name, str, "name", 'Write a name, such as name="mish".')
    rule = "be a name of letters, digits and underscores"
    require(name.isidentifier() and len(name) <= 80, "name", rule, Phrase(f"{name!r:.100}"))


def shown(name: str, parameters: Parameters) -> str:
    """Return the text of a formula, such as ``pinball(q=0.9)``."""
    return f"{name}({', '.join(f'{key}={value:g}' for key, value in parameters)})"
