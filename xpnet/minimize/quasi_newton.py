"""Quasi-Newton methods with a dense inverse Hessian: BFGS and DFP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.backend import Array, namespace_of
from xpnet.errors import require_type
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.base import InitialStep, LineSearchError, descent_ray
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries

Update = Callable[[Array, Array, Array], Array]
"""``(H, s, y) → H`` with ``H y = s``."""


@dataclass(frozen=True)
class BFGS(Method):
    """Broyden, Fletcher, Goldfarb, Shanno: ``x ← x - αH∇f``, H an estimate from gradients.

    ``H ← (I - ρsyᵀ) H (I - ρysᵀ) + ρssᵀ``, ``ρ = 1/yᵀs``, for the step s and the change y of the
    gradient: by the Sherman-Morrison formula, the inverse of a rank-two update of the Hessian. H
    satisfies the secant equation ``Hy = s`` and stays positive definite if ``yᵀs > 0``, which the
    strong Wolfe conditions ensure; a pair without it is skipped. H starts as the identity. BFGS
    converges superlinearly. It holds an n × n matrix: use `LBFGS` for many variables.

    Args:
        search: the line search; default ``StrongWolfe()``.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 6.1, eqs. (6.17),
    (6.20).

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], BFGS()).x.round(8)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe())

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> InverseHessian:
        """Return the identity as H."""
        return InverseHessian(bfgs_update, function)

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: InverseHessian
    ) -> EvaluatedPoint:
        """Search along ``-H∇f``, and update H."""
        return quasi_newton_step(function, point, state, self.search)


@dataclass(frozen=True)
class DFP(Method):
    """Davidon, Fletcher, Powell: ``x ← x - αH∇f`` with ``H ← H - Hy(Hy)ᵀ/yᵀHy + ssᵀ/yᵀs``.

    The dual of `BFGS`, which has replaced it. It satisfies the same secant equation ``Hy = s`` and
    stays positive definite, but corrects a poor H slowly unless the line search is nearly exact, as
    the default is. A pair with ``yᵀs ≤ 0`` is skipped. H starts as the identity.

    Args:
        search: the line search; default ``StrongWolfe(c2=0.1)``.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (6.15).

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], DFP()).x.round(8)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe(c2=0.1))

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> InverseHessian:
        """Return the identity as H."""
        return InverseHessian(dfp_update, function)

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: InverseHessian
    ) -> EvaluatedPoint:
        """Search along ``-H∇f``, and update H."""
        return quasi_newton_step(function, point, state, self.search)


class InverseHessian:
    """An estimate H of the inverse Hessian, the identity until the first pair.

    Args:
        update: the formula that updates H by a pair.
        function: the function to minimize, which determines n, the backend and the dtype.
    """

    def __init__(self, update: Update, function: ScalarFunction) -> None:
        eye = function.xp.eye(function.n, dtype=function.dtype, device=function.backend.device)
        self.matrix = eye
        self.initial_step = InitialStep(longest=1.0)
        self._function, self._update, self._eps = function, update, function.eps
        self._eye, self._gamma = eye, 1.0

    def update(self, s: Array, y: Array) -> bool:
        """Update H by the pair (s, y), unless its curvature ``yᵀs`` is not safely positive.

        Returns:
            Whether H was updated.
        """
        sy, yy = float(s @ y), float(y @ y)
        sizes = yy * float(s @ s)
        if not (sy > self._eps * sizes**0.5 and yy > 0.0):
            return False
        self.matrix, self._gamma = self._update(self.matrix, s, y), sy / yy
        return True

    def ray(self, point: EvaluatedPoint) -> Ray:
        """Return the ray along ``-H∇f``; reset H if that does not descend.

        An update cancels digits where H and ``sᵀy/yᵀy`` of the pair differ by many orders of
        magnitude, and H may underflow to 0, overflow, or become indefinite. It is then reset to
        ``sᵀy/yᵀy`` times the identity, N&W eq. (6.20), and if that fails to the identity.

        Raises:
            LineSearchError: if no H gives a descent direction.
        """
        try:
            return Ray(self._function, point, -(self.matrix @ point.grad))
        except LineSearchError:
            self.matrix = self._gamma * self._eye
        try:
            return Ray(self._function, point, -(self.matrix @ point.grad))
        except LineSearchError:
            self.matrix = self._eye
            return descent_ray(self._function, point, -point.grad)

    def state_dict(self) -> StateDict:
        """Return the state; its array is not a copy."""
        return {
            "matrix": self.matrix,
            "gamma": self._gamma,
            "initial_step": self.initial_step.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Copy what `state_dict` returned.

        H may hold NaN or infinity, for which `ray` resets it.

        Raises:
            FileFormatError: if it does not fit; the message names the entry.
        """
        entries = Entries(state, "InverseHessian", "matrix", "gamma", "initial_step")
        self._gamma = entries.number("gamma", low=0.0, finite=False)
        self.matrix = entries.array("matrix", self._eye)
        self.initial_step.load_state_dict(entries["initial_step"])


def quasi_newton_step(
    function: ScalarFunction, point: EvaluatedPoint, inverse: InverseHessian, search: LineSearch
) -> EvaluatedPoint:
    """Search along ``-H∇f``, and update H."""
    ray = inverse.ray(point)
    new = search.search(ray, inverse.initial_step.length(ray))
    inverse.update(new.x - point.x, new.grad - point.grad)
    return new


def bfgs_update(h: Array, s: Array, y: Array) -> Array:
    """Return ``(I - ρsyᵀ) H (I - ρysᵀ) + ρssᵀ``, multiplied out.

    Args:
        h: H, shape ``(n, n)``, symmetric.
        s: the step, shape ``(n,)``.
        y: the change of the gradient, shape ``(n,)``, with ``yᵀs > 0``.

    Returns:
        A new matrix, exactly symmetric, with ``H y = s``.

    >>> import numpy as np
    >>> s, y = np.asarray([1.0, 2.0]), np.asarray([2.0, 3.0])
    >>> bfgs_update(np.eye(2), s, y) @ y
    array([1., 2.])
    """
    xp = namespace_of(h)
    curvature = y @ s
    hy = h @ y
    # The update is M + Mᵀ, which is exactly symmetric, with half of the term in ssᵀ in M.
    half = 0.5 * (1.0 + (y @ hy) / curvature) * s - hy
    matrix = half[:, None] * (s / curvature)[None, :]
    return h + (matrix + xp.matrix_transpose(matrix))


def dfp_update(h: Array, s: Array, y: Array) -> Array:
    """Return ``H - Hy(Hy)ᵀ/yᵀHy + ssᵀ/yᵀs``.

    Args:
        h: H, shape ``(n, n)``, symmetric.
        s: the step, shape ``(n,)``.
        y: the change of the gradient, shape ``(n,)``, with ``yᵀs > 0``.

    Returns:
        A new matrix, exactly symmetric, with ``H y = s``.

    >>> import numpy as np
    >>> s, y = np.asarray([1.0, 2.0]), np.asarray([2.0, 3.0])
    >>> (dfp_update(np.eye(2), s, y) @ y).round(12)
    array([1., 2.])
    """
    hy = h @ y
    shrunk = hy[:, None] * hy[None, :] / (y @ hy)
    return h - shrunk + s[:, None] * s[None, :] / (y @ s)
