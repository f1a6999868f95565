"""Copied layers, pre-training, hints and distillation, and the tasks on which each helps."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import (
    MLP,
    SGD,
    Adam,
    Averaged,
    CrossEntropy,
    Dense,
    Distillation,
    Dropout,
    Frozen,
    MinMax,
    Sequential,
    Sigmoid,
    copy_layers,
    distillation_targets,
    first_layers,
    fit_hints,
    load,
    pretrain_layers,
    to_numpy,
)
from xpnet.data import load_digits
from xpnet.errors import ArgumentError
from xpnet.losses import HalfMSE
from xpnet.metrics import accuracy

LOSS, SCALING = CrossEntropy(), MinMax(0, 16, to=(-1, 1))
QUIET = {"progress": False, "batch_size": 32}


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def teacher(digits):
    model = MLP(64, [64, 32], 10, preprocessing=SCALING, rng=9)
    model.fit(digits.X_train, digits.y_train, loss=LOSS, optimizer=Adam(3e-3), epochs=25, **QUIET)
    return model


def few(digits, n: int, seed: int) -> np.ndarray:
    """Return the row indices of ``n`` training images of each class."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.flatnonzero(digits.y_train == k), n, replace=False) for k in range(10)]
    return np.concatenate(rows)


def score(model, digits, y_test=None) -> float:
    y = digits.y_test if y_test is None else y_test
    return model.evaluate(digits.X_test, y, metrics=[accuracy])["accuracy"]


def views(model) -> dict[str, np.ndarray]:
    found = model.layout.views(model.theta)
    found = found | model.network.statistics_layout.views(model.statistics)
    return {path: to_numpy(view) for path, view in found.items()}


def test_copy_layers_copies_only_those_layers(place):
    source = MLP(4, [6, 5], 3, batch_norm=True, rng=1, dtype="float64")
    source.statistics[...] = np.arange(source.statistics.shape[0])
    target = MLP(4, [6, 5], 2, batch_norm=True, rng=2, backend=place.backend)
    before = {path: array.copy() for path, array in views(target).items()}
    copy_layers(source, target, [0, 1])
    for path, array in views(target).items():
        copied = path.split(".")[1] in "01"
        np.testing.assert_array_equal(array, (views(source) if copied else before)[path])


def test_copy_layers_maps_indices():
    source, target = MLP(4, [6, 6], 3, rng=1), MLP(6, [6, 6], 3, rng=2)
    copy_layers(source, target, {1: 0})
    np.testing.assert_array_equal(
        views(target)["layers.0.weight"], views(source)["layers.1.weight"]
    )


def test_weights_are_the_transpose_of_pytorchs(torch, rng):
    linear, model = torch.nn.Linear(4, 3), Sequential([Dense(3)], 4)
    p, X = model.layout.views(model.theta), rng.normal(size=(5, 4)).astype("float32")
    p["layers.0.weight"][...] = linear.weight.detach().numpy().T
    p["layers.0.bias"][...] = linear.bias.detach().numpy()
    expected = linear(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(model.forward(X), expected, rtol=1e-5, atol=1e-6)


def test_first_layers_compute_the_hidden_output(digits, teacher):
    X = digits.X_test[:20]
    p = views(teacher)
    hidden = np.maximum(SCALING.apply(X) @ p["layers.0.weight"] + p["layers.0.bias"], 0)
    np.testing.assert_allclose(first_layers(teacher, 1).predict(X), hidden, rtol=1e-4, atol=1e-5)


def test_transfer_beats_training_with_twenty_labels(digits, teacher):
    """The new task: which of the pairs {0,1}, {2,3}, … a digit belongs to."""
    from_scratch, transferred = [], []
    for seed in range(5):
        rows = few(digits, 2, seed)
        X, y = digits.X_train[rows], digits.y_train[rows] // 2
        for scores in (from_scratch, transferred):
            model = MLP(64, [64, 32], 5, preprocessing=SCALING, rng=100 + seed)
            optimizer = Adam(3e-3)
            if scores is transferred:
                copy_layers(teacher, model, [0, 1])
                optimizer = Frozen(optimizer, model.layout, [0, 1])
            settings = QUIET | {"epochs": 100, "batch_size": 10, "rng": seed}
            model.fit(X, y, loss=LOSS, optimizer=optimizer, **settings)
            scores.append(score(model, digits, digits.y_test // 2))
            if scores is transferred:
                for path in ("layers.0.weight", "layers.0.bias", "layers.1.weight"):
                    np.testing.assert_array_equal(views(model)[path], views(teacher)[path])
    assert np.mean(transferred) > np.mean(from_scratch) + 0.05


def test_frozen_layers_stay_under_an_average(digits, teacher):
    model = MLP(64, [64, 32], 10, preprocessing=SCALING)
    copy_layers(teacher, model, [0])
    optimizer = Averaged(Frozen(Adam(), model.layout, [0]))
    model.fit(digits.X_test, digits.y_test, loss=LOSS, optimizer=optimizer, epochs=2, **QUIET)
    np.testing.assert_array_equal(
        views(model)["layers.0.weight"], views(teacher)["layers.0.weight"]
    )


def test_pretraining_helps_a_deep_sigmoid_network(digits):
    data, how = (digits.X_train, digits.y_train), {"loss": LOSS, **QUIET}
    plain, helped = (
        MLP(64, [32] * 5, 10, activation=Sigmoid(), preprocessing=SCALING) for _ in range(2)
    )
    plain.fit(*data, optimizer=SGD(0.5), epochs=40, **how)
    histories = pretrain_layers(helped, *data, optimizer=SGD(0.5), epochs=6, **how)
    pretrained = score(helped, digits)
    helped.fit(*data, optimizer=SGD(0.5), epochs=10, **how)
    assert len(histories) == 5
    assert score(plain, digits) < 0.2
    assert pretrained > 0.8
    assert score(helped, digits) > 0.9


def test_pretraining_handles_names_and_batch_norm(place):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    names = np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]
    model = MLP(3, [5, 4], 2, batch_norm=True, dropout=0.1, backend=place.backend)
    before = {path: array.copy() for path, array in views(model).items()}
    pretrain_layers(model, X, names, loss=LOSS, optimizer=Adam(0.05), epochs=2, **QUIET)
    assert model.classes == ("no", "yes")
    assert set(model.predict(X)) <= {"no", "yes"}
    unchanged = [path for path, array in views(model).items() if (array == before[path]).all()]
    assert unchanged == []


def test_pretraining_keeps_the_layers_before(digits):
    data = digits.X_train[:200], digits.y_train[:200]
    shallow, deep = (MLP(64, [8] * n, 10, preprocessing=SCALING) for n in (1, 2))
    copy_layers(shallow, deep, [0])
    for model in (shallow, deep):
        copy_layers(MLP(64, [8], 10, rng=5), model, [0])
        pretrain_layers(model, *data, loss=LOSS, optimizer=SGD(0.1), epochs=1, rng=1, **QUIET)
    np.testing.assert_array_equal(views(shallow)["layers.0.weight"], views(deep)["layers.0.weight"])


def test_pretraining_starts_from_the_models_weights(digits, teacher):
    """A negligible learning rate does not change them."""
    X, y = digits.X_train[:64], digits.y_train[:64]
    model = MLP(64, [8, 8], 10, batch_norm=True, preprocessing=SCALING, rng=7)
    before = {path: array.copy() for path, array in views(model).items()}
    how = {"optimizer": SGD(1e-30), "epochs": 1, **QUIET}
    fit_hints(model, teacher, X, student_layer=3, teacher_layer=0, **how)
    pretrain_layers(model, X, y, loss=LOSS, **how)
    hidden = [e.path for e in model.layout.entries if e.path[7] in "0134"]
    assert len(hidden) == 6
    for path in hidden:
        np.testing.assert_allclose(views(model)[path], before[path], rtol=0, atol=1e-25)


def test_hints_help_a_thin_deep_student(digits, teacher):
    """Five layers of sixteen sigmoids learn from labels only after hints for the first three."""
    data, how = (digits.X_train, digits.y_train), {"optimizer": SGD(0.1), **QUIET}
    scores = []
    for hinted in (False, True):
        student = MLP(64, [16] * 5, 10, activation=Sigmoid(), preprocessing=SCALING)
        if hinted:
            places = {"student_layer": 2, "teacher_layer": 0}
            hints = QUIET | {"optimizer": Adam(3e-3), "epochs": 15}
            untouched = views(student)["layers.3.weight"].copy()
            history = fit_hints(student, teacher, digits.X_train, **places, **hints)
            assert history["loss"][-1] < 0.5 * history["loss"][0]
            np.testing.assert_array_equal(views(student)["layers.3.weight"], untouched)
        student.fit(*data, loss=LOSS, epochs=25 if hinted else 40, **how)
        scores.append(score(student, digits))
    assert scores[0] < 0.2
    assert scores[1] > 0.35


def test_distillation_beats_training_on_few_labels(digits, teacher, tmp_path):
    hard, soft = [], []
    for seed in range(3):
        rows = few(digits, 5, seed)
        X, y = digits.X_train[rows], digits.y_train[rows]
        how = {"optimizer": Adam(0.01), "epochs": 100, "rng": seed, **QUIET}
        for scores, loss, targets in (
            (hard, LOSS, y),
            (soft, Distillation(4.0), distillation_targets(teacher, X, y)),
        ):
            student = MLP(64, [16], 10, preprocessing=SCALING, rng=seed)
            student.fit(X, targets, loss=loss, validation=(digits.X_test, digits.y_test), **how)
            scores.append(score(student, digits))
    assert np.mean(soft) > np.mean(hard) + 0.03
    student.save(tmp_path / "student.safetensors")
    assert load(tmp_path / "student.safetensors").loss == Distillation(4.0)


def test_distillation_targets_are_logits_and_labels(place):
    teacher = MLP(3, [4], 2, loss=LOSS, classes=("no", "yes"), backend=place.backend)
    X = place.array(np.arange(9.0).reshape(3, 3))
    targets = distillation_targets(teacher, X, np.array(["yes", "no", "yes"]))
    np.testing.assert_array_equal(targets[:, :2], to_numpy(teacher.forward(X)))
    np.testing.assert_array_equal(targets[:, 2], [1, 0, 1])


def test_distillation_targets_apply_preprocessing():
    teacher = MLP(4, [8], 3, loss=LOSS, preprocessing=MinMax(-2.0, 2.0))
    expected = distillation_targets(teacher, X4, Y4)
    np.testing.assert_array_equal(distillation_targets(teacher, X4.tolist(), list(Y4)), expected)


def net(*hidden: int, **settings):
    return MLP(4, hidden, 3, **settings)


X4, Y4 = np.zeros((6, 4)), np.arange(6) % 3
SGD_ = {"optimizer": SGD(), "progress": False}
BAD = {
    r"the target's layers.0 must be like the source's layers.0, with weight \(4, 8\), bias \(8,\); "
    r"got weight \(4, 7\), bias \(7,\)": lambda: copy_layers(net(8), net(7), [0]),
    "a layer of the source must be one of its 2 layers, 0 to 1; got 2": lambda: copy_layers(
        net(8), net(8), [2]
    ),
    "a layer of the target must be an integer of at least 0; got -1": lambda: copy_layers(
        net(8), net(8), {0: -1}
    ),
    "target must be a Sequential": lambda: copy_layers(net(8), None, [0]),
    "n must be at most the 2 layers; got 3": lambda: first_layers(net(8), 3),
    "model must have hidden Dense layers and end in a Dense layer": lambda: pretrain_layers(
        net(), X4, Y4, loss=LOSS, **SGD_
    ),
    "model must have hidden Dense layers and": lambda: pretrain_layers(
        Sequential([Dense(3), Dense(3), Dropout(0.1)], 4), X4, Y4, loss=LOSS, **SGD_
    ),
    "validation must be a fraction of the rows": lambda: pretrain_layers(
        net(8), X4, Y4, loss=LOSS, validation=(X4, Y4), **SGD_
    ),
    "teacher_layer must be at most 1, its last layer; got 2": lambda: fit_hints(
        net(8), net(8), X4, student_layer=0, teacher_layer=2, **SGD_
    ),
    r"teacher must have been trained with CrossEntropy; got HalfMSE\(\)": lambda: (
        distillation_targets(net(8, loss=HalfMSE()), X4, Y4)
    ),
    "X must have 4 columns, as many as the input has": lambda: distillation_targets(
        net(8, loss=LOSS), X4[:, :3], Y4
    ),
    r"y must have the shape \(6,\)": lambda: distillation_targets(
        net(8, loss=LOSS), X4, np.full((6, 3), 1 / 3)
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()


def test_copy_layers_swaps_layers_of_one_model():
    model = MLP(3, [3, 3], 3)
    views = model.layout.views(model.theta)
    first, second = views["layers.0.weight"].copy(), views["layers.1.weight"].copy()
    copy_layers(model, model, {0: 1, 1: 0})
    np.testing.assert_array_equal(views["layers.0.weight"], second)
    np.testing.assert_array_equal(views["layers.1.weight"], first)
