"""Softmax cross-entropy of the largest logits: finite numbers give finite losses and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import CrossEntropy, to_numpy
from xpnet.ops import operations_for

HUGE = 3e38
LOGITS = np.array([[HUGE, -HUGE, 0], [-HUGE, HUGE, 1], [HUGE, HUGE, HUGE], [0, 0, 0]], "float32")
PROBABILITIES = np.array([[1, 0, 0], [0, 1, 0], [1 / 3] * 3, [1 / 3] * 3], "float32")
TARGETS = {"indices": np.array([0, 1, 2, 0]), "rows": np.eye(3, dtype="float32")[[0, 1, 2, 0]]}


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("kind", TARGETS)
def test_largest_logits_give_the_limit(place32, kind):
    backend, target = place32.backend, TARGETS[kind]
    z = backend.asarray(LOGITS)
    y = backend.asarray(target) if kind == "rows" else backend.xp.asarray(target, device=z.device)
    value, grad = CrossEntropy().value_and_grad(z, y, None)
    assert float(value) == pytest.approx(2 * np.log(3) / 4, rel=1e-6)
    expected = (PROBABILITIES - np.eye(3)[[0, 1, 2, 0]]) / 4
    np.testing.assert_allclose(to_numpy(grad), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(to_numpy(operations_for(z).softmax(z)), PROBABILITIES, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_wrong_class_of_a_large_logit_is_finite(place32):
    z = place32.backend.asarray(LOGITS[:2])
    y = place32.backend.xp.asarray(np.array([1, 2]), device=z.device)
    value, grad = CrossEntropy().value_and_grad(z, y, None)
    assert np.isfinite(float(value))
    assert float(value) > 1e38
    expected = np.array([[1, -1, 0], [0, 1, -1]]) / 2
    np.testing.assert_allclose(to_numpy(grad), expected, atol=1e-7)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_stay_visible(place32, value):
    z = place32.backend.asarray(np.array([[0, value, 1]], "float32"))
    y = place32.backend.xp.asarray(np.array([0]), device=z.device)
    assert not np.isfinite(float(CrossEntropy().value_and_grad(z, y, None)[0]))
