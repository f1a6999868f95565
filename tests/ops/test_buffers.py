"""Scratch memory: arrays that are allocated once and reused, and two that take turns."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet.ops.buffers import Buffers, NoBuffers, Scratch

BACKEND = get_backend("numpy", dtype="float64")


class Counted:
    """A backend that counts the arrays that it allocates."""

    xp = np

    def __init__(self):
        self.sizes = []

    def empty(self, size):
        self.sizes.append(size)
        return np.empty(size)


def test_buffers_are_allocated_once():
    memory = Counted()
    buffers = Buffers(memory)
    arrays = [buffers["z", 4, 3] for _ in range(3)]
    assert [array is arrays[0] for array in arrays] == [True] * 3
    assert memory.sizes == [12]


def test_smaller_shape_uses_the_start_of_the_block(place):
    buffers = Buffers(place.backend)
    large = buffers["z", 6, 4]
    large[...] = 1.0
    small = buffers["z", 2, 4]
    assert buffers["z", 2, 4] is small
    small[...] = 5.0
    assert place.host(large)[:2].tolist() == [[5.0] * 4] * 2
    assert place.host(large)[2:].tolist() == [[1.0] * 4] * 4


def test_larger_shape_replaces_the_block():
    memory = Counted()
    buffers = Buffers(memory)
    small, other = buffers["z", 2, 4], buffers["a", 9]
    large = buffers["z", 10, 4]
    assert memory.sizes == [8, 9, 40]
    assert not np.shares_memory(small, large)
    assert np.shares_memory(buffers["z", 2, 4], large)
    assert buffers["a", 9] is other
    assert memory.sizes == [8, 9, 40]


def test_names_have_memory_of_their_own():
    buffers = Buffers(BACKEND)
    arrays = [buffers[name, 5] for name in "abc"]
    for i, array in enumerate(arrays):
        array[...] = i
    assert [array.tolist() for array in arrays] == [[0.0] * 5, [1.0] * 5, [2.0] * 5]


def test_blocks_hold_every_buffer():
    buffers = Buffers(BACKEND)
    arrays = [buffers["a", 2, 3], buffers["b", 4], buffers["a", 5, 5], buffers["a", 1]]
    assert sorted(block.size for block in buffers.blocks) == [4, 25]
    for array in (arrays[1], arrays[2], arrays[3]):
        assert any(np.shares_memory(array, block) for block in buffers.blocks)


def test_no_buffers_gives_none():
    assert NoBuffers()["z", 4, 3] is None
    assert NoBuffers().blocks == []


def test_two_scratch_arrays_take_turns():
    scratch = Scratch(Buffers(BACKEND), n_arrays=2)
    first, second, third = (scratch.next(4, 3) for _ in range(3))
    assert first is third
    assert not np.shares_memory(first, second)
    assert len(scratch.blocks) == 2


def test_scratch_arrays_of_other_shapes_share_blocks():
    scratch = Scratch(Buffers(BACKEND), n_arrays=2)
    large, _, small = scratch.next(8, 4), scratch.next(8, 4), scratch.next(2, 4)
    assert np.shares_memory(large, small)
    assert small.shape == (2, 4)


def test_scratch_without_limit_repeats_after_restart():
    scratch = Scratch(Buffers(BACKEND), n_arrays=None)
    arrays = [scratch.next(3, 2) for _ in range(5)]
    for i, array in enumerate(arrays):
        array[...] = i
    assert [array[0, 0] for array in arrays] == [0, 1, 2, 3, 4]
    scratch.restart()
    assert [scratch.next(3, 2) is array for array in arrays] == [True] * 5


@pytest.mark.parametrize("n_arrays", [2, None])
def test_settle_frees_an_unused_scratch_array(n_arrays):
    scratch = Scratch(Buffers(BACKEND), n_arrays)
    out = scratch.next(4)
    elsewhere = np.zeros(4)
    assert scratch.settle(elsewhere, out) is elsewhere
    again = scratch.next(4)
    assert again is out
    assert scratch.settle(again, again) is again
    assert not np.shares_memory(scratch.next(4), again)


def test_scratch_without_buffers_gives_none():
    scratch = Scratch(NoBuffers(), n_arrays=2)
    assert scratch.next(4, 3) is None
    result = np.ones((4, 3))
    assert scratch.settle(result, None) is result
    assert scratch.blocks == []
