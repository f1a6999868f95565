"""Losses of classes: cross-entropies on logits, and the margins of ±1 targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array, namespace_of
from xpnet.errors import require, require_number
from xpnet.losses.base import (
    ElementwiseLoss,
    Loss,
    check_shape,
    refuse_where,
    require_finite,
    row_scale,
)
from xpnet.ops import operations_for
from xpnet.ops.rules import losses as rules
from xpnet.ops.rules.activations import sigmoid


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """``ℓ = −Σ_k t_k log softmax(z)_k`` on logits ``z``; gradient ``softmax(z) − t``.

    Targets are class indices ``(m,)`` or rows of probabilities ``(m, K)``.

    Args:
        label_smoothing: ``s`` in ``[0, 1)``: ``t`` becomes ``(1 − s) t + s/K``; default 0.

    Raises:
        ArgumentError: if ``label_smoothing`` is outside its range; by `check`, for targets that
            are not classes.

    >>> import numpy as np
    >>> loss, grad = CrossEntropy().value_and_grad(np.zeros((1, 2)), np.array([1]))
    >>> round(float(loss), 4), grad
    (0.6931, array([[ 0.5, -0.5]]))
    """

    label_smoothing: float = 0.0
    target_kind = "classes"

    def __post_init__(self) -> None:
        require_number(self.label_smoothing, "label_smoothing", low=0, below=1)

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        ops = operations_for(output)
        if self.label_smoothing:
            if target.ndim == 1:
                target = ops.one_hot(target, output)
            target = (1.0 - self.label_smoothing) * target + self.label_smoothing / output.shape[1]
        return ops.softmax_cross_entropy(output, target, row_scale(output, weight), out=out)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Class indices in ``0..n_out − 1``, or rows of probabilities that sum to 1."""
        require(n_out > 1, "n_out", "be at least 2 for CrossEntropy", n_out, BINARY)
        shape = tuple(getattr(target, "shape", ()))
        if len(shape) == 2:
            check_shape(target, n_out, n_rows)
            require_finite(target)
            total = namespace_of(target).sum(target, axis=1)
            bad = (total < 1 - 1e-4) | (total > 1 + 1e-4)
            refuse_where(bad, target, "be rows of probabilities that sum to 1", INDICES)
            refuse_where(target < 0, target, "be rows of probabilities, none below 0", INDICES)
            return
        check_shape(target, 1, n_rows)
        name = str(target.dtype).rpartition(".")[2]
        whole = name.startswith(("int", "uint"))
        require(whole, "y", "be integers, the indices of classes", target, INDICES)
        rule = f"be class indices in 0..{n_out - 1}"
        refuse_where((target < 0) | (target > n_out - 1), target, rule)

    def decide(self, output: Array) -> Array:
        """The index of the largest logit of each row, ``(m,)``."""
        return namespace_of(output).argmax(output, axis=1)

    def probabilities(self, output: Array) -> Array:
        """``softmax(z)``."""
        return operations_for(output).softmax(output)


BINARY = "For one output and two classes take BinaryCrossEntropy()."
INDICES = "Class names become indices by xpnet.data.encode_labels."


@dataclass(frozen=True)
class BinaryCrossEntropy(ElementwiseLoss):
    """``ℓ = −Σ_k [t_k log σ(z_k) + (1 − t_k) log(1 − σ(z_k))]`` on logits; gradient ``σ(z) − t``.

    With one output it is logistic regression; with several, each is a yes or no of its own.
    Targets are 0 or 1, or probabilities between.
    """

    target_kind = "binary"
    rule = staticmethod(rules.logistic)
    slope = staticmethod(rules.logistic_slope)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Numbers in ``[0, 1]``."""
        super().check(target, n_out, n_rows)
        if str(target.dtype).rpartition(".")[2].startswith("bool"):
            return
        refuse_where((target < 0) | (target > 1), target, "be in [0, 1]")

    def decide(self, output: Array) -> Array:
        """1 where the probability is above ½: ``(m,)`` for one output, else ``(m, n_out)``."""
        xp = namespace_of(output)
        yes = xp.astype(output > 0, xp.int64)
        return xp.reshape(yes, (-1,)) if output.shape[1] == 1 else yes

    def probabilities(self, output: Array) -> Array:
        """``[1 − σ(z), σ(z)]`` for one output, ``(m, 2)``; else ``σ(z)`` of each output."""
        ops = operations_for(output)
        yes = ops.apply(sigmoid, output)
        if output.shape[1] > 1:
            return yes
        return ops.xp.concat([ops.apply(sigmoid, -output), yes], axis=1)


class _Signs(ElementwiseLoss):
    target_kind = "signs"

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Only −1 and 1."""
        super().check(target, n_out, n_rows)
        refuse_where((target != 1) & (target != -1), target, "be -1 or 1")

    def decide(self, output: Array) -> Array:
        """1 where the output is positive, else −1: ``(m,)`` for one output."""
        xp = namespace_of(output)
        signs = 2 * xp.astype(output > 0, xp.int64) - 1
        return xp.reshape(signs, (-1,)) if output.shape[1] == 1 else signs


@dataclass(frozen=True)
class Hinge(_Signs):
    """``ℓ = Σ_k max(0, 1 − t_k z_k)`` for ±1 targets: a support vector machine's."""

    rule = staticmethod(rules.hinge)
    slope = staticmethod(rules.hinge_slope)


@dataclass(frozen=True)
class PerceptronLoss(_Signs):
    """``ℓ = Σ_k max(0, −t_k z_k)`` for ±1 targets; at ``z = 0`` it pushes, as Rosenblatt's rule."""

    rule = staticmethod(rules.perceptron)
    slope = staticmethod(rules.perceptron_slope)
