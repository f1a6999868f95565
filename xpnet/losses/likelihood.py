"""Negative log-likelihoods of counts, of positive numbers, and of numbers with heavy tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array, is_kind, namespace_of
from xpnet.errors import require, require_number
from xpnet.losses.base import (
    Loss,
    as_rows,
    check_values,
    n_columns,
    needed_outputs,
    refuse_where,
    row_scale,
)
from xpnet.ops import operations_for
from xpnet.ops.rules import loss_formulas
from xpnet.ops.rules import losses as rules
from xpnet.ops.rules.activations import sigmoid


def _means(self: Loss, output: Array) -> Array:
    """Return the means ``eᶻ``, ``(m, n_out)``, for `Loss.decide` where outputs are log-means."""
    return namespace_of(output).exp(output)


def _check_not_negative(target: Any, n_out: int, n_rows: int, rule: str) -> None:
    """Refuse targets that are not numbers of at least 0."""
    check_values(target, n_out, n_rows)
    if not is_kind(target, "bool"):
        refuse_where(target < 0, target, rule)


def _check_counts(self: Loss, target: Any, n_out: int, n_rows: int) -> None:
    """Validate counts of at least 0; see `Loss.check`."""
    _check_not_negative(target, n_out, n_rows, "hold counts, none below 0")


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

    check = _check_counts

    decide = _means


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


@dataclass(frozen=True)
class StudentTNLL(Loss):
    """``ℓ = ½(ν + 1) Σ_k log(1 + ((z_k - t_k)/s)²/ν)`` of Student's t with ν degrees of freedom.

    It is a regression that outliers hardly change: the gradient of a large error ``d`` decreases as
    ``(ν + 1)/d``. The constant of the density is omitted. Targets are finite numbers
    ``(m, n_out)``, or ``(m,)`` for one output.

    Args:
        df: ν, above 0. Default 4.
        scale: s, above 0, in units of the targets that the loss sees: after ``target_scaling``.
            Default 1.

    Raises:
        ArgumentError: if an argument is not above 0.

    Reference: K. Lange, R. Little, J. Taylor, "Robust Statistical Modeling Using the t
    Distribution", JASA 84, 1989.

    >>> import numpy as np
    >>> loss, grad = StudentTNLL(df=1.0).value_and_grad(np.array([[1.0]]), np.array([0.0]))
    >>> round(float(loss), 4), grad
    (0.6931, array([[1.]]))
    """

    df: float = 4.0
    scale: float = 1.0

    rule = staticmethod(loss_formulas.student_t)

    def __post_init__(self) -> None:
        require_number(self.df, "df", above=0)
        require_number(self.scale, "scale", above=0)

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``(ν + 1)/((ν + 3)s²) ẏ``, the expectation of `hessian_product`."""
        information = (self.df + 1.0) / (self.df + 3.0) / self.scale / self.scale
        return d_output * (information * self._scale(output, weight))

    def _scalars(self) -> tuple[float, ...]:
        return 0.5 * (self.df + 1.0), self.scale * math.sqrt(self.df)


class GammaNLL(Loss):
    """``ℓ = Σ_k (z_k + t_k e^(-z_k))`` for positive targets ``t`` and log-means ``z``.

    The gradient is ``1 - t e^(-z)``. It is the negative log-likelihood of a gamma distribution of
    any fixed shape, divided by the shape and without constants; half of the deviance is
    ``ℓ - log t - 1``. A log-mean below -709 (-88 in float32) overflows. Targets are above 0:
    ``(m, n_out)``, or ``(m,)`` for one output.

    >>> import numpy as np
    >>> loss, grad = GammaNLL().value_and_grad(np.array([[0.0]]), np.array([3.0]))
    >>> float(loss), grad
    (3.0, array([[-2.]]))
    """

    rule = staticmethod(loss_formulas.gamma)
    scalable = False

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate numbers above 0; see `Loss.check`."""
        check_values(target, n_out, n_rows)
        bad = ~target if is_kind(target, "bool") else target <= 0
        do = "Take TweedieNLL for numbers of which some are 0."
        refuse_where(bad, target, "hold numbers above 0", do)

    decide = _means

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``ẏ`` for each row, the expectation of `hessian_product`, with shape 1."""
        return d_output * self._scale(output, weight)


@dataclass(frozen=True)
class TweedieNLL(Loss):
    """``ℓ = Σ_k [t e^((1 - p)z)/(p - 1) + e^((2 - p)z)/(2 - p)]``, ``1 < p < 2``, log-means ``z``.

    The negative log-likelihood of a compound Poisson-gamma distribution with the variance ``μᵖ``,
    for sums of a random number of positive amounts, of which some are 0; it is divided by 1/φ and
    has no constants. The gradient is ``e^((2 - p)z) - t e^((1 - p)z)``. A log-mean above
    ``709/(2 - p)`` or below ``-709/(p - 1)`` overflows (88 in float32). Targets are at least 0:
    ``(m, n_out)``, or ``(m,)`` for one output.

    Args:
        power: p, in ``(1, 2)``. Default 1.5.

    Raises:
        ArgumentError: if ``power`` is out of its range.

    Reference: B. Jørgensen, "Exponential Dispersion Models", JRSS B 49, 1987.

    >>> import numpy as np
    >>> loss, grad = TweedieNLL().value_and_grad(np.array([[0.0]]), np.array([3.0]))
    >>> float(loss), grad
    (8.0, array([[-2.]]))
    """

    power: float = 1.5

    rule = staticmethod(loss_formulas.tweedie)
    scalable = False

    def __post_init__(self) -> None:
        require_number(self.power, "power", above=1, below=2)

    def check(self, target: Any, n_out: int, n_rows: int) -> None:
        """Validate numbers of at least 0; see `Loss.check`."""
        _check_not_negative(target, n_out, n_rows, "hold numbers, none below 0")

    decide = _means

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``e^((2 - p)z) ⊙ ẏ``, the expectation of `hessian_product`, with φ = 1."""
        information = namespace_of(output).exp((2.0 - self.power) * output)
        return information * d_output * self._scale(output, weight)

    def _scalars(self) -> tuple[float, ...]:
        # Differences of a float32 power would lose digits near 1 and 2.
        return self.power - 1.0, 2.0 - self.power


@dataclass(frozen=True)
class NegativeBinomialNLL(Loss):
    """``ℓ = Σ_k [t log(1 + e^(-u)) + log(1 + eᵘ)/α]`` with ``u = z + log α`` and log-means ``z``.

    The negative log-likelihood of counts with the mean ``μ = eᶻ`` and the variance ``μ + αμ²``,
    without the binomial coefficient; for small α it is that of `PoissonNLL` up to a constant. The
    gradient is ``(μ - t)/(1 + αμ)``. Targets are at least 0: ``(m, n_out)``, or ``(m,)`` for one
    output.

    Args:
        dispersion: α, above 0. Default 1.

    Raises:
        ArgumentError: if ``dispersion`` is not above 0.

    Reference: J. Hilbe, "Negative Binomial Regression", 2011, section 8.2 (NB2).

    >>> import numpy as np
    >>> loss, grad = NegativeBinomialNLL().value_and_grad(np.array([[0.0]]), np.array([3]))
    >>> round(float(loss), 4), grad  # 4 log 2
    (2.7726, array([[-1.]]))
    """

    dispersion: float = 1.0

    rule = staticmethod(loss_formulas.negative_binomial)
    scalable = False

    def __post_init__(self) -> None:
        require_number(self.dispersion, "dispersion", above=0)

    check = _check_counts

    decide = _means

    def fisher_product(self, output: Array, d_output: Array, weight: Array | None = None) -> Array:
        """Compute ``μ/(1 + αμ) ⊙ ẏ = σ(u)/α ⊙ ẏ``, the expectation of `hessian_product`."""
        log_dispersion, shape = self._scalars()
        product = operations_for(output).apply(sigmoid, output + log_dispersion) * d_output
        return product * (shape * self._scale(output, weight))

    def _scalars(self) -> tuple[float, ...]:
        return math.log(self.dispersion), 1.0 / self.dispersion
