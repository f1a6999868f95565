"""Losses made of a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import require, require_number, require_type, unknown_name
from xpnet.losses.base import Loss, refuse_where
from xpnet.losses.classification import BinaryCrossEntropy, Hinge
from xpnet.losses.regression import HalfMSE
from xpnet.ops import formulas  # its names load on first access
from xpnet.ops.operations import Rule

if TYPE_CHECKING:
    from xpnet.ops.formulas import Formula
    from xpnet.ops.formulas.parameters import Parameters

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
        target_min: the smallest target that is a value; ``None`` for none.
        target_max: the largest.
    """

    formula: Formula = field(repr=False)
    name: str
    parameters: Parameters = ()
    # By keyword only: the order of fields begins with those that the base class declares.
    target_kind: TargetKind = field(default="values", kw_only=True)  # type: ignore[misc]
    mean: bool = field(default=False, kw_only=True)  # type: ignore[misc]
    scalable: bool = field(default=True, kw_only=True)  # type: ignore[misc]
    target_min: float | None = field(default=None, kw_only=True)
    target_max: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        formulas.require_parts(self.formula, self.name, self.parameters, 2)
        require_type(self.mean, bool, "mean")
        require_type(self.scalable, bool, "scalable")
        _require_targets(self.target_kind, self.target_min, self.target_max, self.scalable)

    def __repr__(self) -> str:
        return formulas.shown(self.name, self.parameters)

    def with_parameters(self, **changes: float) -> FormulaLoss:
        """Return the loss with other values of parameters.

        Raises:
            ArgumentError: if there is no such parameter, or a value is not a finite number.
        """
        return replace(self, parameters=formulas.changed(self.parameters, changes))

    @cached_property
    def rule(self) -> Rule:  # type: ignore[override]
        """The rule ``ℓ(xp, z, t, *parameters)``."""
        return formulas.FormulaRule(self.formula, self.name)

    @cached_property
    def derivative(self) -> Rule:  # type: ignore[override]
        """The rule ``∂ℓ/∂z``."""
        return formulas.FormulaRule(formulas.derivative_of(self.formula), f"{self.name}_derivative")

    @cached_property
    def curvature(self) -> Rule | None:  # type: ignore[override]
        """The rule ``∂²ℓ/∂z²``; ``None`` if it is 0 almost everywhere."""
        formula = formulas.second_derivative_of(self.formula)
        return None if formula is None else formulas.FormulaRule(formula, f"{self.name}_curvature")

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate targets of this kind, and their bounds; see `Loss.check`."""
        LIKE[self.target_kind].check(target, n_out, n_rows)
        if not is_kind(target, "real floating"):
            target = namespace_of(target).astype(target, namespace_of(target).float32)
        if self.target_min is not None:
            refuse_where(target < self.target_min, target, f"be at least {self.target_min:g}")
        if self.target_max is not None:
            refuse_where(target > self.target_max, target, f"be at most {self.target_max:g}")

    def decide(self, output: Array) -> Array:
        """Return the predictions for targets of this kind; see `Loss.decide`."""
        return LIKE[self.target_kind].decide(output)

    def probabilities(self, output: Array) -> Array:
        """Return the probabilities for targets of 0 and 1; see `Loss.probabilities`."""
        if self.target_kind != "binary":
            return super().probabilities(output)
        return LIKE[self.target_kind].probabilities(output)

    def _scalars(self) -> tuple[float, ...]:
        return formulas.values_of(self.parameters)


def _require_targets(
    kind: Any, low: float | None, high: float | None, scalable: bool = False
) -> None:
    """Refuse a kind of targets that there is not, and bounds that do not fit it."""
    if kind not in LIKE:
        raise unknown_name("target_kind", kind, get_args(TargetKind))
    for name, bound in (("target_min", low), ("target_max", high)):
        if bound is not None:
            require_number(bound, name)
            require(kind == "values", name, "be None unless target_kind is 'values'", bound)
            do = "Scaled targets are not within the bounds."
            require(not scalable, "scalable", "be False for targets with bounds", scalable, do)
    if low is not None and high is not None:
        require(high > low, "target_max", f"be above target_min, {low:g}", high)


def from_formula(
    rule: Callable[..., Any],
    *,
    name: str,
    target_kind: TargetKind = "values",
    mean: bool = False,
    scalable: bool | None = None,
    target_min: float | None = None,
    target_max: float | None = None,
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
            default true without bounds, and false with them.
        target_min: the smallest target that is a value, such as 0 for counts; default ``None``,
            any. `fit` refuses smaller ones, and the formula may overflow there.
        target_max: the largest; default ``None``.
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
    is_bounded = target_min is not None or target_max is not None
    scalable = not is_bounded if scalable is None else scalable
    for argument, given in (("mean", mean), ("scalable", scalable)):
        do = "A parameter of the formula must have another name."
        require_type(given, bool, argument, do)
    formulas.require_signature(rule, ("z", "t"), parameters)
    _require_targets(target_kind, target_min, target_max, scalable)
    targets = formulas.Targets(target_kind, target_min, target_max)
    formula, numbers = formulas.checked_formula(rule, name, parameters, targets)
    return FormulaLoss(
        formula,
        name,
        numbers,
        target_kind=target_kind,
        mean=mean,
        scalable=scalable,
        target_min=target_min,
        target_max=target_max,
    )
