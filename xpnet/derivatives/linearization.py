"""The linearization of a network at (θ, X): its output, and products with its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, as_array, copied
from xpnet.data.prepare import as_features
from xpnet.data.preprocessing import InputSpec
from xpnet.data.targets import as_targets, as_weights
from xpnet.errors import Phrase, require, require_count, require_type
from xpnet.layers.base import lacking
from xpnet.losses import Loss
from xpnet.network import Contexts, Network
from xpnet.ops.buffers import Buffers
from xpnet.random import MaskStream
from xpnet.state import real_numbers, vector

MAX_BYTES = 1 << 30
"""The default limit on the memory of a matrix of derivatives: 1 GiB."""


class Linearization:
    """The forward pass of a network at (θ, X), and products with its derivatives there.

    The model is not modified: batch norm's running statistics are not updated.

    Args:
        network: the network.
        backend: the backend, which determines the dtype.
        theta: the parameters, ``(P,)``.
        statistics: the running statistics.
        X: network inputs, ``(m, n_in)``.
        training: whether batch norm uses the statistics of the batch and dropout is active.
        seed: the seed of the dropout masks.

    Attributes:
        network, backend, theta, X: as given.
        output: the output of the network, ``(m, n_out)``.
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
        self._statistics, self._training, self._seed = statistics, training, seed
        self._p = network.by_layer(theta)
        self._contexts = self._new_contexts(reuse=False)
        self.output, self._saved = network.forward(self._p, X, self._contexts)

    def at(self, *, theta: Array | None = None, X: Array | None = None) -> Linearization:
        """Return the linearization at another θ or X, which are not validated."""
        theta, X = self.theta if theta is None else theta, self.X if X is None else X
        return Linearization(
            self.network, self.backend, theta, self._statistics, X, self._training, self._seed
        )

    def jvp(self, dX: Array | None, dtheta: Array | None) -> tuple[Array, list[Any]]:
        """Return the Jacobian-vector product ``J (ẋ, θ̇)``, ``(m, n_out)``; ``None`` stands for 0.

        The second result is the jvp of what each layer saved, an argument of `jvp_of_vjp`.
        """
        by_layer = self.network.by_layer
        dp = ({},) * len(self._p) if dtheta is None else by_layer(dtheta)
        dy, dsaved = self.network.jvp(self._p, dp, self._saved, dX, self._contexts)
        return self.backend.xp.zeros_like(self.output) if dy is None else _unaliased(dy, dX), dsaved

    def vjp(self, dy: Array, *, need_dx: bool = False) -> tuple[Array | None, Array]:
        """Return the vector-Jacobian product ``Jᵀ dy`` for X, if ``need_dx``, and for θ."""
        g = self.backend.zeros(self.network.layout.size)
        self.network.request_dx(self._contexts, need_dx)
        dX = self.network.backward(
            self._p, self.network.by_layer(g), self._saved, dy, self._contexts
        )
        return _unaliased(dX, dy) if need_dx else None, g

    def jvp_of_vjp(self, dtheta: Array, dsaved: list[Any], dy: Array, ddy: Array) -> Array:
        """Return the derivative of ``Jᵀ dy`` for θ along ``θ̇``, where ``ddy`` is that of ``dy``."""
        dg = self.backend.zeros(self.network.layout.size)
        self.network.request_dx(self._contexts, False)
        dp, views = self.network.by_layer(dtheta), self.network.by_layer(dg)
        self.network.backward_jvp(self._p, dp, views, self._saved, dsaved, dy, ddy, self._contexts)
        return dg

    def gradients_on_reused_buffers(
        self, loss: Loss, y: Array, weight: Array | None
    ) -> tuple[Array, Array]:
        """Return ``∇_θ L`` of the first and of a later call on buffers that are reused.

        Training and `xpnet.training.objective` allocate buffers once and reuse them in each call.
        A layer that assumes more of its buffers than they guarantee is wrong only there. Between
        the two calls is one on the rows in reverse order, as another batch would be.
        """
        g = self.backend.zeros(self.network.layout.size)
        contexts, views = self._new_contexts(reuse=True), self.network.by_layer(g)
        buffers = Buffers(self.backend)
        flip = self.backend.xp.flip
        rows = self.X, y, weight
        reversed_rows = [None if part is None else flip(part, axis=0) for part in rows]
        if not loss.row_mean:  # its targets may be valid in their order only
            reversed_rows[1:] = y, weight
        found = []
        for inputs, target, row_weight in (rows, reversed_rows, rows):
            output, saved = self.network.forward(self._p, inputs, contexts)
            out = buffers["d_output", *output.shape]
            _, dy = loss.value_and_grad(output, target, row_weight, out=out)
            self.network.backward(self._p, views, saved, dy, contexts)
            found.append(copied(g))
        return found[0], found[2]

    def _new_contexts(self, *, reuse: bool) -> Contexts:
        return self.network.contexts(
            self.backend,
            self._statistics,
            training=self._training,
            update_statistics=False,
            masks=MaskStream(self._seed),
            reuse=reuse,
        )


def linearize(
    model: Any,
    X: Array,
    theta: Array | None = None,
    *,
    training: bool = False,
    seed: int = 0,
    dtype: str | None = None,
) -> Linearization:
    """Validate a caller's arguments, and return the linearization on the model's backend.

    Args:
        model: the model; its backend, statistics and, unless ``theta`` is given, its θ are used.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        theta: parameters instead of the model's own, ``(P,)``.
        training: as in `Linearization`.
        seed: as in `Linearization`.
        dtype: the dtype of the computation instead of the model's.

    Raises:
        ArgumentError: if ``model`` is not a model, or ``X`` or ``theta`` is invalid for it.
    """
    require_model(model)
    require_type(training, bool, "training")
    require_count(seed, "seed", low=0)
    backend = model.backend
    if dtype is not None:
        backend = replace(backend, dtype=getattr(backend.xp, dtype), dtype_name=dtype)
    spec = InputSpec(backend, model.network.n_in, model.network.n_out)
    X = as_features(spec, X, preprocess=False)
    theta = vector(backend, model.network.layout, model.theta if theta is None else theta, "theta")
    statistics = backend.asarray(model.statistics, backend.dtype)
    return Linearization(
        model.network, backend, theta, statistics, spec.to_backend(X), training, seed
    )


def require_model(model: Any, argument: str = "model") -> None:
    """Raise an error unless ``model`` is a model, which holds a network and its parameters.

    Raises:
        ArgumentError: naming ``argument``; for a network, the message asks for its model.
    """
    rule = "be a model with parameters, such as MLP(...)"
    is_network = isinstance(model, Network)
    do = "Give the model: a network alone has no parameters." if is_network else ""
    got = Phrase("a Network") if is_network else model
    require(isinstance(getattr(model, "network", None), Network), argument, rule, got, do)


def require_tangents(network: Network, user: str, *methods: str) -> None:
    """Refuse a layer without the methods that a derivative along a direction needs.

    Args:
        network: the network.
        user: what needs them, such as ``"hvp"``.
        methods: ``"jvp"``, and for second derivatives ``"backward_jvp"``.

    Raises:
        ArgumentError: naming the class of the layer and the methods that it lacks.
    """
    found = first_lacking(network, *methods)
    if found is not None:
        kind, place, missing = found
        it = "it" if len(missing) == 1 else "them"
        rule = (
            f"have the method{'s' * (len(missing) > 1)} {' and '.join(missing)}, which {user} needs"
        )
        do = f"Write {it} as xpnet.layers.TangentLayer describes."
        require(False, kind, rule, Phrase(f"{place} without {it}"), do)


def first_lacking(network: Network, *methods: str) -> tuple[str, str, list[str]] | None:
    """Return the class of the first layer that lacks a method, its place, and those it lacks."""
    for index, layer in enumerate(network.layers):
        found = lacking(layer, *methods)
        if found is not None:
            part, missing = found
            place = "" if part is layer else "one inside "
            return type(part).__name__, f"{place}layers[{index}]", missing
    return None


def matrix(backend: Backend, shape: tuple[int, ...], value: Array, name: str, like: str) -> Array:
    """Return ``value`` on the backend in its dtype, after checking its shape against ``like``."""
    value = as_array(value, name)
    rule = f"have the shape of {like}, {shape}"
    require(tuple(value.shape) == shape, name, rule, value)
    return real_numbers(backend, value, name)


def targets(
    linearization: Linearization, y: Array, loss: Loss, weight: Array | None
) -> tuple[Array, Array | None]:
    """Return the validated targets and row weights on the backend."""
    require_type(loss, Loss, "loss")
    n_rows, n_out = linearization.output.shape
    y = as_targets(y, loss, n_out, n_rows)
    return linearization.backend.asarray(y), row_weights(linearization, weight)


def row_weights(linearization: Linearization, weight: Array | None) -> Array | None:
    """Return the validated row weights on the backend; ``None`` is returned unchanged."""
    if weight is None:
        return None
    weight = as_weights(weight, linearization.output.shape[0], "weight")
    return linearization.backend.asarray(weight, linearization.backend.dtype)


def require_memory(
    what: str, shape: tuple[int, ...], backend: Backend, max_bytes: int, do: str
) -> None:
    """Raise an error if a matrix of derivatives takes more than ``max_bytes``."""
    n_bytes = float(np.prod([float(n) for n in shape])) * np.dtype(backend.dtype_name).itemsize
    got = Phrase(" × ".join(f"{n:,}" for n in shape) + f" numbers, {_format_bytes(n_bytes)}")
    do = f"{do} Or allow more with max_bytes=."
    require(n_bytes <= max_bytes, what, f"fit into {_format_bytes(max_bytes)}", got, do)


def stack_slices(
    shape: tuple[int, ...], axis: int, part: Callable[[int], Array], backend: Backend
) -> Array:
    """Return an array with ``part(i)`` as slice ``i`` along ``axis``, without a second copy."""
    result = backend.empty(*shape)
    for i in range(shape[axis]):
        result[(slice(None),) * axis + (i, Ellipsis)] = part(i)
    return result


def _unaliased(result: Array, given: Array | None) -> Array:
    """Return a copy if ``result`` is the argument itself, as for layers that do nothing."""
    return copied(result) if result is given else result


def _format_bytes(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"
