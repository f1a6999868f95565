"""Positive semidefinite approximations of the Hessian: Gauss-Newton and Fisher matrices."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, on_device_of
from xpnet.derivatives.linearization import (
    linearize,
    require_tangents,
    row_weights,
    targets,
)
from xpnet.errors import require, require_type
from xpnet.losses import Loss
from xpnet.losses.base import row_scale
from xpnet.state import vector


@on_device_of("model")
def gauss_newton_vp(
    model: Any,
    X: Array,
    y: Array,
    loss: Loss,
    v: Array,
    theta: Array | None = None,
    *,
    weight: Array | None = None,
    training: bool = False,
    seed: int = 0,
) -> Array:
    """Return ``Jᵀ H_L J v``, J the Jacobian of the output, ``H_L`` the loss's Hessian.

    J is the Jacobian of the output with respect to θ, and ``H_L`` is with respect to the output.
    The generalized Gauss-Newton matrix is the Hessian without the curvature of the network. It is
    positive semidefinite if the loss is convex in the output, as all losses but GaussianNLL are,
    and equals the Hessian where the residuals vanish.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: as in `hvp`.
        seed: the seed of the dropout masks.

    Returns:
        The product, ``(P,)``.

    Raises:
        ArgumentError: if an argument is invalid.

    Reference: N. Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient
    Descent", Neural Computation 14, 2002.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> gauss_newton_vp(model, [[3.0]], [5.0], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    linear = linearize(model, X, theta, training=training, seed=seed)
    require_tangents(model.network, "gauss_newton_vp", "jvp")
    y, weight = targets(linear, y, loss, weight)
    dy, _ = linear.jvp(None, vector(linear.backend, model.network.layout, v, "v"))
    return linear.vjp(loss.hessian_product(linear.output, y, dy, weight))[1]


@on_device_of("model")
def fisher_vp(
    model: Any,
    X: Array,
    loss: Loss,
    v: Array,
    theta: Array | None = None,
    *,
    weight: Array | None = None,
    training: bool = False,
    seed: int = 0,
) -> Array:
    """Return ``F v``, ``F = Σ_i w_i/Σw E_t[∇_θ log p(t | x_i) ∇_θ log p(t | x_i)ᵀ]``.

    F is the Fisher matrix. The expectation is over targets ``t`` drawn from the model's predictive
    distribution, so no ``y`` is needed: the product is ``Jᵀ F_L J v`` with the Fisher information
    ``F_L`` of the distribution (`Loss.fisher_product`). It is categorical for CrossEntropy,
    whatever its smoothing; independent Bernoulli for BinaryCrossEntropy; Poisson for PoissonNLL;
    and normal with variance 1 for HalfMSE, K/2 for the MSE of K outputs, and the predicted variance
    for GaussianNLL. For all but GaussianNLL the product equals `gauss_newton_vp`.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        loss: a loss with a predictive distribution.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: as in `hvp`.
        seed: the seed of the dropout masks.

    Returns:
        The product, ``(P,)``.

    Raises:
        ArgumentError: if an argument is invalid, or the loss has no predictive distribution.

    Reference: J. Martens, "New Insights and Perspectives on the Natural Gradient Method", JMLR 21,
    2020.

    >>> from xpnet import MLP, HalfMSE
    >>> fisher_vp(MLP(1, [], 1, dtype="float64"), [[3.0]], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    require_type(loss, Loss, "loss")
    linear = linearize(model, X, theta, training=training, seed=seed)
    require_tangents(model.network, "fisher_vp", "jvp")
    weight = row_weights(linear, weight)
    dy, _ = linear.jvp(None, vector(linear.backend, model.network.layout, v, "v"))
    return linear.vjp(loss.fisher_product(linear.output, dy, weight))[1]


@on_device_of("model")
def empirical_fisher_vp(
    model: Any,
    X: Array,
    y: Array,
    loss: Loss,
    v: Array,
    theta: Array | None = None,
    *,
    weight: Array | None = None,
) -> Array:
    """Return ``Σ_i w_i/Σw g_i g_iᵀ v`` with the gradients ``g_i = ∇_θ ℓ_i`` of the rows.

    The uncentred covariance of the gradients for the *given* targets. Despite the name empirical
    Fisher it does not estimate `fisher_vp`, which averages over targets drawn from the model, and
    it does not measure curvature: it is 0 if every row is fitted.

    Args:
        model: the model, in evaluation mode, so that the rows are independent.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss, with the terms ``ℓ_i``.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.

    Returns:
        The product, ``(P,)``, from one jvp and one backward pass without per-row gradients.

    Raises:
        ArgumentError: if an argument is invalid, or the loss is not a mean over rows.

    Reference: F. Kunstner, L. Balles, P. Hennig, "Limitations of the empirical Fisher
    approximation for natural gradient descent", NeurIPS 2019.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> model.theta = [2.0, 0.0]
    >>> empirical_fisher_vp(model, [[3.0]], [5.0], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    linear = linearize(model, X, theta)
    require_tangents(model.network, "empirical_fisher_vp", "jvp")
    y, weight = targets(linear, y, loss, weight)
    require(loss.row_mean, "loss", "be a mean over rows, each with a gradient", loss)
    dy, _ = linear.jvp(None, vector(linear.backend, model.network.layout, v, "v"))
    _, d_output = loss.value_and_grad(linear.output, y)
    d_output = d_output * float(d_output.shape[0])  # ∂ℓ_i/∂output, without the mean over rows
    along = linear.backend.xp.sum(d_output * dy, axis=1, keepdims=True)
    return linear.vjp(d_output * along * row_scale(linear.output, weight))[1]
