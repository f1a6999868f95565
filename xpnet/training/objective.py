"""A network's loss over all rows as a function of θ, for `xpnet.minimize`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xpnet.backend import Array, copied, namespace_of, on_device_of
from xpnet.data.batching import TrainingData, spans
from xpnet.errors import Phrase, require, require_count, require_type
from xpnet.layers.base import Views
from xpnet.losses import Loss
from xpnet.losses.base import require_all_rows
from xpnet.ops.buffers import Buffers
from xpnet.optimizers import Penalty
from xpnet.state import ModelState

CHUNK = 1024
"""The number of rows of a chunk, which stay in the cache between forward and backward pass."""


class NetworkObjective:
    """``f(θ) = Σ_i w_i ℓ_i(θ) / Σ_i w_i + ½ λ Σ W²`` over all rows, and its gradient.

    The result of `Sequential.objective`. Rows are processed in chunks, so the memory required is
    that of the activations of one chunk, and a `numpy.memmap` is read chunk by chunk. For every
    size of the chunks the result is the mean over all rows up to rounding. Results stay on the
    device.

    The network is in evaluation mode: f is the loss that `Sequential.evaluate` returns, plus the
    penalty. A line search needs the same function at every call, so batch norm uses a copy of the
    running statistics at construction, and dropout is the identity.

    Args:
        model: the network, its backend and its statistics; its θ is not read.
        rows: the data.
        loss: the loss ℓ.
        l2: the rate λ, at least 0, default 0; weights only, no biases, scales or shifts.
        chunk_rows: the number of rows of a chunk, at least 1; default `CHUNK`, or all rows for a
            loss that is not a mean over rows.

    Attributes:
        backend: the array library, device and dtype of θ.

    Raises:
        ArgumentError: if an argument breaks its rule, or the network has batch norm without
            statistics yet.
    """

    def __init__(
        self,
        model: ModelState,
        rows: TrainingData,
        loss: Loss,
        *,
        l2: float = 0.0,
        chunk_rows: int | None = None,
    ) -> None:
        require_type(loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        if chunk_rows is None:
            chunk_rows = CHUNK if loss.row_mean else max(rows.n_rows, 1)
        require_count(chunk_rows, "chunk_rows")
        require_all_rows(loss, chunk_rows, rows.n_rows, "chunk_rows")
        self.penalty = Penalty(l2=l2)
        network, self.backend = model.network, model.backend
        statistics = copied(model.statistics)
        require_statistics(model)
        self._network, self._rows, self._loss = network, rows, loss
        self._contexts = network.contexts(self.backend, statistics, reuse=True)
        self._buffers = Buffers(self.backend)
        self._size, self._weights = network.layout.size, network.layout.weights
        # The views of θ and both gradients are created once, because copying a point costs less.
        self._theta, self._grad, self._part = (self.backend.zeros(self._size) for _ in range(3))
        self._p, *self._g = map(network.by_layer, (self._theta, self._grad, self._part))
        self._chunk = min(chunk_rows, rows.n_rows)
        self._shares = _shares(rows, self._chunk)

    @property
    def size(self) -> int:
        """The number of parameters n."""
        return self._size

    @on_device_of("self")
    def value(self, theta: Array) -> Array:
        """f(θ), a 0-d array, for a vector θ like ``model.theta``.

        Raises:
            ArgumentError: if ``theta`` is not a vector like ``model.theta``.
        """
        self._place(theta)
        with np.errstate(all="ignore"):  # a trial step may overflow; the result is then infinite
            value = self._penalty_value()
            for share, X, y, weight in self._chunks():
                output, _ = self._network.forward(self._p, X, self._contexts)
                value = value + share * self._loss.value(output, y, weight)
        return value

    @on_device_of("self")
    def value_and_grad(self, theta: Array) -> tuple[Array, Array]:
        """f(θ) and ∇f(θ), shape ``(n,)``, which the next call overwrites: copy it to keep it.

        Raises:
            ArgumentError: if ``theta`` is not a vector like ``model.theta``.
        """
        self._place(theta)
        with np.errstate(all="ignore"):
            value, first = self._penalty_value(), True
            for share, X, y, weight in self._chunks():
                views = self._g[0] if first else self._g[1]
                value = value + self._chunk_gradient(views, share, X, y, weight)
                if not first:
                    self._grad += self._part
                first = False
            if self.penalty.l2:
                weights = self._weights
                self.penalty.add_grad(self._theta[weights], self._grad[weights])
        return value, self._grad

    def _chunk_gradient(
        self, g: Sequence[Views], share: float, X: Array, y: Array, weight: Array | None
    ) -> Array:
        """Return ``share`` times the loss of a chunk, with its gradient in the views ``g``."""
        output, saved = self._network.forward(self._p, X, self._contexts)
        out = self._buffers["d_output", *output.shape]
        value, d_output = self._loss.value_and_grad(output, y, weight, out=out)
        if share != 1.0:
            d_output *= share
        self._network.backward(self._p, g, saved, d_output, self._contexts)
        return share * value

    def _chunks(self) -> Iterator[tuple[float, Array, Array, Array | None]]:
        """The chunks with a positive weight, each with its share of the mean."""
        parts = self._rows.batches(None, self._chunk)
        for share, (X, y, weight) in zip(self._shares, parts, strict=True):
            if share > 0.0:
                yield share, X, y, weight

    def _penalty_value(self) -> Array | float:
        return self.penalty.value(self._theta[self._weights]) if self.penalty.l2 else 0.0

    def _place(self, theta: Array) -> None:
        """Copy a point into the vector that `by_layer` views."""
        ok = self.backend.owns(theta) and theta.dtype == self.backend.dtype
        ok = ok and tuple(theta.shape) == (self._size,)
        rule = f"be a {self.backend.dtype_name} vector of shape ({self._size},) on the backend "
        require(ok, "theta", f"{rule}{self.backend.name!r}", theta, "Start at model.theta.")
        self._theta[...] = self.backend.asarray(theta, argument="theta")


def _shares(rows: TrainingData, chunk: int) -> list[float]:
    """The share of each chunk in the mean, by numbers of rows or by sums of weights."""
    parts = list(spans(rows.n_rows, chunk))
    if rows.weight is None:
        return [(part.stop - part.start) / rows.n_rows for part in parts]
    xp = namespace_of(rows.weight)
    sums = [float(xp.sum(rows.weight[part])) for part in parts]
    total = sum(sums)
    return [part / total for part in sums]


def require_statistics(model: ModelState) -> None:
    """Refuse batch norm without running statistics, with which evaluation would not normalize.

    Raises:
        ArgumentError: naming the layer.
    """
    views = model.network.statistics_layout.views(model.statistics)
    for path, count in views.items():
        if path.rpartition(".")[2].lstrip("0123456789_") == "count":  # also of nested layers
            index = path.split(".")[1]
            require(
                float(count[0]) > 0,
                "the model",
                "have running statistics of batch norm, which a function of θ holds fixed",
                Phrase(f"a BatchNorm in layer {index} that has seen no rows"),
                "Train it for an epoch with a first-order optimizer first.",
            )
