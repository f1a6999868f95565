"""Rates per parameter from its gradients: AdaGrad, RMSProp, AdaDelta; Rprop from their signs."""

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
    """AdaGrad, with the sum of all squared gradients: ``r ← r + g²``, ``θ ← θ − lr·g/(√r + eps)``.

    Args:
        lr: the learning rate, above 0. Default 0.01.
        eps: the term that avoids a division by 0, above 0. Default 1e-7.
        norm: whether to accumulate the number ``‖g‖²`` instead of the vector ``g²``: one rate for
            all parameters, and a state of one number, which stays on the device. Default False.

    Raises:
        ArgumentError: if an argument is out of its range.

    References: Goodfellow et al., Deep Learning, algorithm 8.4; for ``norm`` Ward et al., "AdaGrad
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

    def _slot_sizes(self, n: int, parts: Any) -> list[int]:
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
    """RMSProp, with a mean of squared gradients: ``v ← ρv + (1−ρ)g²``, ``θ ← θ − lr·g/(√v + eps)``.

    Args:
        lr: the learning rate, above 0. Default 1e-3.
        rho: ρ, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.9.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.
        centered: whether to divide by the root of the variance, ``v − m²`` with
            ``m ← ρm + (1−ρ)g``. Default False.
        norm: whether to accumulate the number ``‖g‖²`` instead of the vector ``g²``: one rate for
            all parameters, and a state of one number, which stays on the device. Default False.

    Raises:
        ArgumentError: if an argument is out of its range, or ``centered`` and ``norm`` are both
            True.

    References: Goodfellow et al., Deep Learning, algorithm 8.5, where eps is under the root; for
    ``centered`` Graves, "Generating sequences with recurrent neural networks", 2013, eq. (38) to
    (40).

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

    def _slot_sizes(self, n: int, parts: Any) -> list[int]:
        if self.norm:
            return [1]
        return [n, n] if self.centered else [n]

    def _slot_name(self, number: int, parts: Any) -> str:
        return ("m", "v")[number] if self.centered else "v"

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
            weights = (self.rho, 1 - self.rho)
            _step_by_norm(theta, grad, state, weights, (scalars[0], scalars[-1]), skip)
        elif self.centered:
            targets = theta, *state.slots
            operations_for(theta).update_unless(
                skip, rules.rmsprop_centered, targets, (grad,), scalars
            )
        else:
            super().update(theta, grad, state, scalars, skip)


@dataclass(frozen=True)
class AdaDelta(Optimizer):
    """AdaDelta: ``v ← ρv + (1−ρ)g²``, ``Δ = g·√(d + eps)/√(v + eps)``, ``θ ← θ − lr·Δ``.

    Then ``d ← ρd + (1−ρ)Δ²``. The steps have the units of θ, so no rate has to be tuned; the first
    steps are small, of the order of ``√eps``.

    Args:
        lr: a factor of the step, above 0, which the paper does not have. Default 1.
        rho: ρ, the decay rate of both means of squares, in ``[0, 1)``. Default 0.95.
        eps: the square of the size of the first steps, above 0. Default 1e-6.

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


@dataclass(frozen=True)
class Rprop(Optimizer):
    """Resilient backpropagation, steps by the sign of the gradient: ``θ ← θ − lr·η·sign(g)``.

    Each parameter has a factor η, initially 1. It is multiplied by η⁺ while the sign of the
    gradient stays and by η⁻ when it changes; the parameter then does not move, and η stays in the
    next step. Rprop is for gradients of the whole training set: signs of mini-batches are noise.

    A schedule scales all steps; η and its bounds do not depend on it.

    Args:
        lr: the first step of each parameter, above 0. Default 0.01.
        eta_minus: η⁻, above 0 and below 1. Default 0.5.
        eta_plus: η⁺, above 1. Default 1.2.
        step_min: the smallest step ``lr·η``, above 0. Default 1e-6.
        step_max: the largest step ``lr·η``, at least ``step_min``. Default 50.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning",
    1993, section 3, which takes back a step after a change of the sign. Here, as in PyTorch, the
    step stays: iRprop⁻ of Igel and Hüsken, "Improving the Rprop learning algorithm", 2000.

    >>> import numpy as np
    >>> theta, rprop = np.zeros(2), Rprop(lr=0.1)
    >>> state = rprop.init(theta)
    >>> for grad in ([3.0, -3.0], [1.0, 1.0], [1.0, 1.0]):
    ...     rprop.step(theta, np.array(grad), state)
    >>> theta.round(3), state.slots[1]
    (array([-0.364,  0.05 ]), array([1.44, 0.5 ]))
    """

    lr: float = 0.01
    eta_minus: float = 0.5
    eta_plus: float = 1.2
    step_min: float = 1e-6
    step_max: float = 50.0

    rule: ClassVar[Rule] = staticmethod(rules.rprop)
    n_slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.eta_minus, "eta_minus", above=0, below=1)
        require_number(self.eta_plus, "eta_plus", above=1)
        require_number(self.step_min, "step_min", above=0)
        require_number(self.step_max, "step_max")
        rule = f"be at least step_min, {self.step_min:g}"
        require(self.step_max >= self.step_min, "step_max", rule, self.step_max)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, η⁻, η⁺, …)`` and the bounds of η, those of the step by ``self.lr``."""
        bounds = self.step_min / self.lr, self.step_max / self.lr
        return lr, self.eta_minus, self.eta_plus, *bounds

    def _begin(self, theta: Array, slots: tuple[Array, ...], parts: Any) -> None:
        slots[1][...] = 1.0


def _step_by_norm(
    theta: Array,
    grad: Array,
    state: OptimizerState,
    weights: tuple[float, float],
    scalars: tuple[Any, ...],
    skip: Array | None,
) -> None:
    """Update ``r ← keep·r + add·‖g‖²`` with ``(keep, add) = weights``, then θ with one rate."""
    ops, r = operations_for(theta), state.slots[0]
    squares = ops.xp.reshape(ops.xp.sum(grad * grad), (1,))
    ops.update_unless(skip, rules.average, (r,), (squares,), weights)
    # The implementations of an update take arrays of equal shapes.
    r_of_all = ops.xp.broadcast_to(r, theta.shape)
    ops.update_unless(skip, rules.norm_scaled, (theta,), (grad, r_of_all), scalars)
