"""Adam and its variants: the mean of the gradients over the root of the mean of their squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.ops.operations import Rule
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers.base import (
    Optimizer,
    OptimizerState,
    decayed_count,
    require_moments,
    update_decaying,
)
from xpnet.parameters import Layout


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: ``θ ← θ − lr·m̂/(√v̂ + eps)`` with moments ``m`` and ``v``.

    ``m ← β₁m + (1−β₁)g`` and ``v ← β₂v + (1−β₂)g²``, initially 0. At step ``t = 1, 2, …``,
    ``m̂ = m/(1−β₁ᵗ)`` and ``v̂ = v/(1−β₂ᵗ)`` correct the bias of the initial values.

    Args:
        lr: the learning rate, above 0; about the largest step of a parameter. Default 1e-3.
        beta1: β₁, the decay rate of the mean of the gradients, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.999.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.

    >>> import numpy as np
    >>> theta, adam = np.zeros(2), Adam(lr=0.1)
    >>> adam.step(theta, np.array([3.0, -0.01]), adam.init(theta))
    >>> theta.round(6)
    array([-0.1,  0.1])
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    rule: ClassVar[Rule] = staticmethod(rules.adam)
    n_slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr/(1−β₁ᵗ), β₁, 1−β₁, β₂, 1−β₂, 1/√(1−β₂ᵗ), eps)``."""
        return _scalars(state.step, lr, self.beta1, self.beta2, self.eps)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: ``θ ← (1 − lr·λ)θ − lr·m̂/(√v̂ + eps)``.

    Unlike the gradient of an L2 penalty, the decay does not pass through the moments. If a layout
    is passed to `init`, only weights decay; otherwise all parameters decay, as in PyTorch.

    Args:
        lr: the learning rate, above 0. Default 1e-3.
        beta1: β₁, the decay rate of the mean of the gradients, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.999.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.
        weight_decay: λ, at least 0. Default 0.01.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2,
    where λ is multiplied by the schedule alone, not by ``lr``.

    >>> import numpy as np
    >>> theta, adamw = np.array([1.0, -2.0]), AdamW(lr=0.1, weight_decay=0.5)
    >>> adamw.step(theta, np.zeros(2), adamw.init(theta))
    >>> theta
    array([ 0.95, -1.9 ])
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01

    rule: ClassVar[Rule] = staticmethod(rules.adamw)
    n_slots: ClassVar[int] = 2
    n_scalars: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)
        require_number(self.weight_decay, "weight_decay", low=0)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Those of `Adam`, then ``1 − lr·λ``."""
        moments = _scalars(state.step, lr, self.beta1, self.beta2, self.eps)
        return (*moments, 1 - lr * self.weight_decay)

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        return decayed_count(theta, layout)

    def _are_scalars(self, found: tuple[float, ...], first: tuple[float, ...], parts: Any) -> bool:
        return found == first

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`."""
        update_decaying(self, theta, grad, state, scalars, skip)


@dataclass(frozen=True)
class AMSGrad(Optimizer):
    """Adam with rates that do not increase: ``θ ← θ − lr·m̂/(√v̂_max + eps)``.

    ``v_max ← max(v_max, v)``; the moments ``m`` and ``v`` are those of `Adam`.

    Args:
        lr: the learning rate, above 0. Default 1e-3.
        beta1: β₁, the decay rate of the mean of the gradients, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.999.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Reddi et al., "On the convergence of Adam and beyond", 2018, algorithm 2, which has
    neither eps nor bias correction. Here, as in PyTorch, the maximum is that of the uncorrected
    ``v`` and is corrected afterwards.

    >>> import numpy as np
    >>> theta, amsgrad = np.zeros(1), AMSGrad(lr=0.1, beta1=0.0, beta2=0.5)
    >>> state = amsgrad.init(theta)
    >>> for grad in (3.0, 0.0):
    ...     amsgrad.step(theta, np.array([grad]), state)
    >>> state.slots[1:]
    (array([2.25]), array([4.5]))
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    rule: ClassVar[Rule] = staticmethod(rules.amsgrad)
    n_slots: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Those of `Adam`."""
        return _scalars(state.step, lr, self.beta1, self.beta2, self.eps)


@dataclass(frozen=True)
class Adamax(Optimizer):
    """Adam with the maximum norm: ``u ← max(β₂u, |g| + eps)``, ``θ ← θ − lr·m̂/u``.

    Args:
        lr: the learning rate, above 0. Default 2e-3.
        beta1: β₁, the decay rate of the mean of the gradients, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the largest gradient, in ``[0, 1)``. Default 0.999.
        eps: keeps the division finite, above 0; it is not in the paper.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 2.

    >>> import numpy as np
    >>> theta, adamax = np.zeros(2), Adamax(lr=0.1)
    >>> adamax.step(theta, np.array([3.0, -0.01]), adamax.init(theta))
    >>> theta.round(6)
    array([-0.1,  0.1])
    """

    lr: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    rule: ClassVar[Rule] = staticmethod(rules.adamax)
    n_slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr/(1−β₁ᵗ), β₁, 1−β₁, β₂, eps)``."""
        beta1 = self.beta1
        return lr / (1 - beta1**state.step), beta1, 1 - beta1, self.beta2, self.eps


@dataclass(frozen=True)
class Nadam(Optimizer):
    """Adam with Nesterov's momentum, which uses the momentum of the next step.

    ``θ ← θ − lr·(μ′m/(1 − Πμ·μ′) + (1−μ)g/(1 − Πμ))/(√v̂ + eps)``, with the moments of `Adam`, the
    momentum ``μ = β₁(1 − ½·0.96^(tψ))`` of step ``t``, ``μ′`` of step ``t + 1`` and the product
    ``Πμ`` over the steps up to ``t``, a scalar of the state.

    Args:
        lr: the learning rate, above 0. Default 2e-3.
        beta1: β₁, the limit of the momentum, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.999.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.
        momentum_decay: ψ, the rate at which the momentum approaches its limit, at least 0. Default
            0.004.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 8, which weights
    m by μ; here, as in PyTorch, by β₁.

    >>> import numpy as np
    >>> theta, nadam = np.zeros(2), Nadam(lr=0.1)
    >>> nadam.step(theta, np.array([3.0, -0.01]), nadam.init(theta))
    >>> theta.round(4)
    array([-0.1056,  0.1056])
    """

    lr: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    momentum_decay: float = 0.004

    rule: ClassVar[Rule] = staticmethod(rules.nadam)
    n_slots: ClassVar[int] = 2
    n_scalars: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)
        require_number(self.momentum_decay, "momentum_decay", low=0)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr(1−μ)/(1−Πμ), lr·μ′/(1−Πμ·μ′), β₁, 1−β₁, …)``; the product advances by one step."""
        now, ahead = self._momentum(state.step), self._momentum(state.step + 1)
        product = state.scalars[0] * now
        state.scalars = (product,)
        rates = lr * (1 - now) / (1 - product), lr * ahead / (1 - product * ahead)
        return (*rates, *_scalars(state.step, lr, self.beta1, self.beta2, self.eps)[1:])

    def _first_scalars(self, theta: Array, layout: Layout | None) -> tuple[float, ...]:
        return (1.0,)  # an empty product

    def _are_scalars(self, found: tuple[float, ...], first: tuple[float, ...], parts: Any) -> bool:
        return 0.0 <= found[0] <= 1.0

    def _momentum(self, t: int) -> float:
        """``μ_t = β₁(1 − ½·0.96^(tψ))``."""
        return self.beta1 * (1 - 0.5 * math.pow(0.96, t * self.momentum_decay))


@dataclass(frozen=True)
class RAdam(Optimizer):
    """Rectified Adam: momentum first, then Adam with a rectified rate.

    With ``κ = 2/(1−β₂) − 1`` and ``κ_t = κ − 2tβ₂ᵗ/(1−β₂ᵗ)``: while ``κ_t ≤ 5`` the step is
    ``θ ← θ − lr·m̂``, later ``θ ← θ − lr·l·m̂·√(1−β₂ᵗ)/(√v + eps)`` with
    ``l² = (κ_t−4)(κ_t−2)κ / ((κ−4)(κ−2)κ_t)``. The moments are those of `Adam`.

    Args:
        lr: the learning rate, above 0. Default 1e-3.
        beta1: β₁, the decay rate of the mean of the gradients, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean of the squares, in ``[0, 1)``. Default 0.999.
        eps: the term that avoids a division by 0, above 0. Default 1e-8.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020,
    algorithm 2, which has no eps, and the threshold 4; 5 is that of the authors' code.

    >>> import numpy as np
    >>> theta, radam = np.zeros(2), RAdam(lr=0.1)
    >>> radam.step(theta, np.array([3.0, -0.01]), radam.init(theta))
    >>> theta.round(6)
    array([-0.3  ,  0.001])
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    rule: ClassVar[Rule] = staticmethod(rules.radam)
    n_slots: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_moments(self.beta1, self.beta2, self.eps)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr of plain momentum, lr of the rectified step, β₁, 1−β₁, β₂, 1−β₂, eps)``."""
        t, beta1, beta2 = state.step, self.beta1, self.beta2
        corrected_lr = lr / (1 - beta1**t)
        shares = beta1, 1 - beta1, beta2, 1 - beta2, self.eps
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * t * beta2**t / (1 - beta2**t)
        if length <= 5:
            return corrected_lr, 0.0, *shares
        rectified = (length - 4) * (length - 2) * limit
        rectified /= (limit - 4) * (limit - 2) * length
        return 0.0, corrected_lr * math.sqrt(rectified * (1 - beta2**t)), *shares


def _scalars(t: int, lr: float, beta1: float, beta2: float, eps: float) -> tuple[float, ...]:
    """Return ``(lr/(1−β₁ᵗ), β₁, 1−β₁, β₂, 1−β₂, 1/√(1−β₂ᵗ), eps)``."""
    root_correction = 1 / math.sqrt(1 - beta2**t)
    return lr / (1 - beta1**t), beta1, 1 - beta1, beta2, 1 - beta2, root_correction, eps
