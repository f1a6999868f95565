"""Find the formula of a rule by running it on symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.errors import ArgumentError
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.formula import Formula, require_small
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace, called


def trace(rule: Callable[..., Any], n_arguments: int) -> Formula:
    """Return the formula of a rule.

    The rule is run twice: one that draws numbers or counts its calls gives two formulas, and is
    refused.

    Args:
        rule: a function ``f(xp, *arguments)`` of array code.
        n_arguments: the number of its arguments.

    Raises:
        ArgumentError: if the rule branches on a value, gives another formula when it is run again,
            uses what formulas do not have, or is too large.

    >>> trace(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), 1).n_operations  # softplus is one
    3
    """
    first, second = _run(rule, n_arguments), _run(rule, n_arguments)
    if first != second:
        raise ArgumentError(
            "formula must be the same function in every call; got one that gives another formula "
            "when it is run again. Leave out random numbers, counters and the time."
        )
    require_small(first)
    return first


def _run(rule: Callable[..., Any], n_arguments: int) -> Formula:
    builder = FormulaBuilder(n_arguments)
    symbols = [Symbol(builder, index) for index in range(n_arguments)]
    try:
        result = rule(SymbolNamespace(builder), *symbols)
        return builder.formula(called(builder, "multiply", 1.0, result).index)
    except ArgumentError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"formula must be made of functions of xp, operators and numbers; got one of which "
            f"{_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    """Return the reason of an exception, as the end of a sentence."""
    text = str(error).rstrip(".")
    return text if text.startswith("it ") else f"a call fails: {text or type(error).__name__}"
