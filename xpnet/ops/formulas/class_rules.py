"""Rules of a class that follow from the formula of one that it defines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Any

from xpnet.errors import ArgumentError
from xpnet.ops import formulas  # its names load on first access

if TYPE_CHECKING:
    from xpnet.ops.formulas import Formula

Derivation = Callable[["Formula"], Any]
"""What an attribute is of the formula of a rule; a formula becomes a rule."""


def derive_rules(owner: type, name: str, derivations: Mapping[str, Derivation]) -> None:
    """Set attributes of a class that follow from the formula of one of its rules.

    Nothing is computed before an attribute is read for the first time, and then once for the class.
    The rule is run on symbols, as by `trace`: it may call what `xpnet.ops.formulas.table` lists.

    Args:
        owner: the class.
        name: the rule ``f(xp, *arrays, *scalars)`` in the body of the class.
        derivations: functions of the formula, by the name of the attribute that each gives. That of
            ``name`` itself replaces the rule, unless this has no formula; the other attributes then
            raise `ArgumentError`, which says why.

    >>> class Square:
    ...     value = staticmethod(lambda xp, z, c: c * z * z)
    >>> derive_rules(Square, "value", {"derivative": first_derivative_of})
    >>> Square.derivative(None, 3.0, 2.0)
    12.0
    """
    source = _Source(owner, name, vars(owner)[name])
    for attribute, derivation in derivations.items():
        setattr(owner, attribute, DerivedRule(source, attribute, derivation))


def itself(formula: Formula) -> Formula:
    """Return the formula, for `derive_rules`."""
    return formula


def first_derivative_of(formula: Formula) -> Formula:
    """Return the derivative by the first argument."""
    return formulas.derivative_of(formula)


def second_derivative_of(formula: Formula) -> Formula | None:
    """Return the second derivative by the first argument; ``None`` if it is 0."""
    return formulas.nonzero(formulas.derivative_of(formulas.derivative_of(formula)))


def nonzero_derivative_of(formula: Formula) -> Formula | None:
    """Return the derivative by the first argument; ``None`` if it is 0."""
    return formulas.nonzero(formulas.derivative_of(formula))


class _Source:
    """The rule of a class that others follow from.

    Args:
        owner: the class.
        name: the name of the rule.
        rule: the rule, possibly a ``staticmethod``.
    """

    def __init__(self, owner: type, name: str, rule: Any) -> None:
        self.name, self.label = name, f"{owner.__name__}.{name}"
        self.is_method = isinstance(rule, FunctionType)
        self.rule = rule.__func__ if isinstance(rule, staticmethod) else rule
        self.prefix = getattr(self.rule, "__name__", name)

    @cached_property
    def formula(self) -> Formula | ArgumentError:
        """The formula of the rule, or why it has none."""
        if isinstance(self.rule, formulas.FormulaRule):
            return self.rule.formula
        if self.is_method:
            return ArgumentError(f"it is a method. Write {self.name} = staticmethod(...).")
        try:
            return formulas.trace(self.rule, len(inspect.signature(self.rule).parameters) - 1)
        except (ArgumentError, TypeError, ValueError) as error:  # no signature
            return ArgumentError(str(error))


class DerivedRule:
    """An attribute of a class that follows from the formula of a rule."""

    def __init__(self, source: _Source, name: str, derivation: Derivation) -> None:
        self.source, self.name, self.derivation = source, name, derivation

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if self.source.is_method and self.function is not None:
            return self.function.__get__(instance, owner)
        return self.value

    @property
    def function(self) -> Any:
        """The function that is called where the rule has no formula; ``None`` if it has one."""
        has_formula = isinstance(self.source.formula, formulas.Formula)
        return None if has_formula or self.name != self.source.name else self.source.rule

    @cached_property
    def value(self) -> Any:
        """The value of the attribute.

        Raises:
            ArgumentError: if the rule has no formula.
        """
        source, formula = self.source, self.source.formula
        is_source = self.name == source.name
        if isinstance(formula, ArgumentError):
            if is_source:
                return source.rule
            raise ArgumentError(
                f"{self.name} must be a rule of its own, because {source.label} has no formula "
                f"that it follows from: {formula}"
            )
        found = self.derivation(formula)
        name = source.prefix if is_source else f"{source.prefix}_{self.name}"
        return formulas.FormulaRule(found, name) if isinstance(found, formulas.Formula) else found
