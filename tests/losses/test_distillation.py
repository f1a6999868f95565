"""Distillation: its value, its gradients, its targets."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.losses import CrossEntropy, Distillation


@pytest.fixture
def batch(rng):
    z, v = 3 * rng.standard_normal((2, 6, 4))
    labels = rng.integers(4, size=6)
    return z, v, labels, np.concatenate([v, labels[:, None]], axis=1)


def entropy(t, z) -> np.ndarray:
    """H(t, softmax(z)) of each row."""
    return -np.sum(t * (z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))), axis=1)


def softmax(z) -> np.ndarray:
    return np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("T", "share"), [(1.0, 0.5), (4.0, 0.9), (0.5, 1.0), (3.0, 0.0)])
def test_value_and_gradient_follow_the_formula(T, share, weighted, batch, place, rng):
    z, v, labels, target = batch
    w = rng.uniform(0.5, 2, 6) if weighted else np.ones(6)
    loss, weight = Distillation(T, share), place.array(w) if weighted else None

    def value(z) -> float:
        rows = share * T**2 * entropy(softmax(v / T), z / T)
        rows = rows + (1 - share) * entropy(np.eye(4)[labels], z)
        return float(np.average(rows, weights=w))

    got, grad = loss.value_and_grad(place.array(z), place.array(target), weight)
    assert float(got) == pytest.approx(value(z), rel=1e-12)
    assert float(loss.value(place.array(z), place.array(target), weight)) == float(got)
    h, differences = 1e-6, np.zeros_like(z)
    for i in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[i] = h
        differences[i] = (value(z + step) - value(z - step)) / (2 * h)
    np.testing.assert_allclose(place.host(grad), differences, atol=1e-8)


def test_hessian_product_agrees_with_differences(batch, place, rng):
    z, _, _, target = batch
    d, h, loss = rng.standard_normal(z.shape), 1e-6, Distillation(3.0, 0.7)
    product = loss.hessian_product(place.array(z), place.array(target), place.array(d))
    grads = [
        place.host(loss.value_and_grad(place.array(z + s * h * d), place.array(target))[1])
        for s in (1, -1)
    ]
    np.testing.assert_allclose(place.host(product), (grads[0] - grads[1]) / (2 * h), atol=1e-8)


def test_labels_alone_give_cross_entropy(batch, place):
    z, _, labels, _ = batch
    z, labels = place.array(z), place.array(labels)
    Distillation().check(labels, 4, 6)
    (value, grad), (expected, expected_grad) = (
        loss.value_and_grad(z, labels) for loss in (Distillation(), CrossEntropy())
    )
    assert float(value) == float(expected)
    np.testing.assert_array_equal(place.host(grad), place.host(expected_grad))
    np.testing.assert_array_equal(
        place.host(Distillation().decide(z)), np.argmax(place.host(z), axis=1)
    )


def test_temperature_keeps_the_size_of_the_gradient(batch):
    """Without the factor T² it would fall as 1/T²: by 100 from T = 10 to T = 100."""
    z, _, _, target = batch
    sizes = [
        np.abs(Distillation(T, share=1.0).value_and_grad(z, target)[1]).max() for T in (10, 100)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.3)


def bad(change) -> np.ndarray:
    target = np.concatenate([np.zeros((6, 4)), np.arange(6.0)[:, None] % 4], axis=1)
    change(target)
    return target


BAD = {
    "temperature must be a finite number, above 0; got 0": lambda: Distillation(0),
    "share must be a finite number, at least 0 and at most 1; got 1.5": lambda: Distillation(
        4, 1.5
    ),
    r"y must have the shape \(6, 5\), a teacher's 4 logits and a label": lambda: (
        Distillation().check(np.zeros((6, 7)), 4, 6)
    ),
    "y must end in class indices": lambda: Distillation().check(
        bad(lambda t: t.__setitem__((2, 4), 0.5)), 4, 6
    ),
    "y must hold class indices of 0 to 3; got 4 in row 1": lambda: Distillation().check(
        bad(lambda t: t.__setitem__((1, 4), 4.0)), 4, 6
    ),
    "y must be finite": lambda: Distillation().check(
        bad(lambda t: t.__setitem__((0, 0), np.nan)), 4, 6
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()
