"""The slope of every unit: what of a gradient an activation lets through."""

from __future__ import annotations

import numpy as np

from xpnet import activations
from xpnet.backend import Array
from xpnet.layers import Activation, Dense, Layer
from xpnet.layers.base import Views
from xpnet.ops import operations_for
from xpnet.ops.operations import Operations


def function_of(layer: Layer) -> activations.ActivationFunction | None:
    """The activation in a layer; ``None`` if it has none, as batch norm.

    >>> function_of(Dense(3, activations.Tanh()))
    Tanh()
    """
    if isinstance(layer, Dense):
        return layer.activation
    return layer.function if isinstance(layer, Activation) else None


def saturated(
    layer: Layer, p: Views, ops: Operations, x: Array, y: Array, share: float
) -> Array | None:
    """Where ``|φ'(z)| ≤ share · max |φ'|``; ``None`` without an activation.

    Args:
        layer: the layer.
        p: its parameters.
        ops: the operations of the backend.
        x: what went into the layer, ``(m, n_in)``.
        y: what came out, ``(m, n_out)``.
        share: of the steepest slope, which is taken as 1 where it is larger.

    Returns:
        Booleans in the shape of ``y``.
    """
    function = function_of(layer)
    if function is None:
        return None
    saved = y
    if function.saves == "input":
        saved = ops.affine(x, p["weight"], p.get("bias")) if isinstance(layer, Dense) else x
    slope = ops.xp.abs(_derivative(function, ops, saved))
    return slope <= share * _steepest(function)


def _derivative(function: activations.ActivationFunction, ops: Operations, saved: Array) -> Array:
    """``φ'``; of softmax ``∂a_k/∂z_k``, of the step 0."""
    if isinstance(function, activations.Step):
        return ops.xp.zeros_like(saved)
    if isinstance(function, activations.Softmax):
        return saved * (1.0 - saved)
    return function.backward(ops, saved, ops.xp.ones_like(saved))


def _steepest(function: activations.ActivationFunction) -> float:
    """The largest ``|φ'|`` near 0, at most 1."""
    if isinstance(function, activations.Softmax):
        return 0.25
    z = np.linspace(-5.0, 5.0, 1001)[None, :]
    ops = operations_for(z)
    saved = z if function.saves == "input" else function.forward(ops, z)
    return min(1.0, float(np.max(np.abs(_derivative(function, ops, saved)))))
