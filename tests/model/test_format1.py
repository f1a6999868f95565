"""Files of format 1, which `data/format1/make.py` wrote with the last version that writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.layer_texts import texts_without_later_fields
from safetensors import safe_open

import xpnet
from xpnet import optimizers
from xpnet.renamed import FORMAT_1

DATA = Path(__file__).parent / "data" / "format1"
EXPECTED = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))
RUNS = EXPECTED["commands"]
MODELS = {name: DATA / "models" / f"{name}.safetensors" for name in EXPECTED["models"]} | {
    f"run {name}": DATA / "commands" / name / "model.safetensors" for name in RUNS
}
LAYOUT = xpnet.MLP(2, [3], 2).layout


def expected_of(name):
    return RUNS[name.removeprefix("run ")] if name.startswith("run ") else EXPECTED["models"][name]


def test_every_file_is_expected():
    found = {path.stem for path in (DATA / "models").iterdir()}
    assert found == set(EXPECTED["models"])
    assert {path.stem for path in (DATA / "states").iterdir()} == set(EXPECTED["states"])
    assert {path.name for path in (DATA / "commands").iterdir()} == set(RUNS)


def current(text):
    for old, new in FORMAT_1["types"].items():
        text = text.replace(f"{old}(", f"{new}(")
    return text


@pytest.mark.parametrize("name", MODELS)
def test_model_of_format_1_loads(name):
    model, expected = xpnet.load(MODELS[name]), expected_of(name)
    layers = texts_without_later_fields(model.layers)
    assert layers == [current(text) for text in expected["layers"]]
    np.testing.assert_array_equal(model.theta, np.asarray(expected["theta"], model.theta.dtype))
    views = model.statistics_layout.views(model.statistics)
    later = [path for path in views if path.endswith("mean_rest")]  # of what format 1 did not have
    assert not any(views.pop(path).any() for path in later)
    found = np.concatenate([*views.values(), []]).astype(model.theta.dtype)
    np.testing.assert_array_equal(found, np.asarray(expected["statistics"], found.dtype))
    X = np.asarray(expected["X"])
    scaled = X if model.preprocessing is None else model.preprocessing.apply(X)
    np.testing.assert_allclose(model.forward(scaled), expected["output"], 1e-5, 1e-6)
    decided = np.asarray(expected["predictions"])
    if decided.dtype.kind == "f":
        np.testing.assert_allclose(model.predict(X), decided, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(model.predict(X), decided)


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_settings_of_format_1_are_kept(name):
    model, expected = xpnet.load(MODELS[name]), EXPECTED["models"][name]
    assert model.theta.dtype.name == expected["dtype"]
    assert (None if model.loss is None else repr(model.loss)) == expected["loss"]
    classes = None if model.classes is None else list(model.classes)
    assert classes == expected["classes"]
    scaling = model.preprocessing
    assert (None if scaling is None else type(scaling).__name__) == expected["preprocessing"]
    arrays = {} if scaling is None else scaling.arrays()
    assert arrays.keys() == expected["scaling"].keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, expected["scaling"][key])


def optimizer_of(spec):
    """The optimizer that a specification of `make.py` names."""
    name, *arguments = spec
    if name == "Frozen":
        return optimizers.Frozen(optimizer_of(arguments[0]), LAYOUT, arguments[1:])
    made = [optimizer_of(a) if isinstance(a, list) else a for a in arguments]
    return getattr(optimizers, name)(*made)


@pytest.mark.parametrize("name", EXPECTED["states"])
def test_state_of_format_1_continues(name):
    state = xpnet.load_state(DATA / "states" / f"{name}.safetensors")
    expected = EXPECTED["states"][name]
    assert (state.step, list(state.scalars)) == (expected["step"], expected["scalars"])
    assert len(state.slots) == len(expected["slots"])
    for slot, numbers in zip(state.slots, expected["slots"], strict=True):
        np.testing.assert_array_equal(slot, np.asarray(numbers, "float32"))
    theta, target = (np.asarray(expected[key], "float32") for key in ("theta", "target"))
    optimizer = optimizer_of(expected["optimizer"])
    for _ in range(3):
        optimizer.step(theta, theta - target, state)
    np.testing.assert_allclose(theta, expected["theta_3_steps_later"], rtol=1e-5, atol=1e-6)


def config_of(path, key):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()[key])


def test_saving_a_model_of_format_1_writes_format_4(tmp_path):
    old = MODELS["initializers"]
    xpnet.load(old).save(tmp_path / "new.safetensors")
    before, after = config_of(old, "xpnet"), config_of(tmp_path / "new.safetensors", "xpnet")
    assert (before["version"], after["version"]) == (1, 4)
    assert "LecunUniform" in json.dumps(before)
    assert "LecunUniform" not in json.dumps(after)
    assert "FanInUniform" in json.dumps(after)
    assert xpnet.load(tmp_path / "new.safetensors").layers == xpnet.load(old).layers


def test_lecun_uniform_of_format_4_keeps_its_name(tmp_path):
    layer = xpnet.Dense(2, weight_init=xpnet.initializers.LecunUniform())
    xpnet.Sequential([layer], 3).save(tmp_path / "new.safetensors")
    assert xpnet.load(tmp_path / "new.safetensors").layers == (layer,)
