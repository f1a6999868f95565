"""Second derivatives of a loss with respect to θ: Hessian-vector products and the Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.backend import Array, on_device_of
from xpnet.derivatives.linearization import (
    MAX_BYTES,
    Linearization,
    linearize,
    require_memory,
    require_tangents,
    stack_slices,
    targets,
)
from xpnet.losses import Loss
from xpnet.state import vector

SECOND = "jvp", "backward_jvp"
"""The methods of layers that second derivatives need."""


@on_device_of("model")
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
    """Return ``∇²L(θ) v``, exactly, by Pearlmutter's R-operator.

    ``R{f} = d/dε f(θ + εv)`` at ``ε = 0`` follows the rules of differentiation, so the jvp of the
    forward pass and that of the backward pass give ``R{∇L} = ∇²L v``. It costs about two gradients
    and holds no matrix. The second derivative of ReLU and other piecewise linear functions is taken
    as 0.

    With ``training=True`` the function is that of a training pass: batch norm's statistics are
    those of the batch and depend on θ (the running ones are not updated), and dropout uses the mask
    of ``seed``. Otherwise the network is in evaluation mode.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        v: the direction, ``(P,)``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: whether the function is that of a training pass; default False.
        seed: the seed of the dropout masks.

    Returns:
        The product, ``(P,)``.

    Raises:
        ArgumentError: if an argument is invalid, or a layer has no ``jvp`` and ``backward_jvp``, an
            activation or the loss no ``curvature``.

    Reference: B. Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6,
    1994.

    >>> from xpnet import MLP, HalfMSE
    >>> model = MLP(1, [], 1, dtype="float64")
    >>> hvp(model, [[3.0]], [5.0], HalfMSE(), [1.0, 0.0])
    array([9., 3.])
    """
    linear = linearize(model, X, theta, training=training, seed=seed)
    require_tangents(model.network, "hvp", *SECOND)
    y, weight = targets(linear, y, loss, weight)
    v = vector(linear.backend, model.network.layout, v, "v")
    return hessian_products(linear, y, loss, weight)(v)


@on_device_of("model")
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
    max_bytes: int = MAX_BYTES,
) -> Array:
    """Return ``∇²L(θ)`` by P exact products as in `hvp`, for networks with few parameters.

    The products are symmetric up to rounding; the result is symmetrized, ``½(H + Hᵀ)``.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        y: targets as the loss takes them.
        loss: the loss L, a mean over the rows.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        weight: weights of the rows, ``(m,)``, at least 0; ``None``: all 1.
        training: as in `hvp`.
        seed: the seed of the dropout masks.
        max_bytes: the maximum memory of the result; default 1 GiB.

    Returns:
        The Hessian, ``(P, P)``.

    Raises:
        ArgumentError: as `hvp`, and if the Hessian is too large.

    >>> from xpnet import MLP, HalfMSE
    >>> hessian(MLP(1, [], 1, dtype="float64"), [[3.0]], [5.0], HalfMSE())
    array([[9., 3.],
           [3., 1.]])
    """
    linear = linearize(model, X, theta, training=training, seed=seed)
    require_tangents(model.network, "hessian", *SECOND)
    y, weight = targets(linear, y, loss, weight)
    backend, size = linear.backend, model.network.layout.size
    do = "Take products with it, by hvp."
    require_memory("the Hessian", (size, size), backend, max_bytes, do)
    product = hessian_products(linear, y, loss, weight)
    identity = backend.xp.eye(size, dtype=backend.dtype, device=backend.device)
    rows = stack_slices((size, size), 0, lambda i: product(identity[i, :]), backend)
    return 0.5 * (rows + rows.T)


def hessian_products(
    linear: Linearization, y: Array, loss: Loss, weight: Array | None
) -> Callable[[Array], Array]:
    """Return ``v ↦ ∇²L v``, which reuses one forward pass and one ``∂L/∂output``."""
    _, dy = loss.value_and_grad(linear.output, y, weight)

    def product(v: Array) -> Array:
        d_output, dsaved = linear.jvp(None, v)
        ddy = loss.hessian_product(linear.output, y, d_output, weight)
        return linear.jvp_of_vjp(v, dsaved, dy, ddy)

    return product
