"""Find the formula of a rule by running it on symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

from xpnet.errors import ArgumentError, Phrase, require
from xpnet.ops.formulas.builder import FormulaBuilder, is_number
from xpnet.ops.formulas.formula import Formula, require_small
from xpnet.ops.formulas.symbols import NoFormulaError, Symbol, SymbolNamespace, called


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


def require_signature(
    rule: Callable[..., Any], arrays: tuple[str, ...], parameters: Iterable[str]
) -> None:
    """Refuse a function that cannot be called as ``rule(xp, *arrays, **parameters)``.

    Args:
        rule: the function; one that is not written in Python is accepted.
        arrays: the names of the arrays, for the message.
        parameters: the names of the parameters.

    Raises:
        ArgumentError: naming the argument that is missing or unknown.

    >>> require_signature(lambda xp, z, b: b * z, ("z",), ())
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: formula must be a function of xp, z; got one of xp, z, b: missing \
a required argument: 'b'. Give each parameter a number, such as b=1.0.
    """
    names = [*parameters]
    wanted = ", ".join(("xp", *arrays, *names))
    require(callable(rule), "formula", f"be a function of {wanted}", rule)
    try:
        found = signature(rule)
    except ValueError:
        return
    try:
        found.bind("xp", *arrays, **dict.fromkeys(names))
    except TypeError as error:
        got = Phrase(f"one of {', '.join(found.parameters)}: {error}")
        missing = [name for name in [*found.parameters][1 + len(arrays) :] if name not in names]
        do = f"Give each parameter a number, such as {missing[0]}=1.0." if missing else ""
        require(False, "formula", f"be a function of {wanted}", got, do)


def _run(rule: Callable[..., Any], n_arguments: int) -> Formula:
    builder = FormulaBuilder(n_arguments)
    symbols = [Symbol(builder, index) for index in range(n_arguments)]
    try:
        result = rule(SymbolNamespace(builder), *symbols)
        ok = isinstance(result, (Symbol, bool)) or is_number(result)
        require(ok, "formula", "return one value", result)
        return builder.formula(called(builder, "multiply", 1.0, result).index)
    except ArgumentError:
        raise
    except Exception as error:
        raise ArgumentError(
            "formula must be made of functions of xp, operators and numbers; got one that "
            f"{_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    """Return what a rule does that formulas cannot express, for "one that …"."""
    if isinstance(error, NoFormulaError):
        return str(error)
    if isinstance(error, AttributeError) and isinstance(error.obj, Symbol):
        return f"uses .{error.name} of a value: a formula is elementwise"
    return f"raises {type(error).__name__}: {str(error).rstrip('.')}"
