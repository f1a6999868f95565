"""Losses for classification: cross-entropies of logits, and margin losses for ±1 targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.activations import Softmax
from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import require, require_number
from xpnet.losses.base import (
    Loss,
    as_rows,
    check_shape,
    check_values,
    n_columns,
    needed_outputs,
    refuse_where,
    require_finite,
    row_scale,
)
from xpnet.ops import operations_for
from xpnet.ops.graph_operations import LossLog
from xpnet.ops.rules import loss_formulas
from xpnet.ops.rules import losses as rules
from xpnet.ops.rules.activations import sigmoid

ROW_SUM_TOLERANCE = 1e-4
"""The largest deviation from 1 of a sum of probabilities; float32 with 1000 classes is within."""

_INDICES = "Convert class names to indices with xpnet.data.encode_labels."


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """``ℓ = -Σ_k t_k log softmax(z)_k`` of logits ``z``; the gradient is ``softmax(z) - t``.

    Targets are class indices, integers ``(m,)`` in ``[0, K)``, or rows of probabilities
    ``(m, K)``. The network has K ≥ 2 linear outputs, one for each class.

    Args:
        label_smoothing: ``s`` in ``[0, 1)``, which replaces ``t`` by ``(1 - s)t + s/K``. Default 0.

    Raises:
        ArgumentError: if ``label_smoothing`` is out of its range.

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
    appends_to_log = True

    def __post_init__(self) -> None:
        require_number(self.label_smoothing, "label_smoothing", low=0, below=1)

    def value_and_grad(
        self,
        output: Array,
        target: Array,
        weight: Array | None = None,
        *,
        out: Array | None = None,
        log: LossLog | None = None,
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`; the value is appended to ``log`` if one is given."""
        ops, n_classes, s = operations_for(output), output.shape[1], self.label_smoothing
        if target.ndim == 2:
            target = as_rows(target, output, n_classes)
        else:
            operations_for(target, "target")  # refuses one of another CUDA device
        if s:
            rows = ops.one_hot(target, output) if target.ndim == 1 else target
            target = (1.0 - s) * rows + s / n_classes
        given = output, target, row_scale(output, weight), out
        if log is not None:
            return ops.logged_cross_entropy(log, *given)
        return ops.softmax_cross_entropy(*given)

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        return self.value_and_grad(output, target, weight)[0]

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate class indices in ``[0, n_out)`` or rows of probabilities; see `Loss.check`."""
        require_two_outputs(target, n_out, n_rows, "CrossEntropy", "BinaryCrossEntropy")
        columns, do = n_columns(target, n_rows), ""
        if columns is not None:
            drop_axis = "Class indices have one axis: y[:, 0]."
            do = drop_axis if columns == 1 else needed_outputs(columns)
        check_shape(target, [(n_rows,), (n_rows, n_out)], do)
        xp = namespace_of(target)
        if target.ndim == 1:
            indices = is_kind(target, "integral")
            require(indices, "y", "hold class indices, which are integers", target, _INDICES)
            target = xp.astype(target, xp.int64)
            outside = (target < 0) | (target >= n_out)
            if bool(xp.any(outside)):
                do = "" if bool(xp.any(target < 0)) else _needed_for_labels(target, n_out)
                refuse_where(outside, target, f"hold class indices of 0 to {n_out - 1}", do)
            return
        require_finite(target)
        if not is_kind(target, "real floating"):
            target = xp.astype(target, xp.float32)
        refuse_where(target < 0.0, target, "hold probabilities, none below 0")
        off = xp.abs(xp.sum(target, axis=1) - 1.0)
        refuse_where(off > ROW_SUM_TOLERANCE, target, "hold probabilities that sum to 1 in a row")

    def decide(self, output: Array) -> Array:
        """Return the index of the largest logit of each row, ``(m,)``; of equal ones the first."""
        return namespace_of(output).argmax(output, axis=1)

    def probabilities(self, output: Array) -> Array:
        """Return ``softmax(z)``, ``(m, K)``."""
        return operations_for(output).softmax(output)

    def scores(self, output: Array) -> Array:
        """Return ``log p_k/(1 − p_k) = z_k − log Σ_{j≠k} exp z_j``; see `Loss.scores`."""
        xp = namespace_of(output)
        z = xp.astype(output, xp.float64)
        return z[:, 1] - z[:, 0] if z.shape[1] == 2 else log_odds(z)

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute ``w_i/Σw (p ⊙ ẏ - p pᵀẏ)`` for each row, with ``p = softmax(z)``; see `Loss`."""
        ops = operations_for(output)
        p = ops.softmax(output)
        return Softmax().jvp(ops, p, d_output) * row_scale(output, weight)


def require_two_outputs(target: Any, n_out: int, n_rows: int, name: str, binary: str) -> None:
    """Refuse one output for the loss ``name`` of classes; ``binary`` is its form for one output."""
    if n_out < 2:
        do = f"For two classes and one output use {binary}()."
        do = f"{_needed_for_classes(target, n_rows)} {do}"
        require(False, "n_out", f"be at least 2 for {name}", n_out, do)


class BinaryCrossEntropy(Loss):
    """``ℓ = -Σ_k [t_k log σ(z_k) + (1 - t_k) log(1 - σ(z_k))]`` of logits ``z``.

    The gradient is ``σ(z) - t``. With one output this is logistic regression; several outputs are
    independent binary decisions. Targets are numbers in ``[0, 1]``: ``(m, n_out)``, or ``(m,)`` for
    one output.

    >>> import numpy as np
    >>> loss, grad = BinaryCrossEntropy().value_and_grad(np.array([[0.0]]), np.array([1]))
    >>> round(float(loss), 4), grad
    (0.6931, array([[-0.5]]))
    """

    target_kind = "binary"
    rule = staticmethod(rules.logistic)
    derivative = staticmethod(rules.logistic_derivative)
    curvature = staticmethod(rules.logistic_curvature)
    is_likelihood = True

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate numbers in ``[0, 1]``; see `Loss.check`."""
        check_values(target, n_out, n_rows)
        if not is_kind(target, "bool"):
            refuse_where((target < 0) | (target > 1), target, "hold numbers of 0 to 1")

    def decide(self, output: Array) -> Array:
        """Return 1 where ``σ(z) > ½``, else 0: ``(m, n_out)``, or ``(m,)`` for one output."""
        return _positive(output)

    def probabilities(self, output: Array) -> Array:
        """Return ``[1 - σ(z), σ(z)]``, ``(m, 2)``, for one output, else ``σ(z)`` of each output."""
        ops = operations_for(output)
        positive = ops.apply(sigmoid, output)
        if output.shape[1] > 1:
            return positive
        return ops.xp.concat([ops.apply(sigmoid, -output), positive], axis=1)


class Hinge(Loss):
    """``ℓ = Σ_k max(0, 1 - t_k z_k)`` for ±1 targets, the loss of a support vector machine.

    Targets are -1 or 1: ``(m, n_out)``, or ``(m,)`` for one output.

    Reference: C. Cortes, V. Vapnik, "Support-Vector Networks", 1995.

    >>> import numpy as np
    >>> loss, grad = Hinge().value_and_grad(np.array([[0.5], [2.0]]), np.array([1, 1]))
    >>> float(loss), grad.tolist()
    (0.25, [[-0.5], [0.0]])
    """

    target_kind = "signs"
    rule = staticmethod(rules.hinge)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate targets of -1 and 1; see `Loss.check`."""
        _check_signs(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return 1 where ``z > 0``, else -1: ``(m, n_out)``, or ``(m,)`` for one output."""
        return 2 * _positive(output) - 1


class SoftMargin(Loss):
    """``ℓ = Σ_k log(1 + e^(-t_k z_k))`` for ±1 targets: `BinaryCrossEntropy` of ``½(t + 1)``.

    The gradient is ``-t σ(-tz)``. Targets are -1 or 1: ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = SoftMargin().value_and_grad(np.array([[0.0], [2.0]]), np.array([1, -1]))
    >>> round(float(loss), 4), grad.round(4).tolist()
    (1.41, [[-0.25], [0.4404]])
    """

    target_kind = "signs"
    rule = staticmethod(loss_formulas.soft_margin)
    is_likelihood = True

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate targets of -1 and 1; see `Loss.check`."""
        _check_signs(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return 1 where ``z > 0``, else -1: ``(m, n_out)``, or ``(m,)`` for one output."""
        return 2 * _positive(output) - 1

    def probabilities(self, output: Array) -> Array:
        """Return ``[1 - σ(z), σ(z)]``, ``(m, 2)``, for one output, else ``σ(z)`` of each output."""
        return BinaryCrossEntropy().probabilities(output)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``σ(z) σ(-z) ⊙ ẏ``, which is `hessian_product` for either sign."""
        ones = namespace_of(output).ones_like(output)
        return self.hessian_product(output, ones, d_output, weight)


class PerceptronLoss(Loss):
    """``ℓ = Σ_k max(0, -t_k z_k)`` for ±1 targets; the gradient is ``-t`` where ``tz ≤ 0``.

    As in the perceptron's rule the gradient at ``z = 0`` is not 0, so training may start at
    ``w = 0``. Targets are -1 or 1: ``(m, n_out)``, or ``(m,)`` for one output.

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
        """Validate targets of -1 and 1; see `Loss.check`."""
        _check_signs(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return 1 where ``z > 0``, else -1: ``(m, n_out)``, or ``(m,)`` for one output."""
        return 2 * _positive(output) - 1


def log_odds(z: Array) -> Array:
    """Return ``z_k − log Σ_{j≠k} exp z_j`` for each class of logits ``(m, K)``, K ≥ 2.

    >>> import numpy as np
    >>> log_odds(np.array([[1000.0, 0.0, 0.0]])).round(4)
    array([[  999.3069, -1000.    , -1000.    ]])
    """
    ops, xp = operations_for(z), namespace_of(z)
    best = ops.one_hot(xp.argmax(z, axis=1), z) > 0.0
    others = xp.where(best, -xp.inf, z)
    top, second = (xp.max(x, axis=1, keepdims=True) for x in (z, others))
    e = xp.exp(z - top)
    # Their sum has the 1 of the largest class; without it the difference would cancel.
    rest = xp.sum(e, axis=1, keepdims=True) - xp.where(best, 0.0, e)
    rest_of_best = xp.sum(xp.exp(others - second), axis=1, keepdims=True)
    return z - xp.where(best, second + xp.log(rest_of_best), top + xp.log(rest))


def _needed_for_classes(target: Any, n_rows: int) -> str:
    """Return what an error says about the number of outputs that class targets need."""
    columns = n_columns(target, n_rows)
    if columns is not None and columns > 1:
        return needed_outputs(columns)
    if columns is None or n_rows == 0 or not is_kind(target, "integral"):
        return "It needs one output for each class."
    return needed_outputs(max(int(namespace_of(target).max(target)) + 1, 2))


def _needed_for_labels(target: Array, n_out: int) -> str:
    """Return what an error says about integers that exceed the class indices."""
    xp = namespace_of(target)
    if int(xp.min(target)) == 1 and int(xp.max(target)) == n_out:
        names = "[1, 2]" if n_out == 2 else f"[1, ..., {n_out}]"
        names = "[1, 2, 3]" if n_out == 3 else names
        return f"Give the model the labels, classes={names}, or subtract 1."
    return _needed_for_classes(target, target.shape[0])


def _check_signs(target: Any, n_out: int, n_rows: int) -> None:
    """Refuse targets that are not -1 or 1."""
    check_values(target, n_out, n_rows)
    do = "Convert labels of 0 and 1 with 2 * y - 1."
    require(not is_kind(target, "bool"), "y", "hold -1 or 1", target, do)
    refuse_where(namespace_of(target).abs(target) != 1, target, "hold -1 or 1", do)


def _positive(output: Array) -> Array:
    """Return ``[z > 0]`` as integers; ``(m,)`` for one output."""
    xp = namespace_of(output)
    positive = xp.astype(output > 0, xp.int64)
    return xp.reshape(positive, (-1,)) if output.shape[1] == 1 else positive
