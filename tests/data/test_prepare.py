"""Preparation of X, y and weights, on every backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.fake_device import FakeBackend, fake_backend

from xpnet import BinaryCrossEntropy, CrossEntropy, HalfMSE, Hinge
from xpnet.backend import get_backend, to_numpy
from xpnet.data.batching import TrainingData
from xpnet.data.prepare import as_features, prepare, prepare_batch, prepare_features
from xpnet.data.preprocessing import InputSpec, MinMax, Standardize
from xpnet.errors import ArgumentError

SCALING = MinMax(0, 4, to=(-1, 1))
CLASSES = CrossEntropy()
NAN = float("nan")


def spec_of(backend="numpy", n_in=2, n_out=3, preprocessing=SCALING):
    return InputSpec(get_backend(backend), n_in, n_out, preprocessing)


def rows(m=6):
    """Return m rows with the row number in column 0, and the targets 0, 1, 2, 0, …"""
    X = np.stack([np.arange(m), np.arange(m) % 4], axis=1).astype("float64")
    return X, np.arange(m) % 3


def mapped(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


# Training data


@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "uint8", "bool"])
def test_features_are_preprocessed(place32, kind):
    X, y = rows()
    X = (X % 2 if kind == "bool" else X).astype(kind)
    spec = spec_of(place32.backend)
    data = prepare(spec, place32.array(X, kind), place32.array(y), CLASSES).data
    batches = [to_numpy(batch[0]) for batch in data.batches(None, 4)]
    found = np.concatenate(batches)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, X.astype("float64") / 2 - 1, rtol=1e-6)


def test_host_arrays_and_lists_are_transferred(place):
    X, y = rows()
    weight = np.arange(6.0)
    spec = spec_of(place.backend)
    for given in ((X, y, weight), (X.tolist(), y.tolist(), weight.tolist())):
        data = prepare(spec, *given[:2], CLASSES, sample_weight=given[2]).data
        assert all(place.backend.owns(array) for array in (data.X, data.y, data.weight))
        np.testing.assert_array_equal(to_numpy(data.X), X / 2 - 1)
        np.testing.assert_array_equal(to_numpy(data.y), y)
        np.testing.assert_array_equal(to_numpy(data.weight), weight)


@pytest.mark.parametrize(
    ("y", "loss", "n_out", "dtype"),
    [
        ([0, 1, 2], CLASSES, 3, "int64"),
        ([[0.0, 1.0, 0.0]] * 3, CLASSES, 3, "float32"),
        ([0.0, 0.5, 1.0], BinaryCrossEntropy(), 1, "float32"),
        ([True, False, True], BinaryCrossEntropy(), 1, "bool"),
        ([1.5, 2.0, -1.0], HalfMSE(), 1, "float32"),
        ([1, 2, 3], HalfMSE(), 1, "int64"),
    ],
)
def test_targets_keep_integers_and_cast_floats(place32, y, loss, n_out, dtype):
    spec = spec_of(place32.backend, n_out=n_out)
    y = np.array(y)
    prepared = prepare(spec, rows(3)[0], place32.array(y, y.dtype.name), loss)
    assert str(prepared.data.y.dtype).rpartition(".")[2] == dtype
    np.testing.assert_array_equal(to_numpy(prepared.data.y), y)
    assert prepared.classes is None


@pytest.mark.parametrize(
    ("y", "classes", "indices", "names"),
    [
        (["b", "a", "c"], None, [1, 0, 2], ("a", "b", "c")),
        (["b", "a", "c"], ["c", "b", "a"], [1, 2, 0], ("c", "b", "a")),
        (["a", "a", "a"], ["c", "b", "a"], [2, 2, 2], ("c", "b", "a")),
        ([7, 5, 9], (5, 7, 9), [1, 0, 2], (5, 7, 9)),
        (np.array(["b", "a", "c"], dtype=object), None, [1, 0, 2], ("a", "b", "c")),
    ],
)
def test_class_names_are_encoded(y, classes, indices, names):
    prepared = prepare(spec_of(), rows(3)[0], y, CLASSES, classes=classes)
    assert prepared.data.y.tolist() == indices
    assert prepared.classes == names


@pytest.mark.parametrize(
    ("y", "sample_weight", "class_weight", "expected"),
    [
        ([0, 1, 2], None, None, None),
        ([0, 1, 2], [1.0, 2.0, 3.0], None, [1, 2, 3]),
        ([0, 1, 2], None, {1: 5.0}, [1, 5, 1]),
        ([0, 1, 2], [1, 2, 3], [2.0, 3.0, 4.0], [2, 6, 12]),
        (["b", "a", "c"], [True, True, False], {"a": 3.0, "b": 2.0}, [2, 3, 0]),
    ],
)
def test_weights_are_multiplied(place, y, sample_weight, class_weight, expected):
    spec = spec_of(place.backend)
    weights = {"sample_weight": sample_weight, "class_weight": class_weight}
    found = prepare(spec, rows(3)[0], y, CLASSES, **weights).data.weight
    if expected is None:
        assert found is None
    else:
        assert found.dtype == place.backend.dtype
        assert to_numpy(found).tolist() == expected


def test_prepared_features_are_not_copied():
    X = np.ones((3, 2), dtype="float32")
    assert prepare(spec_of(preprocessing=None), X, [0, 1, 2], CLASSES).data.X is X


# Validation


def test_validation_is_optional():
    assert prepare(spec_of(), *rows(), CLASSES).validation is None


def test_validation_pair_has_the_training_classes(place):
    X, _ = rows(3)
    spec = spec_of(place.backend)
    validation = (X[:2] + 1, ["c", "b"])
    prepared = prepare(spec, X, ["b", "a", "c"], CLASSES, validation=validation)
    assert to_numpy(prepared.validation.y).tolist() == [2, 1]
    np.testing.assert_array_equal(to_numpy(prepared.validation.X), (X[:2] + 1) / 2 - 1)
    assert prepared.validation.weight is None


def test_validation_fraction_splits_the_rows(place):
    X, y = rows(10)
    spec, weight = spec_of(place.backend), np.arange(10.0)
    prepared = prepare(
        spec, X, y, CLASSES, sample_weight=weight, validation=0.3, rng=np.random.default_rng(5)
    )
    held = np.flatnonzero(np.isin(weight, to_numpy(prepared.validation.weight)))
    assert held.size == 3
    for data, indices in (
        (prepared.validation, held),
        (prepared.data, np.setdiff1d(np.arange(10), held)),
    ):
        np.testing.assert_array_equal(to_numpy(data.X), X[indices] / 2 - 1)
        np.testing.assert_array_equal(to_numpy(data.y), y[indices])
        np.testing.assert_array_equal(to_numpy(data.weight), weight[indices])


WORDS = np.array(["a", "b", "c"])
STRATIFIED = {
    "classes": (CLASSES, 3, lambda y: y),
    "words": (CLASSES, 3, lambda y: WORDS[y]),
    "a column": (CLASSES, 3, lambda y: y[:, None]),
    "one-hot": (CLASSES, 3, lambda y: np.eye(3)[y]),
    "binary": (BinaryCrossEntropy(), 1, lambda y: y == 2),
    "binary, floating point": (BinaryCrossEntropy(), 1, lambda y: (y == 2) * 1.0),
    "signs": (Hinge(), 1, lambda y: np.where(y == 2, 1, -1)),
}


@pytest.mark.parametrize("name", STRATIFIED)
@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_held_out_share_has_the_class_proportions(share, name, place):
    loss, n_out, made = STRATIFIED[name]
    classes = np.repeat([0, 1, 2], [70, 23, 7])
    X = np.zeros((100, 2))
    spec = spec_of(place.backend, n_out=n_out)
    prepared = prepare(spec, X, made(classes), loss, validation=share, rng=3)
    held, trained = (to_numpy(part.y) for part in (prepared.validation, prepared.data))
    if name == "one-hot":
        held, trained = held.argmax(axis=1), trained.argmax(axis=1)
    assert held.shape == (round(100 * share),)
    for label in np.unique(trained):
        count = np.sum(held == label) + np.sum(trained == label)
        assert abs(np.sum(held == label) - share * count) < 1, label
    assert {*held.tolist()} <= {*trained.tolist()}


def test_class_with_one_row_is_trained_on(place):
    X, y = np.zeros((40, 2)), np.array([0, 1] * 19 + [0, 2])
    for seed in range(20):
        spec = spec_of(place.backend)
        parts = prepare(spec, X, y, CLASSES, validation=0.5, rng=seed)
        assert 2 in to_numpy(parts.data.y).tolist()


@pytest.mark.parametrize(
    ("loss", "y"),
    [(HalfMSE(), np.linspace(0, 1, 10)), (BinaryCrossEntropy(), np.linspace(0, 1, 10))],
)
def test_shares_of_other_targets_are_random(loss, y):
    X = np.arange(20.0).reshape(10, 2)
    spec = spec_of(n_out=1, preprocessing=None)
    y = y[:, None] if loss == HalfMSE() else y
    held = prepare(spec, X, y, loss, validation=0.3, rng=np.random.default_rng(5)).validation
    chosen = np.sort(np.random.default_rng(5).permutation(10)[:3])
    np.testing.assert_array_equal(held.X, X[chosen])


def test_seed_equals_its_generator():
    X, y = rows(10)
    found = [
        prepare(spec_of(), X, y, CLASSES, validation=0.5, rng=rng).validation.X.tolist()
        for rng in (3, np.random.default_rng(3), 4)
    ]
    assert found[0] == found[1] != found[2]


def test_validation_fraction_of_a_file_is_refused(tmp_path):
    X, y = rows()
    with pytest.raises(ArgumentError, match=r"validation must be a pair \(X, y\) for data in a f"):
        prepare(spec_of(), mapped(X, tmp_path / "X.npy"), y, CLASSES, validation=0.5)


# Invalid input

GOOD = {"X": rows(3)[0], "y": [0, 1, 2], "loss": CLASSES}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"X": np.ones(3)}, r"X must have shape \(rows, columns\)"),
        ({"X": np.ones((3, 3))}, "X must have 2 columns"),
        ({"X": np.ones((0, 2)), "y": []}, "X must have at least one row"),
        ({"X": [[1, 2], [3, NAN], [5, 6]]}, "X must be finite; got nan in row 1, column 1"),
        ({"X": [["a", "b"]] * 3}, "X must hold real numbers"),
        ({"X": [[1, 2], [3]]}, "must be a list with rows of equal length"),
        ({"X": np.ones((3, 2), complex)}, "X must hold real numbers"),
        ({"y": [0, 1]}, r"y must have the shape \(3,\)"),
        ({"y": [0, 1, 3]}, "y must hold class indices of 0 to 2; got 3 in row 2"),
        ({"y": ["a", "b", "a"]}, "y must have 3 classes for 3 outputs; got 2. Name those"),
        ({"y": ["a", "b", "d"], "classes": ["a", "b", "c"]}, "label in row 2 of y"),
        ({"y": [0, 1, NAN], "loss": HalfMSE(), "n_out": 1}, "y must be finite; got nan in row 2"),
        ({"sample_weight": [1.0, 1.0]}, r"sample_weight must have the shape \(3,\)"),
        ({"sample_weight": [1.0, -1.0, 1.0]}, "sample_weight must be at least 0; got -1.0 in row"),
        ({"sample_weight": [0.0] * 3}, "sample_weight must not be all 0"),
        ({"sample_weight": [1.0, NAN, 1.0]}, "sample_weight must be finite"),
        ({"class_weight": [1.0]}, "class_weight must have a weight for each of 3 classes"),
        ({"y": ["a", "b", "c"], "class_weight": {"d": 1.0}}, "a key of class_weight must be one"),
        ({"y": np.eye(3), "class_weight": [1.0] * 3}, "class_weight must be given for class ind"),
        ({"validation": 1.5}, r"validation must be a pair \(X, y\) or a fraction"),
        ({"validation": 1}, r"validation must be a pair \(X, y\) or a fraction"),
        ({"validation": True}, r"validation must be a pair \(X, y\) or a fraction"),
        ({"validation": 0.01}, "validation must leave rows on both sides of 3"),
        ({"validation": (np.ones((1, 3)), [0])}, "X must have 2 columns"),
        ({"validation": (np.ones((1, 2)), [3])}, "y must hold class indices of 0 to 2"),
        ({"validation": 0.5, "rng": -1}, "rng must be a seed"),
    ],
)
def test_invalid_input_is_refused(bad, message):
    given = GOOD | bad
    spec = spec_of(n_out=given.pop("n_out", 3))
    with pytest.raises(ArgumentError, match=message):
        prepare(spec, given.pop("X"), given.pop("y"), given.pop("loss"), **given)


@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_arrays_of_another_library_are_refused(argument):
    strict = get_backend("array_api_strict")
    given = {"X": rows(3)[0], "y": np.arange(3), "sample_weight": np.ones(3)}
    given[argument] = strict.asarray(given[argument])
    spec = InputSpec(fake_backend("float32"), 2, 3)
    with pytest.raises(ArgumentError, match="move it first"):
        prepare(spec, given["X"], given["y"], CLASSES, sample_weight=given["sample_weight"])


# Raw features, converted batch by batch


@pytest.mark.parametrize("order", [None, [5, 0, 3, 1, 4, 2]])
@pytest.mark.parametrize("kind", ["float64", "float32", "uint8", ">f4"])
def test_memmaps_are_converted_batch_by_batch(order, kind, place32, tmp_path):
    X, y = rows()
    spec = spec_of(place32.backend)
    data = prepare(spec, mapped(X.astype(kind), tmp_path / "X.npy"), y, CLASSES).data
    assert isinstance(data.X, np.memmap)
    order = None if order is None else np.array(order)
    given = range(6) if order is None else order
    batches = [[to_numpy(part).copy() for part in batch[:2]] for batch in data.batches(order, 4)]
    assert [len(batch[0]) for batch in batches] == [4, 2]
    np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), X[given] / 2 - 1)
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), y[given])


def test_bytes_remain_bytes_on_a_device():
    X, y = rows()
    spec = InputSpec(fake_backend("float32"), 2, 3, SCALING)
    data = prepare(spec, X.astype("uint8"), y, CLASSES).data
    assert data.X.dtype == "uint8"
    assert data.raw
    assert data.scaling.tolist() == [[0, 0], [2, 2], [-1, -1]]
    plain = prepare(replace(spec, preprocessing=None), X.astype("uint8"), y, CLASSES).data
    assert plain.scaling is None
    floats = prepare(spec, X, y, CLASSES).data
    assert not floats.raw
    assert floats.X.dtype == "float32"


def test_large_arrays_remain_on_the_host(monkeypatch):
    X, y = rows(10)
    spec = InputSpec(fake_backend("float32"), 2, 3, SCALING)
    monkeypatch.setattr(FakeBackend, "free_bytes", 2 * X.size * 4 - 1, raising=False)
    prepared = prepare(spec, X, y, CLASSES, validation=0.3, rng=1)
    for data in (prepared.data, prepared.validation):
        assert data.streamed
        assert type(data.X) is np.ndarray
        assert data.X.dtype == "float64"
    monkeypatch.setattr(FakeBackend, "free_bytes", 2 * X.size * 4, raising=False)
    assert not prepare(spec, X, y, CLASSES).data.streamed


# Batches


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [(6, False, [6]), (4, False, [4, 2]), (4, True, [4]), (9, False, [6]), (9, True, [])],
)
def test_last_batch_is_smaller_or_dropped(batch_size, drop_last, sizes, place):
    data = prepare(spec_of(place.backend), *rows(), CLASSES, sample_weight=np.arange(6.0)).data
    for order in (None, np.arange(6)):
        batches = list(data.batches(order, batch_size, drop_last))
        assert [tuple(len(to_numpy(part)) for part in b) for b in batches] == [
            (size,) * 3 for size in sizes
        ]


def test_batches_follow_the_order(place, rng):
    X, y = rows(20)
    data = prepare(spec_of(place.backend), X, y, CLASSES, sample_weight=np.arange(20.0)).data
    order = rng.permutation(20)
    for step, batch in enumerate(data.batches(order, 7)):
        part = order[7 * step : 7 * step + 7]
        for found, expected in zip(batch, (X / 2 - 1, y, np.arange(20.0)), strict=True):
            np.testing.assert_array_equal(to_numpy(found), expected[part])


@pytest.mark.parametrize("raw", [False, True])
def test_features_come_with_their_conversion(raw, place, tmp_path):
    X, y = rows()
    given = mapped(X, tmp_path / "X.npy") if raw else X
    data = prepare(spec_of(place.backend), given, y, CLASSES).data
    features, convert = data.features
    assert data.raw is raw
    np.testing.assert_array_equal(to_numpy(convert(features[2:4, :])), X[2:4] / 2 - 1)


def test_take_copies_rows(place):
    X, y = rows()
    spec = spec_of(place.backend)
    data = TrainingData(spec, spec.network_inputs(X), place.backend.asarray(y))
    taken = data.take(np.array([4, 1]))
    np.testing.assert_array_equal(to_numpy(taken.X), X[[4, 1]] / 2 - 1)
    assert to_numpy(taken.y).tolist() == [1, 1]
    assert taken.weight is None


# Single batches, and features without targets


@pytest.mark.parametrize("check", [True, False])
def test_prepare_batch_does_not_preprocess(place, check):
    X, y = rows()
    weight = np.arange(6.0)
    spec = spec_of(place.backend)
    given = [place.array(array, array.dtype.name) for array in (X, y, weight)]
    batch = prepare_batch(spec, *given[:2], CLASSES, given[2], check=check)
    for found, expected in zip(batch, (X, y, weight), strict=True):
        assert place.backend.owns(found)
        np.testing.assert_array_equal(to_numpy(found), expected)
    assert prepare_batch(spec, *given[:2], CLASSES, check=check)[2] is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"X": [[1, 2], [3, NAN], [5, 6]]}, "X must be finite"),
        ({"X": np.ones((3, 3))}, "X must have 2 columns"),
        ({"y": [0, 1, 3]}, "y must hold class indices"),
        ({"y": ["a", "b", "c"]}, "y must"),
        ({"weight": [0.0] * 3}, "weight must not be all 0"),
        ({"weight": [1.0]}, r"weight must have the shape \(3,\)"),
    ],
)
def test_invalid_batch_is_refused(bad, message):
    given = GOOD | bad
    with pytest.raises(ArgumentError, match=message):
        prepare_batch(spec_of(), **given)


def test_prepare_batch_without_check_accepts_nan():
    X, y, _ = prepare_batch(spec_of(), [[NAN, 1.0]], [9], CLASSES, check=False)
    assert np.isnan(X[0, 0])
    assert y.tolist() == [9]


@pytest.mark.parametrize("preprocess", [True, False])
def test_prepare_features_converts_some_rows(place, preprocess):
    X, _ = rows()
    spec = spec_of(place.backend)
    features, convert = prepare_features(spec, place.array(X), preprocess=preprocess)
    expected = X / 2 - 1 if preprocess else X
    np.testing.assert_array_equal(to_numpy(convert(features[1:3, :])), expected[1:3])


def test_nan_is_found_when_its_rows_are_converted():
    X = rows()[0]
    X[4, 1] = NAN
    features, convert = prepare_features(spec_of(), X)
    convert(features[:4])
    with pytest.raises(ArgumentError, match="X must be finite; got nan in row 4, column 1"):
        convert(features[4:])
    with pytest.raises(ArgumentError, match="got nan in row 4, column 1"):
        as_features(spec_of(), X)


def test_as_features_keeps_the_library(place):
    X = place.array(rows()[0])
    assert as_features(spec_of(place.backend), X) is X
    scaled = InputSpec(place.backend, 2, 1, Standardize.fit(X))
    assert place.backend.owns(scaled.network_inputs(X))
