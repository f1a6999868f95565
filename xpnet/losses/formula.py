"""Losses made of a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from xpnet.backend import Array
from xpnet.errors import require_type, unknown_name
from xpnet.losses.base import Loss
from xpnet.losses.classification import BinaryCrossEntropy, Hinge
from xpnet.losses.regression import HalfMSE
from xpnet.ops.formulas import Formula, FormulaRule, derivative_of
from xpnet.ops.formulas.backward import nonzero
from xpnet.ops.formulas.parameters import (
    Parameters,
    changed,
    checked_formula,
    require_parts,
    shown,
    values_of,
)
from xpnet.ops.formulas.trace import require_signature
from xpnet.ops.operations import Rule

TargetKind = Literal["values", "binary", "signs"]

LIKE: dict[str, Loss] = {
    "values": HalfMSE(),
    "binary": BinaryCrossEntropy(),
    "signs": Hinge(),
}
"""The loss that has the same targets and predictions, by the kind of the targets."""


@dataclass(frozen=True)
class FormulaLoss(Loss):
    """A loss made of a formula; `from_formula` makes it of a function.

    Attributes:
        formula: ``ℓ`` of one output as a formula of ``z``, ``t`` and the parameters.
        name: its name.
        parameters: the names and values of its parameters.
        target_kind: the kind of the targets: ``"values"``, ``"binary"`` (0 and 1, for logits) or
            ``"signs"`` (±1).
        mean: whether the outputs are averaged instead of summed.
        scalable: whether targets that are values may be standardized.
    """

    formula: Formula = field(repr=False)
    name: str
    parameters: Parameters = ()
    # By keyword only: the order of fields begins with those that the base class declares.
    target_kind: TargetKind = field(default="values", kw_only=True)  # type: ignore[misc]
    mean: bool = field(default=False, kw_only=True)  # type: ignore[misc]
    scalable: bool = field(default=True, kw_only=True)  # type: ignore[misc]

    def __post_init__(self) -> None:
        require_parts(self.formula, self.name, self.parameters, 2)
        if self.target_kind not in LIKE:
            raise unknown_name("target_kind", self.target_kind, get_args(TargetKind))
        require_type(self.mean, bool, "mean")
        require_type(self.scalable, bool, "scalable")

    def __repr__(self) -> str:
        return shown(self.name, self.parameters)

    def with_parameters(self, **changes: float) -> FormulaLoss:
        """Return the loss with other values of parameters.

        Raises:
            ArgumentError: if there is no such parameter, or a value is not a finite number.
        """
        return replace(self, parameters=changed(self.parameters, changes))

    @cached_property
    def rule(self) -> Rule:  # type: ignore[override]
        """The rule ``ℓ(xp, z, t, *parameters)``."""
        return FormulaRule(self.formula, self.name)

    @cached_property
    def derivative(self) -> Rule:  # type: ignore[override]
        """The rule ``∂ℓ/∂z``."""
        return FormulaRule(derivative_of(self.formula), f"{self.name}_derivative")

    @cached_property
    def curvature(self) -> Rule | None:  # type: ignore[override]
        """The rule ``∂²ℓ/∂z²``; ``None`` if it is 0 almost everywhere."""
        formula = nonzero(derivative_of(derivative_of(self.formula)))
        return None if formula is None else FormulaRule(formula, f"{self.name}_curvature")

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate targets of this kind; see `Loss.check`."""
        LIKE[self.target_kind].check(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return the predictions for targets of this kind; see `Loss.decide`."""
        return LIKE[self.target_kind].decide(output)

    def probabilities(self, output: Array) -> Array:
        """Return the probabilities for targets of 0 and 1; see `Loss.probabilities`."""
        if self.target_kind != "binary":
            return super().probabilities(output)
        return LIKE[self.target_kind].probabilities(output)

    def _scalars(self) -> tuple[float, ...]:
        return values_of(self.parameters)


def from_formula(
    rule: Callable[..., Any],
    *,
    name: str,
    target_kind: TargetKind = "values",
    mean: bool = False,
    scalable: bool = True,
    **parameters: float,
) -> FormulaLoss:
    """Return a loss with derivatives that follow from its formula.

    See `xpnet.activations.from_formula` for what a formula may consist of.

    Args:
        rule: a function ``f(xp, z, t, **parameters)``, the loss of one output ``z`` with the target
            ``t``. The loss of a row is the sum over its outputs, that of a batch the weighted mean
            over its rows.
        name: its name, of letters, digits and underscores.
        target_kind: ``"values"`` (default); ``"binary"``, for logits ``z`` and targets of 0 and 1;
            or ``"signs"``, for targets of ±1.
        mean: whether the outputs are averaged instead of summed; default false.
        scalable: whether ``fit(target_scaling="standardize")`` may scale targets that are values;
            default true. False for a loss of counts or of positive numbers.
        **parameters: numbers that the function takes; `FormulaLoss.with_parameters` changes them.

    Returns:
        The loss. It is replayed, compiled, saved and differentiated as the built-in ones are.

    Raises:
        ArgumentError: if an argument breaks its rule, the function has no formula, or the loss or
            a derivative overflows though its true value does not.

    >>> pinball = from_formula(
    ...     lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), q=0.9, name="pinball"
    ... )
    >>> pinball
    pinball(q=0.9)
    >>> import numpy as np
    >>> float(pinball.value(np.array([[1.0], [3.0]]), np.array([2.0, 2.0])))
    0.5
    """
    for argument, given in (("mean", mean), ("scalable", scalable)):
        do = "A parameter of the formula must have another name."
        require_type(given, bool, argument, do)
    require_signature(rule, ("z", "t"), parameters)
    formula, numbers = checked_formula(rule, 2, name, parameters)
    return FormulaLoss(
        formula, name, numbers, target_kind=target_kind, mean=mean, scalable=scalable
    )
