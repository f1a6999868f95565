"""Saturation: where the derivative of an activation nearly vanishes."""

from __future__ import annotations

import numpy as np

from xpnet import activations
from xpnet.backend import Array
from xpnet.layers import Activation, Dense, Layer
from xpnet.layers.base import Views
from xpnet.ops import operations_for
from xpnet.ops.operations import Operations


def function_of(layer: Layer) -> activations.ActivationFunction | None:
    """Return the activation of a layer; ``None`` if it has none, such as batch norm.

    >>> function_of(Dense(3, activations.Tanh()))
    Tanh()
    """
    if isinstance(layer, Dense):
        return layer.activation
    return layer.function if isinstance(layer, Activation) else None


def saturated(
    layer: Layer, p: Views, ops: Operations, x: Array, y: Array, fraction: float
) -> Array | None:
    """Return where ``|φ'(z)| ≤ fraction · min(1, max |φ'|)``.

    Args:
        layer: the layer.
        p: its parameters.
        ops: the operations of the backend.
        x: the input of the layer, ``(m, n_in)``.
        y: the output of the layer, ``(m, n_out)``.
        fraction: the threshold, relative to the largest derivative.

    Returns:
        Booleans of the shape of ``y``; ``None`` for a layer without an activation.
    """
    function = function_of(layer)
    if function is None:
        return None
    saved = y
    if function.saves != "output":
        z = ops.affine(x, p["weight"], p.get("bias")) if isinstance(layer, Dense) else x
        saved = function.kept(ops, z)[0]
    derivative = ops.xp.abs(_derivative(function, ops, saved))
    return derivative <= fraction * _largest_derivative(function)


def _derivative(function: activations.ActivationFunction, ops: Operations, saved: Array) -> Array:
    """Return ``φ'``, for softmax ``∂a_k/∂z_k``."""
    if isinstance(function, activations.Step):
        return ops.xp.zeros_like(saved)
    if isinstance(function, activations.Softmax):
        return saved * (1.0 - saved)
    return function.backward(ops, saved, ops.xp.ones_like(saved))


def _largest_derivative(function: activations.ActivationFunction) -> float:
    """Return the largest ``|φ'|`` on ``[-5, 5]``, at most 1."""
    if isinstance(function, activations.Softmax):
        return 0.25
    z = np.linspace(-5.0, 5.0, 1001)[None, :]
    ops = operations_for(z)
    saved = function.kept(ops, z)[0]
    return min(1.0, float(np.max(np.abs(_derivative(function, ops, saved)))))
