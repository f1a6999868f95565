"""The scale of the loss in 16-bit products, found while training."""

from __future__ import annotations

from xpnet.backend import Array
from xpnet.ops import operations_for
from xpnet.ops.rules.optimizers import times
from xpnet.ops.rules.scaling import next_scale

START = 2.0**15
"""The scale before the first step: the largest power of two that is a number of 16 bits."""

LARGEST = 2.0**24
"""The largest scale: gradients of zeros would let it grow for ever."""

INTERVAL = 2000
"""After how many good steps in a row the scale is doubled."""


class LossScaling:
    """Backward passes of ``S·L`` in place of ``L``, with an ``S`` as large as goes well.

    Many gradients are too small for numbers of 16 bits, which reach from 6·10⁻⁸ to 65504. So the
    gradient at the output is multiplied by ``S`` and that of the parameters divided by it. If a
    number of that is infinite or NaN, ``S`` was too large: the step is skipped and ``S`` halved.
    After `INTERVAL` good steps in a row it is doubled. As a power of two it changes no digit.

    All of it lies on the device and nothing is read on the host, so that a captured step decides
    anew at each replay. A skipped step leaves θ and the optimizer's slots as they were, bit for
    bit; it still counts for bias corrections and schedules, and batch norm has seen its rows. At
    ``S = 1`` nothing is skipped: what is not finite then is no matter of the scale, and `fit`
    reports it.

    Args:
        like: an array of the type and on the device of the training, such as the gradient.
        start: the first ``S``, a power of two.
        interval: after how many good steps it is doubled.

    Attributes:
        state: ``S``, the good steps in a row, whether the step found overflow, and whether the
            last one is skipped; four numbers on the device.
        skip: the last of them, an array of one number: above 0 if the next step is to be skipped.

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
        """``S·∂L/∂output``; ``out`` may take it."""
        return self._ops.apply(times, d_output, scalars=(self._scale,), out=out)

    def down(self, grad: Array) -> None:
        """``g ← g/S``, in place; then the next ``S``, by whether ``g`` was finite."""
        self._ops.unscale(grad, self._scale, self._found)
        targets = self._scale, self._good, self._found, self.skip
        self._ops.update(next_scale, targets, (), (self._interval, LARGEST))
