"""Represent any region of the plane by threshold units with weights chosen by hand.

A unit with the step activation, [wᵀx + b > 0], computes on which side of a line a point lies. The
rest is logic, with weights 1 and a threshold:

    layer 1   half-planes                    [wᵀx + b > 0]
    layer 2   AND of n: a convex polygon     [a_1 + … + a_n > n − ½]
    layer 3   OR of n: any union of these    [a_1 + … + a_n > ½]

Nothing is trained here, and no gradient could find these weights: the derivative of a step is 0
almost everywhere, which is why trained networks have smooth units. The figure shows one line for
each unit of the first layer. The table compares the area of the network's region, counted on a
grid, with that of the polygon, computed from its corners. R. Lippmann, "An introduction to
computing with neural nets", 1987. Run it with

    python examples/approximation_by_hand.py [--points 600]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lesson import BLUE, GREY, arguments, new_figure, save

from xpnet import Dense, Sequential, Step

EDGE = 1.2  # half the side of the square that is plotted


def corners(n: int, radius: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Return the corners of a regular polygon around 0, anticlockwise from the top."""
    angle = np.pi / 2 + turn + 2 * np.pi * np.arange(n) / n
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def half_planes(polygon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return w and b for each side of an anticlockwise polygon, with wᵀx + b > 0 on its left."""
    along = np.roll(polygon, -1, axis=0) - polygon
    weight = np.stack([-along[:, 1], along[:, 0]])
    return weight, -np.sum(weight * polygon.T, axis=0)


def union(pieces: list[tuple[np.ndarray, np.ndarray]]) -> Sequential:
    """Return the network that is 1 in the union of the pieces and 0 elsewhere."""
    sides = [len(bias) for _, bias in pieces]
    widths = [sum(sides), len(sides), 1]
    model = Sequential([Dense(width, Step()) for width in widths], 2)
    part = model.layout.views(model.theta)
    part["layers.0.weight"][...] = np.concatenate([weight for weight, _ in pieces], axis=1)
    part["layers.0.bias"][...] = np.concatenate([bias for _, bias in pieces])
    part["layers.1.weight"][...] = np.repeat(np.eye(len(sides)), sides, axis=0)  # AND
    part["layers.1.bias"][...] = 0.5 - np.array(sides)
    part["layers.2.weight"][...] = 1.0  # OR
    part["layers.2.bias"][...] = -0.5
    return model


def area(polygon: np.ndarray) -> float:
    """Compute the area of an anticlockwise polygon from its corners."""
    x, y = polygon.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def draw(ax: Any, model: Sequential, grid: np.ndarray, inside: np.ndarray) -> None:
    """Plot the region, and the line of every unit of the first layer."""
    ax.contourf(grid, grid, inside, [0.5, 1.5], colors=[BLUE], alpha=0.75)
    part = model.layout.views(model.theta)
    for (u, v), b in zip(part["layers.0.weight"].T, part["layers.0.bias"], strict=True):
        foot = -b * np.array([u, v]) / (u * u + v * v)
        ax.axline(foot, foot + np.array([-v, u]), color=GREY, lw=0.8)
    ax.set(xlabel="x₁", aspect="equal", xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE))
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])


def main(points: int, out: Path) -> None:
    window = np.array([[-EDGE, -0.8], [EDGE, -0.8], [EDGE, EDGE], [-EDGE, EDGE]])
    tips = corners(5)
    dents = corners(5, radius=(3 - 5**0.5) / 2, turn=np.pi / 5)  # the inner corners of the star
    arms = [np.stack([tips[k], dents[(k + 1) % 5], dents[(k + 3) % 5]]) for k in range(5)]
    star = np.stack([tips, dents], axis=1).reshape(-1, 2)
    weight, bias = half_planes(window)
    regions = [
        ("a half-plane", [(weight[:, :1], bias[:1])], window),
        ("AND: a pentagon", [half_planes(tips)], tips),
        ("OR: a star", [half_planes(arm) for arm in arms], star),
    ]
    grid = EDGE * ((2 * np.arange(points) + 1) / points - 1)
    plane = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    figure, axes = new_figure(1, 3, (10, 4), sharey=True)
    print(f"{'region':17}{'units':>9}{'area by the network':>21}{'by the corners':>16}")
    for ax, (name, pieces, outline) in zip(axes, regions, strict=True):
        model = union(pieces)
        inside = model.predict(plane).reshape(points, points)
        units = "-".join(str(layer.n_out) for layer in model.layers)
        counted = float(inside.mean()) * (2 * EDGE) ** 2
        print(f"{name:17}{units:>9}{counted:21.3f}{area(outline):16.3f}")
        draw(ax, model, grid, inside)
        ax.set(title=f"{name} ({units} units)")
    axes[0].set(ylabel="x₂")
    save(figure, out)


if __name__ == "__main__":
    main(**arguments("approximation_by_hand", __doc__, points=600))
