"""First derivatives of a network: reverse mode, and forward mode layer by layer."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array
from xpnet.data.prepare import vector
from xpnet.derivatives.point import matrix, point_of, targets
from xpnet.losses import Loss


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
    """``∇_θ L`` by reverse mode: ``δ^L = ∂L/∂z^L``, ``δ^l = (δ^(l+1) W^(l+1)ᵀ) ⊙ φ'(z^l)``.

    Unlike ``model.value_and_grad`` it takes the network as it predicts, at any θ, and returns a
    vector of its own.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: whether batch norm takes the batch's statistics (its running ones stay as they
            are) and dropout drops; default False.
        seed: of the dropout masks.

    Returns:
        The gradient, ``(P,)``, in the order of ``model.layout``.

    Raises:
        ArgumentError: if an argument is not what it must be.

    Reference: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating
    errors", Nature 323, 1986.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> model.theta = [2.0, 0.0]
    >>> gradient(model, [[3.0]], [5.0], HalfMSE())
    array([3., 1.])
    """
    point = point_of(model, X, theta, training=training, seed=seed)
    y, weight = targets(point, y, loss, weight)
    _, dy = loss.value_and_grad(point.output, y, weight)
    return point.pull(dy)[1]


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
    """The Jacobian-vector product ``J (ẋ, θ̇)`` by forward mode, beside the forward pass.

    ``ż = ȧ_prev W + a_prev Ẇ + ḃ`` and ``ȧ = φ'(z) ⊙ ż``, layer by layer: how the output moves
    where the input and the parameters move by ``ẋ`` and ``θ̇``. It costs about one more pass.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        dX: the direction ``ẋ``, like ``X``; ``None`` for 0.
        dtheta: the direction ``θ̇``, ``(P,)``; ``None`` for 0.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        training: as in `gradient`.
        seed: of the dropout masks.

    Returns:
        The tangent of the output, ``(m, n_out)``.

    Raises:
        ArgumentError: if an argument is not what it must be.

    Reference: R. Wengert, "A simple automatic derivative evaluation program", CACM 7, 1964.

    >>> from xpnet import MLP
    >>> model = MLP(2, [], 1, dtype="float64")
    >>> model.theta = [2.0, -1.0, 0.5]
    >>> jvp(model, [[3.0, 4.0]], dX=[[1.0, 0.0]]), jvp(model, [[3.0, 4.0]], dtheta=[0, 1.0, 0])
    (array([[2.]]), array([[4.]]))
    """
    point = point_of(model, X, theta, training=training, seed=seed)
    if dX is not None:
        dX = matrix(point.backend, tuple(point.X.shape), dX, "dX", "X")
    if dtheta is not None:
        dtheta = vector(point.backend, model.network.layout, dtheta, "dtheta")
    return point.push(dX, dtheta)[0]


def vjp(
    model: Any,
    X: Array,
    dy: Array,
    *,
    theta: Array | None = None,
    training: bool = False,
    seed: int = 0,
) -> tuple[Array, Array]:
    """The vector-Jacobian product ``Jᵀ dy`` by reverse mode, for the input and for θ.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        dy: what comes back from above, such as ``∂L/∂output``, ``(m, n_out)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        training: as in `gradient`.
        seed: of the dropout masks.

    Returns:
        ``dX``, like ``X``, and ``dtheta``, ``(P,)``, summed over the rows.

    Raises:
        ArgumentError: if an argument is not what it must be.

    >>> from xpnet import MLP
    >>> model = MLP(2, [], 1, dtype="float64")
    >>> model.theta = [2.0, -1.0, 0.5]
    >>> vjp(model, [[3.0, 4.0]], [[10.0]])
    (array([[ 20., -10.]]), array([30., 40., 10.]))
    """
    point = point_of(model, X, theta, training=training, seed=seed)
    dy = matrix(point.backend, tuple(point.output.shape), dy, "dy", "the output")
    return point.pull(dy, need_dx=True)
