"""Second derivatives of a loss by θ: products with the Hessian, and the Hessian itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.backend import Array
from xpnet.data.prepare import vector
from xpnet.derivatives.point import (
    LARGEST,
    Point,
    filled,
    point_of,
    require_room,
    targets,
)
from xpnet.losses import Loss


def hvp(
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
    """``∇²L(θ) v``, exactly: Pearlmutter's operator R carries ``v`` through both passes.

    ``R{f} = d/dε f(θ + εv)`` at ``ε = 0`` obeys the rules of derivatives, so one forward tangent
    beside the forward pass and one beside the backward pass give ``R{∇L} = ∇²L v``. It costs about
    two gradients and holds no matrix. The second derivative of ReLU and its kin is taken as 0.

    With ``training=True`` the function is that of a training pass: batch norm's statistics are
    those of the batch and move with θ (the running ones stay as they are), and dropout's mask is
    the fixed one of ``seed``. Otherwise both are as in a prediction.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: whether the function is that of a training pass; default False.
        seed: of the dropout masks.

    Returns:
        The product, ``(P,)``.

    Raises:
        ArgumentError: if an argument is not what it must be.

    Reference: B. Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6,
    1994.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> hvp(model, [[3.0]], [5.0], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    point = point_of(model, X, theta, training=training, seed=seed)
    y, weight = targets(point, y, loss, weight)
    v = vector(point.backend, model.network.layout, v, "v")
    return hessian_products(point, y, loss, weight)(v)


def hessian(
    model: Any,
    X: Array,
    y: Array,
    loss: Loss,
    theta: Array | None = None,
    *,
    weight: Array | None = None,
    training: bool = False,
    seed: int = 0,
    max_bytes: int = LARGEST,
) -> Array:
    """``∇²L(θ)``, of P exact products as in `hvp`; for networks of few parameters.

    The products are symmetric to rounding; the result is made symmetric exactly, ``½(H + Hᵀ)``.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: as in `hvp`.
        seed: of the dropout masks.
        max_bytes: the memory that the result may take; default 1 GiB.

    Returns:
        The Hessian, ``(P, P)``.

    Raises:
        ArgumentError: if an argument is not what it must be, or the Hessian is too large.

    >>> from xpnet import MLP, HalfMSE
    >>> hessian(MLP(1, [], 1, dtype="float64"), [[3.0]], [5.0], HalfMSE())
    array([[9., 3.],
           [3., 1.]])
    """
    point = point_of(model, X, theta, training=training, seed=seed)
    y, weight = targets(point, y, loss, weight)
    backend, size = point.backend, model.network.layout.size
    do = "Take products with it, by hvp."
    require_room("the Hessian", (size, size), backend, max_bytes, do)
    product = hessian_products(point, y, loss, weight)
    identity = backend.xp.eye(size, dtype=backend.dtype, device=backend.device)
    rows = filled((size, size), 0, lambda i: product(identity[i, :]), backend)
    return 0.5 * (rows + rows.T)


def hessian_products(
    point: Point, y: Array, loss: Loss, weight: Array | None
) -> Callable[[Array], Array]:
    """``v ↦ ∇²L v`` at a point; the forward pass and ``∂L/∂output`` are made once."""
    _, dy = loss.value_and_grad(point.output, y, weight)

    def product(v: Array) -> Array:
        d_output, dtapes = point.push(None, v)
        ddy = loss.hessian_product(point.output, y, d_output, weight)
        return point.pull_tangent(v, dtapes, dy, ddy)

    return product
