"""Coordinate descent, and the elastic net, which it minimizes in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xpnet.backend import Array, backend_of
from xpnet.errors import require, require_count, require_number, require_type
from xpnet.generators import set_generator_state
from xpnet.minimize.line_search import Exact, LineSearch, LineSearchError, Ray
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries


@dataclass(frozen=True)
class CoordinateDescent(Method):
    """Minimize f exactly along one coordinate at a time; an iteration is a sweep over all of them.

    If the objective has a method ``sweep(x, order)``, such as `ElasticNet` with its soft
    thresholds, the sweep is in closed form; otherwise the line search is applied along ``±e_i``.
    Convergence is slow where the coordinates are strongly coupled. If f has kinks that are not
    separable, the method may stop at a point that is not a minimum.

    Args:
        seed: None (default) visits the coordinates in order; an integer of at least 0 seeds a
            random order for each sweep.
        search: the line search if there is no ``sweep``; default ``Exact()``.

    Raises:
        ArgumentError: if an argument has the wrong type or range.

    References: Wright, Coordinate descent algorithms, Math. Prog. 151 (2015) 3; Friedman, Hastie
    and Tibshirani, J. Stat. Software 33 (2010) 1.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Booth
    >>> minimize(Booth(), [0.0, 0.0], CoordinateDescent(seed=0)).x.round(6)
    array([1., 3.])
    """

    seed: int | None = None
    search: LineSearch = field(default=Exact())

    def __post_init__(self) -> None:
        if self.seed is not None:
            require_count(self.seed, "seed", low=0)
        require_type(self.search, LineSearch, "search")

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> CoordinateSweeps:
        """Return the sequence of orders, and an initial step for every coordinate."""
        return CoordinateSweeps(function.n, self.seed)

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: CoordinateSweeps
    ) -> EvaluatedPoint:
        """Perform one sweep."""
        order = state.order()
        sweep = getattr(function.objective, "sweep", None)
        if sweep is not None:
            return function.evaluate(sweep(point.x, order), 1.0)
        now, failure, moved = point, None, False
        for i in order:
            derivative = float(now.grad[i])
            if abs(derivative) <= function.eps * abs(now.value):
                continue
            direction = 0.0 * now.x
            direction[i] = -np.sign(derivative)
            try:
                now = self.search.search(Ray(function, now, direction), state.lengths[i])
            except LineSearchError as error:  # the sweep continues with the other coordinates
                failure = error
                continue
            state.lengths[i], moved = now.step, True
        if not moved:
            hidden = "the derivative of every coordinate is below the rounding error of f"
            raise failure or LineSearchError(hidden, below_rounding=True)
        return now


class CoordinateSweeps:
    """The order of each sweep, and the last step length of each coordinate."""

    def __init__(self, n: int, seed: int | None) -> None:
        self.lengths = [1.0] * n
        self._random = None if seed is None else np.random.default_rng(seed)

    def order(self) -> list[int]:
        """Return the order of the next sweep."""
        n = len(self.lengths)
        return list(range(n)) if self._random is None else self._random.permutation(n).tolist()

    def state_dict(self) -> StateDict:
        """Return the state: the step lengths, and the state of the generator or None."""
        random = None if self._random is None else self._random.bit_generator.state
        return {"lengths": np.asarray(self.lengths, np.float64), "random": random}

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; raise `FileFormatError` if it does not fit."""
        entries = Entries(state, "CoordinateSweeps", "lengths", "random")
        lengths = entries.array("lengths", np.asarray(self.lengths, np.float64), finite=True)
        if self._random is None:
            entries.require(entries["random"] is None, "random", "be None without a seed")
        else:
            set_generator_state(self._random, entries["random"])
        self.lengths = lengths.tolist()


class ElasticNet:
    """``f(w) = ‖y - Xw‖²/2m + l1 ‖w‖₁ + ½ l2 ‖w‖²``, an objective for `CoordinateDescent`.

    Its gradient is the subgradient of least norm, which is zero exactly at the minimum. Gradient
    methods stall at the kinks. `CoordinateDescent` sweeps over ``w_j ← S(ρ_j, l1)/(c_j + l2)`` with
    ``ρ_j = X_jᵀ(r + X_j w_j)/m``, ``c_j = ‖X_j‖²/m`` and ``S(ρ, l1) = sign(ρ) max(|ρ| - l1, 0)``.
    There is no intercept: subtract the means of X and y first.

    Args:
        X: shape ``(m, n)``, floating point.
        y: shape ``(m,)``.
        l1: the coefficient of ``‖w‖₁``, at least 0; scikit-learn's ``alpha · l1_ratio``.
        l2: the coefficient of ``½‖w‖²``, at least 0; scikit-learn's ``alpha · (1 - l1_ratio)``.

    Raises:
        ArgumentError: if the shapes are inconsistent or a coefficient is negative.

    Reference: Friedman, Hastie and Tibshirani, J. Stat. Software 33 (2010) 1, eqs. (1), (5), (6).

    >>> import numpy as np
    >>> from xpnet.minimize import CoordinateDescent, minimize
    >>> X, y = np.eye(2), np.asarray([3.0, 0.5])
    >>> minimize(ElasticNet(X, y, l1=0.5), [0.0, 0.0], CoordinateDescent()).x + 0.0
    array([2., 0.])
    """

    def __init__(self, X: Array, y: Array, l1: float = 0.0, l2: float = 0.0) -> None:
        require(getattr(X, "ndim", 0) == 2 and 0 not in X.shape, "X", "be of shape (m, n)", X)
        require(tuple(y.shape) == (X.shape[0],), "y", f"be of shape ({X.shape[0]},)", y)
        require_number(l1, "l1", low=0)
        require_number(l2, "l2", low=0)
        self._xp, self._m = backend_of(X).xp, int(X.shape[0])
        # The transpose is stored, since a sweep reads one column of X after the other.
        self._columns = self._xp.asarray(self._xp.matrix_transpose(X), copy=True)
        self._X, self._y, self._l1, self._l2 = X, y, float(l1), float(l2)
        self._squares = self._xp.sum(self._columns * self._columns, axis=1) / self._m
        denominators = self._squares + self._l2
        # A column of zeros has ρ = 0, so any positive denominator sets its coefficient to 0.
        ones = self._xp.ones_like(denominators)
        self._denominators = self._xp.where(denominators > 0, denominators, ones)

    def value(self, w: Array) -> Array:
        """Return f(w), a 0-d array."""
        residual = self._y - self._X @ w
        loss = (residual @ residual) / (2.0 * self._m)
        return loss + self._l1 * self._xp.sum(self._xp.abs(w)) + 0.5 * self._l2 * (w @ w)

    def value_and_grad(self, w: Array) -> tuple[Array, Array]:
        """Return f(w) and its subgradient of least norm, shape ``(n,)``."""
        smooth = self._l2 * w - self._columns @ (self._y - self._X @ w) / self._m
        grad = self._xp.where(w != 0, smooth + self._l1 * self._xp.sign(w), self._soft(smooth))
        return self.value(w), grad

    def sweep(self, w: Array, order: Sequence[int]) -> Array:
        """Return w after an exact minimization along each coordinate in ``order``."""
        w = self._xp.asarray(w, copy=True)
        residual = self._y - self._X @ w
        for j in order:
            column, old = self._columns[j, ...], w[j]
            rho = (column @ residual) / self._m + self._squares[j] * old
            new = self._soft(rho) / self._denominators[j]
            residual = residual + column * (old - new)
            w[j] = new
        return w

    def _soft(self, rho: Array) -> Array:
        """Return the soft threshold ``S(ρ, l1)``."""
        shrunk = self._xp.abs(rho) - self._l1
        return self._xp.sign(rho) * self._xp.maximum(shrunk, 0.0 * shrunk)
