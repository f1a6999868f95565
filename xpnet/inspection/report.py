"""What an inspection finds: numbers for every layer, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

from xpnet.backend import HostArray


@dataclass(frozen=True, eq=False)
class Distribution:
    """How the numbers of an array are distributed.

    Attributes:
        mean: their mean; this and the next three are of the finite ones, NaN if there is none.
        std: their standard deviation, ``√(mean (x − mean)²)``.
        low: the least.
        high: the greatest.
        zeros: the share that is exactly 0, in ``[0, 1]``.
        not_finite: the share that is NaN or infinite.
        counts: how many finite numbers lie in each bin of the histogram, ``(bins,)``.
        edges: the bins' borders, ``(bins + 1,)``, equally spaced from low to high (±½ where these
            are equal); a bin holds its lower border, the last one its upper border too.
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
    """What one layer does with the rows.

    Attributes:
        name: its position and what it is, such as ``"0 Dense(100, Sigmoid)"``.
        n_out: its width.
        output: of its output ``a`` (after the activation of a `Dense`), over all rows and units.
        spread: how far the units' outputs differ from row to row, the root over all units of the
            mean variance of each over the rows: 0 where a layer says the same of every row, even
            if its units differ and so ``output.std`` is large.
        saturated: the share of the entries of ``a`` whose slope ``|φ'(z)|`` is at most
            ``saturation`` times the steepest slope of φ, which is taken as 1 where it is larger.
            So a ReLU is saturated where it is off, a `Step` everywhere, a linear unit nowhere.
            ``None`` for a layer without an activation, such as batch norm.
        dead: the share of units whose output is exactly 0 for every row.
        gradient: of ``∂L/∂a``, over all rows and units; ``None`` without targets. It carries the
            ``1/m`` of the mean over m rows.
        weight_gradient: of ``∂L/∂W``; ``None`` without targets or weights.
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
    """What every layer does with the rows; ``print`` shows it as a table.

    Attributes:
        layers: one `LayerReport` a layer, in order. ``report[0]`` is one of them, ``report[1:]`` a
            report of some.
        n_rows: how many rows were looked at.
        loss: the loss on them; ``None`` without targets.
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
            shares = (f"{d.name} {_share(d.output.not_finite)}" for d in self)
            lines.append("not finite: " + ", ".join(shares))
        return "\n".join(lines)


def _cells(layer: LayerReport) -> str:
    """The numbers of a line of the table."""
    saturated = "–" if layer.saturated is None else _share(layer.saturated)
    text = f"{layer.output.mean:>10.3g}{layer.output.std:>10.3g}{layer.spread:>10.3g}"
    text += f"{saturated:>11}{_share(layer.dead):>9}"
    if layer.gradient is not None:
        text += f"  {layer.gradient.std:>12.3g}{_share(layer.gradient.zeros):>10}"
        weight = layer.weight_gradient
        text += f"{'–':>10}" if weight is None else f"{weight.std:>10.3g}"
    return text


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"
