"""The loss of ordered classes, by cumulative logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import require
from xpnet.losses.base import Loss, check_shape, needed_outputs, refuse_where, row_scale
from xpnet.ops import operations_for
from xpnet.ops.formulas.class_rules import (
    derive_rules,
    first_derivative_of,
    itself,
    second_derivative_of,
)
from xpnet.ops.operations import Operations, Rule
from xpnet.ops.rules import loss_formulas
from xpnet.ops.rules.activations import sigmoid


@dataclass(frozen=True)
class Ordinal(Loss):
    """``ℓ = -log p_y`` of K ordered classes, ``p_k = σ(z_k) - σ(z_(k+1))`` with ``σ(z_0) = 1``.

    The network has K - 1 outputs ``z_1 ≥ … ≥ z_(K-1)``, the log-odds of ``y ≥ k``; ``σ(z_K) = 0``.
    The layer `OrderedThresholds` orders them: the proportional odds model. Targets are class
    indices in the order of the classes, integers ``(m,)`` in ``[0, K)``.

    If the two logits of the class of a row are not in descending order, the class has no
    probability: the loss is ∞, and `fit` ends with the error of a loss that is not finite. Outputs
    of a `Dense` layer therefore do not suffice. `probabilities` are 0 for such a class, and then
    may not sum to 1.

    Reference: P. McCullagh, "Regression Models for Ordinal Data", JRSS B 42, 1980.

    >>> import numpy as np
    >>> loss, grad = Ordinal().value_and_grad(np.array([[1.0, -1.0]]), np.array([1]))
    >>> round(float(loss), 4), grad.round(4)  # σ(1) - σ(-1) = 0.4621
    (0.7719, array([[-0.4255,  0.4255]]))
    """

    target_kind = "classes"
    if_infinite = (
        "Ordinal is infinite where the logits of a class are not in descending order: end the "
        "network with OrderedThresholds, after Dense(1, bias=False)."
    )
    # The rules of the two logits of a class: each alone, and their difference d, which is that of
    # log p = log σ(a) + log σ(-b) + log(1 - e^(b - a)), where nothing cancels.
    rule = staticmethod(loss_formulas.gap)
    passed: ClassVar[Rule] = staticmethod(loss_formulas.passed)
    passed_derivative: ClassVar[Rule]
    passed_curvature: ClassVar[Rule]

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        ops, scale = operations_for(output), row_scale(output, weight)
        given = _split(ops, output, target)
        grad = ops.apply(self.passed_derivative, output, given.sign)
        by_gap = ops.apply(self.derivative, given.gap, given.has_gap)
        grad = grad + _of_gap(ops, by_gap, output)
        return ops.xp.sum(self._losses(ops, given) * scale), grad * scale

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        ops = operations_for(output)
        losses = self._losses(ops, _split(ops, output, target))
        return ops.xp.sum(losses * row_scale(output, weight))

    def _losses(self, ops: Operations, given: _Parts) -> Array:
        """Return the loss of each row, ``(m, 1)``."""
        xp = ops.xp
        alone = ops.apply(self.passed, given.output, given.sign)
        gaps = ops.apply(self.rule, given.gap, given.has_gap)
        return xp.sum(alone, axis=1, keepdims=True) + xp.sum(gaps, axis=1, keepdims=True)

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute the derivative of the gradient along ``ẏ``; see `Loss`."""
        ops = operations_for(output)
        given = _split(ops, output, target)
        product = ops.chain(self.passed_curvature, d_output, output, given.sign)
        d_gap = d_output[:, :-1] - d_output[:, 1:]
        by_gap = ops.chain(self.curvature, d_gap, given.gap, given.has_gap)  # type: ignore[arg-type]
        return (product + _of_gap(ops, by_gap, output)) * row_scale(output, weight)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``Σ_k ∇p_k ∇p_kᵀ ẏ/p_k`` for each row; see `Loss`."""
        ops = operations_for(output)
        xp = ops.xp
        up, down = ops.apply(sigmoid, output), ops.apply(sigmoid, -output)
        slope, p = up * down, self.probabilities(output)
        moved = slope * d_output
        zero = xp.zeros_like(output[:, :1])
        of_class = xp.concat([zero, moved], axis=1) - xp.concat([moved, zero], axis=1)
        ratio = xp.where(p > 0.0, of_class / xp.where(p > 0.0, p, 1.0), 0.0)
        product = slope * (ratio[:, 1:] - ratio[:, :-1])
        return product * row_scale(output, weight)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate class indices in ``[0, n_out]``; see `Loss.check`."""
        check_shape(target, [(n_rows,)], "Class indices have one axis.")
        do = "Convert class names to indices, in their order."
        integral = is_kind(target, "integral")
        require(integral, "y", "hold class indices, which are integers", target, do)
        xp = namespace_of(target)
        target = xp.astype(target, xp.int64)
        outside = (target < 0) | (target > n_out)
        if bool(xp.any(outside)):
            do = "" if bool(xp.any(target < 0)) else needed_outputs(int(xp.max(target)))
            refuse_where(outside, target, f"hold class indices of 0 to {n_out}", do)

    def n_classes(self, n_out: int) -> int:
        """Return ``n_out + 1``."""
        return n_out + 1

    def decide(self, output: Array) -> Array:
        """Return the index of the most likely class, ``(m,)``; of equal ones the first.

        The median is ``(output > 0).sum(axis=1)``.
        """
        return namespace_of(output).argmax(self.probabilities(output), axis=1)

    def probabilities(self, output: Array) -> Array:
        """Return ``p``, ``(m, K)``: ``σ(a) σ(-b) (1 - e^(b - a))`` of the logits of a class."""
        ops = operations_for(output)
        xp = ops.xp
        up, down = ops.apply(sigmoid, output), ops.apply(sigmoid, -output)
        gap = xp.maximum(output[:, :-1] - output[:, 1:], 0.0)
        between = -xp.expm1(-gap) * up[:, :-1] * down[:, 1:]
        return xp.concat([down[:, :1], between, up[:, -1:]], axis=1)

    def scores(self, output: Array) -> Array:
        """Return ``log p_k/(1 - p_k)``; see `Loss.scores`."""
        xp = namespace_of(output)
        z = xp.astype(output, xp.float64)
        if z.shape[1] == 1:
            return z[:, 0]
        log_up, log_down = (xp.minimum(x, 0.0) - xp.log1p(xp.exp(-xp.abs(z))) for x in (z, -z))
        a, b = log_down[:, :-1], log_up[:, 1:]  # log(1 - p) is that of σ(-z_k) + σ(z_(k+1))
        rest = xp.maximum(a, b) + xp.log1p(xp.exp(-xp.abs(a - b)))
        gap = xp.maximum(z[:, :-1] - z[:, 1:], 0.0)
        is_none = gap == 0.0
        log_gap = xp.log(-xp.expm1(-xp.where(is_none, 1.0, gap)))
        between = log_up[:, :-1] + log_down[:, 1:] + xp.where(is_none, -xp.inf, log_gap) - rest
        return xp.concat([-z[:, :1], between, z[:, -1:]], axis=1)


derive_rules(
    Ordinal,
    "passed",
    {
        "passed": itself,
        "passed_derivative": first_derivative_of,
        "passed_curvature": second_derivative_of,
    },
)


class _Parts(NamedTuple):
    """What the loss of the class of each row consists of.

    Attributes:
        output: the logits, ``(m, K - 1)``.
        sign: -1 for the logit that should be large, 1 for the one that should be small, else 0.
        gap: the difference of both where the class has two, else 1, ``(m, K - 2)``.
        has_gap: 1 where the class has two, else 0.
    """

    output: Array
    sign: Array
    gap: Array
    has_gap: Array


def _split(ops: Operations, output: Array, target: Array) -> _Parts:
    """Return the parts of the loss for class indices."""
    xp = ops.xp
    operations_for(target, "target")  # refuses one of another CUDA device
    index = xp.reshape(xp.astype(target, xp.int64), (-1, 1))
    columns = xp.arange(output.shape[1], dtype=xp.int64, device=output.device)[None, :]
    small, large = (xp.astype(columns == i, output.dtype) for i in (index, index - 1))
    has_gap = large[:, :-1]
    gap = xp.where(has_gap > 0.0, output[:, :-1] - output[:, 1:], 1.0)
    return _Parts(output, small - large, xp.maximum(gap, 0.0), has_gap)


def _of_gap(ops: Operations, by_gap: Array, like: Array) -> Array:
    """Return the derivative by the logits, ``(m, K - 1)``, of one by their differences."""
    zero = ops.xp.zeros_like(like[:, :1])
    ahead, behind = ops.xp.concat([by_gap, zero], axis=1), ops.xp.concat([zero, by_gap], axis=1)
    return ahead - behind
