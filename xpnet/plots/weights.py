"""The weights of the first layer, as the pictures that its units look for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.errors import ArgumentError, require, require_count, require_type
from xpnet.figure import new_figure
from xpnet.model import Sequential


def weight_images(
    model: Sequential,
    shape: tuple[int, int] | None = None,
    *,
    n_units: int = 25,
    axes: Any = None,
) -> Any:
    """Draw the weights into each unit of the first layer as an image, all on one scale.

    Args:
        model: a model of images, whose rows are their pixels.
        shape: height and width of an image; default a square.
        n_units: how many units are drawn at most, the first ones; default 25.
        axes: an array of Matplotlib axes, one a unit, whose number replaces ``n_units``; default a
            new grid.

    Returns:
        The axes, a NumPy array; those without a unit are empty.

    Raises:
        ArgumentError: if ``shape`` does not hold the features, or no layer has a weight.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet import MLP
    >>> weight_images(MLP(64, [6], 10)).shape
    (2, 3)
    """
    require_type(model, Sequential, "model")
    require_count(n_units, "n_units")
    weight = _first_weight(model)
    side = math.isqrt(model.n_in)
    shape = shape or (side, side)
    do = f"Give the height and the width, whose product is {model.n_in}."
    ok = len(shape) == 2 and math.prod(shape) == model.n_in
    require(ok, "shape", f"hold the {model.n_in} features", shape, do)
    if axes is None:
        n = min(n_units, weight.shape[1])
        columns = math.ceil(math.sqrt(n))
        rows = math.ceil(n / columns)
        figure = new_figure(figsize=(1.3 * columns + 1.0, 1.4 * rows + 0.3))
        axes = figure.subplots(rows, columns, squeeze=False)
        weight = weight[:, :n]
    cells = np.asarray(axes, dtype=object).ravel()
    weight = weight[:, : len(cells)]
    limit = float(np.max(np.abs(weight))) or 1.0
    for ax in cells:
        ax.set_axis_off()
    for index, (ax, unit) in enumerate(zip(cells, weight.T, strict=False)):
        image = ax.imshow(unit.reshape(shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"unit {index}", fontsize=8, pad=3)
    cells[0].figure.colorbar(image, ax=cells.tolist(), label="weight", shrink=0.8)
    return axes


def _first_weight(model: Sequential) -> Array:
    """The first layer's weight, ``(n_in, n_out)``, on the host."""
    for entry in model.layout.entries:
        if entry.role == "weight":
            return to_numpy(model.layout.views(model.theta)[entry.path])
    raise ArgumentError("model must have a layer with weights, such as Dense(10); got none.")
