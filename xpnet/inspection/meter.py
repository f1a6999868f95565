"""Distributions that are measured on the device and transferred to the host together."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, HostArray, Namespace, to_numpy
from xpnet.inspection.report import Distribution

N_NUMBERS = 6
"""The count of numbers in a `Distribution` besides its histogram."""


class Meter:
    """Measure arrays on their device in float64; the first `read` transfers everything.

    Args:
        xp: the namespace of the arrays.
        bins: the number of bins of a histogram.

    >>> meter = Meter(np, bins=2)
    >>> span = meter.distribution(np.array([[0.0, 1.0], [2.0, np.inf]]))
    >>> found = meter.read_distribution(span)
    >>> found.mean, found.zeros, found.not_finite, found.counts.tolist()
    (1.0, 0.25, 0.25, [1, 2])
    """

    def __init__(self, xp: Namespace, bins: int) -> None:
        self.xp, self.bins = xp, bins
        self._written: list[Array] = []
        self._size = 0
        self._host: HostArray | None = None

    def numbers(self, *values: Array) -> slice:
        """Store 0-d arrays; return their span, to pass to `read`."""
        return self._put(self.xp.stack([self.xp.astype(v, self.xp.float64) for v in values]))

    def distribution(self, x: Array) -> slice:
        """Measure the distribution of ``x``; return its span, to pass to `read_distribution`."""
        xp = self.xp
        flat = xp.astype(xp.reshape(x, (-1,)), xp.float64)
        finite = xp.isfinite(flat)
        n = xp.sum(xp.astype(finite, xp.float64))
        count = xp.maximum(n, xp.ones_like(n))
        kept = xp.where(finite, flat, xp.zeros_like(flat))
        mean = xp.sum(kept) / count
        squares = xp.where(finite, (kept - mean) ** 2, xp.zeros_like(flat))
        ordered = xp.sort(xp.where(finite, flat, xp.full_like(flat, float("inf"))))
        low = xp.where(n > 0.0, ordered[0], xp.zeros_like(n))
        high = xp.max(xp.where(finite, flat, low))
        numbers = xp.stack([mean, xp.sqrt(xp.sum(squares) / count), low, high])
        numbers = xp.where(n > 0.0, numbers, xp.full_like(numbers, float("nan")))
        fractions = xp.stack([xp.mean(xp.astype(flat == 0.0, xp.float64)), 1.0 - n / flat.shape[0]])
        # The array API has no histogram: count by searching the edges in the sorted values.
        steps = xp.linspace(0.0, 1.0, self.bins + 1, dtype=xp.float64, device=flat.device)
        ranks = xp.searchsorted(ordered, _edges(xp, low, high, steps)[:-1], side="left")
        ranks = xp.concat([xp.astype(ranks, xp.float64), xp.reshape(n, (1,))])
        return self._put(xp.concat([numbers, fractions, ranks[1:] - ranks[:-1]]))

    def spread(self, x: Array) -> slice:
        """Measure ``√(mean over columns of the variance over rows)`` of ``x: (m, n)``."""
        rows = self.xp.astype(x, self.xp.float64)
        centered = rows - self.xp.mean(rows, axis=0)
        return self.numbers(self.xp.sqrt(self.xp.mean(centered * centered)))

    def read(self, span: slice) -> HostArray:
        """Return the numbers in ``span``, on the host."""
        if self._host is None:
            self._host = to_numpy(self.xp.concat(self._written))
        return self._host[span]

    def read_distribution(self, span: slice) -> Distribution:
        """Return the distribution in ``span``."""
        numbers, counts = self.read(span)[:N_NUMBERS], self.read(span)[N_NUMBERS:]
        ends = np.nan_to_num(numbers[2:4])
        edges = _edges(np, ends[0], ends[1], np.linspace(0.0, 1.0, self.bins + 1))
        mean, std, low, high, zeros, not_finite = numbers.tolist()
        counts = counts.astype(np.int64)
        return Distribution(mean, std, low, high, zeros, not_finite, counts, edges)

    def _put(self, vector: Array) -> slice:
        """Store ``vector`` and return its span."""
        self._written.append(vector)
        self._size += vector.shape[0]
        return slice(self._size - vector.shape[0], self._size)


def _edges(xp: Namespace, low: Array, high: Array, steps: Array) -> Array:
    """Return the edges of the bins, which are ½ apart from the value if all values are equal."""
    half = xp.where(high > low, xp.zeros_like(low), xp.full_like(low, 0.5))
    return (low - half) + ((high + half) - (low - half)) * steps
