"""Losses of classes: cross-entropies on logits, and the margins of ±1 targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.activations import Softmax
from xpnet.backend import Array, namespace_of
from xpnet.errors import require, require_number
from xpnet.losses.base import (
    Loss,
    as_rows,
    check_shape,
    check_values,
    is_kind,
    refuse_where,
    require_finite,
    row_scale,
)
from xpnet.ops import operations_for
from xpnet.ops.rules import curvatures
from xpnet.ops.rules import losses as rules
from xpnet.ops.rules.activations import sigmoid

ROW_SUM_TOLERANCE = 1e-4
"""How far from 1 a row of probabilities may sum: float32 rows of a thousand classes are nearer."""

_INDICES = "Class names become indices by encode_labels."


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """``ℓ = -Σ_k t_k log softmax(z)_k`` on logits ``z``; gradient ``softmax(z) - t``.

    Targets are class indices, integers ``(m,)`` in ``[0, K)``, or rows of probabilities
    ``(m, K)``. The network ends in K ≥ 2 linear outputs.

    Args:
        label_smoothing: ``s`` in ``[0, 1)``: ``t`` becomes ``(1 - s)t + s/K``; default 0.

    Raises:
        ArgumentError: if ``label_smoothing`` is outside its range.

    Reference: for the smoothing C. Szegedy et al., "Rethinking the Inception Architecture for
    Computer Vision", CVPR 2016, section 7.

    >>> import numpy as np
    >>> loss, grad = CrossEntropy().value_and_grad(np.zeros((1, 2)), np.array([1]))
    >>> round(float(loss), 4), grad
    (0.6931, array([[ 0.5, -0.5]]))
    """

    label_smoothing: float = 0.0

    target_kind = "classes"
    is_likelihood = True

    def __post_init__(self) -> None:
        require_number(self.label_smoothing, "label_smoothing", low=0, below=1)

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        ops, n_classes, s = operations_for(output), output.shape[1], self.label_smoothing
        if target.ndim == 2:
            target = as_rows(target, output, n_classes)
        if s:
            rows = ops.one_hot(target, output) if target.ndim == 1 else target
            target = (1.0 - s) * rows + s / n_classes
        return ops.softmax_cross_entropy(output, target, row_scale(output, weight), out=out)

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        return self.value_and_grad(output, target, weight)[0]

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Class indices in ``[0, n_out)``, or rows of probabilities that sum to 1."""
        do = "For one output and two classes take BinaryCrossEntropy()."
        require(n_out >= 2, "n_out", "be at least 2 for CrossEntropy", n_out, do)
        check_shape(target, [(n_rows,), (n_rows, n_out)])
        xp = namespace_of(target)
        if target.ndim == 1:
            indices = is_kind(target, "integral")
            require(indices, "y", "hold class indices, which are integers", target, _INDICES)
            target = xp.astype(target, xp.int64)
            rule = f"hold class indices of 0 to {n_out - 1}"
            refuse_where((target < 0) | (target >= n_out), target, rule)
            return
        require_finite(target)
        if not is_kind(target, "real floating"):
            target = xp.astype(target, xp.float32)
        refuse_where(target < 0.0, target, "hold probabilities, none below 0")
        off = xp.abs(xp.sum(target, axis=1) - 1.0)
        refuse_where(off > ROW_SUM_TOLERANCE, target, "hold probabilities that sum to 1 in a row")

    def decide(self, output: Array) -> Array:
        """The index of the largest logit of each row, ``(m,)``; the first of equal ones."""
        return namespace_of(output).argmax(output, axis=1)

    def probabilities(self, output: Array) -> Array:
        """``softmax(z)``, ``(m, K)``."""
        return operations_for(output).softmax(output)

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """``w_i/Σw (p ⊙ ẏ - p pᵀẏ)`` of each row, with ``p = softmax(z)``; see `Loss`."""
        ops = operations_for(output)
        p = ops.softmax(output)
        return Softmax().jvp(ops, p, d_output) * row_scale(output, weight)


class BinaryCrossEntropy(Loss):
    """``ℓ = -Σ_k [t_k log σ(z_k) + (1 - t_k) log(1 - σ(z_k))]`` on logits; gradient ``σ(z) - t``.

    With one output it is logistic regression; with several, each is a yes or no of its own.
    Targets are 0 or 1, or probabilities between: ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = BinaryCrossEntropy().value_and_grad(np.array([[0.0]]), np.array([1]))
    >>> round(float(loss), 4), grad
    (0.6931, array([[-0.5]]))
    """

    target_kind = "binary"
    rule = staticmethod(rules.logistic)
    derivative = staticmethod(rules.logistic_derivative)
    curvature = staticmethod(curvatures.logistic_curvature)
    is_likelihood = True

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Numbers in ``[0, 1]``."""
        check_values(target, n_out, n_rows)
        if not is_kind(target, "bool"):
            refuse_where((target < 0) | (target > 1), target, "hold numbers of 0 to 1")

    def decide(self, output: Array) -> Array:
        """1 where the probability is above ½, else 0: ``(m, n_out)``, ``(m,)`` for one output."""
        return _positive(output)

    def probabilities(self, output: Array) -> Array:
        """``[1 - σ(z), σ(z)]`` for one output, ``(m, 2)``; else ``σ(z)`` of each output."""
        ops = operations_for(output)
        yes = ops.apply(sigmoid, output)
        if output.shape[1] > 1:
            return yes
        return ops.xp.concat([ops.apply(sigmoid, -output), yes], axis=1)


class Hinge(Loss):
    """``ℓ = Σ_k max(0, 1 - t_k z_k)`` for ±1 targets: the loss of a support vector machine.

    Targets are -1 or 1: ``(m, n_out)``, or ``(m,)`` for one output.

    Reference: C. Cortes, V. Vapnik, "Support-Vector Networks", 1995.

    >>> import numpy as np
    >>> loss, grad = Hinge().value_and_grad(np.array([[0.5], [2.0]]), np.array([1, 1]))
    >>> float(loss), grad.tolist()
    (0.25, [[-0.5], [0.0]])
    """

    target_kind = "signs"
    rule = staticmethod(rules.hinge)
    derivative = staticmethod(rules.hinge_derivative)
    curvature = None

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Only -1 and 1."""
        _check_signs(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """1 where the output is positive, else -1: ``(m, n_out)``, ``(m,)`` for one output."""
        return 2 * _positive(output) - 1


class PerceptronLoss(Loss):
    """``ℓ = Σ_k max(0, -t_k z_k)`` for ±1 targets; gradient ``-t`` where ``tz ≤ 0``.

    At ``z = 0`` it pushes, as the perceptron's rule has it: so training may start at ``w = 0``.
    Targets are -1 or 1: ``(m, n_out)``, or ``(m,)`` for one output.

    Reference: F. Rosenblatt, "The Perceptron", Psychological Review 65, 1958.

    >>> import numpy as np
    >>> loss, grad = PerceptronLoss().value_and_grad(np.array([[0.0], [2.0]]), np.array([1, 1]))
    >>> float(loss), grad.tolist()
    (0.0, [[-0.5], [0.0]])
    """

    target_kind = "signs"
    rule = staticmethod(rules.perceptron)
    derivative = staticmethod(rules.perceptron_derivative)
    curvature = None

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Only -1 and 1."""
        _check_signs(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """1 where the output is positive, else -1: ``(m, n_out)``, ``(m,)`` for one output."""
        return 2 * _positive(output) - 1


def _check_signs(target: Any, n_out: int, n_rows: int) -> None:
    check_values(target, n_out, n_rows)
    do = "Labels of 0 and 1 become signs by 2 * y - 1."
    require(not is_kind(target, "bool"), "y", "hold -1 or 1", target, do)
    refuse_where(namespace_of(target).abs(target) != 1, target, "hold -1 or 1", do)


def _positive(output: Array) -> Array:
    """``[z > 0]`` as integers; ``(m,)`` for one output."""
    xp = namespace_of(output)
    yes = xp.astype(output > 0, xp.int64)
    return xp.reshape(yes, (-1,)) if output.shape[1] == 1 else yes
