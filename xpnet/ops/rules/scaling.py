"""What becomes of the scale of a loss after a step; see `xpnet.engine.loss_scaling`."""

from __future__ import annotations

from xpnet.backend import Array, Namespace


def next_scale(
    xp: Namespace,
    scale: Array,
    good: Array,
    found: Array,
    skip: Array,
    interval: float,
    largest: float,
) -> tuple[Array, Array, Array, Array]:
    """Half the scale after a step that ``found`` overflow, twice it after ``interval`` good ones.

    It stays between 1 and ``largest``. The step is to be skipped if it found overflow at a scale
    above 1; ``found`` goes back to 0.
    """
    failed, none = found > 0.0, 0.0 * found
    skip = xp.where(scale > 1.0, found, none)
    good = xp.where(failed, none, good + 1.0)
    full = good >= interval
    grown = xp.where(full, xp.minimum(2.0 * scale, largest), scale)
    scale = xp.where(failed, xp.maximum(0.5 * scale, 1.0), grown)
    return scale, xp.where(full, none, good), none, skip
