"""Averages of the iterates: their formulas, with every optimizer, and their purpose."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    Averaged,
    ExponentialAverage,
    Frozen,
    Momentum,
    Nadam,
    Optimizer,
    PolyakAverage,
    Resumed,
)
from xpnet.parameters import Layout

LAYOUT = Layout.of(
    [
        ("layers.0.weight", (3, 2), "weight"),
        ("layers.0.bias", (2,), "bias"),
        ("layers.1.weight", (2, 2), "weight"),
    ]
)
OPTIMIZERS = [SGD(0.1), Momentum(0.1), AdaGrad(0.1, norm=True), AdamW(0.1), Nadam(0.1)]


def iterates(optimizer: Optimizer, place, grads) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return θ_t and, if there is one, θ̂_t after every step."""
    theta = place.writable(np.linspace(-1, 1, LAYOUT.size))
    state = optimizer.init(theta, LAYOUT)
    thetas, means = [], []
    for grad in grads:
        optimizer.step(theta, place.array(grad), state)
        thetas.append(place.host(theta).copy())
        if isinstance(optimizer, Averaged):
            means.append(place.host(optimizer.mean(state)).copy())
    return thetas, means


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_iterates_equal_those_without_an_average(optimizer, place, rng):
    grads = rng.standard_normal((5, LAYOUT.size))
    alone, _ = iterates(optimizer, place, grads)
    averaged, _ = iterates(Averaged(optimizer), place, grads)
    np.testing.assert_array_equal(alone, averaged)


@pytest.mark.parametrize("start", [0, 3])
def test_polyak_average_is_the_mean(start, place, rng):
    averaged = Averaged(Adam(0.1), PolyakAverage(start))
    thetas, means = iterates(averaged, place, rng.standard_normal((8, LAYOUT.size)))
    for t, mean in enumerate(means, start=1):
        expected = np.mean(thetas[min(start, t - 1) : t], axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-12)


def test_exponential_average_is_the_weighted_mean(place, rng):
    alpha = 0.8
    averaged = Averaged(SGD(0.1), ExponentialAverage(alpha))
    thetas, means = iterates(averaged, place, rng.standard_normal((8, LAYOUT.size)))
    for t, mean in enumerate(means, start=1):
        weights = alpha ** np.arange(t - 1, -1, -1.0)
        np.testing.assert_allclose(mean, np.average(thetas[:t], 0, weights), rtol=1e-12)


def test_exponential_average_approaches_the_recursion():
    averaged = Averaged(SGD(lr=1.0), ExponentialAverage(0.5))
    theta, before = np.zeros(1), 0.0
    state = averaged.init(theta)
    for step in range(80):
        averaged.step(theta, np.array([np.cos(step)]), state)
        expected = 0.5 * before + 0.5 * theta[0]
        before = averaged.mean(state)[0]
    assert before == pytest.approx(expected, rel=1e-13)


def test_average_of_sgd_is_closer_to_the_minimum(rng):
    """On a noisy quadratic ½(θ−1)², θ has a variance of about lr σ²/2, and θ̂ one of order 1/t."""
    theta, averaged = np.zeros(50), Averaged(SGD(lr=0.2), PolyakAverage(start=100))
    state = averaged.init(theta)
    for _ in range(2000):
        averaged.step(theta, theta - 1.0 + rng.standard_normal(50), state)
    last, mean = np.std(theta - 1.0), np.std(averaged.mean(state) - 1.0)
    assert last == pytest.approx(np.sqrt(0.2 / (2 - 0.2)), rel=0.3)
    assert mean < last / 8


def test_average_includes_frozen_parts(place, rng):
    averaged = Averaged(Frozen(Adam(0.1), LAYOUT, [0]))
    thetas, means = iterates(averaged, place, rng.standard_normal((4, LAYOUT.size)))
    np.testing.assert_allclose(means[-1], np.mean(thetas, axis=0), rtol=1e-12)


BAD = {
    "alpha must be a finite number, at least 0 and below 1; got 1": lambda: ExponentialAverage(1),
    "start must be an integer of at least 0; got -1": lambda: PolyakAverage(-1),
    "Use one of xpnet.optimizers": lambda: Averaged(0.1),
    r"optimizer must be an Optimizer; got 'sgd'. Write SGD\(\)": lambda: Averaged("sgd"),
    r"average must be a PolyakAverage or ExponentialAverage; got 0\.9": lambda: Averaged(
        SGD(), 0.9
    ),
    "state must have taken a step, so that there is an average; got 0": lambda: Averaged(
        SGD()
    ).mean(Averaged(SGD()).init(np.zeros(2))),
    r"inside Averaged; got Resumed\(.* Put Resumed outside: Resumed\(Averaged\(\.\.\.\), state\)": (
        lambda: Averaged(Resumed(SGD(), SGD().init(np.zeros(2))))
    ),
    "state must be what Averaged.init makes": lambda: Averaged(Momentum()).step(
        np.zeros(2), np.zeros(2), Momentum().init(np.zeros(2))
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()
