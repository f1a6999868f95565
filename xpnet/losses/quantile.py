"""Asymmetric losses, which are minimized by quantiles and expectiles of the targets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from xpnet.backend import Array
from xpnet.errors import require, require_number
from xpnet.losses.base import Loss, as_rows, check_values, n_columns, needed_outputs
from xpnet.ops import operations_for
from xpnet.ops.operations import Rule
from xpnet.ops.rules import loss_formulas


@dataclass(frozen=True)
class QuantileLoss(Loss):
    """``ℓ = 1/(KQ) Σ_k Σ_j ρ_j(t_k - z_kj)`` with ``ρ_j(d) = max(q_j d, (q_j - 1)d)``.

    The pinball loss of Q quantiles of each of K targets, at once: the ``q``-quantile of the targets
    minimizes it. The derivative is ``-q`` where ``z ≤ t``, else ``1 - q``. Targets are finite
    numbers ``(m, K)``, or ``(m,)`` for K = 1. The network has KQ outputs, ``(m, K, Q)`` reshaped:
    the first Q columns are the quantiles of the first target. Nothing keeps the quantiles of a row
    in order.

    Args:
        quantiles: the ``q_j``, ascending numbers in ``(0, 1)``. Default the median.

    Raises:
        ArgumentError: if ``quantiles`` are out of their range or not ascending.

    Reference: R. Koenker, G. Bassett, "Regression Quantiles", Econometrica 46, 1978.

    >>> import numpy as np
    >>> loss, grad = QuantileLoss((0.1, 0.9)).value_and_grad(
    ...     np.array([[1.0, 1.0]]), np.array([2.0])
    ... )
    >>> float(loss), grad
    (0.5, array([[-0.05, -0.45]]))
    """

    quantiles: tuple[float, ...] = (0.5,)

    rule = staticmethod(loss_formulas.pinball)
    mean = True

    def __post_init__(self) -> None:
        given = self.quantiles
        do = "Write a tuple, such as (0.1, 0.5, 0.9)."
        ok = isinstance(given, (tuple, list)) and len(given) > 0
        require(ok, "quantiles", "be a tuple of numbers", given, do)
        for j, q in enumerate(given):
            require_number(q, f"quantiles[{j}]", above=0, below=1)
        quantiles = tuple(map(float, given))
        ascending = all(a < b for a, b in pairwise(quantiles))
        require(ascending, "quantiles", "be ascending", given)
        object.__setattr__(self, "quantiles", quantiles)

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`; ``target`` has K columns."""
        if len(self.quantiles) == 1:
            return super().value_and_grad(output, target, weight, out=out)
        scale = self._scale(output, weight)
        losses = self._each(self.rule, output, target)
        grad = self._each(self.derivative, output, target)
        return operations_for(output).xp.sum(losses * scale), grad * scale

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        if len(self.quantiles) == 1:
            return super().value(output, target, weight)
        losses = self._each(self.rule, output, target)
        return operations_for(output).xp.sum(losses * self._scale(output, weight))

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Return zeros: the loss is piecewise linear."""
        return operations_for(output).xp.zeros_like(d_output)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate finite numbers, one for every Q outputs; see `Loss.check`."""
        n, columns = len(self.quantiles), n_columns(target, n_rows)
        do = f"It needs {n} outputs for each target, one for each quantile."
        do += "" if columns is None else f" {needed_outputs(n * columns)}"
        rule = f"be a multiple of the {n} quantiles of QuantileLoss"
        require(n_out % n == 0, "n_out", rule, n_out, do)
        check_values(target, n_out // n, n_rows, outputs_each=n)

    def target_columns(self, n_out: int) -> int:
        """Return K, the number of targets."""
        return n_out // len(self.quantiles)

    def _each(self, rule: Rule, output: Array, target: Array) -> Array:
        """Return a rule of every output, with the quantile of each as its scalar."""
        ops, n = operations_for(output), len(self.quantiles)
        n_rows, n_targets = output.shape[0], output.shape[1] // n
        target = as_rows(target, output, n_targets)
        z = ops.xp.reshape(output, (n_rows, n_targets, n))
        found = [
            ops.apply(rule, z[:, :, j], target, scalars=(q,)) for j, q in enumerate(self.quantiles)
        ]
        return ops.xp.reshape(ops.xp.stack(found, axis=2), output.shape)

    def _scalars(self) -> tuple[float, ...]:
        return self.quantiles


@dataclass(frozen=True)
class Expectile(Loss):
    """``ℓ = 1/K Σ_k |τ - [t_k < z_k]| (z_k - t_k)²``, averaged over the rows.

    The τ-expectile of the targets minimizes it; with τ = ½ it is half of the `MSE`. The derivative
    is ``2 |τ - [t < z]| (z - t)``. Targets are finite numbers ``(m, n_out)``, or ``(m,)`` for one
    output.

    Args:
        tau: τ, in ``(0, 1)``. Default ½.

    Raises:
        ArgumentError: if ``tau`` is out of its range.

    Reference: W. Newey, J. Powell, "Asymmetric Least Squares Estimation and Testing", Econometrica
    55, 1987.

    >>> import numpy as np
    >>> loss, grad = Expectile(0.9).value_and_grad(np.array([[0.0, 3.0]]), np.array([[1.0, 1.0]]))
    >>> round(float(loss), 4), grad.round(4)
    (0.65, array([[-0.9,  0.2]]))
    """

    tau: float = 0.5

    rule = staticmethod(loss_formulas.expectile)
    mean = True

    def __post_init__(self) -> None:
        require_number(self.tau, "tau", above=0, below=1)
