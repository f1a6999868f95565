"""Random generators of the host, and counter-based random masks that are equal on every backend.

Initial parameters and row orders are drawn on the host by `numpy.random.Generator`. Dropout masks
are required on the device at every step. They are a hash of (key, position), so that a seed gives
the same masks on every backend, and a key determines its mask. `RandomStreams` holds the random
numbers of a model's trainings, as a seed and two counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from xpnet.errors import require

if TYPE_CHECKING:  # importing it takes 10 ms, which only drawing needs
    from numpy.random import Generator

Rng: TypeAlias = "int | Generator"
"""A seed, or a generator, which is advanced."""

MASK = 0xFFFFFFFF


def as_generator(rng: Rng, argument: str = "rng") -> np.random.Generator:
    """The generator for a seed; a generator is returned unchanged.

    Args:
        rng: an integer of at least 0, or a generator.
        argument: the name of ``rng`` in error messages.

    Raises:
        ArgumentError: if ``rng`` is neither.

    >>> int(as_generator(0).integers(100)) == int(as_generator(0).integers(100))
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    ok = isinstance(rng, Integral) and not isinstance(rng, bool) and rng >= 0
    require(ok, argument, "be a seed (an integer of at least 0) or a numpy Generator", rng)
    return np.random.default_rng(int(rng))


def as_seed(rng: Rng, argument: str = "rng") -> int:
    """Return a seed unchanged, or draw one from a generator, which is advanced.

    Raises:
        ArgumentError: if ``rng`` is neither; the message names ``argument``.

    >>> as_seed(7), as_seed(np.random.default_rng(0)) == as_seed(np.random.default_rng(0))
    (7, True)
    """
    generator = as_generator(rng, argument)
    if isinstance(rng, np.random.Generator):
        return int(generator.integers(2**63))
    return int(rng)


def hash32(x: Any) -> Any:
    """A bijective 32-bit hash with low bias, of Python integers or of integer arrays.

    Integers in ``[0, 2³²)`` are mapped to the same range. Products of int64 arrays wrap around,
    which does not change their low 32 bits.

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
    key = 0x9E3779B9  # bits of the golden ratio; any odd number that hash32 does not map to itself
    for number in path:
        key = hash32(key ^ hash32((number + 0x85EBCA6B) & MASK))
    return key


@dataclass
class MaskStream:
    """The stream of the random masks of a network, with one key per layer and training pass.

    Attributes:
        seed: the seed of the stream.
        step: the number of training passes, whether or not they draw masks. The passes over the
            parts of one batch count as one.
        first_row: the row of the batch at which the part of the current pass begins.

    >>> masks = MaskStream(seed=3)
    >>> keys = masks.next_keys(2, n_layers=3)
    >>> keys.shape, masks.step, int(keys[1, 0]) == masks.key(0)
    ((2, 3), 2, True)
    """

    seed: int = 0
    step: int = 0
    first_row: int = 0

    def restart(self, seed: int) -> None:
        """Restart with another seed."""
        self.seed, self.step = seed, 0

    def key(self, layer: int) -> Any:
        """The key of a layer's mask in the current pass."""
        return stream_key(self.seed, layer, self.step)

    def next_keys(self, n: int, n_layers: int) -> np.ndarray[Any, Any]:
        """Advance by ``n`` passes and return their keys, ``(n, n_layers)``."""
        steps = np.arange(self.step + 1, self.step + n + 1)
        self.step += n
        return np.stack([stream_key(self.seed, layer, steps) for layer in range(n_layers)], axis=1)


ORDERS, HELD_OUT, MASKS = 1, 2, 3
"""The substreams of a seed, as the first element of a ``spawn_key`` of `numpy.random.SeedSequence`.

Initial parameters are drawn from the seed itself.
"""


@dataclass
class RandomStreams:
    """The random numbers of a model's trainings: row orders, held-out rows and dropout masks.

    Each is a substream of one seed. An order and a mask are functions of the seed and of the number
    of orders and masks before it, so that three integers are the complete state.

    Attributes:
        seed: the seed, an integer of at least 0.
        orders: the number of row orders drawn.
        masks: the stream of dropout masks, which counts the training passes.

    >>> streams = RandomStreams(seed=5)
    >>> first, second = streams.row_order(4), streams.row_order(4)
    >>> streams.restart(5)
    >>> bool((streams.row_order(4) == first).all()), streams.orders
    (True, 1)
    """

    seed: int = 0
    orders: int = 0
    masks: MaskStream = field(default_factory=MaskStream, init=False)
    _upcoming: tuple[Any, np.ndarray[Any, Any]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self.restart(self.seed, self.orders)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the upcoming order, which copies and pickles draw again."""
        return vars(self) | {"_upcoming": None}

    def restart(self, seed: int, orders: int = 0, masks: int = 0) -> None:
        """Restart with another seed, after the given numbers of orders and masks; default 0."""
        self.seed, self.orders = seed, orders
        self.masks.restart(int(_substream(seed, MASKS).generate_state(1)[0]))
        self.masks.step = masks

    @property
    def drawn(self) -> tuple[int, int, int]:
        """The state: the seed and the numbers of orders and masks, the arguments of `restart`."""
        return self.seed, self.orders, self.masks.step

    def row_order(self, n_rows: int) -> np.ndarray[Any, Any]:
        """Return the next random order of ``n_rows`` rows."""
        order = self.upcoming_order(n_rows)
        self.orders, self._upcoming = self.orders + 1, None
        return order

    def upcoming_order(self, n_rows: int) -> np.ndarray[Any, Any]:
        """Return the order that the next call of `row_order` returns, without drawing it."""
        key = self.seed, self.orders, n_rows
        if self._upcoming is None or self._upcoming[0] != key:
            generator = np.random.default_rng(_substream(self.seed, ORDERS, self.orders))
            self._upcoming = key, generator.permutation(n_rows)
        return self._upcoming[1]


def held_out_generator(seed: int) -> np.random.Generator:
    """Return the generator of the held-out rows of a seed.

    It is the same in every training, so that a training that is continued on the same data holds
    out the same rows.
    """
    return np.random.default_rng(_substream(seed, HELD_OUT))


def _substream(seed: int, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=key)
