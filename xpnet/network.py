"""The composition of layers as one function of (θ, X), with its derivatives; it stores no array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from inspect import signature
from typing import Any, TypeAlias, cast

import numpy as np

from xpnet.backend import Array, HostArray, write
from xpnet.errors import plain_number, require, require_count
from xpnet.layers.base import (
    Layer,
    LayerSpec,
    ParameterSpec,
    TangentLayer,
    Views,
    repeated_field,
    require_layer,
)
from xpnet.layers.context import Context
from xpnet.layers.dense import Dense
from xpnet.ops import operations_for
from xpnet.ops.buffers import Buffers, Memory, NoBuffers, Scratch
from xpnet.ops.operations import Operations, declares
from xpnet.parameters import Layout
from xpnet.random import MaskStream

Contexts: TypeAlias = tuple[Context, ...]

MAX_NAME = 40
"""The longest text of a layer in `Network.summary`."""


class Network:
    """The composition of layers: ``f(θ, X) = f_L(θ_L, … f_1(θ_1, X))``.

    Attributes:
        layers: the layers.
        n_in: the width of the input.
        n_out: the width of the output.
        layout: the position of each parameter in θ.
        widths: the width of each layer's output.
        statistics_layout: the position of each running statistic in the statistics vector.

    Raises:
        ArgumentError: if ``layers`` is not a nonempty sequence of layers, ``n_in`` is not a
            positive integer, or a parameter has a dot in its name.
    """

    def __init__(self, layers: Sequence[Layer], n_in: int) -> None:
        require_count(n_in, "n_in")
        n_in = plain_number(n_in)
        require(isinstance(layers, Sequence), "layers", "be a sequence", layers, "Write [...].")
        require(len(layers) > 0, "layers", "hold at least one layer", list(layers))
        specs: list[LayerSpec] = []
        width = n_in
        for index, layer in enumerate(layers):
            require_layer(layer, f"layers[{index}]")
            specs.append(layer.specs(width))
            _check_names(specs[-1], index)
            width = plain_number(specs[-1].n_out)
        self.layers = tuple(layers)
        self.n_in, self.n_out = n_in, width
        self.widths = tuple(spec.n_out for spec in specs)
        self._specs = list(zip(specs, (n_in, *self.widths[:-1]), strict=True))
        self.layout = _layout(_named([spec.parameters for spec in specs]))
        self.statistics_layout = _layout(_named([spec.statistics for spec in specs]))

    def init(self, theta: Array, statistics: Array, rng: np.random.Generator) -> None:
        """Write the initial parameters and statistics, through the views.

        Args:
            theta: the flat vector to fill, of the layout's size.
            statistics: the vector of running statistics to fill.
            rng: the stream that the initializers draw from, layer by layer.
        """
        views = self.layout.views(theta)
        for index, (layer, n_in) in enumerate(self._specs):
            for spec in layer.parameters:
                values = _draw(spec.with_fans(n_in, layer.n_out), rng)
                write(values, views[f"layers.{index}.{spec.name}"])
        views = self.statistics_layout.views(statistics)
        for index, (layer, _) in enumerate(self._specs):
            for spec in layer.statistics:
                write(spec.init.draw(rng, spec.shape), views[f"layers.{index}.{spec.name}"])

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
        masks: MaskStream | None = None,
        reuse: bool = False,
        ops: Operations | None = None,
    ) -> Contexts:
        """One `Context` for each layer, for any number of passes, one at a time.

        Args:
            memory: allocates the buffers.
            statistics: the vector of running statistics.
            training: whether batch norm normalizes by the batch and dropout drops.
            update_statistics: whether a training pass updates the running statistics.
            masks: the stream of random masks; ``None``: that of seed 0.
            reuse: whether passes reuse buffers: a pass then overwrites the results of the previous
                one. If not, every result is a new array.
            ops: the operations; ``None``: those for the library of ``statistics``.
        """
        views = _group(self.statistics_layout, statistics, len(self.layers))
        scratch = Scratch(Buffers(memory) if reuse else NoBuffers(), n_arrays=2)
        contexts = tuple(
            Context(
                ops=operations_for(statistics) if ops is None else ops,
                training=training,
                statistics=views[index],
                update_statistics=update_statistics,
                masks=masks or MaskStream(),
                index=index,
                memory=memory if reuse else None,
                # A user-defined layer may read dy after the backward pass of a layer inside it.
                shared_scratch=scratch if declares(layer, "releases_dy") else None,
            )
            for index, layer in enumerate(self.layers)
        )
        self.request_dx(contexts, False)
        return contexts

    def request_dx(self, contexts: Contexts, need_dx: bool) -> None:
        """Set whether `backward` returns ∂L/∂X.

        A user-defined first layer computes it in any case, because it may pass its context to
        layers inside it, which need the gradient with respect to each other's input.
        """
        contexts[0].need_dx = need_dx or not declares(self.layers[0], "releases_dy")

    def forward(self, p: Sequence[Views], X: Array, contexts: Contexts) -> tuple[Array, list[Any]]:
        """The output for ``X: (m, n_in)``, and the values saved by each layer for other passes."""
        saved = []
        for layer, views, context in zip(self.layers, p, contexts, strict=True):
            context.begin_pass()
            X, layer_saved = layer.forward(views, X, context)
            saved.append(layer_saved)
        return X, saved

    def backward(
        self,
        p: Sequence[Views],
        g: Sequence[Views],
        saved: Sequence[Any],
        dy: Array,
        contexts: Contexts,
    ) -> Array | None:
        """Write ∂L/∂θ into ``g``'s views; return ∂L/∂X if the first context needs it."""
        dx: Array | None = dy
        for index in reversed(range(len(self.layers))):
            dx = self.layers[index].backward(p[index], g[index], saved[index], dx, contexts[index])
        return dx

    def jvp(
        self,
        p: Sequence[Views],
        dp: Sequence[Views],
        saved: Sequence[Any],
        dx: Array | None,
        contexts: Contexts,
    ) -> tuple[Array | None, list[Any]]:
        """The tangents of the output and of ``saved``, for tangents of the input and of θ.

        ``dx = None`` and empty views stand for 0, and so does ``None`` in the result. Every layer
        must be a `TangentLayer`.
        """
        dsaved, layers = [], cast(tuple[TangentLayer, ...], self.layers)
        for layer, views, tangents, layer_saved, context in zip(
            layers, p, dp, saved, contexts, strict=True
        ):
            dx, layer_dsaved = layer.jvp(views, tangents, layer_saved, dx, context)
            dsaved.append(layer_dsaved)
        return dx, dsaved

    def backward_jvp(
        self,
        p: Sequence[Views],
        dp: Sequence[Views],
        dg: Sequence[Views],
        saved: Sequence[Any],
        dsaved: Sequence[Any],
        dy: Array,
        ddy: Array,
        contexts: Contexts,
    ) -> None:
        """Write the tangent of ∂L/∂θ into ``dg``'s views: the derivative of `backward`."""
        grad: tuple[Array | None, Array | None] = dy, ddy
        layers = cast(tuple[TangentLayer, ...], self.layers)
        for i in reversed(range(len(layers))):
            grad = layers[i].backward_jvp(
                p[i], dp[i], dg[i], saved[i], dsaved[i], *grad, contexts[i]
            )

    def summary(self) -> str:
        """A table of the layers, their widths and numbers of parameters."""
        counts = [0] * len(self.layers)
        for entry in self.layout.entries:
            counts[int(entry.path.split(".")[1])] += entry.stop - entry.start
        names = [brief(layer) for layer in self.layers]
        names = [n if len(n) <= MAX_NAME else n[: MAX_NAME - 1] + "…" for n in names]
        size = max(22, *(len(name) + 1 for name in names))
        lines = [f"{'layer':<{size + 3}}{'output':>10}{'parameters':>12}"]
        for index, (name, width) in enumerate(zip(names, self.widths, strict=True)):
            lines.append(f"{index:<3}{name:<{size}}{width:>10}{counts[index]:>12,}")
        lines.append(f"   {'total':<{size + 10}}{self.layout.size:>12,}")
        return "\n".join(lines)

    def first_not_finite(self, p: Sequence[Views], X: Array, contexts: Contexts) -> str:
        """The first layer with an output for ``X`` that is not finite; ``"loss"`` if none has."""
        for index, (layer, views, context) in enumerate(zip(self.layers, p, contexts, strict=True)):
            context.begin_pass()
            X, _ = layer.forward(views, X, context)
            if not bool(context.ops.xp.all(context.ops.xp.isfinite(X))):
                return f"layers.{index} ({type(layer).__name__})"
        return "loss"


def _draw(spec: ParameterSpec, rng: np.random.Generator) -> HostArray:
    """The initial values of a parameter, for its fans if the initializer takes them."""
    init: Any = spec.init
    if spec.fans is not None and "fans" in signature(init.draw).parameters:
        values: HostArray = init.draw(rng, spec.shape, fans=spec.fans)
        return values
    return spec.init.draw(rng, spec.shape)


def brief(layer: Layer) -> str:
    """A layer as text, without default arguments and without the initializers of a `Dense`.

    >>> from xpnet import Branches, Residual, Tanh
    >>> brief(Residual(Dense(8, Tanh()), Branches(Dense(8), [], join="sum")))
    "Residual(Dense(8, Tanh()), Branches(Dense(8), [], join='sum'))"
    """
    if isinstance(layer, Dense):
        name = type(layer.activation).__name__
        act = "" if name == "Identity" else f", {layer.activation!r}"
        return f"Dense({layer.n_out}{act})"
    if not is_dataclass(layer):
        return repr(layer)
    several = repeated_field(type(layer))
    parts = []
    for f in fields(layer):
        value = getattr(layer, f.name)
        if f.name == several:
            parts += map(_brief_part, value)
        elif f.repr and value != f.default:
            text = _brief_part(value)
            parts.append(text if f.default is MISSING else f"{f.name}={text}")
    return f"{type(layer).__name__}({', '.join(parts)})"


def _brief_part(value: Any) -> str:
    """An argument of a layer as text; a path of one layer as that layer."""
    if isinstance(value, tuple) and all(hasattr(item, "specs") for item in value):
        return brief(value[0]) if len(value) == 1 else f"[{', '.join(map(brief, value))}]"
    return brief(value) if hasattr(value, "specs") else repr(value)


def _check_names(spec: LayerSpec, index: int) -> None:
    """Refuse names with a dot, which separates the parts of a path such as ``layers.0.weight``."""
    for parameter in (*spec.parameters, *spec.statistics):
        ok, do = "." not in parameter.name, "Write an underscore."
        argument = f"the name of a parameter of layers[{index}]"
        require(ok, argument, "have no dot", parameter.name, do)


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
