"""Colours, figures and arguments that the lessons share. This is not a script."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from PIL import Image  # a dependency of Matplotlib

from xpnet.plots.style import COLOURS

BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, BLACK, GREY = COLOURS

STYLE = {
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.frameon": False,
}


def new_figure(rows: int, columns: int, size: tuple[float, float], **sharing: Any) -> Any:
    """Return a figure of ``size`` inches, and the array of its axes."""
    matplotlib.rcParams.update(STYLE)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **sharing)


def save(figure: Figure, out: Path) -> None:
    """Write the figure to ``out`` and print the path."""
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)
    with Image.open(out) as image:  # 256 colours take a third of the bytes
        image.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE).save(out)
    print(f"Wrote {out}.")


def arguments(name: str, about: str, **options: int | str) -> dict[str, Any]:
    """Parse ``--out`` and ``options``, each with the type of its default."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    for option, default in options.items():
        flag, text = f"--{option.replace('_', '-')}", f"default {default}" if default else None
        parser.add_argument(flag, type=type(default), default=default, help=text)
    parser.add_argument("--out", type=Path, default=Path(f"docs/lessons/{name}.png"))
    return vars(parser.parse_args())
