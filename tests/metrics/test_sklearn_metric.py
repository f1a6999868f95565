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


def test_a_missing_scikit_learn_is_named(monkeypatch):
    _estimators.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(xpnet.MissingExtraError, match="sklearn_metric needs scikit-learn"):
        sklearn_metric(peer.get_scorer("f1"))
    _estimators.cache_clear()
