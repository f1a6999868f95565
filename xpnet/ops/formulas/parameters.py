"""The parameters of a formula: named numbers after its arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xpnet.errors import Phrase, require, require_number, require_type, unknown_name
from xpnet.ops import formulas  # its names load on first access
from xpnet.ops.formulas.formula import Formula, require_small

if TYPE_CHECKING:
    from xpnet.ops.formulas.probe import Targets

MAX_NAME = 80
"""The largest number of characters of a name."""

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

    return formulas.trace(positional, n_arrays + len(names))


def checked_formula(
    rule: Callable[..., Any],
    name: str,
    parameters: Mapping[str, Any],
    targets: Targets | None = None,
) -> tuple[Formula, Parameters]:
    """Return the formula of a rule, and the parameters as floats.

    Args:
        rule: a function ``f(xp, z, **parameters)``, or ``f(xp, z, t, **parameters)`` of a loss.
        name: the name of the formula.
        parameters: the names and values of its parameters.
        targets: the targets that a loss takes; default ``None``, for an activation.

    Raises:
        ArgumentError: if an argument breaks its rule, the rule has no formula, or the formula or a
            derivative overflows though its true value does not.
    """
    require_name(name)
    numbers = as_parameters(parameters)
    formula = formula_of(rule, 1 if targets is None else 2, parameters)
    formulas.require_finite(formula, values_of(numbers), name, targets)
    return formula, numbers


def values_of(parameters: Parameters) -> tuple[float, ...]:
    """Return the values of parameters, which are the scalars of the rule.

    >>> values_of((("q", 0.9),))
    (0.9,)
    """
    return tuple(value for _, value in parameters)


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
    rule = f"be a name of at most {MAX_NAME} letters, digits and underscores"
    require(_is_name(name), "name", rule, Phrase(f"{name!r:.100}"))


def require_parts(formula: Any, name: Any, parameters: Any, n_arrays: int) -> None:
    """Refuse parts of which no activation or loss can be made, as those of a hostile file.

    Args:
        formula: a formula of ``n_arrays`` arrays and the parameters.
        name: its name.
        parameters: names and finite floats.
        n_arrays: the number of arrays.

    Raises:
        ArgumentError: naming the part.
    """
    require_name(name)
    require_type(formula, Formula, "formula")
    require_small(formula)
    rule = "be a tuple of pairs of a name and a finite float"
    is_tuple = isinstance(parameters, tuple)
    require(is_tuple and all(map(_is_parameter, parameters)), "parameters", rule, parameters)
    n_names = len({key for key, _ in parameters})
    require(n_names == len(parameters), "parameters", "have different names", parameters)
    rule = f"be of {n_arrays} arrays and {n_names} parameters"
    got = Phrase(f"one of {formula.n_arguments} arguments")
    require(formula.n_arguments == n_arrays + n_names, "formula", rule, got)


def _is_parameter(pair: Any) -> bool:
    """Return whether a value is a name with a finite float."""
    if not isinstance(pair, tuple) or len(pair) != 2 or not _is_name(pair[0]):
        return False
    return type(pair[1]) is float and math.isfinite(pair[1])


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and len(name) <= MAX_NAME


def shown(name: str, parameters: Parameters) -> str:
    """Return the text of a formula, such as ``pinball(q=0.9)``; other numbers are another text.

    >>> shown("swish", (("a", 2.0), ("b", 0.1 + 0.2)))
    'swish(a=2, b=0.30000000000000004)'
    """
    texts = [f"{key}={repr(float(value)).removesuffix('.0')}" for key, value in parameters]
    return f"{name}({', '.join(texts)})"
