"""Positive semidefinite stand-ins for the Hessian: Gauss–Newton and Fisher matrices."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array
from xpnet.data.prepare import vector
from xpnet.derivatives.point import point_of, row_weights, targets
from xpnet.errors import require_type
from xpnet.losses import Loss
from xpnet.losses.base import row_scale


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
    """``Jᵀ H_L J v`` with the Jacobian J of the output by θ and the loss's Hessian ``H_L`` by it.

    It is the Hessian without the curvature of the network, so it is positive semidefinite where
    the loss is convex in the output, as all but GaussianNLL are; where the residuals vanish it is
    the Hessian. A generalized Gauss–Newton matrix for losses other than squares.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: as in `hvp`.
        seed: of the dropout masks.

    Returns:
        The product, ``(P,)``.

    Raises:
        ArgumentError: if an argument is not what it must be.

    Reference: N. Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient
    Descent", Neural Computation 14, 2002.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> gauss_newton_vp(model, [[3.0]], [5.0], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    point = point_of(model, X, theta, training=training, seed=seed)
    y, weight = targets(point, y, loss, weight)
    dy, _ = point.push(None, vector(point.backend, model.network.layout, v, "v"))
    return point.pull(loss.hessian_product(point.output, y, dy, weight))[1]


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
    """``F v``, ``F = Σ_i w_i/Σw E_t[∇_θ log p(t | x_i) ∇_θ log p(t | x_i)ᵀ]``, the Fisher matrix.

    The mean is over targets ``t`` that the model itself predicts, so no ``y`` is asked for: it is
    ``Jᵀ F_L J v`` with the Fisher information ``F_L`` of the distribution that the loss stands for
    (`Loss.fisher_product`). That is the categorical for CrossEntropy, whatever its smoothing;
    independent Bernoulli for BinaryCrossEntropy; Poisson; normal with variance 1 for HalfMSE, with
    K/2 for the MSE of K outputs, and with its own for GaussianNLL. For all but GaussianNLL it
    equals `gauss_newton_vp`.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        loss: a loss with a predictive distribution.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: as in `hvp`.
        seed: of the dropout masks.

    Returns:
        The product, ``(P,)``.

    Raises:
        ArgumentError: if an argument is not what it must be, or the loss has no distribution.

    Reference: J. Martens, "New Insights and Perspectives on the Natural Gradient Method", JMLR 21,
    2020.

    >>> from xpnet import MLP, HalfMSE
    >>> fisher_vp(MLP(1, [], 1, dtype="float64"), [[3.0]], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    require_type(loss, Loss, "loss")
    point = point_of(model, X, theta, training=training, seed=seed)
    weight = row_weights(point, weight)
    dy, _ = point.push(None, vector(point.backend, model.network.layout, v, "v"))
    return point.pull(loss.fisher_product(point.output, dy, weight))[1]


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
    """``Σ_i w_i/Σw g_i g_iᵀ v`` with the gradients ``g_i = ∇_θ ℓ_i`` of the rows.

    The uncentred covariance of the gradients at the targets *given*. It is called the empirical
    Fisher, but it is not an estimate of `fisher_vp`, whose targets come from the model, and is no
    curvature: where every row is fitted it is 0.

    Args:
        model: the network, taken as it predicts, for its rows to be independent.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss, whose rows are ``ℓ_i``.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.

    Returns:
        The product, ``(P,)``: one forward tangent and one backward pass, no gradient of a row.

    Raises:
        ArgumentError: if an argument is not what it must be.

    Reference: F. Kunstner, L. Balles, P. Hennig, "Limitations of the empirical Fisher
    approximation for natural gradient descent", NeurIPS 2019.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> model.theta = [2.0, 0.0]
    >>> empirical_fisher_vp(model, [[3.0]], [5.0], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    point = point_of(model, X, theta)
    y, weight = targets(point, y, loss, weight)
    dy, _ = point.push(None, vector(point.backend, model.network.layout, v, "v"))
    _, slopes = loss.value_and_grad(point.output, y)
    slopes = slopes * float(slopes.shape[0])  # ∂ℓ_i/∂output: the mean over the rows undone
    along = point.backend.xp.sum(slopes * dy, axis=1, keepdims=True)
    return point.pull(slopes * along * row_scale(point.output, weight))[1]
