"""Muon: orthogonalized momentum for weight matrices."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

from xpnet.backend import Array
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.ops import operations_for
from xpnet.ops.operations import Operations
from xpnet.ops.rules import optimizers as rules
from xpnet.optimizers import partition
from xpnet.optimizers.adam import AdamW
from xpnet.optimizers.base import Optimizer, OptimizerState
from xpnet.optimizers.partition import Partition
from xpnet.optimizers.resuming import refuse_ascent, refuse_resumed
from xpnet.parameters import Entry, Layout

NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
"""The coefficients of Jordan, with which singular values approach 1 fast, but only roughly."""


@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon for weight matrices, another optimizer for all other parameters.

    ``m ← μm + (1−μ)g``, and ``u = (1−μ)g + μm`` if ``nesterov``, else ``u = m``. The step is the
    nearest orthogonal matrix ``U Vᵀ`` of ``u = U S Vᵀ``, about: ``n_iterations`` of Newton and
    Schulz, ``X ← aX + (bA + cA²)X`` with ``A = X Xᵀ`` and ``X = u/‖u‖`` first, leave singular
    values of 0.7 to 1.2. Then ``W ← (1 − lr·λ)W − lr·√max(1, n_out/n_in)·X``.

    Every parameter of two axes with the role ``"weight"`` is such a matrix, ``(n_in, n_out)``. The
    authors leave the first and the last layer to Adam: ``Grouped([(ByLayer(1), Muon())])``. A
    schedule changes the rate of ``others`` by the same factor. The products have the dtype of θ,
    not bfloat16 as in PyTorch.

    Args:
        lr: the learning rate of the matrices, above 0. Default 1e-3.
        momentum: μ, the decay rate of the mean gradient, in ``[0, 1)``. Default 0.95.
        nesterov: whether the step also contains the gradient itself. Default True.
        weight_decay: λ of the matrices, decoupled from the gradient, at least 0. Default 0.1.
        eps: the smallest norm by which ``u`` is divided, above 0. Default 1e-7.
        n_iterations: the number of iterations, at least 1. Default 5.
        others: the optimizer of the other parameters. Default ``AdamW()``.

    Raises:
        ArgumentError: if an argument is out of its range or has another type, or ``others`` is
            `Resumed`; from `init`, if there is no layout, or no matrix in it.

    Reference: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
    with the defaults of `torch.optim.Muon`.

    >>> import numpy as np
    >>> from xpnet import MLP, SGD
    >>> model = MLP(2, [], 2)
    >>> muon, theta = Muon(lr=1.0, weight_decay=0.0, others=SGD(lr=1.0)), np.zeros(6)
    >>> grad = np.array([3.0, 0.0, 0.0, -2.0, 0.5, 0.5])
    >>> muon.step(theta, grad, muon.init(theta, model.layout))
    >>> theta.round(2)
    array([-1.12,  0.  ,  0.  ,  0.68, -0.5 , -0.5 ])
    """

    lr: float = 1e-3
    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float = 0.1
    eps: float = 1e-7
    n_iterations: int = 5
    others: Optimizer = AdamW()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.momentum, "momentum", low=0, below=1)
        require(isinstance(self.nesterov, bool), "nesterov", "be True or False", self.nesterov)
        require_number(self.weight_decay, "weight_decay", low=0)
        require_number(self.eps, "eps", above=0)
        require_count(self.n_iterations, "n_iterations")
        require_type(self.others, Optimizer, "others", "Use one such as AdamW(lr=1e-3).")
        refuse_resumed(self.others, "Muon")
        refuse_ascent(self.others, "Muon")

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """Return those of the matrices, then those of the others, at ``others.lr·lr/self.lr``."""

        def rate(optimizer: Optimizer) -> float:
            is_own = isinstance(optimizer, _MatrixSteps)
            return lr if is_own else optimizer.lr * (lr / self.lr)

        parts: Partition = state.parts
        return parts.scalars(state, rate)

    def _parts(self, theta: Array, layout: Layout | None) -> Partition:
        layout = partition.require_layout(self, layout)
        matrices = [entry for entry in layout.entries if _is_matrix(entry)]
        rule = "have a weight matrix for Muon"
        do = "Leave the other parameters to another optimizer."
        require(len(matrices) > 0, "layout", rule, [e.path for e in layout.entries], do)
        others = [entry for entry in layout.entries if not _is_matrix(entry)]
        groups = (_MatrixSteps(self, self.lr), matrices), (self.others, others)
        return Partition.of(theta, layout.size, groups)

    update = partition.update
    evaluation_point = partition.evaluation_point
    _begin = partition.begin
    _slot_sizes = partition.slot_sizes
    _scalar_count = partition.scalar_count
    _first_scalars = partition.first_scalars
    _are_scalars = partition.are_scalars
    _slot_name = partition.slot_name
    _slot_layout = partition.slot_layout


@dataclass(frozen=True)
class _MatrixSteps(Optimizer):
    """The steps of `Muon` on a vector of matrices."""

    muon: Muon
    lr: float

    n_slots: ClassVar[int] = 1

    def scalars(self, state: OptimizerState, lr: float) -> tuple[float, ...]:
        """``(μ, 1−μ, 1 − lr·λ)``, then the rate of each matrix."""
        mu, keep = self.muon.momentum, 1 - lr * self.muon.weight_decay
        shapes = [entry.shape for entry in state.parts]
        return mu, 1 - mu, keep, *(lr * sqrt(max(1.0, n_out / n_in)) for n_in, n_out in shapes)

    def update(
        self,
        theta: Array,
        grad: Array,
        state: OptimizerState,
        scalars: tuple[Any, ...],
        skip: Array | None = None,
    ) -> None:
        """See `Optimizer.update`; the momentum of all matrices is updated at once."""
        ops, m, weights, keep = operations_for(theta), state.slots[0], scalars[:2], scalars[2]
        ops.update_unless(skip, rules.average, (m,), (grad,), weights)
        direction = ops.apply(rules.average, m, grad, scalars=weights) if self.muon.nesterov else m
        for entry, rate in zip(state.parts, scalars[3:], strict=True):
            part = slice(entry.start, entry.stop)
            step = self._orthogonalized(ops, direction[part], entry.shape)
            targets = (theta[part],)
            ops.update_unless(skip, rules.decayed_step, targets, (step,), (keep, rate))

    def _orthogonalized(self, ops: Operations, u: Array, shape: tuple[int, ...]) -> Array:
        """About the nearest orthogonal matrix of ``u``, flat, by products of the smaller side."""
        (a, b, c), xp = NEWTON_SCHULZ, ops.xp
        row = xp.reshape(u, (1, -1))
        square = xp.reshape(ops.matmul(row, row.T), (1,))
        factor = ops.apply(rules.inverse_root, square, scalars=(self.muon.eps,))
        x = xp.reshape(ops.apply(rules.times, u, scalars=(factor,)), shape)
        for _ in range(self.muon.n_iterations):
            is_wide = shape[0] <= shape[1]
            gram = ops.matmul(x, x.T) if is_wide else ops.matmul(x.T, x)
            power = ops.apply(rules.average, gram, ops.matmul(gram, gram), scalars=(b, c))
            product = ops.matmul(power, x) if is_wide else ops.matmul(x, power)
            x = ops.apply(rules.average, x, product, scalars=(a, 1.0))
        return xp.reshape(x, (-1,))

    def _parts(self, theta: Array, layout: Layout | None) -> tuple[Entry, ...]:
        return () if layout is None else layout.entries

    def _slot_name(self, number: int, parts: Any) -> str:
        return "m"


def _is_matrix(entry: Entry) -> bool:
    return entry.role == "weight" and len(entry.shape) == 2
