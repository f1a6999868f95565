"""Layers that contain layers, as a user writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.layers import Layer
from xpnet.layers.base import LayerSpec, nested_specs
from xpnet.layers.context import child_views


@dataclass(frozen=True)
class Chain:
    """Layers in a row, each with a context of its own."""

    layers: tuple[Layer, ...]

    def specs(self, n_in: int) -> LayerSpec:
        return nested_specs(self.layers, n_in)

    def forward(self, p, x, ctx):
        saved = []
        for i, layer in enumerate(self.layers):
            x, kept = layer.forward(child_views(p, i), x, ctx.child(i))
            saved.append(kept)
        return x, saved

    def backward(self, p, g, saved, dy, ctx):
        for i in reversed(range(len(self.layers))):
            views = child_views(p, i), child_views(g, i)
            dy = self.layers[i].backward(*views, saved[i], dy, ctx.child(i))
        return dy

    def jvp(self, p, dp, saved, dx, ctx):
        dsaved = []
        for i, layer in enumerate(self.layers):
            views = child_views(p, i), child_views(dp, i)
            dx, kept = layer.jvp(*views, saved[i], dx, ctx.child(i))
            dsaved.append(kept)
        return dx, dsaved

    def backward_jvp(self, p, dp, dg, saved, dsaved, dy, ddy, ctx):
        for i in reversed(range(len(self.layers))):
            views = [child_views(each, i) for each in (p, dp, dg)]
            kept = None if dsaved is None else dsaved[i]
            dy, ddy = self.layers[i].backward_jvp(*views, saved[i], kept, dy, ddy, ctx.child(i))
        return dy, ddy


@dataclass(frozen=True)
class Residual:
    """``Y = X + f(X)``; it reads ``dy`` again after the backward pass of ``f``."""

    layers: tuple[Layer, ...]

    @property
    def inner(self) -> Chain:
        return Chain(self.layers)

    def specs(self, n_in: int) -> LayerSpec:
        return nested_specs([self.inner], n_in)

    def forward(self, p, x, ctx):
        y, saved = self.inner.forward(child_views(p, 0), x, ctx.child(0))
        return x + y, saved

    def backward(self, p, g, saved, dy, ctx):
        views = child_views(p, 0), child_views(g, 0)
        dx = self.inner.backward(*views, saved, dy, ctx.child(0))
        return None if dx is None else dy + dx

    def jvp(self, p, dp, saved, dx, ctx):
        views = child_views(p, 0), child_views(dp, 0)
        inner, dsaved = self.inner.jvp(*views, saved, dx, ctx.child(0))
        known = [each for each in (dx, inner) if each is not None]
        return sum(known[1:], known[0]) if known else None, dsaved

    def backward_jvp(self, p, dp, dg, saved, dsaved, dy, ddy, ctx):
        views = [child_views(each, 0) for each in (p, dp, dg)]
        dx, ddx = self.inner.backward_jvp(*views, saved, dsaved, dy, ddy, ctx.child(0))
        return (None, None) if dx is None else (dy + dx, ddy + ddx)


@dataclass(frozen=True)
class Gate:
    """``Y = f(X) ⊙ g(X)``, which keeps the results of both layers until the backward pass."""

    layers: tuple[Layer, Layer]

    def specs(self, n_in: int) -> LayerSpec:
        first, second = (nested_specs([layer], n_in) for layer in self.layers)
        named = [
            [_renamed(spec, i) for i, each in enumerate((first, second)) for spec in found(each)]
            for found in (lambda s: s.parameters, lambda s: s.statistics)
        ]
        return LayerSpec(first.n_out, *map(tuple, named))

    def contexts(self, ctx):
        return [ctx.child(i, need_dx=ctx.need_dx) for i in range(2)]

    def forward(self, p, x, ctx):
        results, saved = [], []
        for i, (layer, inside) in enumerate(zip(self.layers, self.contexts(ctx), strict=True)):
            y, kept = layer.forward(child_views(p, i), x, inside)
            results.append(y)
            saved.append(kept)
        return results[0] * results[1], (results, saved)

    def backward(self, p, g, saved, dy, ctx):
        results, kept = saved
        found = []
        for i, (layer, inside) in enumerate(zip(self.layers, self.contexts(ctx), strict=True)):
            views = child_views(p, i), child_views(g, i)
            found.append(layer.backward(*views, kept[i], dy * results[1 - i], inside))
        return found[0] + found[1] if ctx.need_dx else None


def _renamed(spec: Any, i: int) -> Any:
    """The parameter of a single layer, named as that of layer ``i``."""
    return type(spec)(f"{i}_{spec.name.removeprefix('0_')}", spec.shape, spec.role, spec.init)


@dataclass(frozen=True)
class Handed:
    """Layers in a row that get the context of this layer itself, instead of contexts of their own.

    Args:
        layers: layers without running statistics.
        residual: whether the input is added to the output.
    """

    layers: tuple[Layer, ...]
    residual: bool = False

    def specs(self, n_in: int) -> LayerSpec:
        return nested_specs(self.layers, n_in)

    def forward(self, p, x, ctx):
        y, saved = x, []
        for i, layer in enumerate(self.layers):
            y, kept = layer.forward(child_views(p, i), y, ctx)
            saved.append(kept)
        return x + y if self.residual else y, saved

    def backward(self, p, g, saved, dy, ctx):
        dx = dy
        for i in reversed(range(len(self.layers))):
            views = child_views(p, i), child_views(g, i)
            dx = self.layers[i].backward(*views, saved[i], dx, ctx)
        return dy + dx if self.residual else dx

    def jvp(self, p, dp, saved, dx, ctx):
        tangent, dsaved = dx, []
        for i, layer in enumerate(self.layers):
            views = child_views(p, i), child_views(dp, i)
            tangent, kept = layer.jvp(*views, saved[i], tangent, ctx)
            dsaved.append(kept)
        known = [each for each in (dx, tangent) if each is not None]
        if self.residual and known:
            tangent = sum(known[1:], known[0])
        return tangent, dsaved

    def backward_jvp(self, p, dp, dg, saved, dsaved, dy, ddy, ctx):
        dx, ddx = dy, ddy
        for i in reversed(range(len(self.layers))):
            views = [child_views(each, i) for each in (p, dp, dg)]
            dx, ddx = self.layers[i].backward_jvp(*views, saved[i], dsaved[i], dx, ddx, ctx)
        return (dy + dx, ddy + ddx) if self.residual else (dx, ddx)


@dataclass(frozen=True)
class Copies:
    """The outputs of layers of the same input side by side, ``(m, Σ n_out)``, without backward.

    Args:
        layers: the layers.
        own: whether each has a context of its own, or all get that of this layer.
    """

    layers: tuple[Layer, ...]
    own: bool = True

    def specs(self, n_in: int) -> LayerSpec:
        return LayerSpec(sum(layer.specs(n_in).n_out for layer in self.layers))

    def forward(self, p, x, ctx):
        inside = [ctx.child(i) if self.own else ctx for i in range(len(self.layers))]
        found = [
            layer.forward({}, x, each)[0] for layer, each in zip(self.layers, inside, strict=True)
        ]
        return ctx.ops.xp.concatenate(found, axis=1), None
