"""A network at one point (θ, X): its output, and what every derivative there has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, as_array, copied
from xpnet.data.prepare import as_features, real_numbers, vector
from xpnet.data.preprocessing import InputSpec
from xpnet.data.targets import as_targets, as_weights
from xpnet.errors import Phrase, require, require_count, require_type
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.random import MaskStream

LARGEST = 1 << 30
"""How many bytes a matrix of derivatives may take unless a caller allows more: 1 GiB."""


class Point:
    """The forward pass of a network at (θ, X), and products with its derivatives there.

    Nothing of the model is changed: batch norm's running statistics stay as they are.

    Args:
        network: the layers.
        backend: where everything lives, and in which dtype.
        theta: the parameters, ``(P,)``.
        statistics: the running statistics.
        X: network inputs, ``(m, n_in)``.
        training: whether batch norm takes the batch's statistics and dropout drops.
        seed: of the dropout masks.

    Attributes:
        network, backend, theta, X: as given.
        output: what the network emits, ``(m, n_out)``.
    """

    def __init__(
        self,
        network: Network,
        backend: Backend,
        theta: Array,
        statistics: Array,
        X: Array,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self.network, self.backend, self.theta, self.X = network, backend, theta, X
        self._statistics, self._how = statistics, (training, seed)
        self._p = network.by_layer(theta)
        self._contexts = network.contexts(
            backend, statistics, training=training, update_statistics=False, masks=MaskStream(seed)
        )
        self.output, self._tapes = network.forward(self._p, X, self._contexts)

    def at(self, *, theta: Array | None = None, X: Array | None = None) -> Point:
        """The same network at another θ or on other rows; nothing is checked."""
        theta, X = self.theta if theta is None else theta, self.X if X is None else X
        return Point(self.network, self.backend, theta, self._statistics, X, *self._how)

    def push(self, dX: Array | None, dtheta: Array | None) -> tuple[Array, list[Any]]:
        """``J (ẋ, θ̇)``, ``(m, n_out)``, and the tangents of the tapes; ``None`` stands for 0."""
        by_layer = self.network.by_layer
        dp = ({},) * len(self._p) if dtheta is None else by_layer(dtheta)
        dy, dtapes = self.network.jvp(self._p, dp, self._tapes, dX, self._contexts)
        return self.backend.xp.zeros_like(self.output) if dy is None else _own(dy, dX), dtapes

    def pull(self, dy: Array, *, need_dx: bool = False) -> tuple[Array | None, Array]:
        """``Jᵀ dy``: the part of X, where it is needed, and that of θ."""
        g = self.backend.zeros(self.network.layout.size)
        self.network.request_dx(self._contexts, need_dx)
        dX = self.network.backward(
            self._p, self.network.by_layer(g), self._tapes, dy, self._contexts
        )
        return _own(dX, dy) if need_dx else None, g

    def pull_tangent(self, dtheta: Array, dtapes: list[Any], dy: Array, ddy: Array) -> Array:
        """The derivative of ``Jᵀ dy`` by θ along ``θ̇``, where ``dy`` itself moves by ``ḋy``."""
        dg = self.backend.zeros(self.network.layout.size)
        self.network.request_dx(self._contexts, False)
        dp, views = self.network.by_layer(dtheta), self.network.by_layer(dg)
        self.network.backward_jvp(self._p, dp, views, self._tapes, dtapes, dy, ddy, self._contexts)
        return dg


def point_of(
    model: Any,
    X: Array,
    theta: Array | None = None,
    *,
    training: bool = False,
    seed: int = 0,
    dtype: str | None = None,
) -> Point:
    """The point that a caller's arguments mean, checked and on the model's backend.

    Args:
        model: the model; its backend, statistics and, unless ``theta`` is given, its θ are taken.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        theta: parameters instead of the model's own, ``(P,)``.
        training: as in `Point`.
        seed: as in `Point`.
        dtype: a dtype to compute in instead of the model's.

    Raises:
        ArgumentError: if ``model`` is none, or ``X`` or ``theta`` is not what it takes.
    """
    known = isinstance(getattr(model, "network", None), Network)
    require(known, "model", "be a network with parameters, such as MLP(...)", model)
    require_type(training, bool, "training")
    require_count(seed, "seed", low=0)
    backend = model.backend
    if dtype is not None:
        backend = replace(backend, dtype=getattr(backend.xp, dtype), dtype_name=dtype)
    spec = InputSpec(backend, model.network.n_in, model.network.n_out)
    X = as_features(spec, X)
    theta = vector(backend, model.network.layout, model.theta if theta is None else theta, "theta")
    statistics = backend.asarray(model.statistics, backend.dtype)
    return Point(model.network, backend, theta, statistics, spec.moved(X), training, seed)


def matrix(backend: Backend, shape: tuple[int, ...], value: Array, name: str, like: str) -> Array:
    """``value`` on the backend in its dtype, if it has the shape of what ``like`` names."""
    value = as_array(value)
    rule = f"have the shape of {like}, {shape}"
    require(tuple(value.shape) == shape, name, rule, value)
    return real_numbers(backend, value, name)


def targets(point: Point, y: Array, loss: Loss, weight: Array | None) -> tuple[Array, Array | None]:
    """Targets and weights of the rows as ``loss`` takes them, checked and on the backend."""
    require_type(loss, Loss, "loss")
    n_rows, n_out = point.output.shape
    y = as_targets(y, loss, n_out, n_rows)
    return point.backend.asarray(y), row_weights(point, weight)


def row_weights(point: Point, weight: Array | None) -> Array | None:
    """The weights of the rows, checked and on the backend; ``None`` stays."""
    if weight is None:
        return None
    weight = as_weights(weight, point.output.shape[0], "weight")
    return point.backend.asarray(weight, point.backend.dtype)


def require_room(
    what: str, shape: tuple[int, ...], backend: Backend, max_bytes: int, do: str
) -> None:
    """Refuse a matrix of derivatives that would take more than ``max_bytes``."""
    n_bytes = float(np.prod([float(n) for n in shape])) * np.dtype(backend.dtype_name).itemsize
    got = Phrase(" × ".join(f"{n:,}" for n in shape) + f" numbers, {_size(n_bytes)}")
    do = f"{do} Or allow more with max_bytes=."
    require(n_bytes <= max_bytes, what, f"fit into {_size(max_bytes)}", got, do)


def filled(
    shape: tuple[int, ...], axis: int, part: Callable[[int], Array], backend: Backend
) -> Array:
    """An array whose slice ``i`` along ``axis`` is ``part(i)``; one copy of it is ever held."""
    result = backend.empty(*shape)
    for i in range(shape[axis]):
        result[(slice(None),) * axis + (i, Ellipsis)] = part(i)
    return result


def _own(result: Array, given: Array | None) -> Array:
    """A result that is no argument: layers that do nothing hand on what they get."""
    return copied(result) if result is given else result


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"
