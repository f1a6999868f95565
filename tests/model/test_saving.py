"""Model files: they load as they were saved, and invalid files are refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as pack

import xpnet
from xpnet import (
    MLP,
    Activation,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    FileFormatError,
    HalfMSE,
    Sequential,
    Temperature,
    tensor_file,
)
from xpnet.ops.formulas import trace
from xpnet.serialization import TYPES, from_config, to_config

LAYERS = [
    Dense(7, xpnet.LeakyReLU(0.2), weight_init=xpnet.initializers.Orthogonal(1.5)),
    BatchNorm(momentum=None),
    Dropout(0.3),
    Activation(xpnet.Tanh()),
    Dense(3, bias=False),
    Temperature(0.7),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "preprocessing", [None, xpnet.Standardize([1.0, 2, 3, 4], [1.0, 1, 1, 2]), xpnet.MinMax(0, 9)]
)
def test_saved_model_loads_unchanged(tmp_path, rng, place, dtype, preprocessing):
    path = tmp_path / "m.safetensors"
    model = Sequential(
        LAYERS, 4, backend=place.backend.name, dtype=dtype, preprocessing=preprocessing
    )
    X, y = rng.normal(size=(30, 4)), np.array(["a", "b", "c"])[rng.integers(3, size=30)]
    model.fit(X, y, loss=CrossEntropy(0.1), optimizer=xpnet.Adam(), epochs=2, progress=False)
    model.save(path)
    for backend in {place.backend.name, "numpy"}:
        again = xpnet.load(path, backend=backend)
        assert again.layers == model.layers
        assert again.loss == model.loss
        assert again.classes == ("a", "b", "c")
        for name in ("theta", "statistics"):
            mine, theirs = getattr(again, name), getattr(model, name)
            np.testing.assert_array_equal(xpnet.to_numpy(mine), xpnet.to_numpy(theirs))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_allclose(
            xpnet.to_numpy(again.predict_proba(X)), xpnet.to_numpy(model.predict_proba(X)), 1e-5
        )


def test_model_loads_in_another_dtype(tmp_path):
    path = tmp_path / "m.safetensors"
    model = MLP(4, [5], 3)
    model.save(path)
    again = xpnet.load(path, dtype="float64")
    assert again.theta.dtype == np.float64
    np.testing.assert_array_equal(again.theta, model.theta)


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_the_table_is_restored(name):
    required = {"Constant": {"value": 0.5}, "OrderedThresholds": {"n_thresholds": 3}}
    required |= {kind: {"n_out": 3} for kind in ("Dense", "GatedDense", "Maxout")}
    required["Activation"] = {"function": xpnet.Tanh()}
    required["FormulaActivation"] = {"formula": trace(lambda xp, z: z * z, 1), "name": "squared"}
    required["FormulaLoss"] = {"formula": trace(lambda xp, z, t: z - t, 2), "name": "difference"}
    several = {
        "Residual": (Dense(3, xpnet.Tanh()), Dropout(0.2)),
        "Branches": ([], [Dense(3), Dense(2)], BatchNorm()),
        "Heads": ([HalfMSE(), CrossEntropy()], [1, 3], [1.0, 0.5]),
    }
    value = TYPES[name](*several.get(name, ()), **required.get(name, {}))
    assert from_config(json.loads(json.dumps(to_config(value)))) == value


def test_fields_of_later_versions_are_saved_if_set():
    """An earlier version of xpnet reads the files of layers that it has."""
    assert to_config(BatchNorm()) == {"type": "BatchNorm", "momentum": 0.9, "eps": 1e-5}
    zeros = BatchNorm(scale_init=xpnet.initializers.Zeros())
    assert to_config(zeros)["scale_init"] == {"type": "Zeros"}
    assert from_config(to_config(zeros)) == zeros


def test_parameters_are_tensors_by_path(tmp_path):
    model = MLP(4, [5], 3)
    model.save(tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    assert tensors["layers.0.weight"].shape == (4, 5)
    np.testing.assert_array_equal(
        tensors["layers.1.bias"], model.layout.views(model.theta)["layers.1.bias"]
    )


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    MLP(4, [5], 3).save(path)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        MLP(4, [6], 3).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def good_file(tmp_path):
    path = tmp_path / "good.safetensors"
    Sequential([Dense(2)], 3, loss=HalfMSE()).save(path)
    return path


CONFIG = {
    "version": 4,
    "n_in": 3,
    "layers": [to_config(Dense(2))],
    "dtype": "float32",
    "loss": None,
    "preprocessing": None,
    "classes": None,
}
"""The configuration of a valid model."""


def changed(tmp_path, change, tensors=None):
    """Write a valid file with changed entries of its configuration; return its path."""
    if tensors is None:
        tensors = {
            "layers.0.weight": np.zeros((3, 2), "float32"),
            "layers.0.bias": np.zeros(2, "float32"),
        }
    path = tmp_path / "bad.safetensors"
    path.write_bytes(pack(tensors, metadata={"xpnet": json.dumps(CONFIG | change)}))
    return path


def test_unchanged_file_loads(tmp_path):
    assert xpnet.load(changed(tmp_path, {})).layers == (Dense(2),)


DEEP: dict[str, object] = {}
for _ in range(900):
    DEEP = {"type": "ReLU", "alpha": DEEP}

HOSTILE = {
    "version": {"version": 0},
    "a version that is true": {"version": True},
    "a version of another kind": {"version": "2"},
    "a type that is not ours": {"layers": [{"type": "os.system", "command": "true"}]},
    "a type without a name": {"layers": [{"type": ["Dense"]}]},
    "a field that is not ours": {"layers": [to_config(Dense(2)) | {"evil": 1}]},
    "a layer that is no layer": {"layers": ["Dense"]},
    "an activation as layer": {"layers": [{"type": "ReLU"}]},
    "no layers": {"layers": []},
    "layers of another kind": {"layers": 3},
    "a huge layer": {"layers": [to_config(Dense(2)) | {"n_out": 10**15}]},
    "a negative width": {"layers": [to_config(Dense(2)) | {"n_out": -1}]},
    "a huge input": {"n_in": 10**12},
    "text for a number": {"n_in": "3"},
    "another dtype": {"dtype": "float64"},
    "unknown dtype": {"dtype": "object"},
    "a loss that is none": {"loss": {"type": "Dense", "n_out": 3}},
    "unknown scaling": {"preprocessing": "Pickle"},
    "scaling without arrays": {"preprocessing": "Standardize"},
    "targets that are no table": {"targets": 3},
    "targets without a shape": {"targets": {"scaling": None}},
    "targets of three dimensions": {"targets": {"scaling": None, "ndim": 3}},
    "targets of a true dimension": {"targets": {"scaling": None, "ndim": True}},
    "unknown scaling of targets": {"targets": {"scaling": "MinMax", "ndim": 1}},
    "scaling of targets that is a list": {"targets": {"scaling": ["Standardize"], "ndim": 1}},
    "scaling of targets without arrays": {"targets": {"scaling": "Standardize", "ndim": 1}},
    "classes that are no list": {"classes": 3},
    "one class": {"classes": ["a"]},
    "a class twice": {"classes": ["a", "a"]},
    "classes of lists": {"classes": [["a"], ["b"]]},
    "classes of null": {"classes": [None, "a"]},
    "an infinite width": {"n_in": float("inf")},
    "n_in that is missing": {"n_in": None},
    "a scaling that is a list": {"preprocessing": ["Standardize"]},
    "a dtype that is a list": {"dtype": ["float32"]},
    "half precision": {"dtype": "float16"},
    "a configuration that is very deep": {"loss": DEEP},
    "the same in format 1": {"loss": DEEP, "version": 1},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_configurations_are_refused(tmp_path, case):
    with pytest.raises(FileFormatError, match=r"bad\.safetensors"):
        xpnet.load(changed(tmp_path, HOSTILE[case]))


NEWER = {
    "0.9.1": "Install xpnet 0.9.1 or newer.",
    "1.0rc1": "Install xpnet 1.0rc1 or newer.",
    "1; rm": "Install a newer xpnet.",
    None: "Install a newer xpnet.",
}


@pytest.mark.parametrize("writer", NEWER)
def test_newer_format_names_the_version_to_install(tmp_path, writer):
    with pytest.raises(FileFormatError, match="got format 5") as error:
        xpnet.load(changed(tmp_path, {"version": 5, "xpnet": writer}))
    assert str(error.value).endswith(NEWER[writer])


def test_renamed_field_names_ours(tmp_path):
    layer = {"type": "BatchNorm", "alpha": 0.9}
    with pytest.raises(FileFormatError, match=r"no field 'alpha'\. It is named momentum here\."):
        xpnet.load(changed(tmp_path, {"layers": [layer]}))


TENSORS = {
    "missing": {},
    "another shape": {"layers.0.weight": np.zeros((2, 3), "float32")},
    "another dtype": {"layers.0.weight": np.zeros((3, 2), "float64")},
    "too many": {
        "layers.0.weight": np.zeros((3, 2), "float32"),
        "layers.0.bias": np.zeros(2, "float32"),
        "extra": np.zeros(1, "float32"),
    },
}


SCALING = {"target_scaling.mean": np.zeros(2), "target_scaling.std": np.ones(2)}
BAD_SCALINGS = {
    "NaN": {"target_scaling.mean": np.array([0.0, np.nan])},
    "a negative std": {"target_scaling.std": np.array([1.0, -1.0])},
    "an infinite std": {"target_scaling.std": np.array([1.0, np.inf])},
    "different lengths": {"target_scaling.std": np.ones(1)},
    "more columns than outputs": {k: np.ones(3) for k in SCALING},
    "a table": {k: np.ones((2, 1)) for k in SCALING},
    "float32": {k: v.astype("float32") for k, v in SCALING.items()},
    "one array": {"target_scaling.std": None},
}


@pytest.mark.parametrize("case", BAD_SCALINGS)
def test_hostile_scalings_of_targets_are_refused(tmp_path, case):
    good, bad = tmp_path / "good", tmp_path / "bad"
    model = MLP(3, [], 2, loss=HalfMSE())
    model.target_scaling = xpnet.Standardize(*SCALING.values())
    model.save(good)
    with tensor_file.safe_open(good, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(good) | BAD_SCALINGS[case]
    bad.write_bytes(pack({k: v for k, v in tensors.items() if v is not None}, metadata))
    assert xpnet.load(good).target_scaling.std.tolist() == [1.0, 1.0]
    with pytest.raises(FileFormatError):
        xpnet.load(bad)


def test_files_without_targets_predict_columns(tmp_path):
    path = tmp_path / "m"
    model = MLP(3, [], 1, loss=HalfMSE())
    model.fit(np.eye(3), np.ones(3), loss=HalfMSE(), optimizer=xpnet.SGD(0.1), progress=False)
    model.save(path)
    with tensor_file.safe_open(path, framework="numpy") as file:
        config = json.loads(file.metadata()["xpnet"])
    del config["targets"]
    path.write_bytes(pack(load_file(path), {"xpnet": json.dumps(config)}))
    again = xpnet.load(path)
    assert again.predict(np.eye(3)).shape == (3, 1)
    assert again.target_scaling is None
    again.fit(np.eye(3), np.full(3, 1e6), loss=HalfMSE(), optimizer=xpnet.SGD(0.1), progress=False)


def raw_file(path, config, tensors, n_bytes):
    """Write a sparse file with the given headers of tensors, and zeros as their numbers."""
    header = json.dumps({"__metadata__": {"xpnet": json.dumps(config)}} | tensors).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + n_bytes)


GIGABYTE = 1 << 30


def sparse(name, dtype, shape, config=CONFIG):
    """A file of one huge tensor beside those of the model."""
    small = {
        "layers.0.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
        "layers.0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [24, 32]},
    }
    small.pop(name, None)
    offset = 32 if len(small) == 2 else 32 - (24 if name.endswith("weight") else 8)
    if name == "layers.0.weight":
        small["layers.0.bias"]["data_offsets"] = [0, 8]
    huge = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + GIGABYTE]}
    return config, small | {name: huge}, offset + GIGABYTE


SCALED = CONFIG | {"preprocessing": "Standardize"}
SCALED_TARGETS = CONFIG | {"targets": {"scaling": "Standardize", "ndim": 2}}
SPARSE = {
    "a weight": sparse("layers.0.weight", "F32", [GIGABYTE // 4]),
    "a bias": sparse("layers.0.bias", "F32", [GIGABYTE // 4]),
    "a tensor of no layer": sparse("other", "U8", [GIGABYTE]),
    "a mean": sparse("preprocessing.mean", "F64", [GIGABYTE // 8], SCALED),
    "a mean of targets": sparse("target_scaling.mean", "F64", [GIGABYTE // 8], SCALED_TARGETS),
    "a mean of no targets": sparse("target_scaling.mean", "F64", [GIGABYTE // 8]),
    "a mean without a scaling": sparse("preprocessing.mean", "F64", [GIGABYTE // 8]),
}


@pytest.mark.parametrize("case", SPARSE)
def test_shapes_are_compared_before_tensors_are_read(tmp_path, case, monkeypatch):
    path = tmp_path / "bad.safetensors"
    raw_file(path, *SPARSE[case])
    opened, read = tensor_file.safe_open, []

    class Opened:
        def __init__(self, *args, **kwargs):
            self._file = opened(*args, **kwargs)

        def __enter__(self):
            self._file.__enter__()
            return self

        def __exit__(self, *error):
            return self._file.__exit__(*error)

        def get_tensor(self, name):
            read.append(name)
            return self._file.get_tensor(name)

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr(tensor_file, "safe_open", Opened)
    with pytest.raises(FileFormatError, match="tensor"):
        xpnet.load(path)
    assert read == []
    xpnet.load(good_file(tmp_path))
    assert read != []


def normalized_model():
    """A model with batch norm, trained on columns of a large mean."""
    layers = [BatchNorm(), Dense(4), BatchNorm(momentum=None), Dense(1)]
    model = Sequential(layers, 3, rng=0)
    X = (1e6 + np.random.default_rng(0).standard_normal((90, 3))).astype("float32")
    settings = {"loss": HalfMSE(), "optimizer": xpnet.SGD(1e-3), "progress": False}
    model.fit(X, np.ones((90, 1)), epochs=3, batch_size=30, **settings)
    return model, X


RESTS = "layers.0.mean_rest", "layers.2.mean_rest"


def with_tensors(path, change):
    """Rewrite the file ``path`` after ``change`` of its tensors."""
    tensors = load_file(path)
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    change(tensors)
    path.write_bytes(pack(tensors, metadata))


def test_rounding_of_running_means_is_saved(tmp_path):
    model, X = normalized_model()
    views = model.statistics_layout.views(model.statistics)
    assert all(views[path].any() for path in RESTS)
    model.save(tmp_path / "m.safetensors")
    loaded = xpnet.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.statistics, model.statistics)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_files_without_the_rounding_of_means_load(tmp_path):
    """Earlier versions predicted with the rounded means alone."""
    model, X = normalized_model()
    model.save(tmp_path / "m.safetensors")
    with_tensors(tmp_path / "m.safetensors", lambda found: [found.pop(path) for path in RESTS])
    loaded = xpnet.load(tmp_path / "m.safetensors")
    views = model.statistics_layout.views(model.statistics)
    for path in RESTS:
        views[path][...] = 0.0
    np.testing.assert_array_equal(loaded.statistics, model.statistics)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda found: found.pop(RESTS[0]), "must be float32 of shape .3,.; got none"),
        (lambda found: found.update({RESTS[0]: np.zeros(3)}), "must be float32 of shape .3,."),
        (lambda found: found.update({RESTS[1]: np.zeros(3, "float32")}), "of shape .4,."),
        (lambda found: found[RESTS[1]].fill(np.nan), "must be finite"),
        (lambda found: found.update({"layers.1.mean_rest": np.zeros(4)}), "belongs to no layer"),
    ],
    ids=["one of two", "dtype", "shape", "NaN", "no batch norm"],
)
def test_invalid_rounding_of_means_is_refused(tmp_path, change, match):
    normalized_model()[0].save(tmp_path / "m.safetensors")
    with_tensors(tmp_path / "m.safetensors", change)
    with pytest.raises(FileFormatError, match=match):
        xpnet.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F16", "BOOL", "I64", "U8"])
def test_other_dtypes_are_refused(tmp_path, dtype):
    width = {"BF16": 2, "F16": 2, "I64": 8}.get(dtype, 1)
    tensors = {
        "layers.0.weight": {"dtype": dtype, "shape": [3, 2], "data_offsets": [0, 6 * width]},
        "layers.0.bias": {"dtype": dtype, "shape": [2], "data_offsets": [6 * width, 8 * width]},
    }
    path = tmp_path / "bad.safetensors"
    raw_file(path, CONFIG, tensors, 8 * width)
    with pytest.raises(FileFormatError, match=r"'layers\.0\.weight' must be float32"):
        xpnet.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["layers.0.weight", "layers.0.bias"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, name, value):
    tensors = {
        "layers.0.weight": np.zeros((3, 2), "float32"),
        "layers.0.bias": np.zeros(2, "float32"),
    }
    tensors[name].flat[1] = value
    with pytest.raises(FileFormatError, match=f"the tensor '{name}' must be finite"):
        xpnet.load(changed(tmp_path, {}, tensors))


@pytest.mark.parametrize("to", [(0, 1), (0.0, 1.0), (np.float32(0), np.float32(1)), (0, 0.5)])
def test_limits_of_any_type_are_restored(tmp_path, to):
    scaling = xpnet.MinMax(np.zeros(2), np.ones(2), to=to)
    MLP(2, [], 1, preprocessing=scaling).save(tmp_path / "m")
    assert xpnet.load(tmp_path / "m").input_spec.preprocessing.to == to


def test_path_may_be_bytes(tmp_path):
    path = os.fsencode(tmp_path / "m.safetensors")
    MLP(2, [], 1).save(path)
    assert xpnet.load(path).n_in == 2


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit_are_refused(tmp_path, case):
    with pytest.raises(FileFormatError, match="tensor"):
        xpnet.load(changed(tmp_path, {}, TENSORS[case]))


@pytest.mark.parametrize("length", [0, 5, 8, 100, -1])
def test_truncated_files_are_refused(tmp_path, length):
    path = good_file(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileFormatError, match=r"good\.safetensors"):
        xpnet.load(path)


def test_files_of_other_programs_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(pack({"x": np.zeros(3)}))
    with pytest.raises(FileFormatError, match="must be a model saved by xpnet"):
        xpnet.load(path)


def test_saving_to_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="path must be in an existing folder; there is none at"
    ):
        MLP(2, [3], 2).save(tmp_path / "none" / "model.safetensors")


def test_loading_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        xpnet.load(tmp_path / "none.safetensors")
