"""The quantile of split-conformal prediction."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from xpnet.backend import Array, as_array, to_numpy
from xpnet.errors import Phrase, require, require_number


def conformal_quantile(scores: Array, level: float) -> float:
    """The ``⌈(n + 1) level⌉``-th smallest of ``n`` scores.

    If another score is drawn like these, so that the ``n + 1`` scores are exchangeable, it is at
    most the quantile with a probability of at least ``level``. If no two scores are equal, this
    probability is ``⌈(n + 1) level⌉/(n + 1)``, below ``level + 1/(n + 1)``.

    Args:
        scores: ``(n,)``, real numbers of any backend; infinity is allowed, NaN is not.
        level: the probability, in (0, 1). ``(n + 1) level`` is computed from its decimal digits,
            without rounding.

    Raises:
        ArgumentError: if an argument breaks its rule, or n is too small for the level; the message
            names the number of rows needed.

    Reference: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005;
    J. Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 113, 2018,
    algorithm 2.

    >>> conformal_quantile([0.3, 0.1, 0.2, 0.5, 0.4, 0.9, 0.6, 0.8, 0.7], 0.9)
    0.9
    """
    exact = exact_level(level)
    found = to_numpy(as_array(scores, "scores"))
    ok = found.ndim == 1 and found.size > 0 and found.dtype.kind in "fiub"
    require(ok, "scores", "be a vector of at least one real number", found)
    found = found.astype(np.float64)
    missing = Phrase(f"NaN in row {int(np.isnan(found).argmax())}")
    require(not np.isnan(found).any(), "scores", "not hold NaN", missing)
    n = found.size
    rank = math.ceil((n + 1) * exact)
    needed = math.ceil(exact / (1 - exact))
    rule = f"have at least {needed} rows for a level of {float(level):g}"
    require(rank <= n, "X", rule, Phrase(f"{n} row{'s' * (n != 1)}"))
    return float(np.partition(found, rank - 1)[rank - 1])


def exact_level(level: float) -> Fraction:
    """Return a level in (0, 1) as the decimal number that its ``repr`` shows.

    >>> exact_level(0.9)
    Fraction(9, 10)
    """
    require_number(level, "level", above=0, below=1)
    return Fraction(repr(float(level)))
