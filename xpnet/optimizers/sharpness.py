"""Sharpness-aware minimization: gradients at a nearby point of larger loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet.backend import Array, zeros_like
from xpnet.errors import require_number, require_type
from xpnet.ops import operations_for
from xpnet.optimizers import wrapping
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.resuming import refuse_ascent, refuse_resumed


@dataclass(frozen=True)
class SAM(Optimizer):
    """Sharpness-aware minimization: steps by the gradient at ``θ + ρ g/‖g‖``.

    ``fit`` and `TrainingStep` compute two gradients of a batch, ``g`` at θ and a second one at
    ``θ + ρ g/‖g‖``, with which ``optimizer`` takes a step from θ. A step takes twice the time or
    more.

    - Both passes draw the same dropout masks. Batch norm uses the statistics of the batch in both,
      and the first pass alone updates the running ones. The loss of a step is that of the first.
    - g is the gradient of the loss alone. Penalties, computed at θ, and clipping apply to the
      second gradient. With loss scaling, a step is skipped if either gradient has overflowed.
    - The norm is that of all parameters, also of those that are frozen in ``SAM(Frozen(...))``.

    A loop of your own passes the gradient at `ascended` to `step`.

    Args:
        optimizer: the optimizer of θ, such as ``Momentum(lr=0.1)``.
        rho: ρ, the distance of the second gradient, above 0. Default 0.05.

    Raises:
        ArgumentError: if an argument is out of its range or has another type, or ``optimizer`` is
            `Resumed` or contains another `SAM`.

    Reference: Foret et al., "Sharpness-aware minimization for efficiently improving
    generalization", 2021, algorithm 1 and eq. (2).

    >>> import numpy as np
    >>> from xpnet.optimizers import SGD
    >>> theta, sam = np.array([3.0, 4.0]), SAM(SGD(lr=0.1), rho=0.5)
    >>> state, grad = sam.init(theta), lambda theta: 2.0 * theta
    >>> sam.ascended(theta, grad(theta))
    array([3.3, 4.4])
    >>> sam.step(theta, grad(sam.ascended(theta, grad(theta))), state)
    >>> theta.round(2)
    array([2.34, 3.12])
    """

    optimizer: Optimizer
    rho: float = 0.05

    def __post_init__(self) -> None:
        do = "Use one of xpnet.optimizers, such as Momentum(lr=0.1)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        refuse_resumed(self.optimizer, "SAM")
        refuse_ascent(self.optimizer, "SAM")
        require_number(self.rho, "rho", above=0)
        take_after(self, self.optimizer)
        object.__setattr__(self, "ascent", self.rho)

    def ascended(self, theta: Array, grad: Array) -> Array:
        """Return ``θ + ρ g/‖g‖``, a new array; θ for a gradient of zeros."""
        point = zeros_like(theta)
        operations_for(theta).ascend(theta, grad, self.rho, point)
        return point

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`; ``grad`` is the second gradient."""
        self.optimizer.update_unless(skip, theta, grad, state, scalars)

    scalars = wrapping.scalars
    evaluation_point = wrapping.evaluation_point
    _parts = wrapping.parts
    _begin = wrapping.begin
    _scalar_count = wrapping.scalar_count
    _first_scalars = wrapping.first_scalars
    _are_scalars = wrapping.are_scalars
    _slot_sizes = wrapping.slot_sizes
    _slot_name = wrapping.slot_name
    _slot_layout = wrapping.slot_layout
