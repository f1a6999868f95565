"""Layers in a row as one function of (θ, X), with its derivatives. It stores no array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from xpnet.backend import Array, write
from xpnet.errors import require, require_count
from xpnet.layers.activation import Activation
from xpnet.layers.base import Layer, LayerSpec, ParameterSpec, Views
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.context import Buffers, Context, Memory, NoBuffers
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout
from xpnet.ops import operations_for
from xpnet.parameters import Layout

Contexts: TypeAlias = tuple[Context, ...]

SHARING = (Activation, BatchNorm, Dense, Dropout)
"""The layers that put what they make on the way back where another has had its own."""


class Network:
    """The composition of layers: ``f(θ, X) = f_L(θ_L, … f_1(θ_1, X))``.

    Attributes:
        layers: the layers, frozen values.
        n_in: the width of the input.
        n_out: the width of the output.
        layout: where each parameter lies in θ.
        statistics_layout: where each running statistic lies in the statistics vector.
    """

    def __init__(self, layers: Sequence[Layer], n_in: int) -> None:
        require_count(n_in, "n_in")
        require(isinstance(layers, Sequence), "layers", "be a sequence", layers, "Write [...].")
        require(len(layers) > 0, "layers", "hold at least one layer", list(layers))
        specs: list[LayerSpec] = []
        width = n_in
        for index, layer in enumerate(layers):
            ok = hasattr(layer, "specs") and not isinstance(layer, type)
            do = f"Write {layer.__name__}(...)." if isinstance(layer, type) else ""
            require(ok, f"layers[{index}]", "be a layer such as Dense(10)", layer, do)
            specs.append(layer.specs(width))
            width = specs[-1].n_out
        self.layers = tuple(layers)
        self.n_in, self.n_out = n_in, width
        self.widths = tuple(spec.n_out for spec in specs)
        self._parameters = _named([spec.parameters for spec in specs])
        self._statistics = _named([spec.statistics for spec in specs])
        self.layout = _layout(self._parameters)
        self.statistics_layout = _layout(self._statistics)

    def init(self, theta: Array, statistics: Array, rng: np.random.Generator) -> None:
        """Write the initial parameters and statistics, through the views.

        Args:
            theta: the flat vector to fill, of the layout's size.
            statistics: the vector of running statistics to fill.
            rng: the stream that the initializers draw from, layer by layer.
        """
        for specs, layout, vector in (
            (self._parameters, self.layout, theta),
            (self._statistics, self.statistics_layout, statistics),
        ):
            views = layout.views(vector)
            for path, spec in specs:
                write(spec.init.draw(rng, spec.shape), views[path])

    def by_layer(self, vector: Array) -> tuple[Views, ...]:
        """The views of θ, or of a gradient or tangent, for each layer."""
        return _group(self.layout, vector, len(self.layers))

    def contexts(
        self,
        memory: Memory,
        statistics: Array,
        *,
        training: bool = False,
        update_statistics: bool = True,
        seed: int = 0,
        reuse: bool = False,
    ) -> Contexts:
        """One `Context` a layer for a pass, or, with ``reuse``, for many with the same buffers."""
        views = _group(self.statistics_layout, statistics, len(self.layers))
        scratch, *own = [Buffers(memory) if reuse else NoBuffers() for _ in range(1 + len(views))]
        return tuple(
            Context(
                ops=operations_for(statistics),
                training=training,
                statistics=views[index],
                update_statistics=update_statistics,
                seed=seed,
                layer=index,
                need_dx=index > 0,
                buffers=own[index],
                # A layer around one of ours may still need its dy when that has done its part.
                scratch=scratch if type(layer) in SHARING else own[index],
                last=index == len(self.layers) - 1,
            )
            for index, layer in enumerate(self.layers)
        )

    def forward(self, p: Sequence[Views], X: Array, contexts: Contexts) -> tuple[Array, list[Any]]:
        """The output for ``X: (m, n_in)`` and the tape of every layer."""
        tapes = []
        for layer, views, context in zip(self.layers, p, contexts, strict=True):
            X, tape = layer.forward(views, X, context)
            tapes.append(tape)
        return X, tapes

    def backward(
        self,
        p: Sequence[Views],
        g: Sequence[Views],
        tapes: Sequence[Any],
        dy: Array,
        contexts: Contexts,
    ) -> Array | None:
        """Write ∂L/∂θ into ``g``'s views; return ∂L/∂X if the first context needs it."""
        dx: Array | None = dy
        for index in reversed(range(len(self.layers))):
            dx = self.layers[index].backward(p[index], g[index], tapes[index], dx, contexts[index])
        return dx

    def jvp(
        self,
        p: Sequence[Views],
        dp: Sequence[Views],
        tapes: Sequence[Any],
        dx: Array | None,
        contexts: Contexts,
    ) -> tuple[Array | None, list[Any]]:
        """The tangents of the output and of every tape, for tangents of the input and of θ.

        ``dx = None`` and empty views stand for 0, and so does ``None`` in what is returned.
        """
        dtapes = []
        for layer, views, tangents, tape, context in zip(
            self.layers, p, dp, tapes, contexts, strict=True
        ):
            dx, dtape = layer.jvp(views, tangents, tape, dx, context)
            dtapes.append(dtape)
        return dx, dtapes

    def backward_jvp(
        self,
        p: Sequence[Views],
        dp: Sequence[Views],
        dg: Sequence[Views],
        tapes: Sequence[Any],
        dtapes: Sequence[Any],
        dy: Array,
        ddy: Array,
        contexts: Contexts,
    ) -> None:
        """Write the tangent of ∂L/∂θ into ``dg``'s views: the derivative of `backward`."""
        grad: tuple[Array | None, Array | None] = dy, ddy
        for i in reversed(range(len(self.layers))):
            grad = self.layers[i].backward_jvp(
                p[i], dp[i], dg[i], tapes[i], dtapes[i], *grad, contexts[i]
            )

    def summary(self) -> str:
        """A table of the layers, their widths and numbers of parameters."""
        counts = [0] * len(self.layers)
        for entry in self.layout.entries:
            counts[int(entry.path.split(".")[1])] += entry.stop - entry.start
        lines = [f"{'layer':<25}{'output':>10}{'parameters':>12}"]
        for index, (layer, width) in enumerate(zip(self.layers, self.widths, strict=True)):
            lines.append(f"{index:<3}{brief(layer):<22}{width:>10}{counts[index]:>12,}")
        lines.append(f"   {'total':<32}{self.layout.size:>12,}")
        return "\n".join(lines)

    def first_not_finite(self, p: Sequence[Views], X: Array, contexts: Contexts) -> str:
        """The first layer whose output for ``X`` is not finite; ``"loss"`` if all are."""
        for index, (layer, views, context) in enumerate(zip(self.layers, p, contexts, strict=True)):
            X, _ = layer.forward(views, X, context)
            if not bool(context.ops.xp.all(context.ops.xp.isfinite(X))):
                return f"layers.{index} ({type(layer).__name__})"
        return "loss"


def brief(layer: Layer) -> str:
    """A layer as one would write it, without what is default."""
    if isinstance(layer, Dense):
        name = type(layer.activation).__name__
        act = "" if name == "Identity" else f", {layer.activation!r}"
        return f"Dense({layer.n_out}{act})"
    return repr(layer)


def _named(specs: list[tuple[ParameterSpec, ...]]) -> list[tuple[str, ParameterSpec]]:
    return [(f"layers.{i}.{s.name}", s) for i, group in enumerate(specs) for s in group]


def _layout(named: list[tuple[str, ParameterSpec]]) -> Layout:
    return Layout.of((path, spec.shape, spec.role) for path, spec in named)


def _group(layout: Layout, vector: Array, n_layers: int) -> tuple[dict[str, Array], ...]:
    groups: tuple[dict[str, Array], ...] = tuple({} for _ in range(n_layers))
    for path, view in layout.views(vector).items():
        _, index, name = path.split(".")
        groups[int(index)][name] = view
    return groups
