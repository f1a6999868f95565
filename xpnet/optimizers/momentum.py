"""Gradient descent with and without momentum, and Lion: one rate for all parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.ops.operations import Rule
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers.base import Optimizer, OptimizerState, decayed_count, update_decaying
from xpnet.parameters import Layout


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, ``θ ← θ − lr·g``; stochastic if ``g`` is the gradient of a mini-batch.

    Args:
        lr: the learning rate, above 0. Default 0.01.

    Raises:
        ArgumentError: if ``lr`` is out of its range.

    Reference: Goodfellow et al., Deep Learning, algorithm 8.1.

    >>> import numpy as np
    >>> theta, sgd = np.array([1.0, -2.0]), SGD(lr=0.1)
    >>> sgd.step(theta, np.array([1.0, 1.0]), sgd.init(theta))
    >>> theta
    array([ 0.9, -2.1])
    """

    lr: float = 0.01

    rule: ClassVar[Rule] = staticmethod(rules.sgd)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr,)``."""
        return (lr,)


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with momentum: ``v ← μv − lr·g``, ``θ ← θ + v``.

    For a constant gradient the velocity approaches ``−lr·g/(1 − μ)``. PyTorch stores ``v/lr``
    instead of ``v``; the two agree if ``lr`` is the same in every step.

    Args:
        lr: the learning rate, above 0. Default 0.01.
        momentum: μ, the decay rate of the velocity ``v``, in ``[0, 1)``. Default 0.9.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Goodfellow et al., Deep Learning, eq. (8.15) and (8.16).

    >>> import numpy as np
    >>> theta, momentum = np.array([1.0]), Momentum(lr=0.1, momentum=0.5)
    >>> state = momentum.init(theta)
    >>> for _ in range(2):
    ...     momentum.step(theta, np.array([1.0]), state)
    >>> theta, state.slots[0]
    (array([0.75]), array([-0.15]))
    """

    lr: float = 0.01
    momentum: float = 0.9

    rule: ClassVar[Rule] = staticmethod(rules.momentum)
    n_slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.momentum, "momentum", low=0, below=1)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, μ)``."""
        return lr, self.momentum


@dataclass(frozen=True)
class Nesterov(Optimizer):
    """Nesterov's momentum, ``v ← μv − lr·g(θ + μv)``, ``θ ← θ + v``, in look-ahead form.

    The parameter vector is the look-ahead point ``φ = θ + μv``, at which the gradient is computed:
    ``v ← μv − lr·g(φ)``, ``φ ← φ + μv − lr·g(φ)``. At a minimum φ equals θ; `read_back` computes θ
    at any point.

    Args:
        lr: the learning rate, above 0. Default 0.01.
        momentum: μ, the decay rate of the velocity ``v``, in ``[0, 1)``. Default 0.9.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Goodfellow et al., Deep Learning, eq. (8.21) and (8.22); the look-ahead form is
    that of Bengio et al., "Advances in optimizing recurrent networks", 2013, eq. (7).

    >>> import numpy as np
    >>> phi, nesterov = np.array([1.0]), Nesterov(lr=0.1, momentum=0.5)
    >>> state = nesterov.init(phi)
    >>> nesterov.step(phi, np.array([1.0]), state)
    >>> phi, nesterov.read_back(phi, state)
    (array([0.85]), array([0.9]))
    """

    lr: float = 0.01
    momentum: float = 0.9

    rule: ClassVar[Rule] = staticmethod(rules.nesterov)
    n_slots: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.momentum, "momentum", low=0, below=1)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, μ)``."""
        return lr, self.momentum

    def read_back(self, theta: Array, state: OptimizerState) -> Array:
        """Return ``θ = φ − μv``, a new array; ``theta`` is the look-ahead point φ."""
        return theta - self.momentum * state.slots[0]


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion, steps along a sign: ``θ ← θ − lr·(sign(β₁m + (1−β₁)g) + λθ)``.

    Then ``m ← β₂m + (1−β₂)g``. Every parameter moves by ``lr``; the authors recommend a rate three
    to ten times smaller than for Adam, and a λ larger by the same factor. If a layout is passed to
    `init`, only weights decay.

    Args:
        lr: the learning rate, above 0. Default 1e-4.
        beta1: β₁, the weight of the mean gradient in the direction, in ``[0, 1)``. Default 0.9.
        beta2: β₂, the decay rate of the mean gradient, in ``[0, 1)``. Default 0.99.
        weight_decay: λ, decoupled from the gradient, at least 0. Default 0.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.

    >>> import numpy as np
    >>> theta, lion = np.array([1.0, -2.0]), Lion(lr=0.1)
    >>> lion.step(theta, np.array([3.0, -0.01]), lion.init(theta))
    >>> theta
    array([ 0.9, -1.9])
    """

    lr: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0

    rule: ClassVar[Rule] = staticmethod(rules.lion)
    n_slots: ClassVar[int] = 1
    n_scalars: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.beta1, "beta1", low=0, below=1)
        require_number(self.beta2, "beta2", low=0, below=1)
        require_number(self.weight_decay, "weight_decay", low=0)

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(lr, β₁, 1−β₁, β₂, 1−β₂, 1 − lr·λ)``."""
        keep = 1 - lr * self.weight_decay
        return lr, self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, keep

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
