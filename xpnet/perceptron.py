"""Rosenblatt's perceptron: a plane between two classes, found by correcting one mistake at a time.

Each decision waits for the one before, so the rows are gone through on the host, in float64,
whatever library they come from: every backend makes the same mistakes in the same order.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, HostArray, as_array, backend_of, namespace_of, to_numpy
from xpnet.data.checks import check_features, check_same_length
from xpnet.data.labels import encode_labels
from xpnet.errors import ArgumentError, Phrase, require, require_count, require_number, require_type

BLOCK = 64
"""Rows looked ahead at once: few enough to throw away after a mistake, enough for one product."""

LARGEST = 1e100
"""The largest number in a row, far enough from the end of float64 for the sum of every product."""

Classes = tuple[Any, Any]


@dataclass(frozen=True, eq=False)
class Separator:
    """The plane ``wᵀx + b = 0`` between two classes.

    Attributes:
        w: the normal, ``(n,)`` in float64, on the backend of the training data.
        b: the offset.
        classes: the names of the negative and the positive side.

    >>> Separator(np.array([1.0, -1.0]), 0.5, ("no", "yes")).predict([[0, 0], [0, 1]]).tolist()
    ['yes', 'no']
    """

    w: Array
    b: float
    classes: Classes = (-1, 1)

    def scores(self, X: Array) -> Array:
        """``Xw + b`` for rows ``X: (m, n)``; positive on the side of ``classes[1]``, ``(m,)``.

        Raises:
            ArgumentError: if ``X`` is not ``(m, n)`` finite numbers, or of another device library.
        """
        X = as_array(X)
        backend = backend_of(self.w)
        here = backend.asarray(X)
        check_features(X, self.w.shape[0])
        return backend.xp.astype(here, backend.dtype) @ self.w + self.b

    def predict(self, X: Array) -> Array:
        """The class of each row of ``X: (m, n)``: ``classes[1]`` where the score is positive.

        Returns:
            The classes, ``(m,)``: int64 on the backend where they are integers, else a NumPy array.
        """
        positive = self.scores(X) > 0
        if not all(isinstance(name, int) for name in self.classes):
            return np.asarray(self.classes)[to_numpy(positive).astype(np.int64)]
        xp, (low, high) = namespace_of(positive), self.classes
        return low + (high - low) * xp.astype(positive, xp.int64)


@dataclass(frozen=True)
class Perceptron:
    """The perceptron's rule: go through the rows, and add each one that is on the wrong side.

    With labels ``t = ±1`` and ``x̃ = t·[x, 1]``: ``w = 0``; where ``wᵀx̃ ≤ 0``, ``w ← w + x̃``. It
    stops after a pass without a mistake. If a unit vector u has ``uᵀx̃ ≥ γ > 0`` for all rows, it
    makes at most ``(R/γ)²`` mistakes, ``R = max ‖x̃‖``; else it goes on until ``max_passes``.

    Args:
        max_passes: how often the rows are gone through at most, at least 1; default 1000.

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
        """Separate the rows of ``X`` by the two classes in ``y``.

        Args:
            X: the features, ``(m, n)``, within ±1e100, on any backend.
            y: one label a row, of two classes: ±1, other integers, or words. The larger, or the
                later in the alphabet, is the positive class.

        Returns:
            What was found. The order of the rows matters, and it is kept: no row is drawn.

        Raises:
            ArgumentError: if ``X`` is not finite numbers, or ``y`` does not hold two classes.
        """
        rows, classes, backend = _signed_rows(X, y)
        walk = _Walk(rows)
        n_passes, converged = 0, False
        while not converged and n_passes < self.max_passes:
            converged = walk.one_pass()
            n_passes += 1
        walk.consider()
        average = walk.total / (n_passes * rows.shape[0])
        last, averaged, pocket = (
            Separator(backend.asarray(v[:-1].copy()), float(v[-1]), classes)
            for v in (walk.w, average, walk.pocket)
        )
        mistakes = np.array(walk.mistakes, dtype=np.int64)
        radius, margin = _radius(rows), _margin(rows, walk.w)
        return FittedPerceptron(
            last, averaged, pocket, converged, n_passes, mistakes, radius, margin
        )


@dataclass(frozen=True, eq=False)
class FittedPerceptron:
    """What `Perceptron.fit` found.

    Attributes:
        last: the separator after the last correction; it is what `predict` uses.
        averaged: the mean of the weights after every row of every pass, which changes less from
            row to row and is often the better one where the data are not separable.
        pocket: the separator with the fewest errors among those with at least as long a run of
            right answers as the one kept before, and the last: never more training errors than
            ``last``.
        converged: whether the last pass had no mistake, so that ``last`` separates the data.
        n_passes: how often the rows were gone through, the last pass included.
        mistakes: the row of each mistake, in order: ``last`` is the sum of their ``x̃``.
        radius: ``R = max ‖x̃‖``.
        margin: ``γ = min wᵀx̃/‖w‖`` of ``last``; above 0 if it separates.

    References: M. Collins, "Discriminative training methods for hidden Markov models", EMNLP 2002
    (the average); S. Gallant, "Perceptron-based learning algorithms", 1990 (the pocket with
    ratchet; here the rows come in order instead of at random).
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
        """How many corrections there were."""
        return len(self.mistakes)

    @property
    def mistake_bound(self) -> float:
        """``(R/γ)²`` with the margin of ``last``; infinite where it does not separate the data.

        Any separator bounds the number of mistakes; a wider one bounds it more tightly: see
        `mistake_bound` and `widest_separator`.
        """
        return (self.radius / self.margin) ** 2 if self.margin > 0 else math.inf

    def predict(self, X: Array) -> Array:
        """The class of each row of ``X: (m, n)``, by ``last``; see `Separator.predict`."""
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
    """``(R/γ)²``: how many mistakes a perceptron can make at most on rows in any order.

    ``R = max ‖x̃‖`` and ``γ = min uᵀx̃``, for the unit vector u along ``[w, b]`` and
    ``x̃ = t·[x, 1]``.

    Args:
        X: the features, ``(m, n)``.
        y: one label a row, of two classes.
        separator: any separator without errors; the bound is the tighter the wider its margin.

    Raises:
        ArgumentError: if ``separator`` does not separate the rows.

    Reference: A. Novikoff, "On convergence proofs for perceptrons", 1962.

    >>> X, y = [[1.0], [-1.0]], [1, -1]
    >>> round(mistake_bound(X, y, Separator(np.array([1.0]), 0.0)), 6)
    2.0
    """
    do = "Take its attribute last." if isinstance(separator, FittedPerceptron) else ""
    require_type(separator, Separator, "separator", do)
    rows, _, _ = _signed_rows(X, y)
    n = rows.shape[1] - 1
    rule = f"have {n} weight{'s' * (n != 1)}, one for each column of X"
    require(tuple(separator.w.shape) == (n,), "separator", rule, separator.w)
    margin = _margin(rows, np.append(to_numpy(separator.w), separator.b))
    words = Phrase(f"a margin of {margin:.3g}")
    require(margin > 0, "separator", "have every row on the side of its class", words)
    return (_radius(rows) / margin) ** 2


def widest_separator(X: Array, y: Any, *, tol: float = 1e-3, max_passes: int = 10_000) -> Separator:
    """The separator of the largest margin ``γ* = max_u min uᵀx̃``, to a relative ``tol``.

    Dual coordinate ascent on ``Σα − ½‖Σ α_i x̃_i‖²``, ``α ≥ 0``: every pass yields a margin, which
    is at most γ*, and a dual value D, whose ``1/√(2D)`` is at least γ*; it stops when they meet.

    Args:
        X: the features, ``(m, n)``.
        y: one label a row, of two classes.
        tol: the largest relative distance of the margin from γ*, above 0; default 0.001.
        max_passes: how often the rows are gone through at most; default 10 000.

    Returns:
        The separator, scaled so that ``min x̃ᵀ[w, b] = 1``.

    Raises:
        ArgumentError: if the two have not met within ``max_passes``, as of rows that no plane
            separates.

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
        f"X must be separated by a plane, which {max_passes} passes have not found to a relative "
        f"{tol:g}; got rows whose margin is {margin:.3g}. If they are separable, raise max_passes."
    )


class _Walk:
    """The weights on their way through the rows, and what each variant remembers of it."""

    def __init__(self, rows: HostArray) -> None:
        self.rows = rows
        self.w = np.zeros(rows.shape[1])
        self.total = np.zeros(rows.shape[1])
        self.mistakes = array("q")
        # At w = 0 every row is wrong, so that the first vector looked at takes the pocket.
        self.pocket, self.pocket_errors, self.longest = self.w, rows.shape[0] + 1, 0
        self.run, self.considered = 0, False

    def one_pass(self) -> bool:
        """Go through the rows once; whether none was wrong."""
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

    def consider(self) -> None:
        """Put the weights into the pocket if they make fewer errors than those in it."""
        self.considered = True
        errors = int(np.count_nonzero(self.rows @ self.w <= 0))
        if errors < self.pocket_errors:
            self.pocket, self.pocket_errors, self.longest = self.w, errors, self.run

    def _keep(self, n_right: int) -> None:
        self.total += n_right * self.w
        self.run += n_right
        # Not only above: rows in an unlucky order, like those of XOR, never let a run begin.
        if self.run >= self.longest and not self.considered:
            self.consider()
        if self.pocket is self.w:
            self.longest = self.run

    def _correct(self, row: int) -> None:
        self.w = self.w + self.rows[row]
        self.total += self.w
        self.run, self.considered = 0, False
        self.mistakes.append(row)


def _signed_rows(X: Array, y: Any) -> tuple[HostArray, Classes, Backend]:
    """The rows ``x̃ = t·[x, 1]`` on the host, the two classes, and where ``X`` lives."""
    X, y = as_array(X), as_array(y)
    check_features(X)
    check_same_length(X, y)
    y = to_numpy(y)
    if y.dtype.kind == "f" and np.all((np.abs(y) <= 2.0**53) & (y == np.round(y))):
        y = y.astype(np.int64)
    indices, classes = encode_labels(y)
    names = classes.tolist()
    shown = Phrase(f"{len(names)}: {', '.join(map(str, names[:5]))}{', ...' * (len(names) > 5)}")
    require(len(names) == 2, "y", "hold two classes", shown)
    host = to_numpy(X).astype(np.float64)
    largest = float(np.max(np.abs(host)))
    require(largest <= LARGEST, "X", f"be within ±{LARGEST:g}", largest)
    rows = np.append(host, np.ones((host.shape[0], 1)), axis=1) * (2 * indices - 1)[:, None]
    xp = namespace_of(X)
    return rows, (names[0], names[1]), backend_of(xp.astype(X[:1, :], xp.float64))


def _radius(rows: HostArray) -> float:
    return float(np.max(np.linalg.norm(rows, axis=1)))


def _margin(rows: HostArray, w: HostArray) -> float:
    """``min wᵀx̃/‖w‖``; -∞ for the zero vector."""
    size = float(np.linalg.norm(w))
    return float(np.min(rows @ w)) / size if size > 0 else -math.inf
