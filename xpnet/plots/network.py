"""Plots of a network: activation functions, histograms of layers, and images of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from xpnet.activations import ActivationFunction, Softmax, Step
from xpnet.backend import Array, on_device_of, to_numpy
from xpnet.errors import (
    ArgumentError,
    Phrase,
    require,
    require_count,
    require_number,
    require_type,
    unknown_name,
)
from xpnet.figure import as_axes_array, new_figure
from xpnet.inspection import Distribution, InspectionReport, LayerReport
from xpnet.model import Sequential
from xpnet.ops import operations_for
from xpnet.plots.style import BLUE, COLOURS, GREY, ORANGE, tidy

LINE_STYLES = ("-", "--", "-.", ":")

HISTOGRAM_COLOURS = {"output": BLUE, "gradient": ORANGE, "weight_gradient": ORANGE}


def activation_curves(
    functions: ActivationFunction | Sequence[ActivationFunction],
    *,
    low: float = -4.0,
    high: float = 4.0,
    axes: Any = None,
) -> Any:
    """Plot activation functions φ, and their derivatives φ' on separate axes.

    Args:
        functions: an activation function or a sequence of them, such as ``[Sigmoid(), Tanh()]``.
            `Step` is plotted without a derivative.
        low: the lower limit of z, finite; default -4.
        high: the upper limit of z, greater than ``low``; default 4.
        axes: two Matplotlib axes, for φ and for φ'; default new axes.

    Returns:
        The axes, an array of two.

    Raises:
        ArgumentError: if there is no function, a function is not elementwise (softmax), or
            ``high`` is not greater than ``low``.
        MissingExtraError: if Matplotlib is not installed.

    >>> from xpnet import ReLU, Tanh
    >>> left, right = activation_curves([ReLU(), Tanh()])
    >>> [line.get_label() for line in left.get_lines()]
    ['ReLU', 'Tanh']
    """
    activations = _activations(functions)
    require_number(low, "low")
    require_number(high, "high", above=low)
    if axes is None:
        axes = as_axes_array(new_figure(figsize=(9, 3.6)).subplots(1, 2))
    left, right = axes
    z = np.linspace(low, high, 1601)[None, :]
    ops = operations_for(z)
    for index, function in enumerate(activations):
        saved, value = function.kept(ops, z)
        name = repr(function).removesuffix("()")
        style = {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": LINE_STYLES[index % len(LINE_STYLES)],
            "linewidth": 1.8,
        }
        left.plot(z[0], value[0], label=name, **style)
        if not isinstance(function, Step):
            derivative = function.backward(ops, saved, np.ones_like(z))
            right.plot(z[0], derivative[0], label=name, **style)
    for ax, title in ((left, r"$\varphi(z)$"), (right, r"$\varphi'(z)$")):
        ax.set(title=title, xlabel="$z$", xlim=(low, high))
        tidy(ax)
    left.legend(frameon=False)
    return axes


def _activations(functions: Any) -> list[ActivationFunction]:
    """Return the activation functions as a list, after validation."""
    if not isinstance(functions, Sequence):
        require_type(functions, ActivationFunction, "functions")
        functions = [functions]
    require(functions, "functions", "hold at least one activation", functions)
    for function in functions:
        require_type(function, ActivationFunction, "a function")
        require(not isinstance(function, Softmax), "a function", "be elementwise", function)
    return list(functions)


def layer_histograms(
    reports: InspectionReport | Mapping[str, InspectionReport],
    what: Literal["output", "gradient", "weight_gradient"] = "output",
    *,
    axes: Any = None,
) -> Any:
    """Plot a histogram for each layer, with a row for each report and a column for each layer.

    The x axis of a panel extends from the minimum to the maximum, and the height of a bar is the
    fraction of the numbers in its bin. The text states the standard deviation; for outputs also
    the saturated and dead fractions, unless they are 0, and the spread over the rows, if it is
    less than half of the standard deviation.

    Args:
        reports: a report of `xpnet.inspect_layers`, or a mapping from names to reports with equal
            numbers of layers. A slice such as ``report[2::3]`` selects layers.
        what: ``"output"`` (default); ``"gradient"``, with respect to the output; or
            ``"weight_gradient"``.
        axes: Matplotlib axes, an array of shape ``(len(reports), n_layers)``; default new axes.

    Returns:
        The axes, a 2-D NumPy array.

    Raises:
        ArgumentError: if the reports differ in their number of layers, or ``what`` is a gradient
            and a report was computed without targets.
        MissingExtraError: if Matplotlib is not installed.

    >>> import xpnet
    >>> report = xpnet.inspect_layers(xpnet.MLP(2, [3, 3], 1), [[0.0, 1.0], [1.0, 0.0]])
    >>> [ax.get_title() for ax in layer_histograms({"untrained": report})[0]]
    ['0 Dense(3, ReLU)', '1 Dense(3, ReLU)', '2 Dense(1)']
    """
    if what not in HISTOGRAM_COLOURS:
        raise unknown_name("what", what, HISTOGRAM_COLOURS)
    rows = {"": reports} if isinstance(reports, InspectionReport) else dict(reports)
    require(rows, "reports", "hold at least one report", rows)
    for report in rows.values():
        require_type(report, InspectionReport, "a report")
    lengths = {len(report) for report in rows.values()}
    got = Phrase(" and ".join(map(str, sorted(lengths))))
    require(len(lengths) == 1, "reports", "have equal numbers of layers", got)
    shape = len(rows), lengths.pop()
    if axes is None:
        figure = new_figure(figsize=(2.0 * shape[1] + 1.0, 1.35 * shape[0] + 0.5))
        axes = as_axes_array(figure.subplots(*shape, squeeze=False))
    panels = np.asarray(axes, dtype=object)
    require(panels.shape == shape, "axes", f"be an array of shape {shape}", panels)
    same_names = len({tuple(layer.name for layer in report) for report in rows.values()}) == 1
    for i, (name, report) in enumerate(rows.items()):
        for j, layer in enumerate(report):
            _draw_histogram(panels[i, j], layer, what)
            if i == 0 or not same_names:
                panels[i, j].set_title(layer.name, fontsize=8, pad=4)
        panels[i, 0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    return axes


def _draw_histogram(ax: Any, layer: LayerReport, what: str) -> None:
    values: Distribution | None = getattr(layer, what)
    ax.set(yticks=[])
    ax.spines[["top", "right", "left"]].set_visible(False)
    if values is None:
        if what == "gradient" or layer.gradient is None:
            raise ArgumentError(
                f"reports must hold gradients to draw a {what}; got one without. Give y= to "
                "inspect_layers."
            )
        ax.set_xticks([])
        ax.text(0.5, 0.5, "no weights", ha="center", va="center", transform=ax.transAxes, size=8)
        return
    total = max(int(values.counts.sum()), 1)
    ax.stairs(values.counts / total, values.edges, fill=True, color=HISTOGRAM_COLOURS[what])
    ends = values.edges[[0, -1]]
    if values.low == values.high:
        ends = np.array([values.low])
    ax.set_xlim(values.edges[0], values.edges[-1])
    text = _summary(layer, values, what)
    # Leave space for one, two or more lines of text above the highest bar.
    headroom = (1.4, 2.0, 2.7)[min(text.count("\n"), 2)]
    ax.set_ylim(0, headroom * max(values.counts.max() / total, 1e-12))
    ax.set_xticks(ends, [_short(end, float(np.ptp(ends))) for end in ends], fontsize=7.5)
    ax.tick_params(length=2, color=GREY, pad=2)
    if len(ends) == 2:  # aligned inwards, so that labels of adjacent panels do not overlap
        ax.get_xticklabels()[0].set_horizontalalignment("left")
        ax.get_xticklabels()[1].set_horizontalalignment("right")
    ax.text(0.98, 0.98, text, ha="right", va="top", transform=ax.transAxes, fontsize=7.5)


def _short(number: float, scale: float = 0.0) -> str:
    """Format a number with two digits, as an integer up to 1e6; below 0.1 % of ``scale`` as 0."""
    if abs(number) < 1e-3 * scale:
        return "0"
    whole = 100 <= abs(number) < 1e6
    text = f"{float(f'{number:.2g}'):.0f}" if whole else f"{number:.2g}"
    return text.replace("-", "−")  # the minus sign of Matplotlib's tick labels


def _summary(layer: LayerReport, values: Distribution, what: str) -> str:
    """Return the text of a panel: standard deviation, and fractions that are not 0."""
    shares = {"not finite": values.not_finite}
    if what == "output":
        shares = {"saturated": layer.saturated or 0.0, "dead": layer.dead, **shares}
    lines = [f"{name} {100 * share:.0f} %" for name, share in shares.items() if share >= 0.005]
    if what == "output" and layer.spread < 0.5 * values.std:
        lines.insert(0, f"spread {_short(layer.spread)}")
    return "\n".join([f"std {_short(values.std)}", *lines])


@on_device_of("model")
def weight_images(
    model: Sequential,
    shape: tuple[int, int] | None = None,
    *,
    n_units: int = 25,
    axes: Any = None,
) -> Any:
    """Plot the weights of each unit of the first layer as an image, on a common colour scale.

    Args:
        model: a model of images that are flattened to rows of pixels.
        shape: the height and width of an image; default square.
        n_units: the maximum number of units to plot, starting with the first; default 25.
        axes: an array of Matplotlib axes, one for each unit, which overrides ``n_units``; default
            a new grid.

    Returns:
        The axes, a NumPy array; axes without a unit are empty.

    Raises:
        ArgumentError: if ``shape`` does not contain as many pixels as there are features, or no
            layer has weights.
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
        axes = as_axes_array(figure.subplots(rows, columns, squeeze=False))
        weight = weight[:, :n]
    panels = np.asarray(axes, dtype=object).ravel()
    weight = weight[:, : len(panels)]
    limit = float(np.max(np.abs(weight))) or 1.0
    for ax in panels:
        ax.set_axis_off()
    for index, (ax, unit) in enumerate(zip(panels, weight.T, strict=False)):
        image = ax.imshow(unit.reshape(shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"unit {index}", fontsize=8, pad=3)
    panels[0].figure.colorbar(image, ax=panels.tolist(), label="weight", shrink=0.8)
    return axes


def _first_weight(model: Sequential) -> Array:
    """Return the weights of the first layer that has any, ``(n_in, n_out)``, as a NumPy array."""
    for entry in model.layout.entries:
        if entry.role == "weight":
            return to_numpy(model.layout.views(model.theta)[entry.path])
    raise ArgumentError("model must have a layer with weights, such as Dense(10); got none.")
