"""Frozen parameters do not change; the free ones move as if they were the only ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers.fake_device import DeviceArray, FakeCapture, fake_operations

from xpnet.errors import ArgumentError
from xpnet.ops import select
from xpnet.optimizers import SGD, AdaGrad, Adam, AdamW, Frozen, Lion, Momentum, RAdam, Resumed
from xpnet.parameters import Layout

LAYOUT = Layout.of(
    [
        ("layers.0.weight", (3, 2), "weight"),
        ("layers.0.bias", (2,), "bias"),
        ("layers.1.weight", (2, 4), "weight"),
        ("layers.1.bias", (4,), "bias"),
        ("layers.10.weight", (4, 1), "weight"),
    ]
)
PARTS = {
    "first layer": ([0], {"layers.0.weight", "layers.0.bias"}),
    "middle layer": ([1], {"layers.1.weight", "layers.1.bias"}),
    "a weight": (["layers.1.weight"], {"layers.1.weight"}),
    "two layers": ((0, 10), {"layers.0.weight", "layers.0.bias", "layers.10.weight"}),
    "all but one": (
        [0, 10, "layers.1.bias"],
        {e.path for e in LAYOUT.entries} - {"layers.1.weight"},
    ),
}
OPTIMIZERS = [
    *(SGD(0.1), Momentum(0.1), AdaGrad(0.1, norm=True), Adam(0.1)),
    *(AdamW(0.1, weight_decay=0.5), Lion(0.1, weight_decay=0.5), RAdam(0.1)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("name", PARTS)
def test_frozen_parts_do_not_change(name, optimizer, place, rng):
    parts, paths = PARTS[name]
    frozen = Frozen(optimizer, LAYOUT, parts)
    free = [e for e in LAYOUT.entries if e.path not in paths]
    alone_layout = Layout.of((e.path, e.shape, e.role) for e in free)
    where = np.concatenate([np.arange(e.start, e.stop) for e in free])

    start = rng.standard_normal(LAYOUT.size)
    theta, alone = place.writable(start), place.writable(start[where])
    state, alone_state = frozen.init(theta), optimizer.init(alone, alone_layout)
    for grad in rng.standard_normal((4, LAYOUT.size)):
        frozen.step(theta, place.array(grad), state)
        optimizer.step(alone, place.array(grad[where]), alone_state)
    expected = start.copy()
    expected[where] = place.host(alone)
    np.testing.assert_array_equal(place.host(theta), expected)
    assert (expected[where] != start[where]).all()
    assert sum(slot.shape[0] for slot in state.slots) <= 2 * len(where)


def test_many_free_parts_move_in_a_captured_step(rng, monkeypatch):
    """CuPy joins more than eight arrays by a table of addresses, which a capture must not copy."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=False))
    layout = Layout.of([(f"layers.{i}.weight", (2, 3), "weight") for i in range(20)])
    frozen = Frozen(Momentum(0.1), layout, range(0, 20, 2))
    start, grad = rng.normal(size=(2, 120))
    theta, expected = start.copy().view(DeviceArray), start.copy()
    state, scalars = frozen.init(theta), frozen.scalars(frozen.init(start), 0.1)
    step = partial(frozen.update, theta, grad.view(DeviceArray), state, scalars)
    device = FakeCapture()
    with device.capturing():
        replay = device.capture(step)
    with device.running():
        replay()
    expected_state = frozen.init(expected)
    for _ in range(2):
        frozen.step(expected, grad, expected_state)
    np.testing.assert_allclose(np.asarray(theta), expected, rtol=1e-14)


def test_repr_names_the_frozen_parts():
    small = Layout.of([("layers.0.weight", (1,), "weight"), ("layers.1.weight", (1,), "weight")])
    assert Frozen(SGD(), small, [0]) == Frozen(SGD(), small, (0,))
    assert repr(Frozen(SGD(), small, [0])).endswith("parts=(0,))")


BAD = {
    r"a part to freeze must be one of .*; got 'layers.2'\.": lambda: Frozen(SGD(), LAYOUT, [2]),
    r"got 'layers.0.wieght'\. Did you mean 'layers.0.weight'": lambda: Frozen(
        SGD(), LAYOUT, ["layers.0.wieght"]
    ),
    r"parts must leave a parameter to train; got \[0, 1, 10\]": lambda: Frozen(
        SGD(), LAYOUT, [0, 1, 10]
    ),
    r"parts must name at least one part; got \[\]": lambda: Frozen(SGD(), LAYOUT, []),
    r"inside Frozen; got Resumed\(.* Put Resumed outside: Resumed\(Frozen\(\.\.\.\), state\)": (
        lambda: Frozen(Resumed(SGD(), SGD().init(np.zeros(24))), LAYOUT, [0])
    ),
    "parts must be a sequence; got 0": lambda: Frozen(SGD(), LAYOUT, 0),
    "layout must be a Layout; got None. Give model.layout": lambda: Frozen(SGD(), None, [0]),
    "theta must have the layout's size 24; got a float64 array of shape": lambda: Frozen(
        SGD(), LAYOUT, [0]
    ).init(np.zeros(3)),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()
