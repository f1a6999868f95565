"""Metric functions and scorers of scikit-learn in `fit` and `evaluate`."""

import pickle
import sys
from functools import partial

import numpy as np
import pytest

import xpnet
from xpnet import MLP, Adam, BinaryCrossEntropy, CrossEntropy, HalfMSE, Hinge, sklearn_metric
from xpnet.errors import ArgumentError
from xpnet.metrics import accuracy
from xpnet.metrics.sklearn import _estimators

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn import metrics as peer  # noqa: E402

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3))
TWO = (X[:, 0] + RNG.normal(size=60) > 0).astype(int)
THREE = np.digitize(X[:, 1] + RNG.normal(size=60), [-0.4, 0.4])
WEIGHT = RNG.uniform(0.1, 2.0, 60)
VALUE = X @ [1.0, -1.0, 0.5]
SETTINGS = {"optimizer": Adam(), "epochs": 2, "progress": False}

TASKS = {
    "two": (CrossEntropy(), 2, TWO),
    "three": (CrossEntropy(), 3, THREE),
    "words": (CrossEntropy(), 3, np.array(["a", "b", "c"])[THREE]),
    "soft": (CrossEntropy(), 3, np.eye(3)[THREE]),
    "one": (BinaryCrossEntropy(), 1, TWO),
    "labels": (BinaryCrossEntropy(), 2, np.stack([TWO, 1 - TWO * (X[:, 2] > 0)], axis=1)),
    "margin": (Hinge(), 1, 2 * TWO - 1),
    "value": (HalfMSE(), 1, VALUE),
}
OVR = partial(peer.roc_auc_score, multi_class="ovr")

CASES = [
    ("two", peer.balanced_accuracy_score, "decisions"),
    ("three", OVR, "probabilities"),
    ("words", partial(peer.f1_score, average="macro", labels=["a", "c"]), "decisions"),
    ("two", peer.roc_auc_score, "scores"),
    ("two", peer.log_loss, "probabilities"),
    ("two", peer.brier_score_loss, "probabilities"),
    ("three", peer.log_loss, "probabilities"),
    ("three", partial(peer.f1_score, average="macro"), "decisions"),
    ("three", peer.top_k_accuracy_score, "scores"),
    ("words", peer.log_loss, "probabilities"),
    ("soft", peer.log_loss, "probabilities"),
    ("one", peer.average_precision_score, "scores"),
    ("one", peer.log_loss, "probabilities"),
    ("labels", peer.average_precision_score, "scores"),
    ("labels", partial(peer.f1_score, average="macro"), "decisions"),
    ("margin", peer.roc_auc_score, "scores"),
    ("margin", peer.hinge_loss, "scores"),
    ("margin", peer.matthews_corrcoef, "decisions"),
    ("value", peer.mean_absolute_error, "decisions"),
]
SCORERS = [
    ("two", "roc_auc", peer.roc_auc_score, 1),
    ("two", "neg_log_loss", peer.log_loss, -1),
    ("two", "f1", peer.f1_score, 1),
    ("three", "neg_log_loss", peer.log_loss, -1),
    ("three", "roc_auc_ovr", OVR, 1),
    ("one", "average_precision", peer.average_precision_score, 1),
    ("margin", "roc_auc", peer.roc_auc_score, 1),
    ("margin", "f1", peer.f1_score, 1),
    ("value", "r2", peer.r2_score, 1),
    ("value", "neg_root_mean_squared_error", peer.root_mean_squared_error, -1),
]


def fitted(task, backend="numpy"):
    loss, n_out, y = TASKS[task]
    model = MLP(3, [5], n_out, backend=backend, dtype="float64")
    model.fit(X, y, loss=loss, **SETTINGS)
    return model, y


def expected(task, function, needs, model, y, weight):
    """The value by scikit-learn alone, from the public methods of the model."""
    output = xpnet.to_numpy(model.forward(X))
    predicted = xpnet.to_numpy(model.predict(X)) if task != "words" else model.predict(X)
    if needs == "probabilities" or function is OVR:
        predicted = xpnet.to_numpy(model.predict_proba(X))
        predicted = predicted[:, 1] if predicted.shape[1] == 2 and task != "labels" else predicted
    elif needs == "scores":
        predicted = output[:, 0] if model.n_out == 1 else output
        predicted = output[:, 1] - output[:, 0] if task == "two" else predicted
    y = y.argmax(axis=1) if task == "soft" else y
    return function(y, predicted, **({} if weight is None else {"sample_weight": weight}))


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize(("task", "function", "needs"), CASES)
def test_functions_agree_with_the_model(task, function, needs, weight):
    model, y = fitted(task)
    metric = sklearn_metric(function)
    assert metric.needs == needs
    found = model.evaluate(X, y, metrics=[metric], sample_weight=weight)
    value = expected(task, function, needs, model, y, weight)
    assert found[metric.name] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize(("task", "name", "function", "sign"), SCORERS)
def test_scorers_agree_with_the_model(task, name, function, sign, weight):
    model, y = fitted(task)
    metric = sklearn_metric(peer.get_scorer(name), name=name)
    found = model.evaluate(X, y, metrics=[metric], sample_weight=weight)
    value = expected(task, function, metric.needs, model, y, weight)
    assert found[name] == pytest.approx(sign * value, rel=1e-12)
    assert metric.higher_is_better is True


@pytest.mark.parametrize("name", sorted(peer.get_scorer_names()))
def test_every_scorer_says_what_it_needs(name):
    metric = sklearn_metric(peer.get_scorer(name))
    by_part = {"log_loss": "probabilities", "brier": "probabilities", "ov": "probabilities"}
    by_part |= {"roc_auc": "scores", "average_precision": "scores", "top_k": "scores"}
    found = [needs for part, needs in by_part.items() if part in name and "cov" not in name]
    assert metric.needs == (found or ["decisions"])[0]
    assert metric.name.startswith("neg_") == name.startswith("neg_")


@pytest.mark.parametrize(
    "metric",
    [
        peer.max_error,
        peer.get_scorer("neg_max_error"),
        lambda estimator, X, y: estimator.predict(X)[0],
    ],
)
def test_weights_are_for_metrics_that_take_them(metric):
    model, y = fitted("value")
    metric = sklearn_metric(metric)
    found = model.evaluate(X, y, metrics=[metric], sample_weight=WEIGHT)[metric.name]
    assert found == model.evaluate(X, y, metrics=[metric])[metric.name]


def test_metrics_are_computed_on_the_host(place):
    model, y = fitted("three", place.backend)
    metrics = [sklearn_metric(f) for f in (peer.log_loss, peer.accuracy_score)]
    found = model.evaluate(X, y, metrics=[*metrics, accuracy], sample_weight=WEIGHT)
    assert np.isfinite(found["log_loss"])


def test_absent_classes_have_probabilities():
    model, _ = fitted("three")
    rows = THREE < 2
    found = model.evaluate(X[rows], THREE[rows], metrics=[sklearn_metric(peer.log_loss)])
    p = model.predict_proba(X[rows])
    value = peer.log_loss(THREE[rows], p, labels=[0, 1, 2])
    assert found["log_loss"] == pytest.approx(value, rel=1e-12)


def test_nan_predictions_give_nan():
    metric = sklearn_metric(peer.mean_squared_error)
    assert np.isnan(metric(np.array([np.nan, 1.0]), np.array([0.0, 1.0])))


@pytest.mark.parametrize(
    ("metric", "name", "direction"),
    [
        (peer.accuracy_score, "accuracy_score", True),
        (peer.log_loss, "log_loss", False),
        (peer.max_error, "max_error", False),
        (peer.cohen_kappa_score, "cohen_kappa_score", True),
        (partial(peer.fbeta_score, beta=2.0), "fbeta_score_2.0", True),
        (peer.get_scorer("neg_log_loss"), "neg_log_loss", True),
        (peer.get_scorer("f1_weighted"), "f1_score_weighted", True),
        (peer.get_scorer("roc_auc_ovo"), "roc_auc_score_ovo", True),
    ],
)
def test_names_and_directions(metric, name, direction):
    found = sklearn_metric(metric)
    assert (found.name, found.higher_is_better) == (name, direction)
    assert sklearn_metric(metric, name="own").name == "own"
    assert pickle.loads(pickle.dumps(found)).name == name


@pytest.mark.parametrize(
    ("metric", "settings", "message"),
    [
        ("roc_auc", {}, r"metric must be a function or a scorer.*sklearn_metric\(get_scorer"),
        (3, {}, "metric must be a function or a scorer of scikit-learn; got 3"),
        (peer.log_loss, {"needs": "logits"}, "needs must be .*got 'logits'"),
        (peer.get_scorer("f1"), {"needs": "scores"}, "needs must be left out or 'decisions'"),
        (len, {}, "metric must take the targets and the predictions"),
        (lambda estimator, X, y: 1.0, {}, "metric must be a scorer, which calls predict"),
        (accuracy, {}, "metric must be of scikit-learn.*Pass those of xpnet as they are"),
        (partial(accuracy), {}, "metric must be of scikit-learn"),
        (sklearn_metric(peer.f1_score), {}, "metric must be of scikit-learn"),
    ],
)
def test_bad_arguments_are_refused(metric, settings, message):
    with pytest.raises(ArgumentError, match=message):
        sklearn_metric(metric, **settings)


@pytest.mark.parametrize(
    "metric",
    [
        peer.roc_auc_score,
        peer.f1_score,
        partial(peer.f1_score, average="macro"),
        peer.get_scorer("roc_auc"),
    ],
)
def test_bare_functions_are_refused_by_name(metric):
    """Their arguments are (target, predicted): precision and recall would be exchanged."""
    model = MLP(3, [5], 2)
    before = model.theta.copy()
    rule = "metrics must be passed through xpnet.sklearn_metric if they are of scikit-learn"
    with pytest.raises(ArgumentError, match=rule):
        model.fit(X, TWO, loss=CrossEntropy(), metrics=[metric], **SETTINGS)
    assert (model.theta == before).all()


def test_scorers_may_be_functions():
    def mean_confidence(estimator, X, y):
        return estimator.predict_proba(X).max(axis=1).mean()

    model, y = fitted("three")
    metric = sklearn_metric(mean_confidence)
    found = model.evaluate(X, y, metrics=[metric])["mean_confidence"]
    assert metric.needs == "probabilities"
    assert found == pytest.approx(model.predict_proba(X).max(axis=1).mean(), rel=1e-12)


@pytest.mark.parametrize(
    "scorer",
    [
        lambda est, X, y: est.predict(X).mean(),
        lambda model, features, truth, sample_weight=None: model.predict(features).mean(),
    ],
)
def test_scorers_may_name_their_arguments(scorer):
    model, y = fitted("two")
    found = model.evaluate(X, y, metrics=[sklearn_metric(scorer, name="mean")])
    assert found["mean"] == model.predict(X).mean()


def test_errors_of_scikit_learn_name_the_metric():
    model, y = fitted("three")
    with pytest.raises(ValueError, match="multi_class must be in") as caught:
        model.evaluate(X, y, metrics=[sklearn_metric(peer.roc_auc_score)])
    assert caught.value.__notes__ == ["It was raised in the metric 'roc_auc_score'."]


@pytest.mark.parametrize("label", ["a", "b"])
def test_pos_label_may_be_a_class_name(label):
    """Scores are those of the named class, as ``predict_proba(X)[:, k]`` is in scikit-learn."""
    model = MLP(3, [5], 2, dtype="float64")
    y = np.array(["a", "b"])[TWO]
    model.fit(X, y, loss=CrossEntropy(), **SETTINGS)
    functions = [peer.f1_score, peer.average_precision_score, peer.brier_score_loss]
    metrics = [sklearn_metric(partial(f, pos_label=label)) for f in functions]
    metrics += [
        sklearn_metric(peer.make_scorer(peer.f1_score, pos_label=label), name="scorer"),
        sklearn_metric(partial(peer.f1_score, pos_label="ab".index(label)), name="index"),
    ]
    p = model.predict_proba(X)[:, "ab".index(label)]
    pairs = zip(functions, (model.predict(X), p, p), strict=True)
    values = [function(y, given, pos_label=label) for function, given in pairs]
    found = model.evaluate(X, y, metrics=metrics)
    del found["loss"]
    np.testing.assert_allclose(list(found.values()), [*values, *values[:1] * 2], rtol=1e-12)


def test_labels_of_a_scorer_may_be_class_names():
    model, y = fitted("words")
    options = {"average": "macro", "labels": ["a", "c"]}
    scorer = peer.make_scorer(peer.f1_score, **options)
    found = model.evaluate(X, y, metrics=[sklearn_metric(scorer, name="f1")])
    assert found["f1"] == pytest.approx(peer.f1_score(y, model.predict(X), **options), rel=1e-12)


def test_unknown_class_names_in_options_are_refused():
    model, y = fitted("words")
    metric = sklearn_metric(partial(peer.f1_score, average="macro", labels=["a", "d"]))
    with pytest.raises(ArgumentError, match="labels must be one of a, b, c; got 'd'"):
        model.evaluate(X, y, metrics=[metric])


def test_probabilities_of_two_classes_are_decided():
    model = MLP(3, [5], 1, dtype="float64")
    model.fit(X, 0.1 + 0.8 * TWO, loss=BinaryCrossEntropy(), **SETTINGS)
    metrics = [sklearn_metric(peer.roc_auc_score), sklearn_metric(peer.get_scorer("accuracy"))]
    found = model.evaluate(X, 0.1 + 0.8 * TWO, metrics=metrics)
    z = model.forward(X)[:, 0]
    assert found["roc_auc_score"] == pytest.approx(peer.roc_auc_score(TWO, z), rel=1e-12)
    assert found["accuracy_score"] == np.mean((z > 0) == TWO)


def test_a_missing_scikit_learn_is_named(monkeypatch):
    _estimators.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(xpnet.MissingExtraError, match="sklearn_metric needs scikit-learn"):
        sklearn_metric(peer.get_scorer("f1"))
    _estimators.cache_clear()
