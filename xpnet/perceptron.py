"""Rosenblatt's perceptron, the mistake bound of Novikoff, and the separator of largest margin.

Each decision depends on the one before, so the rows are processed on the host in float64, whatever
their library: every backend makes the same mistakes in the same order.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, HostArray, as_array, backend_of, namespace_of, to_numpy
from xpnet.data.checks import as_vector, check_features, check_same_length
from xpnet.data.labels import encode_labels, whole_numbers
from xpnet.errors import ArgumentError, Phrase, require, require_count, require_number, require_type

BLOCK = 64
"""Rows that one matrix product predicts; those after a mistake are predicted again."""

MAX_FEATURE = 1e100
"""The largest magnitude of a feature, for which no sum of products overflows in float64."""

Classes = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Separator:
    """The hyperplane ``wᵀx + b = 0`` between two classes.

    Attributes:
        w: the normal, ``(n,)`` in float64, on the backend of the training data.
        b: the offset.
        classes: the names of the negative and of the positive class.

    >>> Separator(np.array([1.0, -1.0]), 0.5, ("no", "yes")).predict([[0, 0], [0, 1]]).tolist()
    ['yes', 'no']
    """

    w: Array
    b: float
    classes: Classes = (-1, 1)

    def scores(self, X: Array) -> Array:
        """Compute ``Xw + b`` for rows ``X: (m, n)``; it is positive for ``classes[1]``, ``(m,)``.

        Raises:
            ArgumentError: if ``X`` does not hold ``(m, n)`` finite numbers, or is on the device of
                another library.
        """
        X = as_array(X, "X")
        backend = backend_of(self.w)
        here = backend.asarray(X)
        check_features(X, self.w.shape[0])
        return backend.xp.astype(here, backend.dtype) @ self.w + self.b

    def predict(self, X: Array) -> Array:
        """Predict the class of each row of ``X: (m, n)``: ``classes[1]`` if its score is positive.

        Returns:
            The classes, ``(m,)``: int64 on the backend if they are integers, else a NumPy array.
        """
        positive = self.scores(X) > 0
        if not all(isinstance(name, int) for name in self.classes):
            return np.asarray(self.classes)[to_numpy(positive).astype(np.int64)]
        xp, (low, high) = namespace_of(positive), self.classes
        return low + (high - low) * xp.astype(positive, xp.int64)


@dataclass(frozen=True)
class Perceptron:
    """The perceptron learning rule, which adds every misclassified row to the weights.

    With labels ``t = ±1`` and ``x̃ = t·[x, 1]``, starting from ``w = 0``: if ``wᵀx̃ ≤ 0``, then
    ``w ← w + x̃``. Training stops after a pass without a mistake. If a unit vector u has
    ``uᵀx̃ ≥ γ > 0`` for all rows, the rule makes at most ``(R/γ)²`` mistakes, ``R = max ‖x̃‖``;
    otherwise it runs for ``max_passes``.

    Args:
        max_passes: the largest number of passes over the rows, at least 1. Default 1000.

    Raises:
        ArgumentError: if ``max_passes`` is not a positive integer.

    References: F. Rosenblatt, "The perceptron", 1958; A. Novikoff, "On convergence proofs for
    perceptrons", 1962 (the bound).

    >>> result = Perceptron().fit([[0, 0], [0, 1], [1, 0], [1, 1]], [-1, -1, -1, 1])
    >>> result.w.tolist(), result.b, result.predict([[1, 1], [0, 1]]).tolist()
    ([3.0, 2.0], -4.0, [1, -1])
    >>> result.converged, result.n_passes, result.n_mistakes, round(result.mistake_bound)
    (True, 9, 18, 87)
    """

    max_passes: int = 1000

    def __post_init__(self) -> None:
        require_count(self.max_passes, "max_passes")

    def fit(self, X: Array, y: Any) -> FittedPerceptron:
        """Separate the rows of ``X`` into the two classes of ``y``.

        The rows are processed in their order, on which the result depends; nothing is random.

        Args:
            X: the features, ``(m, n)``, within ±1e100, on any backend.
            y: one label per row, of two classes: ±1, other integers, or words. The larger one, or
                the later one in the alphabet, is the positive class.

        Returns:
            The fitted perceptron.

        Raises:
            ArgumentError: if ``X`` does not hold finite numbers, or ``y`` not two classes.
        """
        rows, classes, backend = _signed_rows(X, y)
        learner = _Learner(rows)
        n_passes, converged = 0, False
        while not converged and n_passes < self.max_passes:
            converged = learner.one_pass()
            n_passes += 1
        learner.update_pocket()
        average = learner.total / (n_passes * rows.shape[0])
        last, averaged, pocket = (
            Separator(backend.asarray(v[:-1].copy()), float(v[-1]), classes)
            for v in (learner.w, average, learner.pocket)
        )
        mistakes = np.array(learner.mistakes, dtype=np.int64)
        radius, margin = _radius(rows), _margin(rows, learner.w)
        return FittedPerceptron(
            last, averaged, pocket, converged, n_passes, mistakes, radius, margin
        )


@dataclass(frozen=True, eq=False)
class FittedPerceptron:
    """The result of `Perceptron.fit`.

    Attributes:
        last: the separator after the last correction, which `predict` uses.
        averaged: the mean of the weights after every row of every pass, which is often better if
            the data are not separable.
        pocket: the separator with the fewest training errors among ``last`` and those with at
            least as long a run of correct answers as the pocket before. It has at most as many
            training errors as ``last``.
        converged: whether the last pass had no mistake, so that ``last`` separates the data.
        n_passes: the number of passes over the rows.
        mistakes: the row of each mistake, in order; ``last`` is the sum of their ``x̃``.
        radius: ``R = max ‖x̃‖``.
        margin: ``γ = min wᵀx̃/‖w‖`` of ``last``; positive if it separates the data.

    References: M. Collins, "Discriminative training methods for hidden Markov models", EMNLP 2002
    (the average); S. Gallant, "Perceptron-based learning algorithms", 1990 (the pocket with
    ratchet; here the rows are processed in order, not at random).
    """

    last: Separator
    averaged: Separator
    pocket: Separator
    converged: bool
    n_passes: int
    mistakes: HostArray
    radius: float
    margin: float

    @property
    def w(self) -> Array:
        """The normal of ``last``, ``(n,)``."""
        return self.last.w

    @property
    def b(self) -> float:
        """The offset of ``last``."""
        return self.last.b

    @property
    def n_mistakes(self) -> int:
        """The number of corrections."""
        return len(self.mistakes)

    @property
    def mistake_bound(self) -> float:
        """``(R/γ)²`` with the margin of ``last``; infinite if it does not separate the data.

        A separator of a larger margin gives a tighter bound: see `mistake_bound` and
        `widest_separator`.
        """
        return (self.radius / self.margin) ** 2 if self.margin > 0 else math.inf

    def predict(self, X: Array) -> Array:
        """Predict the class of each row of ``X: (m, n)`` with ``last``; see `Separator.predict`."""
        return self.last.predict(X)

    def __str__(self) -> str:
        passes = f"{self.n_passes} pass{'es' * (self.n_passes != 1)}"
        made = f"{self.n_mistakes} mistake{'s' * (self.n_mistakes != 1)}"
        if not self.converged:
            return f"not converged after {passes}: {made}. The pocket holds the best separator."
        figures = f"R = {self.radius:.4g}, γ = {self.margin:.4g}"
        bound = f"{self.mistake_bound:.4g}"
        return f"converged after {passes}: {made}, at most {bound} by (R/γ)² with {figures}."


def mistake_bound(X: Array, y: Any, separator: Separator) -> float:
    """Return ``(R/γ)²``, an upper bound of the number of mistakes for any order of the rows.

    ``R = max ‖x̃‖`` and ``γ = min uᵀx̃``, with the unit vector u along ``[w, b]`` and
    ``x̃ = t·[x, 1]``.

    Args:
        X: the features, ``(m, n)``.
        y: one label per row, of two classes.
        separator: a separator without training errors; a larger margin gives a tighter bound.

    Raises:
        ArgumentError: if ``separator`` does not separate the rows.

    Reference: A. Novikoff, "On convergence proofs for perceptrons", 1962.

    >>> X, y = [[1.0], [-1.0]], [1, -1]
    >>> round(mistake_bound(X, y, Separator(np.array([1.0]), 0.0)), 6)
    2.0
    """
    do = "Pass its attribute last." if isinstance(separator, FittedPerceptron) else ""
    require_type(separator, Separator, "separator", do)
    rows, _, _ = _signed_rows(X, y)
    n = rows.shape[1] - 1
    rule = f"have {n} weight{'s' * (n != 1)}, one for each column of X"
    require(tuple(separator.w.shape) == (n,), "separator", rule, separator.w)
    margin = _margin(rows, np.append(to_numpy(separator.w), separator.b))
    got = Phrase(f"a margin of {margin:.3g}")
    require(margin > 0, "separator", "have every row on the side of its class", got)
    return (_radius(rows) / margin) ** 2


def widest_separator(X: Array, y: Any, *, tol: float = 1e-3, max_passes: int = 10_000) -> Separator:
    """Return the separator of largest margin ``γ* = max_u min uᵀx̃``, to a relative ``tol``.

    Dual coordinate ascent on ``Σα − ½‖Σ α_i x̃_i‖²``, ``α ≥ 0``. Every pass yields a margin of at
    most γ* and a dual value D with ``1/√(2D) ≥ γ*``; the ascent stops when the two agree.

    Args:
        X: the features, ``(m, n)``.
        y: one label per row, of two classes.
        tol: the largest relative distance of the margin from γ*, above 0. Default 0.001.
        max_passes: the largest number of passes over the rows. Default 10 000.

    Returns:
        The separator, scaled so that ``min x̃ᵀ[w, b] = 1``.

    Raises:
        ArgumentError: if the ascent does not converge within ``max_passes``, for example because
            no hyperplane separates the rows.

    Reference: C.-J. Hsieh et al., "A dual coordinate descent method for large-scale linear SVM",
    ICML 2008, algorithm 1 with C = ∞ and the bias among the weights.

    >>> separator = widest_separator([[1.0], [3.0], [-1.0]], [1, 1, -1])
    >>> separator.w.round(2).tolist(), round(separator.b, 2)
    ([1.0], 0.0)
    """
    require_number(tol, "tol", above=0)
    require_count(max_passes, "max_passes")
    rows, classes, backend = _signed_rows(X, y)
    squares = np.sum(rows * rows, axis=1)
    alpha, u = np.zeros(rows.shape[0]), np.zeros(rows.shape[1])
    for _ in range(max_passes):
        for i, row in enumerate(rows):
            new = max(0.0, alpha[i] + (1.0 - row @ u) / squares[i])
            u += (new - alpha[i]) * row
            alpha[i] = new
        margin, dual = _margin(rows, u), float(np.sum(alpha) - 0.5 * u @ u)
        if margin > 0 and margin * math.sqrt(2.0 * dual) >= 1.0 - tol:
            v = u / np.min(rows @ u)
            return Separator(backend.asarray(v[:-1].copy()), float(v[-1]), classes)
    raise ArgumentError(
        f"X must be separated by a hyperplane, which {max_passes} passes did not find within a "
        f"relative {tol:g}; got rows with a margin of {margin:.3g}. If they are separable, raise "
        "max_passes."
    )


class _Learner:
    """The weights of the learning rule, their sum, and the pocket."""

    def __init__(self, rows: HostArray) -> None:
        self.rows = rows
        self.w = np.zeros(rows.shape[1])
        self.total = np.zeros(rows.shape[1])
        self.mistakes = array("q")
        # At w = 0 every row is misclassified, so the first update fills the pocket.
        self.pocket, self.pocket_errors, self.longest = self.w, rows.shape[0] + 1, 0
        self.run, self.considered = 0, False

    def one_pass(self) -> bool:
        """Process the rows once; return whether no row was misclassified."""
        before, start = len(self.mistakes), 0
        while start < self.rows.shape[0]:
            wrong = self.rows[start : start + BLOCK] @ self.w <= 0
            n_right = int(np.argmax(wrong)) if wrong.any() else len(wrong)
            self._keep(n_right)
            start += n_right
            if n_right < len(wrong):
                self._correct(start)
                start += 1
        return len(self.mistakes) == before

    def update_pocket(self) -> None:
        """Replace the pocket by the weights if these make fewer training errors."""
        self.considered = True
        errors = int(np.count_nonzero(self.rows @ self.w <= 0))
        if errors < self.pocket_errors:
            self.pocket, self.pocket_errors, self.longest = self.w, errors, self.run

    def _keep(self, n_right: int) -> None:
        """Count ``n_right`` rows that are classified correctly."""
        self.total += n_right * self.w
        self.run += n_right
        # Not a strict inequality: for some orders of rows, as of XOR, no run gets longer than 0.
        if self.run >= self.longest and not self.considered:
            self.update_pocket()
        if self.pocket is self.w:
            self.longest = self.run

    def _correct(self, row: int) -> None:
        """Add a misclassified row to the weights."""
        self.w = self.w + self.rows[row]
        self.total += self.w
        self.run, self.considered = 0, False
        self.mistakes.append(row)


def _signed_rows(X: Array, y: Any) -> tuple[HostArray, Classes, Backend]:
    """Return the rows ``x̃ = t·[x, 1]`` on the host, the two classes, and the backend of ``X``."""
    X, y = as_array(X, "X"), as_vector(as_array(y, "y"))
    check_features(X)
    check_same_length(X, y)
    y = to_numpy(y)
    if y.dtype.kind == "f":
        y = whole_numbers(y)
    indices, classes = encode_labels(y)
    names = classes.tolist()
    shown = Phrase(f"{len(names)}: {', '.join(map(str, names[:5]))}{', ...' * (len(names) > 5)}")
    require(len(names) == 2, "y", "hold two classes", shown)
    host = to_numpy(X).astype(np.float64)
    largest = float(np.max(np.abs(host)))
    require(largest <= MAX_FEATURE, "X", f"be within ±{MAX_FEATURE:g}", largest)
    rows = np.append(host, np.ones((host.shape[0], 1)), axis=1) * (2 * indices - 1)[:, None]
    xp = namespace_of(X)
    return rows, (names[0], names[1]), backend_of(xp.astype(X[:1, :], xp.float64))


def _radius(rows: HostArray) -> float:
    """Return ``max ‖x̃‖``."""
    return float(np.max(np.linalg.norm(rows, axis=1)))


def _margin(rows: HostArray, w: HostArray) -> float:
    """Return ``min wᵀx̃/‖w‖``; -∞ for the zero vector."""
    size = float(np.linalg.norm(w))
    return float(np.min(rows @ w)) / size if size > 0 else -math.inf
