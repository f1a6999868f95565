"""The one host-side random stream, and counter-based bits that are equal on every backend.

Weights and shuffles are drawn on the host by `numpy.random.Generator`. Dropout masks are needed on
the device at every step; they come from a hash of (key, position), so that a seed gives the same
mask on every backend and a mask can be drawn again from its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from xpnet.errors import require

if TYPE_CHECKING:  # naming it loads numpy.random, 10 ms that only drawing needs
    from numpy.random import Generator

Rng: TypeAlias = "int | Generator"
"""A seed, or a generator, which is advanced."""

MASK = 0xFFFFFFFF


def as_generator(rng: Rng, argument: str = "rng") -> np.random.Generator:
    """The generator for a seed; a generator is returned unchanged.

    >>> int(as_generator(0).integers(100)) == int(as_generator(0).integers(100))
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    ok = isinstance(rng, Integral) and not isinstance(rng, bool) and rng >= 0
    require(ok, argument, "be a seed (an integer of at least 0) or a numpy Generator", rng)
    return np.random.default_rng(int(rng))


def hash32(x: Any) -> Any:
    """A bijective 32-bit hash with low bias, of Python integers or of integer arrays.

    Integers in ``[0, 2³²)`` are mapped onto the same range. On int64 arrays the products wrap,
    which leaves their low 32 bits right.

    Reference: C. Wellons, "Prospecting for hash functions", 2018 (the function `lowbias32`).

    >>> hash32(0), hash32(1) == hash32(2)
    (0, False)
    """
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def stream_key(*path: Any) -> Any:
    """A 32-bit key for a path of integers such as (seed, layer, step), or of int64 arrays.

    >>> stream_key(0, 1, 2) != stream_key(0, 2, 1)
    True
    """
    key = 0x9E3779B9  # the golden ratio's bits: any odd start that is not a fixed point of the hash
    for number in path:
        key = hash32(key ^ hash32((number + 0x85EBCA6B) & MASK))
    return key


@dataclass
class MaskStream:
    """The stream of a network's random masks: one mask a layer and training pass.

    Attributes:
        seed: of the stream.
        step: how many training passes have drawn their masks.

    >>> masks = MaskStream(seed=3)
    >>> keys = masks.next_keys(2, n_layers=3)
    >>> keys.shape, masks.step, int(keys[1, 0]) == masks.key(0)
    ((2, 3), 2, True)
    """

    seed: int = 0
    step: int = 0

    def restart(self, seed: int) -> None:
        """Begin the stream of ``seed``."""
        self.seed, self.step = seed, 0

    def key(self, layer: int) -> Any:
        """The key of a layer's mask in the current pass."""
        return stream_key(self.seed, layer, self.step)

    def next_keys(self, n: int, n_layers: int) -> np.ndarray[Any, Any]:
        """The keys of the next ``n`` passes, ``(n, n_layers)``, which count as drawn."""
        steps = np.arange(self.step + 1, self.step + n + 1)
        self.step += n
        return np.stack([stream_key(self.seed, layer, steps) for layer in range(n_layers)], axis=1)
