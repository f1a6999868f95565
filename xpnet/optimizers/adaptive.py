"""A rate for each parameter from the squares of its gradients: AdaGrad, RMSProp, AdaDelta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import Phrase, require, require_number
from xpnet.ops import operations_for
from xpnet.ops.operations import Rule
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers.base import Optimizer, OptimizerState


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """Rates that fall with all gradients so far: ``r ← r + g²``, ``θ ← θ − lr·g/(√r + eps)``.

    Args:
        lr: the learning rate, above 0.
        eps: keeps the division finite, above 0.
        norm: accumulate the number ``‖g‖²`` in place of the vector ``g²``: one rate for all
            parameters, and one number of state, which stays on the device.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Goodfellow et al., Deep Learning, algorithm 8.4; for ``norm`` Ward et al., "AdaGrad
    stepsizes", JMLR 21, 2020, algorithm 1.

    >>> import numpy as np
    >>> grad = np.array([3.0, -4.0])
    >>> for adagrad in (AdaGrad(lr=0.1), AdaGrad(lr=0.1, norm=True)):
    ...     theta = np.zeros(2)
    ...     adagrad.step(theta, grad, adagrad.init(theta))
    ...     print(theta.round(6))
    [-0.1  0.1]
    [-0.06  0.08]
    """

    lr: float = 0.01
    eps: float = 1e-7
    norm: bool = False

    rule: ClassVar[Rule] = staticmethod(rules.adagrad)
    n_slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.eps, "eps", above=0)
        require(isinstance(self.norm, bool), "norm", "be True or False", self.norm)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, eps)``."""
        return lr, self.eps

    def _slot_sizes(self, n: int) -> list[int]:
        return [1] if self.norm else [n]

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        if self.norm:
            _step_by_norm(theta, grad, state, (1.0, 1.0), scalars, skip)
        else:
            super().update(theta, grad, state, scalars, skip)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """Rates from recent gradients: ``v ← ρv + (1−ρ)g²``, ``θ ← θ − lr·g/(√v + eps)``.

    Args:
        lr: the learning rate, above 0.
        rho: the share of the mean square that is kept, in ``[0, 1)``.
        eps: keeps the division finite, above 0.
        centered: divide by the root of the variance, ``v − m²`` with ``m ← ρm + (1−ρ)g``.
        norm: accumulate the number ``‖g‖²`` in place of the vector ``g²``: one rate for all
            parameters, and one number of state, which stays on the device.

    Raises:
        ArgumentError: if an argument is out of its range, or ``centered`` and ``norm`` are both
            asked for.

    Reference: Goodfellow et al., Deep Learning, algorithm 8.5 (there eps lies under the root);
    for ``centered`` Graves, "Generating sequences with recurrent neural networks", 2013,
    eq. (38) to (40).

    >>> import numpy as np
    >>> theta, rmsprop = np.zeros(2), RMSProp(lr=0.1, rho=0.75)
    >>> rmsprop.step(theta, np.array([3.0, -0.01]), rmsprop.init(theta))
    >>> theta.round(5)
    array([-0.2,  0.2])
    """

    lr: float = 1e-3
    rho: float = 0.9
    eps: float = 1e-8
    centered: bool = False
    norm: bool = False

    rule: ClassVar[Rule] = staticmethod(rules.rmsprop)
    n_slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.rho, "rho", low=0, below=1)
        require_number(self.eps, "eps", above=0)
        require(isinstance(self.centered, bool), "centered", "be True or False", self.centered)
        require(isinstance(self.norm, bool), "norm", "be True or False", self.norm)
        both = self.norm and self.centered
        got = Phrase("norm=True")
        require(not both, "norm", "be False with centered=True: a norm has no mean", got)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, ρ, 1−ρ, eps)``."""
        return lr, self.rho, 1 - self.rho, self.eps

    def _slot_sizes(self, n: int) -> list[int]:
        if self.norm:
            return [1]
        return [n, n] if self.centered else [n]

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        if self.norm:
            shares = (self.rho, 1 - self.rho)
            _step_by_norm(theta, grad, state, shares, (scalars[0], scalars[-1]), skip)
        elif self.centered:
            targets = theta, *state.slots
            operations_for(theta).update_unless(
                skip, rules.rmsprop_centered, targets, (grad,), scalars
            )
        else:
            super().update(theta, grad, state, scalars, skip)


@dataclass(frozen=True)
class AdaDelta(Optimizer):
    """Steps of the size of recent steps: ``Δ = g·√(d + eps)/√(v + eps)``, ``θ ← θ − lr·Δ``.

    ``v ← ρv + (1−ρ)g²`` comes before, ``d ← ρd + (1−ρ)Δ²`` after. The steps have the units of θ,
    so the method has no rate to tune; it starts slowly, from ``√eps``.

    Args:
        lr: multiplies the step, above 0. It is not in the paper, where it is 1.
        rho: the share of both mean squares that is kept, in ``[0, 1)``.
        eps: the start of the step's size, squared, above 0.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1.

    >>> import numpy as np
    >>> theta, adadelta = np.zeros(2), AdaDelta(eps=1e-4)
    >>> adadelta.step(theta, np.array([3.0, -30.0]), adadelta.init(theta))
    >>> theta.round(4)
    array([-0.0447,  0.0447])
    """

    lr: float = 1.0
    rho: float = 0.95
    eps: float = 1e-6

    rule: ClassVar[Rule] = staticmethod(rules.adadelta)
    n_slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.rho, "rho", low=0, below=1)
        require_number(self.eps, "eps", above=0)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, ρ, 1−ρ, eps)``."""
        return lr, self.rho, 1 - self.rho, self.eps


def _step_by_norm(
    theta: Array,
    grad: Array,
    state: OptimizerState,
    shares: tuple[float, float],
    scalars: tuple[Any, ...],
    skip: Array | None,
) -> None:
    """``r ← keep·r + add·‖g‖²`` with ``(keep, add) = shares``; then a step at one rate."""
    ops, r = operations_for(theta), state.slots[0]
    squares = ops.xp.reshape(ops.xp.sum(grad * grad), (1,))
    ops.update_unless(skip, rules.average, (r,), (squares,), shares)
    # A view of theta's shape: every implementation of an update takes equal shapes.
    spread = ops.xp.broadcast_to(r, theta.shape)
    ops.update_unless(skip, rules.norm_scaled, (theta,), (grad, spread), scalars)
