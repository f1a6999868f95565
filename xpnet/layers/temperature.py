"""Division of the logits by a constant, which calibrates the probabilities of a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.layers.base import LayerSpec, Views
from xpnet.layers.context import Context
from xpnet.ops.rules.optimizers import times

LOW, HIGH = 1e-30, 1e30
"""The range of temperatures, so that float32 can represent a temperature and its reciprocal."""


@dataclass(frozen=True)
class Temperature:
    """``Y = X / T`` with a constant T, as the last layer of a classifier.

    ``softmax(z / T)`` is closer to the uniform distribution than ``softmax(z)`` for ``T > 1``, and
    further from it for ``T < 1``. The order of the logits does not change, hence no decision.
    `xpnet.calibration.temperature_scaled` fits T to validation data.

    Args:
        temperature: T, from 1e-30 to 1e30; default 1.

    Raises:
        ArgumentError: if ``temperature`` is outside its range.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks",
    ICML 2017, equation 9.

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> Sequential([Temperature(2.0)], n_in=2).forward(np.array([[1.0, -3.0]])).tolist()
    [[0.5, -1.5]]
    """

    temperature: float = 1.0

    releases_dy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self.temperature, "temperature", low=LOW, high=HIGH)

    def specs(self, n_in: int) -> LayerSpec:
        """No parameters; the output width is ``n_in``."""
        return LayerSpec(n_in)

    def forward(self, p: Views, x: Array, ctx: Context) -> tuple[Array, None]:
        """``x / T``; saves nothing."""
        return self._divided(x, ctx, out=ctx.claim()["y", *x.shape]), None

    def backward(self, p: Views, g: Views, saved: None, dy: Array, ctx: Context) -> Array:
        """``dY / T``."""
        out = ctx.scratch.next(*dy.shape)
        return ctx.scratch.settle(self._divided(dy, ctx, out), out)

    def jvp(
        self, p: Views, dp: Views, saved: None, dx: Array | None, ctx: Context
    ) -> tuple[Array | None, None]:
        """``ẋ / T``."""
        return None if dx is None else self._divided(dx, ctx), None

    def backward_jvp(
        self,
        p: Views,
        dp: Views,
        dg: Views,
        saved: None,
        dsaved: None,
        dy: Array,
        ddy: Array,
        ctx: Context,
    ) -> tuple[Array | None, Array | None]:
        """``dY / T`` and ``ḋY / T``: the layer is linear."""
        return self._divided(dy, ctx), self._divided(ddy, ctx)

    def _divided(self, x: Array, ctx: Context, out: Array | None = None) -> Array:
        """Return ``x · (1/T)``, with the reciprocal in double precision."""
        return ctx.ops.apply(times, x, scalars=(1.0 / float(self.temperature),), out=out)
