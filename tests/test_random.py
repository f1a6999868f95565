"""The random stream of the host, and the hash that makes masks equal on every backend."""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.errors import ArgumentError
from xpnet.random import MASK, RandomStreams, as_generator, hash32, stream_key

words = st.integers(0, MASK)


def test_seed_starts_and_generator_continues_a_stream():
    assert as_generator(3).integers(10**9) == np.random.default_rng(3).integers(10**9)
    generator = np.random.default_rng(0)
    assert as_generator(generator) is generator
    assert as_generator(np.int64(3)).integers(10**9) == as_generator(3).integers(10**9)


@pytest.mark.parametrize("rng", [-1, True, 1.0, "0", None, np.random.RandomState])
def test_bad_seeds_are_refused(rng):
    with pytest.raises(ArgumentError, match="shuffle must be a seed"):
        as_generator(rng, "shuffle")


def lowbias32(x: int) -> int:
    """The hash in 32-bit arithmetic, as its author describes it."""
    x = np.uint64(x)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & np.uint64(MASK)
    return int(x ^ (x >> np.uint64(16)))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(words)
def test_integers_and_arrays_hash_alike(x):
    assert hash32(x) == lowbias32(x)
    # The product passes 2⁶³ and wraps: the low bits stay right.
    assert hash32(np.array([x], dtype=np.int64)).tolist() == [hash32(x)]


def test_every_backend_hashes_alike(place):
    x = np.concatenate([np.arange(1000), MASK - np.arange(1000)])
    assert place.host(hash32(place.array(x))).tolist() == [hash32(int(i)) for i in x]


def test_hash_is_one_to_one_in_range():
    hashed = hash32(np.arange(200_000, dtype=np.int64))
    assert np.unique(hashed).size == hashed.size
    assert hashed.min() >= 0
    assert hashed.max() <= MASK


def test_flipped_bit_flips_half_of_the_hash(rng):
    x = rng.integers(0, 2**32, size=4000, dtype=np.int64)
    for bit in range(32):
        flipped = hash32(x) ^ hash32(x ^ (1 << bit))
        share = np.unpackbits(flipped.astype(np.uint32).view(np.uint8)).mean()
        assert share == pytest.approx(0.5, abs=0.02)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2**40), max_size=4))
def test_stream_key_is_deterministic_and_32_bits(path):
    assert 0 <= stream_key(*path) <= MASK
    assert stream_key(*path) == stream_key(*path)


def test_adjacent_paths_have_different_keys():
    paths = [(s, layer, step) for s in range(20) for layer in range(10) for step in range(50)]
    keys = {stream_key(*path) for path in paths}
    # 10 000 keys of 32 bits collide 0.01 times on average.
    assert len(keys) == len(paths)


def test_upcoming_order_is_not_part_of_copies():
    """An order of many rows is drawn ahead while a device works; copies draw it again."""
    streams = RandomStreams(3)
    order = streams.upcoming_order(10_000)
    for copy in (deepcopy(streams), pickle.loads(pickle.dumps(streams))):
        assert len(pickle.dumps(copy)) < 1000
        assert copy == streams
        np.testing.assert_array_equal(copy.row_order(10_000), order)
    assert streams.orders == 0
