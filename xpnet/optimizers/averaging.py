"""Averages of the iterates θ₁, θ₂, …, kept beside any optimizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xpnet.backend import Array
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.resuming import refuse_resumed
from xpnet.parameters import Layout


@dataclass(frozen=True)
class PolyakAverage:
    """``θ̂_t = (1/t) Σ θ_i``, the mean of all iterates of ``i = 1 … t``.

    With a constant learning rate θ wanders about the minimum; its mean comes nearer and nearer.

    Args:
        start: how many steps are passed over before the mean begins, at least 0; default 0, as in
            the paper. The way from the initial parameters is then not in the mean; until there is
            one, ``θ̂ = θ``.

    Raises:
        ArgumentError: if ``start`` is not an integer of at least 0.

    Reference: B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging",
    SIAM J. Control Optim. 30, 1992, equation 2.

    >>> [PolyakAverage(start=1).weight(step) for step in (1, 2, 3, 4)]
    [1.0, 1.0, 0.5, 0.3333333333333333]
    """

    start: int = 0

    def __post_init__(self) -> None:
        require_count(self.start, "start", low=0)

    def weight(self, step: int) -> float:
        """The share ``1/t`` of the newest iterate, after ``step`` steps in all."""
        return 1.0 / max(1, step - self.start)


@dataclass(frozen=True)
class ExponentialAverage:
    """``θ̂_t = αθ̂_(t−1) + (1−α)θ_t``, a mean over about the last ``1/(1−α)`` iterates.

    The weights of the iterates sum to 1 from the first step on: ``θ̂_t = Σ αᵗ⁻ⁱ θ_i / Σ αᵗ⁻ⁱ``,
    so that the start does not count. This is what starts at 0 and is divided by ``1 − αᵗ``, as
    Adam's moments are.

    Args:
        alpha: the share α that is kept, in ``[0, 1)``; default 0.999.

    Raises:
        ArgumentError: if ``alpha`` is out of its range.

    Reference: I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016, equation 8.39;
    for the division D. Kingma and J. Ba, "Adam", 2015, section 3.

    >>> [round(ExponentialAverage(0.5).weight(step), 3) for step in (1, 2, 3, 20)]
    [1.0, 0.667, 0.571, 0.5]
    """

    alpha: float = 0.999

    def __post_init__(self) -> None:
        require_number(self.alpha, "alpha", low=0, below=1)

    def weight(self, step: int) -> float:
        """The share ``(1−α)/(1−αᵗ)`` of the newest iterate, after ``step`` steps."""
        return (1.0 - self.alpha) / (1.0 - self.alpha**step)


@dataclass(frozen=True)
class Averaged(Optimizer):
    """An optimizer that keeps an average θ̂ of its iterates as one more slot of its state.

    θ goes exactly where ``optimizer`` alone takes it: train on θ, evaluate on θ̂, which `mean`
    reads. `xpnet.UseAverage` does so in ``fit``.

    Args:
        optimizer: the optimizer that takes the steps, such as ``SGD(lr=0.1)``.
        average: `PolyakAverage` (default) or `ExponentialAverage`.

    Raises:
        ArgumentError: if an argument is of another type, or ``optimizer`` is `Resumed`, which
            goes outside.

    >>> import numpy as np
    >>> from xpnet.optimizers import SGD
    >>> theta, averaged = np.zeros(1), Averaged(SGD(lr=1.0))
    >>> state = averaged.init(theta)
    >>> for gradient in (-1.0, -2.0):  # θ is 1, then 3
    ...     averaged.step(theta, np.array([gradient]), state)
    >>> theta, averaged.mean(state)
    (array([3.]), array([2.]))
    """

    optimizer: Optimizer
    average: PolyakAverage | ExponentialAverage = PolyakAverage()

    def __post_init__(self) -> None:
        do = "Take one of xpnet.optimizers, such as SGD(lr=0.1)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        refuse_resumed(self.optimizer, "Averaged")
        require_type(self.average, (PolyakAverage, ExponentialAverage), "average")
        take_after(self, self.optimizer)

    def mean(self, state: OptimizerState) -> Array:
        """θ̂, the last slot of ``state``: no copy, so the next step changes it.

        Raises:
            ArgumentError: if no step has been taken yet.
        """
        rule = "have taken a step, of which there is an average"
        require(state.step > 0 and len(state.slots) > 0, "state", rule, state.step)
        return state.slots[-1]

    def _slot_sizes(self, n: int) -> list[int]:
        return [*self.optimizer._slot_sizes(n), n]

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Those of the optimizer inside, and the shares of θ̂ that are kept and taken from θ."""
        inner = self._inner(state)
        scalars = self.optimizer.scalars(inner, lr)
        state.scalars = inner.scalars
        new = self.average.weight(state.step)
        return (*scalars, 1.0 - new, new)

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        self.optimizer.update_unless(skip, theta, grad, self._inner(state), scalars[:-2])
        operations_for(theta).update_unless(
            skip, rules.average, state.slots[-1:], (theta,), scalars[-2:]
        )

    def _inner(self, state: OptimizerState) -> OptimizerState:
        return replace(state, slots=state.slots[:-1])

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        return self.optimizer._first_scalars(theta, layout)
