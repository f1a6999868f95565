"""The loss scale: how it changes, and that a skipped step changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import looped
from helpers.training_cases import OPTIMIZERS

from xpnet import SGD
from xpnet.engine.loss_scaling import LARGEST, LossScaling
from xpnet.parameters import Layout

GOOD, INF, NAN = 1.0, np.inf, np.nan
LAYOUT = Layout.of([("layers.0.weight", (2, 3), "weight"), ("layers.1.bias", (3,), "bias")])


def steps(place, scaling, optimizer, theta, state, grads):
    """Take a step for each number, one entry in a gradient of ones; the scale after each."""
    scales = []
    for number in grads:
        grad = place.array([1.0, number, *[1.0] * (theta.shape[0] - 2)])
        grad = place.writable(place.host(grad))
        with np.errstate(all="ignore"):
            scaling.down(grad)
            optimizer.step(theta, grad, state, skip=scaling.skip)
        scales.append(float(scaling.state[0]))
    return scales


MOVES = {
    "two regular steps double it": (8, [GOOD] * 5, [8, 16, 16, 32, 32]),
    "overflow halves it": (8, [INF, NAN, -INF], [4, 2, 1]),
    "overflow restarts the count": (8, [GOOD, INF, GOOD, GOOD], [8, 4, 4, 8]),
    "it stays at 1 or above": (2, [INF, INF, INF], [1, 1, 1]),
    "it stays below a bound": (LARGEST, [GOOD] * 4, [LARGEST] * 4),
}


@pytest.mark.parametrize("name", MOVES)
def test_scale_doubles_and_halves(name, place):
    start, grads, expected = MOVES[name]
    theta = place.writable(np.zeros(3))
    scaling = LossScaling(theta, start, interval=2)
    assert steps(place, scaling, SGD(0.1), theta, SGD(0.1).init(theta), grads) == expected


@looped(optimizer=OPTIMIZERS, bad=[INF, NAN])
def test_skipped_step_changes_no_bit(optimizer, bad, place32):
    """Nor does the scale change a regular step, because it is a power of two."""
    place, rng = place32, np.random.default_rng(0)
    theta = place.writable(rng.normal(size=9))
    one = LossScaling(theta, 64.0)
    plain = place.writable(place.host(theta))
    state, plain_state = optimizer.init(theta, LAYOUT), optimizer.init(plain, LAYOUT)
    for _ in range(3):
        grad = rng.normal(size=9)
        optimizer.step(plain, place.writable(grad), plain_state)
        up = one.up(place.writable(grad[None, :]))
        scaled = place.writable(place.host(up)[0])
        assert place.host(scaled)[0] == np.float32(grad[0]) * 64
        one.down(scaled)
        optimizer.step(theta, scaled, state, skip=one.skip)
    arrays = [theta, *state.slots]
    before = [place.host(array).copy() for array in arrays]
    for array, expected in zip(before, [plain, *plain_state.slots], strict=True):
        np.testing.assert_array_equal(array, place.host(expected))
    steps(place, one, optimizer, theta, state, [bad, bad])
    for array, expected in zip(arrays, before, strict=True):
        assert place.host(array).tobytes() == expected.tobytes()
    assert np.isfinite(before[0]).all()
    steps(place, one, optimizer, theta, state, [GOOD, GOOD])  # Rprop rests after a change of sign
    assert (place.host(theta) != before[0]).all()


def test_scale_of_one_skips_nothing(place):
    """Such a gradient is not finite in float32 either, and is reported."""
    theta = place.writable(np.zeros(3))
    scaling, optimizer = LossScaling(theta, 2.0), SGD(0.1)
    state = optimizer.init(theta)
    steps(place, scaling, optimizer, theta, state, [INF])
    np.testing.assert_array_equal(place.host(theta), 0)
    steps(place, scaling, optimizer, theta, state, [INF])
    assert place.host(theta)[1] == -INF
