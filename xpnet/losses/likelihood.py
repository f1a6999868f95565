"""Negative log-likelihoods of counts, and of normal variables with a predicted variance."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import require
from xpnet.losses.base import (
    Loss,
    as_rows,
    check_values,
    n_columns,
    needed_outputs,
    refuse_where,
    row_scale,
)
from xpnet.ops.rules import losses as rules


class PoissonNLL(Loss):
    """``ℓ = Σ_k (e^(z_k) - t_k z_k)`` for counts ``t`` and log rates ``z``; gradient ``eᶻ - t``.

    The constant ``Σ_k log t_k!`` is omitted. A log rate above 709 (88 in float32) overflows.
    Targets are at least 0: ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = PoissonNLL().value_and_grad(np.array([[0.0]]), np.array([3]))
    >>> float(loss), grad
    (1.0, array([[-2.]]))
    """

    rule = staticmethod(rules.poisson)
    is_likelihood = True
    scalable = False

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate counts of at least 0; see `Loss.check`."""
        check_values(target, n_out, n_rows)
        if not is_kind(target, "bool"):
            refuse_where(target < 0, target, "hold counts, none below 0")

    def decide(self, output: Array) -> Array:
        """Return the rates ``eᶻ``, ``(m, n_out)``."""
        return namespace_of(output).exp(output)


class GaussianNLL(Loss):
    """``ℓ = ½ Σ_k [s_k + (t_k - μ_k)²/e^(s_k)]`` for an output ``[μ, s]`` of ``2K`` columns.

    The first K columns are the means, the others ``s = log σ²``; the constant ``½K log 2π`` is
    omitted. The gradients are ``(μ - t)/eˢ`` and ``½(1 - (t - μ)²/eˢ)``. A log variance below -709
    (-88 in float32) overflows. Targets are finite numbers ``(m, K)``, or ``(m,)`` for K = 1; the
    network has 2K outputs.

    Reference: D. Nix, A. Weigend, "Estimating the Mean and Variance of the Target Probability
    Distribution", 1994, where the output is the variance, not its logarithm.

    >>> import numpy as np
    >>> loss, grad = GaussianNLL().value_and_grad(np.array([[1.0, 0.0]]), np.array([3.0]))
    >>> float(loss), grad
    (2.0, array([[-2. , -1.5]]))
    """

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`; ``target`` has K columns."""
        xp, k = namespace_of(output), output.shape[1] // 2
        mean, log_var = output[:, :k], output[:, k:]
        scale = row_scale(output, weight)
        precision = xp.exp(-log_var)
        difference = mean - as_rows(target, output, k)
        square = difference * difference * precision
        loss = xp.sum((0.5 * scale) * (log_var + square))
        grad = xp.concat([difference * precision, 0.5 * (1.0 - square)], axis=1)
        return loss, grad * scale

    def value(self, output: Array, target: Array, weight: Array | None = None) -> Array:
        """See `Loss.value`."""
        return self.value_and_grad(output, target, weight)[0]

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate finite numbers, one for every two outputs; see `Loss.check`."""
        columns = n_columns(target, n_rows)
        do = "It needs a mean and a log variance for each target."
        do += "" if columns is None else f" {needed_outputs(2 * columns)}"
        require(n_out % 2 == 0, "n_out", "be even for GaussianNLL", n_out, do)
        check_values(target, n_out // 2, n_rows, outputs_each=2)

    def target_columns(self, n_out: int) -> int:
        """Return K, the number of means."""
        return n_out // 2

    def decide(self, output: Array) -> Array:
        """Return the means, ``(m, K)``."""
        return output[:, : output.shape[1] // 2]

    def hessian_product(
        self, output: Array, target: Array, d_output: Array, weight: Array | None = None
    ) -> Array:
        """Compute ``[μ̇ - d ṡ, -d μ̇ + ½ d² ṡ] ⊙ e^(-s)`` for each row, ``d = μ - t``; see `Loss`."""
        xp, k = namespace_of(output), output.shape[1] // 2
        precision = xp.exp(-output[:, k:])
        d = output[:, :k] - as_rows(target, output, k)
        d_mean, d_log_var = d_output[:, :k] * precision, d_output[:, k:] * precision
        rows = [d_mean - d * d_log_var, d * (0.5 * d * d_log_var - d_mean)]
        return xp.concat(rows, axis=1) * row_scale(output, weight)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``[e^(-s) ⊙ μ̇, ½ ṡ]`` for each row, the expectation of `hessian_product`."""
        xp, k = namespace_of(output), output.shape[1] // 2
        rows = [d_output[:, :k] * xp.exp(-output[:, k:]), 0.5 * d_output[:, k:]]
        return xp.concat(rows, axis=1) * row_scale(output, weight)
