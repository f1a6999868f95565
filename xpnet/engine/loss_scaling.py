"""Dynamic loss scaling for matrix products in fp16."""

from __future__ import annotations

from xpnet.backend import Array
from xpnet.ops import operations_for
from xpnet.ops.rules.optimizers import times
from xpnet.ops.rules.scaling import next_scale

START = 2.0**15
"""The initial scale: the largest power of two that fp16 represents."""

LARGEST = 2.0**24
"""The largest scale: with gradients of zeros it would grow without bound."""

INTERVAL = 2000
"""The scale is doubled after this many steps in a row without overflow."""


class LossScaling:
    """Backward passes of ``S·L`` instead of ``L``, with ``S`` as large as possible.

    Many gradients are too small for fp16, which represents magnitudes from 6·10⁻⁸ to 65504. The
    gradient with respect to the output is therefore multiplied by ``S``, and the gradient with
    respect to the parameters divided by it. If a number of the latter is infinite or NaN, ``S`` was
    too large: the step is skipped and ``S`` halved. After `INTERVAL` steps in a row without
    overflow it is doubled. ``S`` is a power of two, so that scaling is exact.

    The scale is in device memory and the host reads nothing, so a captured step adapts it at each
    replay. A skipped step leaves θ and the optimizer's slots unchanged, bit for bit; it still
    counts for bias corrections and schedules, and batch norm has updated its statistics. At
    ``S = 1`` no step is skipped: a number that is not finite is then not caused by the scale, and
    `fit` reports it.

    Args:
        like: an array with the dtype and device of the gradient.
        start: the initial ``S``, a power of two; default `START`.
        interval: the number of steps without overflow after which it is doubled; default
            `INTERVAL`.

    Attributes:
        state: four numbers on the device: ``S``, the steps in a row without overflow, whether this
            step overflowed, and whether the update is skipped.
        skip: the last of them, an array of one number: above 0 if the next update is skipped.

    Reference: P. Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2; the
    halving and doubling as in NVIDIA's guide "Train with mixed precision".

    >>> import numpy as np
    >>> from xpnet import SGD
    >>> theta, grad = np.ones(2), np.array([np.inf, 16.0])
    >>> scaling, state = LossScaling(grad, start=8.0), SGD().init(theta)
    >>> scaling.down(grad)
    >>> SGD().step(theta, grad, state, skip=scaling.skip)
    >>> theta, float(scaling.state[0])
    (array([1., 1.]), 4.0)
    """

    def __init__(self, like: Array, start: float = START, interval: int = INTERVAL) -> None:
        self._ops, self._interval = operations_for(like), float(interval)
        self.state = self._ops.xp.zeros(4, dtype=like.dtype, device=like.device)
        self._scale, self._good, self._found, self.skip = (self.state[i : i + 1] for i in range(4))
        self._scale[...] = start

    def up(self, d_output: Array, out: Array | None = None) -> Array:
        """``S·∂L/∂output``, which may be written to ``out``."""
        return self._ops.apply(times, d_output, scalars=(self._scale,), out=out)

    def down(self, grad: Array) -> None:
        """``g ← g/S``, in place; then set `skip` and the next ``S`` by whether ``g`` was finite."""
        self.unscale(grad)
        self.advance()

    def unscale(self, grad: Array) -> None:
        """``g ← g/S``, in place; note whether ``g`` was finite."""
        self._ops.for_graphs.unscale(grad, self._scale, self._found)

    def advance(self) -> None:
        """Set `skip` and the next ``S`` by whether all gradients since the last were finite."""
        targets = self._scale, self._good, self._found, self.skip
        self._ops.update(next_scale, targets, (), (self._interval, LARGEST))
