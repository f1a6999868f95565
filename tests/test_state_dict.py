"""State dictionaries in files: all values come back, and bad ones and bad files are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import xpnet
from xpnet.errors import ArgumentError, FileFormatError
from xpnet.state_dict import KEY, MAX_DEPTH, MAX_HEADER, pack
from xpnet.tensor_file import DTYPES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def round_trip(state, folder):
    xpnet.save_state_dict(state, folder / "state")
    return xpnet.load_state_dict(folder / "state")


def has_marker(value):
    if isinstance(value, dict):
        return any(k.startswith("$") for k in value) or any(map(has_marker, value.values()))
    return isinstance(value, list) and any(map(has_marker, value))


@given(value=JSON)
def test_json_values_round_trip(value, tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    if has_marker(value):
        with pytest.raises(ArgumentError, match="begin with"):
            xpnet.save_state_dict({"value": value}, folder / "state")
    else:
        assert repr(round_trip({"value": value}, folder)) == repr({"value": value})


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_arrays_round_trip(dtype, shape, tmp_path):
    array = np.ones(shape, dtype)
    found = round_trip({"array": array}, tmp_path)["array"]
    assert found.dtype == array.dtype
    assert found.shape == shape
    assert (found == array).all()


def test_strided_and_byteswapped_arrays_round_trip(tmp_path):
    array = np.arange(12.0).reshape(3, 4).astype(">f8").T[::2]
    assert (round_trip({"array": array}, tmp_path)["array"] == array).all()


def test_arrays_of_each_backend_are_saved(place, tmp_path):
    array = place.backend.asarray(np.arange(3.0))
    found = round_trip({"a": [array]}, tmp_path)["a"][0]
    assert type(found) is np.ndarray
    assert found.tolist() == [0, 1, 2]


def test_equal_paths_are_two_tensors(tmp_path):
    state = {"a.b": np.zeros(1), "a": {"b": np.ones(1)}}
    found = round_trip(state, tmp_path)
    assert found["a.b"] == 0
    assert found["a"]["b"] == 1


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_states_of_generators_round_trip(kind, tmp_path):
    rng = np.random.Generator(getattr(np.random, kind)(3))
    rng.normal(size=3)
    found = round_trip({"rng": rng.bit_generator.state}, tmp_path)["rng"]
    other = np.random.Generator(getattr(np.random, kind)())
    other.bit_generator.state = found  # as a callback does
    assert (other.normal(size=9) == rng.normal(size=9)).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), "JSON values"),
        ({1: 2}, "as keys"),
        ({"$tensor": "a"}, "begin with"),
        (np.zeros(2, complex), "complex128"),
        (np.array(["a"]), "JSON values"),
        (np.random.default_rng(0), "bit_generator.state"),
        ({1, 2}, "JSON values"),
    ],
)
def test_other_values_are_refused_with_their_path(value, text, tmp_path):
    with pytest.raises(ArgumentError, match=text) as caught:
        xpnet.save_state_dict({"a": [value]}, tmp_path / "state")
    assert "'a.0'" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_deep_and_long_states_are_refused(tmp_path):
    deep = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(ArgumentError, match="levels deep"):
        xpnet.save_state_dict({"a": deep}, tmp_path / "state")
    with pytest.raises(ArgumentError, match="characters of JSON"):
        xpnet.save_state_dict({"a": ["x" * 2**20]}, tmp_path / "state")


def write(path, config, tensors=()):
    metadata = {KEY: config if isinstance(config, str) else json.dumps(config)}
    save_file({"a": np.zeros(2)} if tensors == () else tensors, path, metadata=metadata)


TWICE = {"version": 1, "state": {"x": {"$tensor": "a"}, "y": {"$tensor": "a"}}}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("not JSON", "must be a state"),
        ({"version": True, "state": {}}, "must be a state"),
        ({"version": 0, "state": {}}, "must be a state"),
        ({"version": 2, "xpnet": "9.1", "state": {}}, "Install xpnet 9.1 or newer"),
        ({"version": 1, "state": []}, "dictionary"),
        (TWICE, "once"),
        ({"version": 1, "state": {"x": {"$tensor": "b"}}}, "once"),
        ({"version": 1, "state": {"x": {"$tensor": []}}}, "once"),
        ("[" * 1000 + "]" * 1000, "must be a state"),
        ('{"version": 1, "state": ' + "[" * 100 + "]" * 100 + "}", "deep"),
        ('{"version": 1, "state": "' + "x" * 2**20 + '"}', "must be a state"),
    ],
)
def test_hostile_files_are_refused(config, text, tmp_path):
    write(tmp_path / "state", config)
    with pytest.raises(FileFormatError, match=text):
        xpnet.load_state_dict(tmp_path / "state")


def test_a_long_header_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "state"
    path.write_bytes((MAX_HEADER + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(FileFormatError, match="header"):
        xpnet.load_state_dict(path)
    path.write_bytes(b"")
    with pytest.raises(FileFormatError, match="safetensors"):
        xpnet.load_state_dict(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        xpnet.load_state_dict(tmp_path / "other")


def test_packed_arrays_are_copies():
    array = np.zeros(2)
    _, tensors = pack({"a": array}, "state")
    array[...] = 1
    assert tensors["a"].tolist() == [0, 0]
