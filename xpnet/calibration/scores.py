"""Nonconformity scores of classes, from which conformal sets are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from xpnet.backend import Array, namespace_of
from xpnet.errors import require_type


class SetScore(Protocol):
    """How little a class conforms to its predicted probabilities: a frozen dataclass.

    Attributes:
        randomized: whether the score takes a random number for each row.
    """

    @property
    def randomized(self) -> bool:
        """Whether the score takes a random number for each row."""
        ...

    def __call__(self, probabilities: Array, uniform: Array | None) -> Array:
        """The score of each class, ``(m, K)``; the set of a row holds those with low scores.

        Args:
            probabilities: ``(m, K)``, float64.
            uniform: numbers in [0, 1), ``(m,)``, on the same backend, if the score is randomized.
        """
        ...


@dataclass(frozen=True)
class LeastAmbiguous:
    """``s_k = 1 − p_k``: a set holds the classes with a probability above a threshold.

    The sets are the smallest on average for their coverage, if the probabilities are the true ones.
    The coverage may differ much between easy and difficult rows, and a set may be empty.

    Reference: M. Sadinle, J. Lei, L. Wasserman, "Least Ambiguous Set-Valued Classifiers With
    Bounded Error Levels", JASA 114, 2019.

    >>> import numpy as np
    >>> LeastAmbiguous()(np.array([[0.75, 0.25]]), None).tolist()
    [[0.25, 0.75]]
    """

    randomized: ClassVar[bool] = False

    def __call__(self, probabilities: Array, uniform: Array | None = None) -> Array:
        """See `SetScore`."""
        return 1.0 - probabilities


@dataclass(frozen=True)
class AdaptiveSets:
    """``s_k = Σ p_j`` over the classes that are at least as likely as class k, and k itself.

    A set holds the most likely classes, with a total probability below a threshold. Difficult rows
    get larger sets than easy ones, so the coverage differs less between them than that of
    `LeastAmbiguous`. Of equal probabilities the class with the smaller index comes first.

    Args:
        randomized: whether ``u p_k`` with ``u`` from U(0, 1) is subtracted, one ``u`` for each row.
            The sets are then smaller for the same coverage, much smaller if the model is accurate
            and sure (on Fashion-MNIST 1.3 classes, not 4.8), and no two scores are equal; but
            they need an ``rng``. Default false: the conservative score ``u = 0``, which counts all
            of ``p_k``.

    Deviation: in the paper the last class of a set crosses the threshold, so that the sets without
    randomization are never empty and cover more than the level; here a set may be empty.

    Reference: Y. Romano, M. Sesia, E. Candès, "Classification with Valid and Adaptive Coverage",
    NeurIPS 2020, equations 5 to 7.

    >>> import numpy as np
    >>> AdaptiveSets()(np.array([[0.25, 0.5, 0.25]]), None).tolist()
    [[0.75, 0.5, 1.0]]
    """

    randomized: bool = False

    def __post_init__(self) -> None:
        require_type(self.randomized, bool, "randomized")

    def __call__(self, probabilities: Array, uniform: Array | None = None) -> Array:
        """See `SetScore`."""
        xp = namespace_of(probabilities)
        order = xp.argsort(-probabilities, axis=1, stable=True)
        descending = xp.take_along_axis(probabilities, order, axis=1)
        total = xp.cumulative_sum(descending, axis=1)
        whole = total[:, -1:]  # 1 but for rounding, by which whole sets would differ
        total = total / whole
        if uniform is not None:
            total = total - uniform[:, None] * (descending / whole)
        rank = xp.argsort(order, axis=1, stable=True)  # the inverse permutation
        return xp.take_along_axis(total, rank, axis=1)
