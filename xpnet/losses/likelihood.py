"""Negative log-likelihoods of counts and of normal values with their own variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array, namespace_of
from xpnet.errors import require
from xpnet.losses.base import ElementwiseLoss, Loss, as_rows, refuse_where, row_scale
from xpnet.ops.rules import losses as rules


@dataclass(frozen=True)
class PoissonNLL(ElementwiseLoss):
    """``ℓ = Σ_k (e^(z_k) − t_k z_k)`` for counts ``t`` and log-rates ``z``; gradient ``e^z − t``.

    The constant ``log t!`` is left out.
    """

    rule = staticmethod(rules.poisson)
    slope = staticmethod(rules.poisson_slope)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Counts, none below 0."""
        super().check(target, n_out, n_rows)
        refuse_where(target < 0, target, "be counts, none below 0")

    def decide(self, output: Array) -> Array:
        """The rates ``e^z``."""
        return namespace_of(output).exp(output)


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """``ℓ = ½ Σ_k [s_k + (t_k − μ_k)²/e^(s_k)]`` for an output ``[μ, s]`` of ``2K`` columns.

    The first half of the columns is the mean, the second ``s = log σ²``; the constant
    ``½ log 2π`` is left out. Gradients: ``(μ − t)/e^s`` and ``½ (1 − (t − μ)²/e^s)``.

    Reference: D. Nix and A. Weigend, "Estimating the mean and variance of the target probability
    distribution", 1994; there the variance itself is the output.
    """

    def value_and_grad(
        self, output: Array, target: Array, weight: Array | None = None, *, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Loss.value_and_grad`; ``target`` has ``K`` columns."""
        xp, k = namespace_of(output), output.shape[1] // 2
        mean, log_var = output[:, :k], output[:, k:]
        scale = row_scale(output, weight)
        precision = xp.exp(-log_var)
        difference = mean - as_rows(target, output)
        square = difference * difference * precision
        loss = xp.sum((0.5 * scale) * (log_var + square))
        grad = xp.concat([difference * precision, 0.5 * (1.0 - square)], axis=1)
        return loss, grad * scale

    def target_width(self, n_out: int) -> int:
        """Half of the outputs are means."""
        require(n_out % 2 == 0, "n_out", "be even for GaussianNLL: means and log-variances", n_out)
        return n_out // 2

    def decide(self, output: Array) -> Array:
        """The means."""
        return output[:, : output.shape[1] // 2]
