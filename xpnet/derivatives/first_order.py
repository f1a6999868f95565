"""First derivatives of a network: the gradient, and products with the Jacobian."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, on_device_of
from xpnet.derivatives.linearization import linearize, matrix, require_tangents, targets
from xpnet.losses import Loss
from xpnet.state import vector


@on_device_of("model")
def gradient(
    model: Any,
    X: Array,
    y: Array,
    loss: Loss,
    theta: Array | None = None,
    *,
    weight: Array | None = None,
    training: bool = False,
    seed: int = 0,
) -> Array:
    """Return ``∇_θ L`` by reverse mode: ``δ^L = ∂L/∂z^L``, ``δ^l = (δ^(l+1) W^(l+1)ᵀ) ⊙ φ'(z^l)``.

    Unlike ``model.value_and_grad`` it evaluates the network in evaluation mode by default, at any
    θ, and returns a new vector.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: whether batch norm uses the statistics of the batch (the running ones are not
            updated) and dropout is active; default False.
        seed: the seed of the dropout masks.

    Returns:
        The gradient, ``(P,)``, in the order of ``model.layout``.

    Raises:
        ArgumentError: if an argument is invalid.

    Reference: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating
    errors", Nature 323, 1986.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> model.theta = [2.0, 0.0]
    >>> gradient(model, [[3.0]], [5.0], HalfMSE())
    array([3., 1.])
    """
    linear = linearize(model, X, theta, training=training, seed=seed)
    y, weight = targets(linear, y, loss, weight)
    _, dy = loss.value_and_grad(linear.output, y, weight)
    return linear.vjp(dy)[1]


@on_device_of("model")
def jvp(
    model: Any,
    X: Array,
    dX: Array | None = None,
    dtheta: Array | None = None,
    *,
    theta: Array | None = None,
    training: bool = False,
    seed: int = 0,
) -> Array:
    """Return the Jacobian-vector product ``J (ẋ, θ̇)`` by forward mode.

    ``ż = ȧ_prev W + a_prev Ẇ + ḃ`` and ``ȧ = φ'(z) ⊙ ż``, layer by layer: the directional
    derivative of the output along ``ẋ`` and ``θ̇``. It costs about as much as a forward pass.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        dX: the direction ``ẋ``, like ``X``; ``None`` for 0.
        dtheta: the direction ``θ̇``, ``(P,)``; ``None`` for 0.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        training: as in `gradient`.
        seed: the seed of the dropout masks.

    Returns:
        The product, ``(m, n_out)``.

    Raises:
        ArgumentError: if an argument is invalid, or a layer has no method ``jvp``.

    Reference: R. Wengert, "A simple automatic derivative evaluation program", CACM 7, 1964.

    >>> from xpnet import MLP
    >>> model = MLP(2, [], 1, dtype="float64")
    >>> model.theta = [2.0, -1.0, 0.5]
    >>> jvp(model, [[3.0, 4.0]], dX=[[1.0, 0.0]]), jvp(model, [[3.0, 4.0]], dtheta=[0, 1.0, 0])
    (array([[2.]]), array([[4.]]))
    """
    linear = linearize(model, X, theta, training=training, seed=seed)
    require_tangents(model.network, "jvp", "jvp")
    if dX is not None:
        dX = matrix(linear.backend, tuple(linear.X.shape), dX, "dX", "X")
    if dtheta is not None:
        dtheta = vector(linear.backend, model.network.layout, dtheta, "dtheta")
    return linear.jvp(dX, dtheta)[0]


@on_device_of("model")
def vjp(
    model: Any,
    X: Array,
    dy: Array,
    *,
    theta: Array | None = None,
    training: bool = False,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Return the vector-Jacobian product ``Jᵀ dy`` by reverse mode, for the input and for θ.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        dy: the vector, such as ``∂L/∂output``, ``(m, n_out)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        training: as in `gradient`.
        seed: the seed of the dropout masks.

    Returns:
        ``dX``, like ``X``, and ``dtheta``, ``(P,)``, summed over the rows.

    Raises:
        ArgumentError: if an argument is invalid.

    >>> from xpnet import MLP
    >>> model = MLP(2, [], 1, dtype="float64")
    >>> model.theta = [2.0, -1.0, 0.5]
    >>> vjp(model, [[3.0, 4.0]], [[10.0]])
    (array([[ 20., -10.]]), array([30., 40., 10.]))
    """
    linear = linearize(model, X, theta, training=training, seed=seed)
    dy = matrix(linear.backend, tuple(linear.output.shape), dy, "dy", "the output")
    return linear.vjp(dy, need_dx=True)
