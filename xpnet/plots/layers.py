"""A grid of histograms: what every layer does, one row a setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from xpnet.errors import ArgumentError, Phrase, require, require_type, unknown_name
from xpnet.figure import new_figure
from xpnet.inspection import Distribution, InspectionReport, LayerReport
from xpnet.plots.style import BLUE, GREY, ORANGE

WHAT = {"output": BLUE, "gradient": ORANGE, "weight_gradient": ORANGE}


def layer_histograms(
    reports: InspectionReport | Mapping[str, InspectionReport],
    what: Literal["output", "gradient", "weight_gradient"] = "output",
    *,
    axes: Any = None,
) -> Any:
    """Draw the histogram of every layer, one row a setting and one column a layer.

    A panel goes from the least to the greatest number, which are written under it, and the height
    is the share of the numbers in a bin. In its corner stand the standard deviation, and of an
    output the saturated and the dead share where there is one, and the spread over the rows where
    it is less than half of the standard deviation.

    Args:
        reports: a report of `xpnet.inspect_layers`, or several by the name of their setting, all
            of as many layers; ``report[2::3]`` leaves layers out.
        what: the ``"output"`` (default), the ``"gradient"`` by it, or the ``"weight_gradient"``.
        axes: Matplotlib axes, an array of ``(len(reports), n_layers)``; default new ones.

    Returns:
        The axes, a 2-D NumPy array.

    Raises:
        ArgumentError: if the reports have different numbers of layers, or were made without
            targets and a gradient is asked for.
        MissingExtraError: if Matplotlib is not installed.

    >>> import xpnet
    >>> report = xpnet.inspect_layers(xpnet.MLP(2, [3, 3], 1), [[0.0, 1.0], [1.0, 0.0]])
    >>> [ax.get_title() for ax in layer_histograms({"untrained": report})[0]]
    ['0 Dense(3, ReLU)', '1 Dense(3, ReLU)', '2 Dense(1)']
    """
    if what not in WHAT:
        raise unknown_name("what", what, WHAT)
    rows = {"": reports} if isinstance(reports, InspectionReport) else dict(reports)
    require(rows, "reports", "hold at least one report", rows)
    for report in rows.values():
        require_type(report, InspectionReport, "a report")
    lengths = {len(report) for report in rows.values()}
    shown = Phrase(" and ".join(map(str, sorted(lengths))))
    require(len(lengths) == 1, "reports", "have as many layers each", shown)
    shape = len(rows), lengths.pop()
    if axes is None:
        figure = new_figure(figsize=(2.0 * shape[1] + 1.0, 1.35 * shape[0] + 0.5))
        axes = figure.subplots(*shape, squeeze=False)
    cells = np.asarray(axes, dtype=object)
    require(cells.shape == shape, "axes", f"be an array of shape {shape}", cells)
    same = len({tuple(layer.name for layer in report) for report in rows.values()}) == 1
    for i, (name, report) in enumerate(rows.items()):
        for j, layer in enumerate(report):
            _panel(cells[i, j], layer, what)
            if i == 0 or not same:
                cells[i, j].set_title(layer.name, fontsize=8, pad=4)
        cells[i, 0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    return axes


def _panel(ax: Any, layer: LayerReport, what: str) -> None:
    found: Distribution | None = getattr(layer, what)
    ax.set(yticks=[])
    ax.spines[["top", "right", "left"]].set_visible(False)
    if found is None:
        if what == "gradient" or layer.gradient is None:
            raise ArgumentError(
                f"reports must hold gradients to draw a {what}; got one without. Give y= to "
                "inspect_layers."
            )
        ax.set_xticks([])
        ax.text(0.5, 0.5, "no weights", ha="center", va="center", transform=ax.transAxes, size=8)
        return
    total = max(int(found.counts.sum()), 1)
    ax.stairs(found.counts / total, found.edges, fill=True, color=WHAT[what])
    ends = found.edges[[0, -1]]
    if found.low == found.high:
        ends = np.array([found.low])
    ax.set_xlim(found.edges[0], found.edges[-1])
    text = _words(layer, found, what)
    # Room above the highest bin for the words in the corner, so many lines of them.
    room = (1.4, 2.0, 2.7)[min(text.count("\n"), 2)]
    ax.set_ylim(0, room * max(found.counts.max() / total, 1e-12))
    ax.set_xticks(ends, [_short(end, float(np.ptp(ends))) for end in ends], fontsize=7.5)
    ax.tick_params(length=2, color=GREY, pad=2)
    if len(ends) == 2:  # inwards, so that they do not meet the neighbours'
        ax.get_xticklabels()[0].set_horizontalalignment("left")
        ax.get_xticklabels()[1].set_horizontalalignment("right")
    ax.text(0.98, 0.98, text, ha="right", va="top", transform=ax.transAxes, fontsize=7.5)


def _short(number: float, scale: float = 0.0) -> str:
    """A number in two digits, or whole up to a million; 0 if it is nothing beside ``scale``."""
    if abs(number) < 1e-3 * scale:
        return "0"
    whole = 100 <= abs(number) < 1e6
    text = f"{float(f'{number:.2g}'):.0f}" if whole else f"{number:.2g}"
    return text.replace("-", "−")  # a minus sign, as on Matplotlib's own axes


def _words(layer: LayerReport, found: Distribution, what: str) -> str:
    """The numbers in the corner of a panel."""
    shares = {"not finite": found.not_finite}
    if what == "output":
        shares = {"saturated": layer.saturated or 0.0, "dead": layer.dead, **shares}
    words = [f"{name} {100 * share:.0f} %" for name, share in shares.items() if share >= 0.005]
    if what == "output" and layer.spread < 0.5 * found.std:
        words.insert(0, f"spread {_short(layer.spread)}")
    return "\n".join([f"std {_short(found.std)}", *words])
