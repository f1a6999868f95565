"""Clipping: compared with PyTorch, on every backend, and at extreme values."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.errors import ArgumentError
from xpnet.ops import operations
from xpnet.optimizers import ClipByNorm, ClipByValue

every_clip = pytest.mark.parametrize("clip", [ClipByValue(0.5), ClipByNorm(0.5)], ids=repr)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 1e3, 1e12])
@pytest.mark.parametrize("limit", [1e-9, 0.1, 5.0])
def test_clipping_agrees_with_pytorch(limit, size, rng, torch):
    grad = rng.normal(size=20) * size
    parameter = torch.zeros(20, dtype=torch.float64, requires_grad=True)

    parameter.grad = torch.tensor(grad)
    torch.nn.utils.clip_grad_norm_([parameter], limit)
    by_norm = grad.copy()
    ClipByNorm(limit).apply(by_norm)
    np.testing.assert_allclose(by_norm, parameter.grad.numpy(), rtol=1e-10)

    parameter.grad = torch.tensor(grad)
    torch.nn.utils.clip_grad_value_([parameter], limit)
    by_value = grad.copy()
    ClipByValue(limit).apply(by_value)
    np.testing.assert_array_equal(by_value, parameter.grad.numpy())


@every_clip
@pytest.mark.parametrize("size", [0.01, 10.0])
def test_backends_agree_with_numpy_on_a_view(clip, size, place, rng):
    host = rng.normal(size=8) * size
    vector = place.writable(np.concatenate([[50.0], host, [60.0]]))
    clip.apply(vector[1:-1])
    clip.apply(host)
    np.testing.assert_allclose(place.host(vector), [50.0, *host, 60.0], rtol=1e-14)


@every_clip
def test_zero_gradient_stays_zero(clip, place):
    grad = place.writable(np.zeros(4))
    clip.apply(grad)
    np.testing.assert_array_equal(place.host(grad), np.zeros(4))


@every_clip
def test_small_gradient_is_not_changed(clip, place32, rng):
    grad = place32.writable(rng.normal(size=9) * 0.1)
    before = place32.host(grad).copy()
    clip.apply(grad)
    np.testing.assert_array_equal(place32.host(grad), before)


@every_clip
def test_empty_gradient_is_accepted(clip):
    clip.apply(np.zeros(0))


@every_clip
def test_clipping_reads_nothing_from_the_device(clip, torch):
    clip.apply(torch.ones(4, device="meta"))  # has no values: reading one raises


@every_clip
def test_nan_propagates(clip, place):
    grad = place.writable([1.0, math.nan])
    clip.apply(grad)
    assert np.isnan(place.host(grad)[1])


@pytest.mark.parametrize("size", [1e-40, 1e-25, 1e20, 3e38])
def test_norm_does_not_overflow_in_float32(size, place32):
    grad = place32.writable([size, 0.0, -size])
    ClipByNorm(1.0).apply(grad)
    expected = min(1.0, 1 / (size * math.sqrt(2))) * np.array([size, 0, -size])
    np.testing.assert_allclose(place32.host(grad), expected, rtol=1e-5, atol=1e-44)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    grad=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=6).map(np.array),
    limit=st.floats(1e-6, 1e6),
)
def test_clipping_bounds_the_gradient(grad, limit):
    by_norm, by_value = grad.copy(), grad.copy()
    ClipByNorm(limit).apply(by_norm)
    ClipByValue(limit).apply(by_value)
    assert np.linalg.norm(by_norm) <= min(limit, np.linalg.norm(grad)) * (1 + 1e-12)
    assert np.max(np.abs(by_value)) <= limit
    assert np.all(np.abs(by_value) <= np.abs(grad))
    np.testing.assert_array_equal(by_norm * grad >= 0, True)


@pytest.mark.parametrize("kind", [ClipByValue, ClipByNorm])
@pytest.mark.parametrize("limit", [0, -1.0, math.inf, math.nan, None, True])
def test_invalid_limit_is_refused(kind, limit):
    with pytest.raises(ArgumentError, match=r"^limit must be a finite number, above 0; got "):
        kind(limit)


@pytest.mark.parametrize("part", [1, 7, 8, 1 << 22])
def test_norm_is_summed_in_parts(part, place, rng, monkeypatch):
    monkeypatch.setattr(operations, "PART", part)
    host = rng.normal(size=23)
    grad = place.writable(host)
    ClipByNorm(0.5).apply(grad)
    expected = host * 0.5 / (np.linalg.norm(host) + 1e-6)
    np.testing.assert_allclose(place.host(grad), expected, rtol=1e-13)


def test_clip_by_norm_allocates_no_second_gradient(monkeypatch):
    monkeypatch.setattr(operations, "PART", 1000)
    grad = np.ones(100_000)
    tracemalloc.start()
    ClipByNorm(0.5).apply(grad)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < grad.nbytes / 10
