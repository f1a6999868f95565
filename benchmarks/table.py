"""Results as a Markdown table: medians, spreads, ratios, and which targets are met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import FLOOR, XPNET

Times = Mapping[str, Mapping[str, list[float]]]
"""What was measured (a column) → library (a row) → seconds, one number for each repeat."""


@dataclass(frozen=True)
class Target:
    """An upper limit of a ratio of medians.

    Attributes:
        column: what is measured.
        other: the row to compare with; ``"fastest peer"`` is the fastest of all.
        limit: the largest ratio that meets the target.
    """

    column: str
    other: str
    limit: float


FASTEST = "fastest peer"
FIT, ONE_ROW, MANY_ROWS = "whole fit", "predict 1 row", "predict 10 000 rows"
TARGETS = (
    Target("784-200-10, batch 64", FASTEST, 0.70),
    Target("784-200-10, batch 64", FLOOR.label, 1.35),
    Target("784-512-512-10, batch 256", FASTEST, 0.90),
    Target("784-512-512-10, batch 256", FLOOR.label, 1.12),
    Target("784-512-512-10, batch norm", FASTEST, 0.90),
    Target("32-64-64-2, batch 32", FASTEST, 0.35),
    Target("32-64-64-2, batch 32", FLOOR.label, 2.0),
    Target("1024-2048-2048-1000, batch 1024", FASTEST, 0.90),
    Target("1024-2048-2048-1000, batch 1024", FLOOR.label, 1.06),
    Target(FIT, "PyTorch, fused Adam", 0.45),
    Target(FIT, "scikit-learn", 0.30),
    Target(FIT, "steps × step time", 1.15),
    Target(ONE_ROW, FASTEST, 0.5),
    Target(MANY_ROWS, FASTEST, 0.9),
)
NOT_PEERS = XPNET.label, FLOOR.label, "steps × step time"


def duration(seconds: float) -> str:
    """Format a duration with three digits and a unit.

    >>> duration(0.000175), duration(0.0452), duration(3.5)
    ('175 µs', '45.2 ms', '3.50 s')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * factor
        if value >= 1 or unit == "µs":
            digits = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def cell(times: list[float] | None) -> str:
    """The median, with minimum and maximum in brackets."""
    if not times:
        return "–"
    low, middle, high = min(times), statistics.median(times), max(times)
    if len(times) == 1:
        return duration(middle)
    number, unit = duration(middle).split()
    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit]
    digits = len(number.partition(".")[2])
    return f"{number} {unit} ({low * scale:.{digits}f}–{high * scale:.{digits}f})"


def markdown(times: Times, absent: Mapping[str, str]) -> str:
    """A row for each library, a column for each measurement, then the ratios of xpnet's medians."""
    columns = list(times)
    who: list[str] = []
    for column in times.values():
        who += [name for name in column if name not in who]
    lines = [row(["", *columns]), row(["---"] + ["---:"] * len(columns))]
    lines += [row([name, *(cell(times[c].get(name)) for c in columns)]) for name in who]
    for other in (FASTEST, FLOOR.label):
        lines.append(row([f"**xpnet / {other}**", *(compared(times[c], other) for c in columns)]))
    for name, reason in absent.items():
        lines.append(row([name, *["absent: " + reason] + [""] * (len(columns) - 1)]))
    return "\n".join(lines)


def row(cells: list[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def ratio(column: Mapping[str, list[float]], other: str) -> tuple[float, str] | None:
    """The median of xpnet divided by another, and its name; ``None`` if one was not measured."""
    medians = {name: statistics.median(values) for name, values in column.items() if values}
    mine = medians.get(XPNET.label)
    if other == FASTEST:
        peers = {name: value for name, value in medians.items() if name not in NOT_PEERS}
        other = min(peers, key=lambda name: peers[name], default="")
    if mine is None or other not in medians:
        return None
    return mine / medians[other], other


def compared(column: Mapping[str, list[float]], other: str) -> str:
    """A ratio as a cell of the table."""
    found = ratio(column, other)
    if found is None:
        return "–"
    return f"{found[0]:.2f}" if other != FASTEST else f"{found[0]:.2f} ({found[1]})"


def verdicts(times: Times) -> str:
    """A table of the targets that were measured: ratio, limit, met or not."""
    lines = [row(["target", "ratio", "at most", ""]), row(["---", "---:", "---:", "---"])]
    for target in TARGETS:
        found = ratio(times.get(target.column, {}), target.other)
        if found is not None:
            name = target.other if found[1] == target.other else f"{FASTEST}, {found[1]}"
            met = "met" if found[0] <= target.limit else "**not met**"
            what = f"{target.column}, to {name}"
            lines.append(row([what, f"{found[0]:.2f}", f"{target.limit:.2f}", met]))
    return "\n".join(lines)


def summary(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Medians by column and name, for plots."""
    return {
        column: {name: statistics.median(values) for name, values in times.items() if values}
        for column, times in results["times"].items()
    }
