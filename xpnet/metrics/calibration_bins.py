"""The bins of a reliability diagram, which the calibration error is computed from."""

from __future__ import annotations

import math

from xpnet.backend import Array, namespace_of

CHUNK_ROWS = 1 << 16
"""Rows that are sorted into bins at a time, so that memory does not grow with their number."""


def calibration_bins(
    confidence: Array, correct: Array, sample_weight: Array | None, bins: int
) -> tuple[Array, Array, Array]:
    """Divide predictions into bins of equal width by their confidence.

    Bin ``b`` of B holds the confidences in ``(b/B, (b + 1)/B]``, and bin 0 also those of 0: a
    confidence that equals an edge is in the bin below it. The shapes do not depend on values, and
    nothing is read from a device. Nothing is validated: a confidence beyond ``[0, 1]`` by rounding
    is in the first or last bin, and one NaN makes the means of every bin that has rows NaN.

    Args:
        confidence: the predicted probabilities, ``(m,)``.
        correct: whether the predicted event occurred, ``(m,)``: booleans, 0 or 1, or fractions, on
            the backend of ``confidence``.
        sample_weight: the weights of the rows, ``(m,)``, on the same backend; ``None``: 1.
        bins: the number of bins B, at least 1.

    Returns:
        The sum of the weights, the mean confidence and the mean of ``correct`` in each bin, three
        float64 arrays ``(B,)`` on the backend of ``confidence``. Both means of a bin without weight
        are 0, so that ``Σ weight |confidence − correct| / Σ weight`` is the calibration error.

    >>> import numpy as np
    >>> for values in calibration_bins(np.array([0.3, 0.5, 0.9]), np.array([0, 1, 1]), None, 2):
    ...     print(values)
    [2. 1.]
    [0.4 0.9]
    [0.5 1. ]
    """
    xp = namespace_of(confidence)
    confidence, correct = (xp.astype(x, xp.float64) for x in (confidence, correct))
    if sample_weight is None:
        weight = xp.ones_like(confidence)
    else:
        weight = xp.astype(sample_weight, xp.float64)
    rows = xp.stack([weight, weight * confidence, weight * correct])
    inner = [b / bins for b in range(1, bins)]
    low, high = (
        xp.asarray(edges, dtype=xp.float64, device=confidence.device)
        for edges in ([-math.inf, *inner], [*inner, math.inf])
    )
    sums = xp.zeros((3, bins), dtype=xp.float64, device=confidence.device)
    for start in range(0, confidence.shape[0], CHUNK_ROWS):
        part = slice(start, min(start + CHUNK_ROWS, confidence.shape[0]))
        column = confidence[part, None]
        is_in_bin = xp.astype((column > low) & (column <= high), xp.float64)
        sums = sums + rows[:, part] @ is_in_bin
    total = sums[0, :]
    is_used = total > 0
    divisor = xp.where(is_used, total, xp.ones_like(total))
    means = xp.where(is_used, sums / divisor, xp.zeros_like(sums))
    return total, means[1, :], means[2, :]
