"""Focal losses, cross-entropies in which rows that are classified well count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.losses.base import Loss, as_rows, row_scale
from xpnet.losses.classification import BinaryCrossEntropy, CrossEntropy, require_two_outputs
from xpnet.ops import operations_for
from xpnet.ops.rules import loss_formulas


@dataclass(frozen=True)
class BinaryFocal(Loss):
    """``ℓ = -Σ_k [α t (1 - p)^γ log p + (1 - α)(1 - t) p^γ log(1 - p)]`` with ``p = σ(z_k)``.

    With γ = 0 and ``alpha=None`` it is `BinaryCrossEntropy`. Targets are numbers in ``[0, 1]``:
    ``(m, n_out)``, or ``(m,)`` for one output; between 0 and 1 the loss is the mean of both.

    Args:
        gamma: γ, at least 0: how much less a row counts that is classified well. Default 2.
        alpha: the weight of the positive class in ``(0, 1)``, that of the other is ``1 - α``;
            ``None``: both are 1. Default 0.25.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.

    >>> import numpy as np
    >>> loss, grad = BinaryFocal(alpha=None).value_and_grad(np.array([[0.0]]), np.array([1]))
    >>> round(float(loss), 4), grad.round(4)  # ¼ log 2
    (0.1733, array([[-0.2983]]))
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    target_kind = "binary"
    rule = staticmethod(loss_formulas.binary_focal)

    def __post_init__(self) -> None:
        require_number(self.gamma, "gamma", low=0)
        if self.alpha is not None:
            require_number(self.alpha, "alpha", above=0, below=1)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate numbers in ``[0, 1]``; see `Loss.check`."""
        BinaryCrossEntropy().check(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return 1 where ``σ(z) > ½``, else 0: ``(m, n_out)``, or ``(m,)`` for one output."""
        return BinaryCrossEntropy().decide(output)

    def probabilities(self, output: Array) -> Array:
        """Return ``[1 - σ(z), σ(z)]``, ``(m, 2)``, for one output, else ``σ(z)`` of each output.

        Those of a model trained with γ > 0 are closer to ½ than the frequencies of the classes.
        """
        return BinaryCrossEntropy().probabilities(output)

    def _scalars(self) -> tuple[float, ...]:
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1.0 - self.alpha)
        return float(self.gamma), positive, negative


@dataclass(frozen=True)
class Focal(Loss):
    """``ℓ = -Σ_k t_k (1 - p_k)^γ log p_k`` with ``p = softmax(z)``.

    With γ = 0 it is `CrossEntropy`. Targets are class indices, integers ``(m,)`` in ``[0, K)``, or
    rows of probabilities ``(m, K)``. The network has K ≥ 2 linear outputs, one for each class.
    Class weights are given to `fit`.

    Args:
        gamma: γ, at least 0: how much less a row counts that is classified well. Default 2.

    Raises:
        ArgumentError: if ``gamma`` is below 0.

    Reference: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4.

    >>> import numpy as np
    >>> loss, grad = Focal().value_and_grad(np.zeros((1, 2)), np.array([1]))
    >>> round(float(loss), 4), grad.round(4)  # ¼ log 2
    (0.1733, array([[ 0.2983, -0.2983]]))
    """

    gamma: float = 2.0

    target_kind = "classes"
    rule = staticmethod(loss_formulas.focal)  # of the log-odds log p/(1 - p) of a class

    def __post_init__(self) -> None:
        require_number(self.gamma, "gamma", low=0)

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`."""
        ops, scale, scalars = operations_for(output), row_scale(output, weight), self._scalars()
        t, others = _rows(target, output), _others_of(output)
        losses = ops.apply(self.rule, others.odds, t, scalars=scalars)
        by_odds = ops.apply(self.derivative, others.odds, t, scalars=scalars)
        return ops.xp.sum(losses * scale), (by_odds - others.transposed_mean(by_odds)) * scale

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        ops, odds = operations_for(output), _others_of(output).odds
        losses = ops.apply(self.rule, odds, _rows(target, output), scalars=self._scalars())
        return ops.xp.sum(losses * row_scale(output, weight))

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute the derivative of the gradient along ``ẏ``; see `Loss`."""
        ops, scalars = operations_for(output), self._scalars()
        t, others = _rows(target, output), _others_of(output)
        by_odds = ops.apply(self.derivative, others.odds, t, scalars=scalars)
        mean = others.mean(d_output)
        d_by_odds = ops.chain(self.curvature, d_output - mean, others.odds, t, scalars=scalars)  # type: ignore[arg-type]
        pulled = others.transposed_mean(
            d_by_odds - by_odds * mean
        ) + d_output * others.transposed_mean(by_odds)
        return (d_by_odds - pulled) * row_scale(output, weight)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate class indices in ``[0, n_out)`` or rows of probabilities; see `Loss.check`."""
        require_two_outputs(target, n_out, n_rows, "Focal", "BinaryFocal")
        CrossEntropy().check(target, n_out, n_rows)

    def decide(self, output: Array) -> Array:
        """Return the index of the largest logit of each row, ``(m,)``; of equal ones the first."""
        return CrossEntropy().decide(output)

    def probabilities(self, output: Array) -> Array:
        """Return ``softmax(z)``, ``(m, K)``.

        Those of a model trained with γ > 0 are closer to 1/K than the frequencies of the classes.
        """
        return CrossEntropy().probabilities(output)

    def scores(self, output: Array) -> Array:
        """Return the log-odds of each class; see `Loss.scores`."""
        return CrossEntropy().scores(output)


class _Others(NamedTuple):
    """The distribution over the *other* classes ``j ≠ k``, ``q_kj = e^(z_j)/Σ_{l≠k} e^(z_l)``.

    The log-odds of a class are ``u_k = z_k - log Σ_{l≠k} e^(z_l)``, with ``∂u_k/∂z_j = -q_kj`` and
    ``∂u_k/∂z_k = 1``: in terms of them neither ``1 - p`` nor a derivative cancels.

    Attributes:
        odds: ``u``, ``(m, K)``.
        best: whether a class is that of the largest logit, of equal ones the first.
        e: ``e^(z - max z)``, and 0 for the best.
        of_best: ``q`` of the best class.
        rest: ``Σ_{l≠k} e^(z_l - max z)`` of the other classes, at least 1.
    """

    odds: Array
    best: Array
    e: Array
    of_best: Array
    rest: Array

    def mean(self, x: Array) -> Array:
        """Return ``Σ_{j≠k} q_kj x_j`` for each class ``k``."""
        xp = operations_for(x).xp
        of_best = _sum(xp, self.of_best * x)
        all_x = _sum(xp, self.e * x) + _sum(xp, xp.where(self.best, x, 0.0))
        return xp.where(self.best, of_best, (all_x - self.e * x) / self.rest)

    def transposed_mean(self, c: Array) -> Array:
        """Return ``Σ_{k≠j} c_k q_kj`` for each class ``j``."""
        xp = operations_for(c).xp
        shares = xp.where(self.best, 0.0, c / self.rest)
        total = _sum(xp, shares)
        by_best = self.of_best * _sum(xp, xp.where(self.best, c, 0.0))
        return xp.where(self.best, total, self.e * (total - shares)) + by_best


def _others_of(z: Array) -> _Others:
    """Return the distributions over the other classes of logits ``(m, K)``, K ≥ 2."""
    ops = operations_for(z)
    xp = ops.xp
    best = ops.one_hot(xp.argmax(z, axis=1), z) > 0.0
    others = xp.where(best, -xp.inf, z)
    top, second = (xp.max(x, axis=1, keepdims=True) for x in (z, others))
    e, of_best = xp.exp(others - top), xp.exp(others - second)
    rest, total = 1.0 + _sum(xp, e) - e, _sum(xp, of_best)
    odds = z - xp.where(best, second + xp.log(total), top + xp.log(rest))
    return _Others(odds, best, e, of_best / total, rest)


def _rows(target: Array, output: Array) -> Array:
    """Return targets as rows of probabilities, ``(m, K)``."""
    if target.ndim == 2:
        return as_rows(target, output, output.shape[1])
    operations_for(target, "target")  # refuses one of another CUDA device
    return operations_for(output).one_hot(target, output)


def _sum(xp: Any, x: Array) -> Array:
    """Return the sum of each row, ``(m, 1)``."""
    return xp.sum(x, axis=1, keepdims=True)
