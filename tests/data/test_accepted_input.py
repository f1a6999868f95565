"""One way in: what `fit` accepts, normalizes and refuses, on every backend."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

from xpnet import (
    MLP,
    SGD,
    BinaryCrossEntropy,
    CrossEntropy,
    HalfMSE,
    Perceptron,
    Standardize,
    batches,
    load,
)
from xpnet.activations import LeakyReLU
from xpnet.backend import as_array
from xpnet.data import encode_labels, train_test_split
from xpnet.data.splitting import split_rows
from xpnet.errors import ArgumentError
from xpnet.metrics import accuracy, r2, rmse
from xpnet.random import held_out_generator

X = (np.arange(48) % 13 - 6).reshape(16, 3).astype("float32")
Y = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0])
WORDS = np.array(["no", "yes"])[Y]
STRINGS = np.dtypes.StringDType()
HOW = {"optimizer": SGD(lr=0.1), "epochs": 2, "progress": False}


def matrix(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against it
        return np.matrix(x)


class Frame:
    """A data frame or a series, reduced to what a conversion by position needs."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def to_numpy(self):
        return self.values


FEATURES = {
    "list": X.tolist(),
    "tuple": tuple(map(tuple, X.tolist())),
    "float16": X.astype("float16"),
    "float64": X.astype("float64"),
    "int8": X.astype("int8"),
    "big-endian": X.astype(">f8"),
    "longdouble": X.astype(np.longdouble),
    "matrix": matrix(X),
    "objects": X.astype(object),
    "frame": Frame(X),
    "Fortran order": np.asfortranarray(X),
    "reversed view": X[::-1, ::-1].copy()[::-1, ::-1],
    "strided view": np.repeat(X, 2, axis=0)[::2],
    "broadcast": np.broadcast_to(X, X.shape),
}

INDICES = {
    "list": Y.tolist(),
    "bool": Y > 0,
    "float": Y.astype("float32"),
    "longdouble": Y.astype(np.longdouble),
    "uint8": Y.astype("uint8"),
    "uint16": Y.astype("uint16"),
    "uint32": Y.astype("uint32"),
    "uint64": Y.astype("uint64"),
    "big-endian": Y.astype(">i4"),
    "column": Y[:, None],
    "matrix": matrix(Y).T,
    "objects": Y.astype(object),
    "frame": Frame(Y),
    "reversed view": Y[::-1].copy()[::-1],
}

NAMES = {
    "strings": WORDS,
    "StringDType": WORDS.astype(STRINGS),
    "objects": WORDS.astype(object),
    "column": WORDS[:, None],
    "frame": Frame(WORDS.astype(object)),
    "from 1": Y + 1,
    "from 1, float": Y + 1.0,
}


def loss_of(place, X, y, n_out=2, loss=None, **settings):
    model = MLP(3, [4], n_out, backend=place.backend)
    model.fit(X, y, loss=loss or CrossEntropy(), **HOW, **settings)
    return model.history["loss"]


@pytest.mark.parametrize("kind", FEATURES)
def test_features_of_any_kind_train_alike(kind, place32):
    given = FEATURES[kind]
    assert loss_of(place32, given, Y) == loss_of(place32, X, Y)
    model = MLP(3, [4], 2, loss=CrossEntropy(), backend=place32.backend)
    expected = place32.host(model.predict_proba(X))
    np.testing.assert_array_equal(place32.host(model.predict_proba(given)), expected)


@pytest.mark.parametrize("kind", INDICES)
def test_class_indices_of_any_kind_train_alike(kind, place32):
    given = INDICES[kind]
    assert loss_of(place32, X, given) == loss_of(place32, X, Y)
    weighted = {"loss": BinaryCrossEntropy(), "n_out": 1, "class_weight": {1: 3.0}}
    assert loss_of(place32, X, given, **weighted) == loss_of(place32, X, Y, **weighted)
    assert float(accuracy(place32.array(Y), given)) == 1.0


@pytest.mark.parametrize("kind", NAMES)
def test_class_names_of_any_kind_train_alike(kind, place32):
    model = MLP(3, [4], 2, backend=place32.backend)
    model.fit(X, NAMES[kind], loss=CrossEntropy(), **HOW)
    assert model.history["loss"] == loss_of(place32, X, Y)
    assert model.classes == ((1, 2) if "from 1" in kind else ("no", "yes"))
    predicted = model.predict(X)
    assert set(predicted.tolist()) <= set(model.classes)
    names = np.asarray(model.classes)[Y]
    expected = np.mean(predicted == names)
    assert float(accuracy(predicted, names)) == expected
    assert float(accuracy(predicted, names.tolist())) == expected


def test_two_labels_from_one_name_binary_classes(place32):
    model = MLP(3, [4], 1, backend=place32.backend)
    model.fit(X, Y + 1, loss=BinaryCrossEntropy(), class_weight={1: 1.0, 2: 3.0}, **HOW)
    weighted = {"loss": BinaryCrossEntropy(), "n_out": 1, "class_weight": {1: 3.0}}
    assert model.history["loss"] == loss_of(place32, X, Y, **weighted)
    assert model.classes == (1, 2)
    assert set(model.predict(X).tolist()) <= {1, 2}


@pytest.mark.parametrize(
    "weight",
    [[1] * 16, np.ones((16, 1)), Frame(np.ones(16)), np.ones(16, bool), np.ones(16, ">f4")],
)
def test_weights_of_any_kind_train_alike(weight, place32):
    assert loss_of(place32, X, Y, sample_weight=weight) == pytest.approx(loss_of(place32, X, Y))


def test_tensors_of_any_kind_train_alike(torch):
    expected = MLP(3, [4], 2, backend="torch").fit(X, Y, loss=CrossEntropy(), **HOW)["loss"]
    features, indices = torch.tensor(X, requires_grad=True), torch.tensor(Y)
    for given_X, given_y in (
        (features, indices),
        (features.detach().to(torch.bfloat16), indices[:, None]),
        (features, indices.to(torch.uint32)),
        (features, indices > 0),
        (features, indices.float()),
    ):
        model = MLP(3, [4], 2, backend="torch")
        assert model.fit(given_X, given_y, loss=CrossEntropy(), **HOW)["loss"] == expected


MASKED = np.ma.masked_greater(X, 5.0)
MISSING = "must not be a masked array, because masked elements are missing values"


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("X", lambda m: m.fit(MASKED, Y, loss=CrossEntropy(), **HOW)),
        ("X", lambda m: m.fit(list(MASKED), Y, loss=CrossEntropy(), **HOW)),
        ("y", lambda m: m.fit(X, np.ma.masked_equal(Y, 1), loss=CrossEntropy(), **HOW)),
        (
            "sample_weight",
            lambda m: m.fit(X, Y, loss=CrossEntropy(), sample_weight=MASKED[:, 0], **HOW),
        ),
        ("X", lambda m: m.predict(MASKED)),
        ("X", lambda m: m.value_and_grad(MASKED, Y, CrossEntropy())),
        ("X", lambda m: Standardize.fit(MASKED)),
        ("X", lambda m: Standardize.fit(X).apply(MASKED)),
        ("X", lambda m: next(batches(MASKED, Y, 4))),
        ("y", lambda m: train_test_split(X, np.ma.masked_equal(Y, 1))),
        ("y", lambda m: Perceptron().fit(X, np.ma.masked_equal(Y, 1))),
        ("target", lambda m: accuracy(Y, np.ma.masked_equal(Y, 1))),
    ],
)
def test_masked_arrays_are_refused(argument, call):
    model = MLP(3, [4], 2)
    before = model.theta.copy()
    with pytest.raises(ArgumentError, match=rf"{argument} {MISSING}.*{argument}.filled\(0\)"):
        call(model)
    np.testing.assert_array_equal(model.theta, before)


def test_records_are_refused():
    with pytest.raises(ArgumentError, match="X must hold real numbers"):
        MLP(3, [4], 2, loss=CrossEntropy()).predict(np.rec.fromarrays(X.T))


@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_arrays_of_other_libraries_are_refused_by_name(argument, torch):
    arguments = {"X": X, "y": Y, "sample_weight": np.ones(16)}
    arguments[argument] = torch.tensor(arguments[argument])
    says = rf"{argument} must be a NumPy array .*move it first, with xpnet.to_numpy\({argument}\)"
    with pytest.raises(ArgumentError, match=says):
        MLP(3, [4], 2).fit(**arguments, loss=CrossEntropy(), **HOW)


@pytest.mark.parametrize("kind", ["csr_matrix", "coo_array"])
def test_sparse_matrices_are_refused(kind, place32):
    sparse = pytest.importorskip("scipy.sparse")
    model = MLP(3, [4], 2, loss=CrossEntropy(), backend=place32.backend)
    with pytest.raises(ArgumentError, match=rf"X must be a dense array; got a {kind}.*toarray"):
        model.predict(getattr(sparse, kind)(X))


def test_memory_maps_are_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert as_array(mapped) is mapped


def test_pandas_objects_are_taken_by_position(place32):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"), index=range(100, 116))
    series = pandas.Series(Y, index=range(50, 34, -1))
    assert loss_of(place32, frame, series) == loss_of(place32, X, Y)


@pytest.mark.parametrize("kind", ["list", "frame", "big-endian", "matrix"])
def test_other_functions_take_what_fit_takes(kind):
    given, y = FEATURES[kind], INDICES[kind]
    assert sum(len(X_b) for X_b, _ in batches(given, y, 5)) == 16
    parts = train_test_split(given, y, 0.25, stratify=True)
    assert [len(part) for part in parts] == [12, 4, 12, 4]
    np.testing.assert_array_equal(Standardize.fit(given).mean, Standardize.fit(X).mean)
    found = Perceptron(max_passes=3).fit(given, y)
    assert found.w.tolist() == Perceptron(max_passes=3).fit(X, Y).w.tolist()
    model = MLP(3, [4], 2)
    value = float(model.objective(given, y, CrossEntropy()).value(model.theta))
    assert value == float(model.objective(X, Y, CrossEntropy()).value(model.theta))


def test_names_can_be_batched_and_split():
    _, names = next(batches(X, WORDS.tolist(), 16, shuffle=False))
    assert names.tolist() == WORDS.tolist()
    assert encode_labels(WORDS.astype(STRINGS))[0].tolist() == Y.tolist()


def test_labels_from_one_need_names_once_trained():
    model = MLP(3, [4], 2)
    model.fit(X, Y, loss=CrossEntropy(), **HOW)
    for call in (model.evaluate, lambda X, y: model.fit(X, y, loss=CrossEntropy(), **HOW)):
        with pytest.raises(ArgumentError, match=r"hold class indices of 0 to 1.*classes=\[1, 2\]"):
            call(X, Y + 1)


def test_loaded_model_counts_as_trained(tmp_path):
    model = MLP(3, [4], 2)
    model.save(tmp_path / "new")
    model.fit(X, Y, loss=CrossEntropy(), **HOW)
    model.save(tmp_path / "trained")
    for copied in (load(tmp_path / "trained"), copy.deepcopy(model)):
        with pytest.raises(ArgumentError, match="hold class indices of 0 to 1"):
            copied.fit(X, Y + 1, loss=CrossEntropy(), **HOW)
    fresh = load(tmp_path / "new")
    fresh.fit(X, Y + 1, loss=CrossEntropy(), **HOW)
    assert fresh.classes == (1, 2)


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        ((X, Y + 0.5), "y must hold class indices"),
        ((Y, X), "X must have shape"),
        ((X, Y, -np.ones(16)), "weight must be at least 0"),
        ((X * np.nan, Y), "X must be finite"),
    ],
)
def test_invalid_validation_data_are_named(validation, says):
    with pytest.raises(ArgumentError, match=rf"In validation=\(X, y, weight\): {says}"):
        MLP(3, [4], 2).fit(X, Y, loss=CrossEntropy(), validation=validation, **HOW)


def test_metrics_may_change_their_arguments():
    def in_place(predicted, target):
        target[...] = 0
        predicted[...] = 1
        return 0.5

    y, labels, settings = X[:, 0].astype("float32"), Y.copy(), {"epochs": 3, "metrics": [in_place]}
    expected = MLP(3, [4], 1).fit(X, y, loss=HalfMSE(), **(HOW | {"epochs": 3}))["loss"]
    kept = y.copy()
    model = MLP(3, [4], 1)
    history = model.fit(X, y, loss=HalfMSE(), validation=(X, y), **(HOW | settings))
    assert history["loss"] == expected
    assert model.evaluate(X, y, metrics=[in_place, rmse])["rmse"] > 0
    np.testing.assert_array_equal(y, kept)
    MLP(3, [4], 2).fit(X, labels, loss=CrossEntropy(), **(HOW | settings))
    np.testing.assert_array_equal(labels, Y)


NUMBERS = {
    "n_in": lambda: MLP(np.int64(3), [4], 2),
    "hidden": lambda: MLP(3, np.array([4]), 2),
    "n_out": lambda: MLP(3, [4], Y.max() + 1),
    "dropout": lambda: MLP(3, [4], 2, dropout=np.float32(0.5)),
    "batch_norm": lambda: MLP(3, [4], 2, batch_norm=np.True_),
    "activation": lambda: MLP(3, [4], 2, activation=LeakyReLU(np.float32(0.25))),
    "classes": lambda: MLP(3, [4], 2, classes=np.unique(Y)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numpy_numbers_can_be_saved(name, tmp_path):
    model = NUMBERS[name]()
    model.fit(X, Y, loss=CrossEntropy(label_smoothing=np.float32(0.125)), **HOW)
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.predict(X).tolist() == model.predict(X).tolist()
    assert type(loaded.n_in) is type(model.n_in) is type(model.n_out) is int


# Numbers are checked in the dtype that computes


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.fit(x, Y, loss=CrossEntropy(), **HOW),
        lambda m, x: m.fit(X, Y, loss=CrossEntropy(), validation=(x, Y), **HOW),
        lambda m, x: m.evaluate(x, Y),
        lambda m, x: m.predict(x),
        lambda m, x: m.predict_proba(x),
        lambda m, x: m.forward(x),
        lambda m, x: m.forward(x, training=True),
        lambda m, x: m.value_and_grad(x, Y, CrossEntropy()),
        lambda m, x: m.objective(x, Y, CrossEntropy()),
    ],
)
def test_features_beyond_float32_are_refused(call, place32):
    model = MLP(3, [4], 2, loss=CrossEntropy(), backend=place32.backend)
    x = X.astype("float64")
    x[5, 1] = -1e39
    rule = r"X must be finite in float32, .*; got -1e\+39 in row 5, column 1"
    with pytest.raises(ArgumentError, match=rule):
        call(model, x)
    wide = MLP(3, [4], 2, loss=CrossEntropy(), dtype="float64", backend=place32.backend.name)
    call(wide, x)


def test_scaling_beyond_float32_is_refused(place32):
    scaling = Standardize(np.zeros(3), np.full(3, 1e-10))
    model = MLP(3, [4], 2, loss=CrossEntropy(), preprocessing=scaling, backend=place32.backend)
    x = X * np.float32(1e30)
    for call in (model.predict, lambda x: model.fit(x, Y, loss=CrossEntropy(), **HOW)):
        with pytest.raises(ArgumentError, match="X must be finite in float32"):
            call(x)
    large = Standardize(np.zeros(3), np.full(3, 1e39))
    model = MLP(3, [4], 2, loss=CrossEntropy(), preprocessing=large, backend=place32.backend)
    assert np.isfinite(place32.host(model.predict_proba(X.astype("float64") * 1e39))).all()


def test_mapped_features_beyond_float32_are_refused(tmp_path):
    x = X.astype("float64")
    x[7, 2] = 1e39
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    large = Standardize(np.zeros(3), np.full(3, 1e39))
    for scaling in (None, Standardize(np.zeros(3), np.full(3, 0.5))):
        model = MLP(3, [4], 2, preprocessing=scaling)
        with pytest.raises(ArgumentError, match=r"got 1e\+39 in row 7, column 2"):
            model.fit(mapped, Y, loss=CrossEntropy(), **HOW)
    MLP(3, [4], 2, preprocessing=large).fit(mapped, Y, loss=CrossEntropy(), **HOW)


def test_targets_beyond_float32_are_refused(place32):
    with pytest.raises(ArgumentError, match=r"y must be finite in float32, .* 1e\+39 in row 1"):
        loss_of(place32, X, Y * 1e39, n_out=1, loss=HalfMSE())


@pytest.mark.parametrize("scale", [5e-324, 1e-46, 1e-30, 1e38, 1e300])
def test_weights_train_alike_at_every_scale(scale, place32):
    exponent = np.round(np.log2(scale)) if scale > 1e-300 else -1070.0
    weight = np.array([1.0, 2.0, 1.0, 4.0] * 4)
    given = weight * 2.0**exponent
    assert loss_of(place32, X, Y, sample_weight=given) == loss_of(
        place32, X, Y, sample_weight=weight
    )
    by_class = {0: float(2.0**exponent), 1: float(2.0 ** (exponent + 1))}
    product = {"sample_weight": given, "class_weight": by_class}
    plain = {"sample_weight": weight, "class_weight": {0: 1.0, 1: 2.0}}
    assert loss_of(place32, X, Y, **product) == loss_of(place32, X, Y, **plain)


def test_metrics_receive_exact_targets(place32):
    target = 1e9 + np.linspace(-10, 10, 16)
    model = MLP(3, [], 1, loss=HalfMSE(), backend=place32.backend)
    model.theta = np.array([0.0, 0.0, 0.0, 1e9])
    expected = np.sqrt(np.mean((1e9 - target) ** 2))
    found = model.evaluate(X, target, metrics=[rmse])["rmse"]
    assert found == pytest.approx(expected, rel=1e-12)
    metrics = {"metrics": [rmse], "optimizer": SGD(lr=1e-30), "epochs": 1, "progress": False}
    with pytest.warns(UserWarning, match="far from the scale of a fresh network"):
        history = model.fit(X, target, loss=HalfMSE(), **metrics)
    assert history["rmse"][0] == pytest.approx(expected)
    held = model.fit(X, target, loss=HalfMSE(), validation=0.25, **metrics)
    assert held["val_rmse"][0] > 1.0


# Nothing divided by nothing is no score


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sample_weight": np.zeros(16)}, "sample_weight must not be all 0"),
        ({"class_weight": {0: 0.0, 1: 0.0}}, "class_weight must give some row a weight above 0"),
        (
            {"class_weight": {0: 0.0}, "sample_weight": (Y == 0).astype(float)},
            "class_weight and sample_weight must give some row a weight above 0",
        ),
        ({"validation": (X, Y, np.zeros(16))}, "weight must not be all 0"),
        ({"class_weight": {2: 5.0}}, "a key of class_weight must be a class index of 0 to 1"),
        ({"class_weight": {-1: 5.0}}, "a key of class_weight must be an integer of at least 0"),
        ({"class_weight": {np.inf: 5.0}}, "a key of class_weight must be an integer"),
        ({"class_weight": [1.0, 1.0, 5.0]}, "at most one weight for each of 2 classes"),
        ({"validation": True}, "validation must be"),
        ({"validation": np.float32(1.5)}, "validation must be"),
    ],
)
def test_weights_that_leave_nothing_are_refused(settings, says, place32):
    with pytest.raises(ArgumentError, match=says):
        loss_of(place32, X, Y, **settings)


@pytest.mark.parametrize(("held", "rows"), [(0.0, "a held-out row"), (1.0, "a training row")])
def test_parts_without_weight_are_refused(held, rows, place32):
    weight = np.full(16, 1.0 - held)
    weight[split_rows(16, 0.25, held_out_generator(0), Y)[1]] = held
    with pytest.raises(ArgumentError, match=f"sample_weight must give {rows} a weight above 0"):
        loss_of(place32, X, Y, sample_weight=weight, validation=0.25, rng=0)


def test_validation_and_evaluation_take_weights(place32):
    weight = np.where(np.arange(16) < 4, 1.0, 0.0)
    model = MLP(3, [4], 2, loss=CrossEntropy(), backend=place32.backend)
    expected = model.evaluate(X[:4], Y[:4])["loss"]
    assert model.evaluate(X, Y, sample_weight=weight)["loss"] == pytest.approx(expected, rel=1e-6)
    how = {"loss": CrossEntropy(), "optimizer": SGD(lr=1e-30), "epochs": 1, "progress": False}
    history = model.fit(X, Y, validation=(X, Y, weight), **how)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-6)
    assert len(model.fit(X, Y, validation=np.float32(0.25), **how)["val_loss"]) == 1


def zero(predicted, target):
    return 0.0


def loss(predicted, target):
    return 0.0


def each_class(predicted, target):
    return np.zeros(2)


def word(predicted, target):
    return "0.5"


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ([zero, zero], "metrics must have distinct names, .*; got 2 with the name 'zero'"),
        ([lambda p, t: 0.0, lambda p, t: 1.0], "metrics must have distinct names"),
        ([loss], "metrics must have other names than .*; got 'loss'"),
        ([each_class], "metric 'each_class' must return one number; got a float64 array of shape"),
        ([word], "metric 'word' must return one number; got '0.5'"),
    ],
)
def test_unusable_metrics_are_refused_before_training(metrics, says, place32):
    model = MLP(3, [4], 2, loss=CrossEntropy(), backend=place32.backend)
    before = place32.host(model.theta).copy()
    for validation in (None, (X, Y)):
        with pytest.raises(ArgumentError, match=says):
            model.fit(X, Y, loss=CrossEntropy(), metrics=metrics, validation=validation, **HOW)
        np.testing.assert_array_equal(place32.host(model.theta), before)
    with pytest.raises(ArgumentError, match=says):
        model.evaluate(X, Y, metrics=metrics)


def test_metric_may_fail_on_the_first_rows():
    def both_classes(predicted, target):
        if len(set(target.tolist())) < 2:
            raise ZeroDivisionError
        return 0.5

    y = np.arange(80) % 2 * (np.arange(80) >= 70)
    history = MLP(1, [2], 2).fit(
        np.ones((80, 1)), y, loss=CrossEntropy(), metrics=[both_classes], **HOW
    )
    assert history["both_classes"] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [([3.0, 3.0], [3.0, 3.0], 1.0), ([3.0, 4.0], [3.0, 3.0], 0.0), ([0.1] * 3, [0.1] * 3, 1.0)],
)
def test_r2_of_a_constant_target_is_defined(predicted, target, expected, place):
    assert float(r2(place.array(predicted), place.array(target))) == expected


@pytest.mark.parametrize("metric", [accuracy, rmse, r2])
def test_metrics_of_no_rows_are_refused(metric, place):
    with pytest.raises(ArgumentError, match="predicted must have at least one row"):
        metric(place.array(np.zeros(0)), place.array(np.zeros(0)))


def test_accuracy_takes_host_targets_and_names(place):
    predicted = place.array([0, 1, 1], "int64")
    for target in ([0, 1, 0], np.array([0, 1, 0])[::-1][::-1], Frame(np.array([[0], [1], [0]]))):
        assert float(accuracy(predicted, target)) == 2 / 3
    names = np.array(["cat", "dog", "dog"])
    assert float(accuracy(names, ["cat", "dog", "cat"])) == 2 / 3
    assert float(accuracy(names.astype(object), names.astype(STRINGS))) == 1.0
    with pytest.raises(ArgumentError, match="target must hold names, as the predictions do"):
        accuracy(names, [0, 1, 0])


def test_accuracy_compares_large_integers_exactly(place):
    ids = place.array([2**53 + 1, 2**53], "int64")
    assert float(accuracy(ids, np.array([2**53, 2**53]))) == 0.5
