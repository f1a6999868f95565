"""Files of optimizer states: training continues as if it had not been interrupted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from xpnet import load_state, save_state
from xpnet.errors import ArgumentError, FileFormatError
from xpnet.optimizers import SGD, Adam, Averaged, ExponentialAverage, Nadam, PolyakAverage

OPTIMIZERS = [
    SGD(0.1),
    Nadam(0.1),
    Averaged(Adam(0.1), PolyakAverage()),
    Averaged(Nadam(0.1), ExponentialAverage(0.9)),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_training_continues_from_a_file(optimizer, place, rng, tmp_path):
    grads = rng.standard_normal((6, 5))
    theta, path = place.writable(np.ones(5)), tmp_path / "state.safetensors"
    state = optimizer.init(theta)
    for grad in grads[:3]:
        optimizer.step(theta, place.array(grad), state)
    save_state(state, path)
    theta_again = place.writable(place.host(theta))
    again = load_state(path, backend=place.backend)
    for grad in grads[3:]:
        optimizer.step(theta, place.array(grad), state)
        optimizer.step(theta_again, place.array(grad), again)
    np.testing.assert_array_equal(place.host(theta), place.host(theta_again))
    assert (again.step, again.scalars) == (state.step, state.scalars)
    for slot, other in zip(state.slots, again.slots, strict=True):
        np.testing.assert_array_equal(place.host(slot), place.host(other))


def test_float32_is_preserved(tmp_path):
    save_state(Adam().init(np.ones(2, dtype="float32")), tmp_path / "s")
    assert [slot.dtype for slot in load_state(tmp_path / "s").slots] == ["float32", "float32"]


SLOT = {"slots.0": np.zeros(2)}
GOOD = {"version": 2, "step": 1, "scalars": []}
HOSTILE = {
    "no metadata": (SLOT, None),
    "no JSON": (SLOT, "{"),
    "a list": (SLOT, "[]"),
    "a version of 0": (SLOT, json.dumps(GOOD | {"version": 0})),
    "a version that is true": (SLOT, json.dumps(GOOD | {"version": True})),
    "no version": (SLOT, json.dumps({"step": 1, "scalars": []})),
    "a negative step": (SLOT, json.dumps(GOOD | {"step": -1})),
    "a step that is true": (SLOT, json.dumps(GOOD | {"step": True})),
    "a scalar that is text": (SLOT, json.dumps(GOOD | {"scalars": ["1"]})),
    "scalars that are a number": (SLOT, json.dumps(GOOD | {"scalars": 1})),
    "a slot of two axes": ({"slots.0": np.zeros((2, 1))}, json.dumps(GOOD)),
    "a slot of integers": ({"slots.0": np.zeros(2, dtype="int64")}, json.dumps(GOOD)),
    "another name": ({"theta": np.zeros(2)}, json.dumps(GOOD)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused(name, tmp_path):
    tensors, config = HOSTILE[name]
    path = tmp_path / "state.safetensors"
    save_file(tensors, path, metadata=None if config is None else {"xpnet-state": config})
    with pytest.raises(FileFormatError, match="must be an optimizer's state saved by xpnet"):
        load_state(path)


def test_newer_format_names_the_version_to_install(tmp_path):
    path = tmp_path / "state.safetensors"
    save_file(SLOT, path, metadata={"xpnet-state": json.dumps(GOOD | {"version": 3})})
    with pytest.raises(FileFormatError, match=r"got format 3\. Install a newer xpnet\.$"):
        load_state(path)


def test_unchanged_file_loads(tmp_path):
    save_file(SLOT, tmp_path / "s", metadata={"xpnet-state": json.dumps(GOOD)})
    assert load_state(tmp_path / "s").step == 1


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_state(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FileFormatError, match="is not a safetensors file"):
        load_state(tmp_path / "text")
    with pytest.raises(ArgumentError, match="state must be an OptimizerState; got 1"):
        save_state(1, tmp_path / "one")
