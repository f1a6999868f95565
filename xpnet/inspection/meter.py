"""Distributions measured where the arrays live, and brought to the host all at once."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, HostArray, Namespace, to_numpy
from xpnet.inspection.report import Distribution

N_NUMBERS = 6
"""Numbers of a `Distribution` besides its histogram."""


class Meter:
    """Measures on the device, in float64; the first `read` brings everything to the host.

    Args:
        xp: the namespace of the arrays.
        bins: how many bins a histogram has.

    >>> meter = Meter(np, bins=2)
    >>> place = meter.distribution(np.array([[0.0, 1.0], [2.0, np.inf]]))
    >>> found = meter.read_distribution(place)
    >>> found.mean, found.zeros, found.not_finite, found.counts.tolist()
    (1.0, 0.25, 0.25, [1, 2])
    """

    def __init__(self, xp: Namespace, bins: int) -> None:
        self.xp, self.bins = xp, bins
        self._written: list[Array] = []
        self._size = 0
        self._host: HostArray | None = None

    def numbers(self, *values: Array) -> slice:
        """Take 0-d arrays; returns where `read` will find them."""
        return self._put(self.xp.stack([self.xp.astype(v, self.xp.float64) for v in values]))

    def distribution(self, x: Array) -> slice:
        """Take the distribution of ``x``; returns where `read_distribution` will find it."""
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
        shares = xp.stack([xp.mean(xp.astype(flat == 0.0, xp.float64)), 1.0 - n / flat.shape[0]])
        # The array API has no histogram: where the borders fall among the sorted numbers is one.
        steps = xp.linspace(0.0, 1.0, self.bins + 1, dtype=xp.float64, device=flat.device)
        places = xp.searchsorted(ordered, _edges(xp, low, high, steps)[:-1], side="left")
        places = xp.concat([xp.astype(places, xp.float64), xp.reshape(n, (1,))])
        return self._put(xp.concat([numbers, shares, places[1:] - places[:-1]]))

    def spread(self, x: Array) -> slice:
        """Take ``√(mean over columns of the variance over rows)`` of ``x: (m, n)``."""
        rows = self.xp.astype(x, self.xp.float64)
        centered = rows - self.xp.mean(rows, axis=0)
        return self.numbers(self.xp.sqrt(self.xp.mean(centered * centered)))

    def read(self, place: slice) -> HostArray:
        """The numbers at ``place``, on the host."""
        if self._host is None:
            self._host = to_numpy(self.xp.concat(self._written))
        return self._host[place]

    def read_distribution(self, place: slice) -> Distribution:
        """The distribution at ``place``."""
        numbers, counts = self.read(place)[:N_NUMBERS], self.read(place)[N_NUMBERS:]
        ends = np.nan_to_num(numbers[2:4])
        edges = _edges(np, ends[0], ends[1], np.linspace(0.0, 1.0, self.bins + 1))
        mean, std, low, high, zeros, not_finite = numbers.tolist()
        counts = counts.astype(np.int64)
        return Distribution(mean, std, low, high, zeros, not_finite, counts, edges)

    def _put(self, vector: Array) -> slice:
        self._written.append(vector)
        self._size += vector.shape[0]
        return slice(self._size - vector.shape[0], self._size)


def _edges(xp: Namespace, low: Array, high: Array, steps: Array) -> Array:
    """The borders of the bins, a half to each side where all numbers are one."""
    half = xp.where(high > low, xp.zeros_like(low), xp.full_like(low, 0.5))
    return (low - half) + ((high + half) - (low - half)) * steps
