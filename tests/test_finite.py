"""Checks for NaN and infinity: the first index, in chunks, without large temporaries."""

import math
import tracemalloc

import numpy as np
import pytest

from xpnet import finite
from xpnet.data import check_features
from xpnet.finite import are_finite, first_not_finite, row_chunks


@pytest.mark.parametrize("shape", [(50, 3), (150,)])
def test_arrays_are_read_in_chunks(shape, place, monkeypatch):
    monkeypatch.setattr(finite, "CHUNK", 21)
    x = np.arange(150.0).reshape(shape)
    parts = [chunk for _, chunk in row_chunks(place.array(x))]
    assert max(math.prod(part.shape) for part in parts) == 21
    np.testing.assert_array_equal(np.concatenate([place.host(part) for part in parts]), x)


@pytest.mark.parametrize("index", [0, 20, 21, 49])
def test_first_not_finite_gives_the_first_index(index, place, monkeypatch):
    monkeypatch.setattr(finite, "CHUNK", 21)
    x = np.ones(50)
    assert first_not_finite(place.array(x)) is None
    x[index], x[49] = np.inf, np.nan
    assert first_not_finite(place.array(x)) == index


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_checks_allocate_little(value):
    x = np.ones(1 << 20, np.float32)
    tracemalloc.start()
    assert first_not_finite(x) is None
    check_features(x[None, ::2])  # strided: no sum of squares
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.size / 10
    x[-1] = value
    assert first_not_finite(x) == x.size - 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [(0, 0), (2, 3)])
def test_one_bad_element_is_found(bad, index, place):
    X = np.ones((3, 4))
    assert are_finite(place.array(X))
    X[index] = bad
    assert not are_finite(place.array(X))


def test_finite_squares_may_overflow(place):
    assert are_finite(place.array(np.full((2, 2), 1e300)))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_are_finite(dtype, place):
    assert are_finite(place.array(np.ones((2, 2)), dtype))
