"""The hidden layers of a multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from xpnet.activations import ActivationFunction, ReLU
from xpnet.errors import Phrase, plain_number, require, require_count, require_number, require_type
from xpnet.initializers import Initializer, Zeros
from xpnet.layers.activation import Activation
from xpnet.layers.base import Layer, require_layer
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.dense import Dense, default_init
from xpnet.layers.dropout import Dropout
from xpnet.layers.residual import Residual


def hidden_layers(
    widths: Sequence[int],
    activation: ActivationFunction,
    batch_norm: bool | BatchNorm,
    norm: Layer | None,
    residual: bool,
    dropout: float,
    weight_init: Initializer | None,
) -> list[Layer]:
    """Return hidden layers of the same form; see `xpnet.MLP` for the arguments.

    Raises:
        ArgumentError: if an argument breaks its rule.
    """
    require_type(activation, ActivationFunction, "activation")
    require(not isinstance(widths, (int, str)), "hidden", "be a sequence of widths", widths)
    require_number(dropout, "dropout", low=0, below=1)
    widths = [plain_number(width) for width in widths]
    for width in widths:
        require_count(width, "a width of hidden")
    norm = _checked_norm(plain_number(batch_norm), norm, widths)
    if isinstance(activation, ReLU) and getattr(norm, "scale_init", None) == Zeros():
        rule = "not begin with a scale of zeros before ReLU, whose derivative at 0 is 0"
        last = f"{type(norm).__name__}(scale_init=Zeros())"
        do = f"Write a Sequential with Residual(Dense(8, ReLU()), Dense(8), {last})."
        require(False, "norm", rule, norm, do)
    residual = plain_number(residual)
    require_type(residual, bool, "residual")
    rule = "be False where no hidden layer is as wide as the one before it"
    ok = not residual or any(before == width for before, width in pairwise(widths))
    require(ok, "residual", rule, Phrase(f"True for hidden={widths}"))
    layers: list[Layer] = []
    for before, width in zip([None, *widths], widths, strict=False):
        init = weight_init or default_init(activation)
        block: list[Layer] = [Dense(width, activation, weight_init=init)]
        if norm is not None:
            bias = not isinstance(norm, BatchNorm)  # which subtracts the mean of each column
            block = [Dense(width, weight_init=init, bias=bias), norm, Activation(activation)]
        if dropout:
            block.append(Dropout(plain_number(dropout)))
        layers += [Residual(*block)] if residual and width == before else block
    return layers


def _checked_norm(batch_norm: Any, norm: Layer | None, widths: Sequence[int]) -> Layer | None:
    """Return the normalization of the hidden layers."""
    require_type(batch_norm, (bool, BatchNorm), "batch_norm")
    if norm is None:
        return BatchNorm() if batch_norm is True else batch_norm or None
    require(not batch_norm, "batch_norm", "be False where norm is given", batch_norm)
    require_layer(norm, "norm", "LayerNorm()")
    for width in widths:
        n_out = norm.specs(width).n_out
        require(n_out == width, "norm", f"keep the width {width} of a hidden layer", norm)
    return norm
