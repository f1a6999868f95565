"""Allocations in huge pages: shape, type, alignment and overlap."""

import numpy as np
import pytest

from xpnet import memory
from xpnet.backend import zeros_like

SIZE = memory.MIN_ALIGNED // 8
SHAPES = [(), (0,), (3, 5), (SIZE,), (SIZE - 1,), (1025, 1031)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_arrays_equal_those_of_numpy(shape, dtype):
    for array in (memory.empty(shape, dtype), memory.zeros(shape, dtype)):
        assert array.shape == shape
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable
        if array.nbytes >= memory.MIN_ALIGNED:
            assert array.ctypes.data % memory.HUGE_PAGE == 0
            assert array.base.nbytes >= memory.MIN_ALLOCATION
    assert not memory.zeros(shape, dtype).any()
    assert not zeros_like(memory.zeros(shape, dtype) + np.ones((), dtype)).any()


def test_arrays_of_an_arena_do_not_overlap():
    arena = memory.Arena()
    part, block = memory.MIN_IN_ARENA // 4, memory.BLOCK // 4
    sizes = [1, 40_000, part + 1, 70_001, block + 5, 3, 1_900_000, 200_000]
    arrays = [arena.empty(size, dtype) for size in sizes for dtype in ("float32", "float64")]
    for i, array in enumerate(arrays):
        array[...] = i
    for i, (array, size) in enumerate(zip(arrays, np.repeat(sizes, 2), strict=True)):
        assert array.shape == (size,)
        assert array.flags.aligned
        assert (array == i).all()
