"""Averages of the iterates θ₁, θ₂, … of any optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.ops import operations_for
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers import wrapping
from xpnet.optimizers.base import Optimizer, OptimizerState, take_after
from xpnet.optimizers.resuming import refuse_resumed


@dataclass(frozen=True)
class PolyakAverage:
    """The mean of the iterates, ``θ̂_t = (1/t) Σ θ_i`` for ``i = 1 … t``.

    With a constant learning rate θ fluctuates about the minimum, while its mean converges.

    Args:
        start: the number of first iterates that are not averaged, at least 0; until then
            ``θ̂ = θ``. Default 0, as in the paper.

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
        """Return the weight ``1/t`` of the newest iterate after ``step`` steps."""
        return 1.0 / max(1, step - self.start)


@dataclass(frozen=True)
class ExponentialAverage:
    """The moving average ``θ̂_t = αθ̂_(t−1) + (1−α)θ_t`` of about ``1/(1−α)`` iterates.

    Its bias is corrected: ``θ̂_t = Σ αᵗ⁻ⁱ θ_i / Σ αᵗ⁻ⁱ``, so that the weights of the iterates sum
    to 1 from the first step on. The moments of Adam are corrected in the same way.

    Args:
        alpha: α, the decay rate of the average, in ``[0, 1)``. Default 0.999.

    Raises:
        ArgumentError: if ``alpha`` is out of its range.

    References: I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016, equation 8.39;
    for the correction D. Kingma and J. Ba, "Adam", 2015, section 3.

    >>> [round(ExponentialAverage(0.5).weight(step), 3) for step in (1, 2, 3, 20)]
    [1.0, 0.667, 0.571, 0.5]
    """

    alpha: float = 0.999

    def __post_init__(self) -> None:
        require_number(self.alpha, "alpha", low=0, below=1)

    def weight(self, step: int) -> float:
        """Return the weight ``(1−α)/(1−αᵗ)`` of the newest iterate after ``step`` steps."""
        return (1.0 - self.alpha) / (1.0 - self.alpha**step)


@dataclass(frozen=True)
class Averaged(Optimizer):
    """An optimizer with an average θ̂ of its iterates as an additional slot of its state.

    The iterates θ are those of ``optimizer``. Train on θ and evaluate on θ̂, which `mean` returns;
    `xpnet.UseAverage` does so in ``fit``.

    Args:
        optimizer: the optimizer of the iterates, such as ``SGD(lr=0.1)``.
        average: `PolyakAverage` or `ExponentialAverage`. Default ``PolyakAverage()``.

    Raises:
        ArgumentError: if an argument has another type, or ``optimizer`` is `Resumed`.

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

    last_slot: ClassVar[str] = "mean"

    def __post_init__(self) -> None:
        do = "Use one of xpnet.optimizers, such as SGD(lr=0.1)."
        require_type(self.optimizer, Optimizer, "optimizer", do)
        refuse_resumed(self.optimizer, "Averaged")
        require_type(self.average, (PolyakAverage, ExponentialAverage), "average")
        take_after(self, self.optimizer)

    def mean(self, state: OptimizerState) -> Array:
        """Return θ̂, the last slot of ``state``, not a copy: the next step changes it.

        Raises:
            ArgumentError: if no step has been taken yet.
        """
        rule = "have taken a step, so that there is an average"
        require(state.step > 0 and len(state.slots) > 0, "state", rule, state.step)
        return state.slots[-1]

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Return the scalars of the wrapped optimizer, and the weights of θ̂ and θ."""
        scalars = wrapping.scalars_of_inner(self, state, lr)
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
        inner = wrapping.inner_state(state)
        self.optimizer.update_unless(skip, theta, grad, inner, scalars[:-2])
        operations_for(theta).update_unless(
            skip, rules.average, state.slots[-1:], (theta,), scalars[-2:]
        )

    evaluation_point = wrapping.one_more_evaluation_point
    _parts = wrapping.parts
    _begin = wrapping.one_more_begin
    _scalar_count = wrapping.scalar_count
    _first_scalars = wrapping.first_scalars
    _are_scalars = wrapping.are_scalars
    _slot_sizes = wrapping.one_more_slot_sizes
    _slot_name = wrapping.one_more_slot_name
    _slot_layout = wrapping.one_more_slot_layout
