"""The distillation loss of a student, from the logits of its teacher and the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import require, require_number
from xpnet.losses.base import Loss, as_rows, require_finite, row_scale
from xpnet.losses.classification import CrossEntropy
from xpnet.ops import operations_for
from xpnet.ops.operations import bounded


@dataclass(frozen=True)
class Distillation(Loss):
    """``ℓ = share·T²·H(softmax(v/T), softmax(z/T)) + (1 − share)·H(label, softmax(z))``.

    ``H(t, p) = -Σ_k t_k log p_k``; ``z`` are the logits of the student and ``v`` those of the
    teacher. A high temperature T emphasizes which wrong classes the teacher finds likely. The
    gradient of the soft part with respect to ``z`` decreases as ``1/T²``, so the factor ``T²``
    keeps the balance of the two parts when T changes.

    Targets are rows ``[v_1 … v_K, label]``, ``(m, K + 1)``, as `xpnet.distillation_targets` makes
    them. For class indices ``(m,)`` or rows of probabilities ``(m, K)`` the loss is
    `CrossEntropy`, so that a student can be validated and evaluated on labels.

    Args:
        temperature: T, above 0. Default 4.
        share: the weight of the soft part, in ``[0, 1]``. Default 0.9.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network",
    2015, section 2.

    >>> import numpy as np
    >>> loss, grad = Distillation(2.0, share=1.0).value_and_grad(
    ...     np.zeros((1, 2)), np.array([[0.0, 2.0, 1.0]])
    ... )
    >>> round(float(loss), 4), grad.round(4)  # 4 log 2, and 2(½ − softmax([0, 1]))
    (2.7726, array([[ 0.4621, -0.4621]]))
    """

    temperature: float = 4.0
    share: float = 0.9

    target_kind = "classes"

    def __post_init__(self) -> None:
        require_number(self.temperature, "temperature", above=0)
        require_number(self.share, "share", low=0, high=1)

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        n_classes = output.shape[1]
        if target.ndim == 1 or target.shape[1] == n_classes:
            return CrossEntropy().value_and_grad(output, target, weight, out=out)
        ops, scale, T = operations_for(output), row_scale(output, weight), self.temperature
        target = as_rows(target, output, n_classes + 1)
        soft = ops.softmax(self._at_temperature(target[:, :n_classes]))
        value, grad = ops.softmax_cross_entropy(
            self._at_temperature(output), soft, scale * (self.share * T * T)
        )
        hard_value, hard_grad = ops.softmax_cross_entropy(
            output, ops.one_hot(target[:, n_classes], output), scale * (1.0 - self.share)
        )
        return value + hard_value, grad * (1.0 / T) + hard_grad

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        return self.value_and_grad(output, target, weight)[0]

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate rows of teacher's logits and a label, or labels; see `Loss.check`."""
        if getattr(target, "ndim", 0) != 2 or target.shape[1] == n_out:
            CrossEntropy().check(target, n_out, n_rows)
            return
        rule = f"have the shape ({n_rows}, {n_out + 1}), a teacher's {n_out} logits and a label"
        do = "Make them with distillation_targets(teacher, X, y)."
        require(tuple(target.shape) == (n_rows, n_out + 1), "y", rule, target, do)
        require(is_kind(target, "real floating"), "y", "be floating", target, do)
        require_finite(target)
        labels = target[:, n_out]
        xp = namespace_of(target)
        require(bool(xp.all(xp.floor(labels) == labels)), "y", "end in class indices", target, do)
        CrossEntropy().check(xp.astype(labels, xp.int64), n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return the index of the largest logit of each row, ``(m,)``; of equal ones the first."""
        return CrossEntropy().decide(output)

    def probabilities(self, output: Array) -> Array:
        """Return ``softmax(z)``, ``(m, K)``, at temperature 1."""
        return CrossEntropy().probabilities(output)

    def scores(self, output: Array) -> Array:
        """Return the log-odds of each class at temperature 1; see `Loss.scores`."""
        return CrossEntropy().scores(output)

    def class_targets(self, target: Array, n_out: int) -> Array:
        """Return the labels of rows of a teacher's logits and a label; other targets as they are.

        The labels are floating-point numbers, as in the rows.
        """
        is_taught = target.ndim == 2 and target.shape[1] == n_out + 1
        return target[:, n_out] if is_taught else target

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute the product of both parts, the soft one at ``z/T``: T² and 1/T² cancel."""
        hard = CrossEntropy().hessian_product(output, target, d_output, weight)
        if target.ndim == 1 or target.shape[1] == output.shape[1]:
            return hard
        at = self._at_temperature(output)
        soft = CrossEntropy().hessian_product(at, target, d_output, weight)
        return self.share * soft + (1.0 - self.share) * hard

    def _at_temperature(self, z: Array) -> Array:
        """Return ``z/T``, or ``(z − max z)/T`` where a quotient could overflow."""
        T = self.temperature
        if T >= 1.0:
            return z * (1.0 / T)
        ops = operations_for(z)
        low = -T * float(ops.xp.finfo(z.dtype).max)
        return bounded(ops.xp, ops.below_max(z), low) * (1.0 / T)
