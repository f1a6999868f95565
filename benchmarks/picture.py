"""Plot the times of other libraries relative to xpnet.

python -m benchmarks.picture results.json docs/speed.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import FLOOR, OTHERS, XPNET
from benchmarks.table import summary
from xpnet.figure import new_figure

# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS = "#E69F00", "#F0C987", "#D55E00", "#009E73", "#7FCFB8", "#0072B2", "#999999", "#CC79A7"


def picture(results: dict[str, Any]) -> Any:
    """Plot a group of bars for each column, one bar for each peer; xpnet is the line at 1."""
    medians = summary(results)
    columns = [c for c in medians if XPNET.label in medians[c]]
    fig = new_figure(figsize=(9, 1.1 + 1.15 * len(columns)))
    ax = fig.subplots()
    names = [peer.label for peer in OTHERS if any(peer.label in medians[c] for c in columns)]
    colours = dict(zip((peer.label for peer in OTHERS), COLOURS, strict=True))
    width = 0.84 / max(len(names), 1)
    for column, place in zip(columns, range(len(columns)), strict=True):
        mine = medians[column][XPNET.label]
        present = [name for name in names if name in medians[column]]
        for i, name in enumerate(present):
            ratio = medians[column][name] / mine
            y = place + (i - (len(present) - 1) / 2) * width
            ax.barh(y, ratio - 1, width * 0.92, left=1, color=colours[name])
            ax.annotate(
                f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}",
                (ratio, y),
                xytext=(3 if ratio >= 1 else -3, 0),
                textcoords="offset points",
                ha="left" if ratio >= 1 else "right",
                va="center",
                fontsize=7,
            )
        if FLOOR.label in medians[column]:
            floor = medians[column][FLOOR.label] / mine
            ax.plot([floor, floor], [place - 0.44, place + 0.44], color="black", lw=1.2, ls=":")
    finish(ax, columns, names, colours)
    return fig


def finish(ax: Any, columns: list[str], names: list[str], colours: dict[str, str]) -> None:
    """Add axes, legend and the line at 1."""
    ax.set_xscale("log")
    ax.axvline(1, color="black", lw=1.2)
    ax.set_yticks(range(len(columns)), columns)
    ax.invert_yaxis()
    ax.set_xlabel("time relative to xpnet (line at 1; right of it: slower), log scale")
    ax.margins(x=0.08)
    low, high = ax.get_xlim()
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_formatter("")
    for name in names:
        ax.barh([0], [0], color=colours[name], label=name)
    ax.plot([], [], color="black", lw=1.2, ls=":", label=FLOOR.label)
    ax.grid(axis="x", which="both", alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)


def main(source: str, target: str) -> None:
    results = json.loads(Path(source).read_text(encoding="utf-8"))
    picture(next(iter(results.values()))).savefig(target, dpi=120)
    print(f"Wrote {target}.")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m benchmarks.picture results.json picture.png")
    main(*sys.argv[1:])
