"""The report of an inspection: the numbers of every layer, and a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np

from xpnet.backend import HostArray
from xpnet.errors import FileFormatError, describe
from xpnet.state_dict import StateDict


@dataclass(frozen=True, eq=False)
class Distribution:
    """The distribution of the numbers of an array.

    Attributes:
        mean: the mean of the finite numbers; NaN if there are none.
        std: their standard deviation, ``√(mean (x − mean)²)``.
        low: the smallest of them.
        high: the largest of them.
        zeros: the fraction of all numbers that are exactly 0, in ``[0, 1]``.
        not_finite: the fraction that are NaN or infinite.
        counts: the number of finite numbers in each bin of the histogram, ``(bins,)``.
        edges: the edges of the bins, ``(bins + 1,)``, equally spaced from low to high (±½ if these
            are equal). A bin contains its lower edge, the last bin also its upper edge.
    """

    mean: float
    std: float
    low: float
    high: float
    zeros: float
    not_finite: float
    counts: HostArray
    edges: HostArray


@dataclass(frozen=True, eq=False)
class LayerReport:
    """The report of one layer.

    Attributes:
        name: the index and a description, such as ``"0 Dense(100, Sigmoid)"``.
        n_out: the width.
        output: the distribution of the output ``a`` over all rows and units; for `Dense` after the
            activation.
        spread: the variation of the output from row to row, ``√(mean over units of the variance
            over rows)``. It is 0 for a layer with the same output for every row, even if its units
            differ and ``output.std`` is large.
        saturated: the fraction of the entries of ``a`` with a derivative ``|φ'(z)|`` of at most
            ``saturation · min(1, max |φ'|)``: a ReLU is saturated where it is 0, a `Step`
            everywhere, a linear unit nowhere. ``None`` for a layer without an activation.
        dead: the fraction of units with an output of exactly 0 for every row.
        gradient: the distribution of ``∂L/∂a`` over all rows and units, which includes the factor
            ``1/m`` of the mean over m rows; ``None`` without targets.
        weight_gradient: the distribution of ``∂L/∂W``; ``None`` without targets or weights.
    """

    name: str
    n_out: int
    output: Distribution
    spread: float
    saturated: float | None
    dead: float
    gradient: Distribution | None
    weight_gradient: Distribution | None


@dataclass(frozen=True, eq=False)
class InspectionReport:
    """The reports of all layers; ``print`` shows them as a table.

    Attributes:
        layers: a `LayerReport` for each layer, in order. ``report[0]`` is one of them,
            ``report[1:]`` a report of several.
        n_rows: the number of rows.
        loss: the loss; ``None`` without targets.
    """

    layers: tuple[LayerReport, ...]
    n_rows: int
    loss: float | None

    @overload
    def __getitem__(self, index: int) -> LayerReport: ...
    @overload
    def __getitem__(self, index: slice) -> InspectionReport: ...
    def __getitem__(self, index: int | slice) -> LayerReport | InspectionReport:
        if isinstance(index, slice):
            return InspectionReport(self.layers[index], self.n_rows, self.loss)
        return self.layers[index]

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __str__(self) -> str:
        width = max([24, *(len(layer.name) for layer in self)])
        head = f"{'output':^50}"
        names = f"{'mean':>10}{'std':>10}{'spread':>10}{'saturated':>11}{'dead':>9}"
        if self.loss is not None:
            head += f"  {'gradient of the output':^22}{'of W':>10}"
            names += f"  {'std':>12}{'zeros':>10}{'std':>10}"
        lines = [f"{'':<{width}}{head}".rstrip(), f"{'layer':<{width}}{names}"]
        lines += [f"{layer.name:<{width}}{_cells(layer)}" for layer in self]
        if any(layer.output.not_finite for layer in self):
            fractions = (f"{d.name} {_percent(d.output.not_finite)}" for d in self)
            lines.append("not finite: " + ", ".join(fractions))
        return "\n".join(lines)


FITS: dict[Any, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "float | None": lambda value: value is None or type(value) in (int, float),
    "HostArray": lambda value: isinstance(value, np.ndarray) and value.ndim == 1,
}
"""Whether a value from a file is of a type of a field."""


def report_of(state: StateDict) -> InspectionReport:
    """Return the report of which ``state`` holds the fields, as `dataclasses.asdict` returns them.

    Raises:
        FileFormatError: if it does not hold these fields.
    """
    try:
        layers = [layer | _distributions(layer) for layer in state["layers"]]
        reports = tuple(_checked(LayerReport(**layer)) for layer in layers)
        report = InspectionReport(reports, state["n_rows"], state["loss"])
        _checked(report)
        return report
    except (KeyError, TypeError) as error:
        raise FileFormatError(f"a report must hold the fields of its layers; {error}.") from None


def _distributions(layer: StateDict) -> dict[str, Distribution | None]:
    names = "output", "gradient", "weight_gradient"
    return {n: None if layer[n] is None else _checked(Distribution(**layer[n])) for n in names}


def _checked(report: Any) -> Any:
    """Return a part of a report after comparing its numbers, texts and arrays with their types."""
    for field in fields(report):
        value = getattr(report, field.name)
        if field.type in FITS and not FITS[field.type](value):
            raise FileFormatError(f"{field.name} must be {field.type}; got {describe(value)}.")
    return report


def _cells(layer: LayerReport) -> str:
    """Return the numbers of a line of the table as text."""
    saturated = "–" if layer.saturated is None else _percent(layer.saturated)
    text = f"{layer.output.mean:>10.3g}{layer.output.std:>10.3g}{layer.spread:>10.3g}"
    text += f"{saturated:>11}{_percent(layer.dead):>9}"
    if layer.gradient is not None:
        text += f"  {layer.gradient.std:>12.3g}{_percent(layer.gradient.zeros):>10}"
        weight = layer.weight_gradient
        text += f"{'–':>10}" if weight is None else f"{weight.std:>10.3g}"
    return text


def _percent(fraction: float) -> str:
    """Return a fraction as a percentage."""
    return f"{100 * fraction:.1f} %"
