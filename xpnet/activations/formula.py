"""Activations made of a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from xpnet.activations.builtin import ActivationFunction
from xpnet.backend import Array
from xpnet.ops import formulas  # its names load on first access
from xpnet.ops.operations import Operations, Rule

if TYPE_CHECKING:
    from xpnet.ops.formulas import Backward, Formula
    from xpnet.ops.formulas.parameters import Parameters


@dataclass(frozen=True)
class FormulaActivation(ActivationFunction):
    """An activation made of a formula; `from_formula` makes it of a function.

    Attributes:
        formula: ``φ`` as a formula of ``z`` and the parameters.
        name: its name.
        parameters: the names and values of its parameters.
    """

    formula: Formula = field(repr=False)
    name: str
    parameters: Parameters = ()

    def __post_init__(self) -> None:
        formulas.require_parts(self.formula, self.name, self.parameters, 1)

    def __repr__(self) -> str:
        return formulas.shown(self.name, self.parameters)

    def scalars(self) -> tuple[float, ...]:
        """Return the values of the parameters."""
        return formulas.values_of(self.parameters)

    def with_parameters(self, **changes: float) -> FormulaActivation:
        """Return the activation with other values of parameters.

        Raises:
            ArgumentError: if there is no such parameter, or a value is not a finite number.
        """
        return replace(self, parameters=formulas.changed(self.parameters, changes))

    @cached_property
    def value(self) -> Rule:  # type: ignore[override]
        """The rule ``φ(xp, z, *parameters)``."""
        return formulas.FormulaRule(self.formula, self.name)

    @cached_property
    def derivative(self) -> Rule:  # type: ignore[override]
        """The rule ``φ'(xp, saved, *parameters)``."""
        return formulas.FormulaRule(self._backward.derivative, f"{self.name}_derivative")

    @cached_property
    def saves(self) -> Literal["input", "output", "intermediate"]:  # type: ignore[override]
        """The argument ``saved`` of the derivative, whichever is cheapest."""
        return self._backward.saves

    @cached_property
    def curvature(self) -> Rule | None:  # type: ignore[override]
        """The second derivative as a function of ``saved``; ``None`` if it is 0."""
        formula = self._backward.curvature
        return None if formula is None else formulas.FormulaRule(formula, f"{self.name}_curvature")

    @cached_property
    def _backward(self) -> Backward:
        return formulas.backward_of(self.formula)

    @cached_property
    def _inner(self) -> Rule | None:
        """The rule ``h`` of an intermediate ``u = h(z)``."""
        inner, name = self._backward.inner, f"{self.name}_intermediate"
        return None if inner is None else formulas.FormulaRule(inner, name)

    @cached_property
    def _outer(self) -> Rule:
        """The rule ``φ`` of what is saved."""
        outer, name = self._backward.outer, f"{self.name}_of_intermediate"
        return self.value if outer is None else formulas.FormulaRule(outer, name)

    def kept(
        self, ops: Operations, z: Array, out: Array | None = None, scratch: Array | None = None
    ) -> tuple[Array, Array]:
        """See `ActivationFunction.kept`."""
        if self._inner is None:
            return super().kept(ops, z, out, scratch)
        u = ops.apply(self._inner, z, scalars=self.scalars(), out=scratch)
        return u, ops.apply(self._outer, u, scalars=self.scalars(), out=out)

    def shifted(
        self, ops: Operations, z: Array, bias: Array, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `ActivationFunction.shifted`."""
        if self._inner is None:
            return super().shifted(ops, z, bias, out)
        return ops.shift_and_keep(self._outer, z, bias, self.scalars(), out, self._inner)


def from_formula(rule: Callable[..., Any], *, name: str, **parameters: float) -> FormulaActivation:
    """Return an activation with derivatives that follow from its formula.

    The function is run on symbols, never on arrays, and not kept: what is saved in files, compiled
    and executed is the formula. Unstable forms are replaced by stable functions: the ``log1p(exp)``
    below is `softplus`; see `xpnet.ops.formulas.simplify`.

    Args:
        rule: a function ``f(xp, z, **parameters)`` of elementwise functions of the array API, and
            of ``sigmoid``, ``softplus``, ``log_sigmoid``, ``logaddexp``, ``erf``, ``erfc`` and
            ``xlogy``, of operators and numbers. It must not branch on values: write ``xp.where``,
            which is differentiated on the chosen side. The derivative of ``xp.maximum(a, b)`` is
            that of ``b`` where ``a = b``. An argument with a default value that is not given as a
            parameter is a number of the formula, as is a number of the enclosing code. What is not
            elementwise, such as a softmax, needs a layer of its own.
        name: its name, of letters, digits and underscores.
        **parameters: numbers that the function takes; `FormulaActivation.with_parameters` changes
            them.

    Returns:
        The activation. It is replayed, compiled, saved and differentiated as the built-in ones are.

    Raises:
        ArgumentError: if the function has no formula, or more than 512 operations; or if the value
            or a derivative is infinite or NaN for a finite ``z`` of float32 or float64 though its
            true value can be represented: the message names the interval and a function to use.

    >>> mish = from_formula(lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), name="mish")
    >>> mish
    mish()
    >>> swish = from_formula(lambda xp, z, b: z / (1 + xp.exp(-b * z)), name="swish", b=1.0)
    >>> swish.with_parameters(b=2.0)
    swish(b=2)
    """
    formulas.require_signature(rule, ("z",), parameters)
    formula, numbers = formulas.checked_formula(rule, name, parameters)
    return FormulaActivation(formula, name, numbers)
