"""Penalties: value and gradient compared with each other and with PyTorch, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.optimizers import Penalty

ALL = [Penalty(), Penalty(l2=0.7), Penalty(l1=0.3), Penalty(l1=0.3, l2=0.7)]
every_penalty = pytest.mark.parametrize("penalty", ALL, ids=repr)


@pytest.fixture
def weight(rng: np.random.Generator) -> np.ndarray:
    """Return weights away from 0, where the L1 norm has a kink."""
    return rng.uniform(0.5, 2, size=6) * rng.choice([-1, 1], size=6)


@pytest.mark.parametrize(
    ("penalty", "value", "grad"),
    [
        (Penalty(), 0, [0, 0, 0]),
        (Penalty(l2=0.5), 0.25 * 13, [1, -1.5, 0]),
        (Penalty(l1=0.5), 2.5, [0.5, -0.5, 0]),
        (Penalty(l1=0.5, l2=2.0), 15.5, [4.5, -6.5, 0]),
    ],
    ids=repr,
)
def test_value_and_gradient_of_three_weights(penalty, value, grad):
    weight, sums = np.array([2.0, -3.0, 0.0]), np.ones(3)
    penalty.add_grad(weight, sums)
    assert penalty.value(weight) == pytest.approx(value)
    np.testing.assert_allclose(sums, 1 + np.array(grad))


@every_penalty
def test_gradient_agrees_with_differences(penalty, weight):
    grad, h = np.zeros(6), 1e-5
    penalty.add_grad(weight, grad)
    slopes = [
        (penalty.value(weight + h * e) - penalty.value(weight - h * e)) / (2 * h) for e in np.eye(6)
    ]
    np.testing.assert_allclose(grad, slopes, rtol=1e-6, atol=1e-9)


@every_penalty
def test_gradient_agrees_with_pytorch(penalty, weight, torch):
    there = torch.tensor(weight, requires_grad=True)
    (penalty.l1 * there.abs().sum() + penalty.l2 / 2 * (there**2).sum()).backward()
    grad = np.zeros(6)
    penalty.add_grad(weight, grad)
    np.testing.assert_allclose(grad, there.grad.numpy(), rtol=1e-14)


@every_penalty
def test_backends_add_through_a_slice(penalty, place, weight, rng):
    start = rng.normal(size=9)
    theta, grad = place.array(np.append(weight, [1.0] * 3)), place.writable(start)
    penalty.add_grad(theta[:6], grad[:6])
    penalty.add_grad(weight, start[:6])
    np.testing.assert_allclose(place.host(grad), start, rtol=1e-14)
    value = penalty.value(theta[:6])
    assert value.shape == ()
    np.testing.assert_allclose(place.host(value), penalty.value(weight), rtol=1e-14)


@every_penalty
def test_float32_is_preserved(penalty, place32, weight):
    there, grad = place32.array(weight), place32.writable(np.zeros(6))
    penalty.add_grad(there, grad)
    assert grad.dtype == penalty.value(there).dtype == place32.backend.dtype


@every_penalty
def test_penalty_reads_nothing_from_the_device(penalty, torch):
    there = torch.ones(4, device="meta")  # has no values: reading one raises
    penalty.add_grad(there, torch.zeros(4, device="meta"))
    penalty.value(there)


@pytest.mark.parametrize("name", ["l1", "l2"])
@pytest.mark.parametrize("rate", [-0.1, np.inf, np.nan, "0.1", None])
def test_invalid_coefficient_is_refused(name, rate):
    with pytest.raises(ArgumentError, match=rf"^{name} must be a finite number, at least 0; got "):
        Penalty(**{name: rate})
