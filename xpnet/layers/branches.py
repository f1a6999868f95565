"""Several paths of layers with one input, joined side by side or by their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from xpnet.backend import Array
from xpnet.errors import Phrase, require, unknown_name
from xpnet.layers.base import Layer, LayerSpec, Views, joined_specs, nested_specs, require_layer
from xpnet.layers.context import Context, child_views
from xpnet.layers.rows import (
    add_tangents,
    backward_jvp_row,
    backward_row,
    forward_row,
    jvp_row,
)

Join: TypeAlias = Literal["concat", "sum"]

Saved: TypeAlias = tuple[tuple[int, ...], list[Any]]
"""The first column of each path and the number of columns; what the layers of each path save."""


@dataclass(frozen=True, init=False, repr=False)
class Branches:
    """``Y = [f_1(X) … f_K(X)]`` or ``Y = f_1(X) + … + f_K(X)``, where each f_k is a path of layers.

    ``dX`` is the sum of the gradients of all paths. A path without layers, ``[]``, is X itself:
    ``Branches([], Dense(8))`` appends 8 features to the input. Several outputs with a loss each are
    a last layer such as ``Branches(Dense(3), Dense(1))`` and `xpnet.losses.Heads`.

    Args:
        paths: at least one; a layer, or a sequence of layers in a row. Parameter ``weight`` of
            layer ``i`` of path ``k`` is named ``k_i_weight``.
        join: ``"concat"`` (default) puts the outputs side by side, in the order of the paths;
            ``"sum"`` adds them, and they are equally wide.

    Raises:
        ArgumentError: if there is no path, an argument is no layer, or ``join`` is unknown; in a
            model, if paths that are added are not equally wide.

    >>> import numpy as np
    >>> from xpnet import Dense, Sequential, Tanh
    >>> two = Branches([Dense(8, Tanh()), Dense(3)], Dense(1))
    >>> model = Sequential([two], n_in=5)
    >>> model.n_out, [entry.path for entry in model.layout.entries][-1]
    (4, 'layers.0.1_0_bias')
    >>> Sequential([Branches(Dense(3), Dense(1), join="sum")], n_in=5)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: paths that are added must be equally wide; got 3 and 1 columns. \
End each with Dense(3), or write join="concat".
    """

    paths: tuple[tuple[Layer, ...], ...]
    join: Join = "concat"

    # Paths read dy one after another. Their scratch arrays are others, and none holds dx.
    releases_dy: ClassVar[bool] = True

    def __init__(self, *paths: Layer | Sequence[Layer], join: Join = "concat") -> None:
        rule, do = "have at least one path", "Write Branches(Dense(...), [Dense(...), ...])."
        require(paths, "Branches", rule, Phrase("none"), do)
        if join not in get_args(Join):
            raise unknown_name("join", join, get_args(Join))
        rows: list[tuple[Layer, ...]] = []
        for k, path in enumerate(paths):
            is_row = isinstance(path, (list, tuple))
            rows.append(tuple(path) if is_row else (path,))  # type: ignore[arg-type]
            for i, layer in enumerate(rows[-1]):
                require_layer(layer, f"paths[{k}][{i}]" if is_row else f"paths[{k}]")
        object.__setattr__(self, "paths", tuple(rows))
        object.__setattr__(self, "join", join)

    def __repr__(self) -> str:
        paths = (repr(row[0]) if len(row) == 1 else repr([*row]) for row in self.paths)
        return f"Branches({', '.join(paths)}, join={self.join!r})"

    def specs(self, n_in: int) -> LayerSpec:
        """The parameters and statistics of all paths; the output width is that of the join."""
        specs = [nested_specs(path, n_in) for path in self.paths]
        widths = [spec.n_out for spec in specs]
        if self.join == "concat":
            return joined_specs(specs, sum(widths))
        got = Phrase(f"{', '.join(map(str, widths[:-1]))} and {widths[-1]} columns")
        do = f'End each with Dense({widths[0]}), or write join="concat".'
        require(len({*widths}) == 1, "paths that are added", "be equally wide", got, do)
        return joined_specs(specs, widths[0])

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, Saved]:
        """The joined outputs; saves what the layers save."""
        buffers, ops = ctx.claim(), ctx.ops
        outputs, saved = [], []
        for k, path in enumerate(self.paths):
            y, kept = forward_row(path, child_views(p, k), x, self._inside(ctx, k))
            outputs.append(y)
            saved.append(kept)
        starts = (0, *accumulate(y.shape[1] for y in outputs))
        if self.join == "sum":
            return ops.add(outputs, out=buffers["y", *outputs[0].shape]), (starts, saved)
        out = buffers["y", x.shape[0], starts[-1]]
        return ops.join_columns(outputs, out=out), (starts, saved)

    def backward(self, p: Views, g: Views, saved: Saved, dy: Array, ctx: Context) -> Array | None:
        """Fill the gradients of all paths; return the sum of what they return."""
        found = []
        for k, path in enumerate(self.paths):
            inside = self._inside(ctx, k)
            views = child_views(p, k), child_views(g, k)
            part = self._part(k, saved, dy, inside)
            found.append(backward_row(path, *views, saved[1][k], part, inside))
        if not ctx.need_dx:
            return None
        out = ctx.scratch.next(*found[0].shape)  # type: ignore[union-attr]
        return ctx.scratch.settle(ctx.ops.add(found, out=out), out)

    def jvp(
        self, p: Views, dp: Views, saved: Saved, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, list[Any]]:
        """The joined tangents of the outputs."""
        found, dsaved = [], []
        for k, path in enumerate(self.paths):
            views = child_views(p, k), child_views(dp, k)
            dy, kept = jvp_row(path, *views, saved[1][k], dx, self._inside(ctx, k))
            found.append(dy)
            dsaved.append(kept)
        if self.join == "sum":
            return add_tangents(ctx, *found), dsaved
        known = next((dy for dy in found if dy is not None), None)
        if known is None:
            return None, dsaved
        sizes = (stop - start for start, stop in pairwise(saved[0]))
        zeros = (
            ctx.ops.xp.zeros((known.shape[0], n), dtype=known.dtype, device=known.device)
            for n in sizes
        )
        parts = [zero if dy is None else dy for dy, zero in zip(found, zeros, strict=True)]
        return ctx.ops.join_columns(parts), dsaved

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: Saved,
        dsaved: list[Any],
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """The derivative of `backward`: the sums of the results of all paths."""
        found = []
        for k, path in enumerate(self.paths):
            inside = self._inside(ctx, k)
            views = child_views(p, k), child_views(dp, k), child_views(dg, k)
            parts = self._part(k, saved, dy, inside), self._part(k, saved, ddy, inside)
            found.append(backward_jvp_row(path, *views, saved[1][k], dsaved[k], *parts, inside))
        if not ctx.need_dx:
            return None, None
        dx, ddx = zip(*found, strict=True)
        return ctx.ops.add(dx), ctx.ops.add(ddx)

    def _inside(self, ctx: Context, k: int) -> Context:
        """The context of path ``k``; every path returns dx if this layer does."""
        return ctx.child(k, need_dx=ctx.need_dx)

    def _part(self, k: int, saved: Saved, dy: Array, inside: Context) -> Array:
        """The part of ``dy`` that belongs to path ``k``, in scratch memory of the path."""
        if self.join == "sum" or len(self.paths) == 1:
            return dy
        start, stop = saved[0][k : k + 2]
        out = inside.scratch.next(dy.shape[0], stop - start)
        return inside.scratch.settle(inside.ops.take_columns(dy, start, stop, out), out)
