"""What metrics are given: by their needs, with weights, in every kind of task."""

import warnings
from functools import partial

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    Adam,
    BinaryCrossEntropy,
    CrossEntropy,
    EarlyStopping,
    HalfMSE,
    Hinge,
    QuantileLoss,
)
from xpnet.errors import ArgumentError
from xpnet.metrics import (
    AUC,
    F1,
    Pinball,
    accuracy,
    balanced_accuracy,
    explained_variance,
    log_loss,
    mae,
    r2,
    rmse,
)
from xpnet.metrics.binding import bound
from xpnet.metrics.protocol import metric_name

X = np.random.default_rng(0).normal(size=(40, 3))
TWO = (X[:, 0] > 0).astype(int)
THREE = np.digitize(X[:, 1], [-0.4, 0.4])
LABELS = np.stack([TWO, X[:, 1] > 0], axis=1).astype(int)
WEIGHT = np.linspace(0.0, 2.0, 40)

TASKS = {
    "two classes": (CrossEntropy(), 2, TWO),
    "three classes": (CrossEntropy(), 3, THREE),
    "probabilities": (CrossEntropy(), 3, np.eye(3)[THREE]),
    "words": (CrossEntropy(), 3, np.array(["a", "b", "c"])[THREE]),
    "one output": (BinaryCrossEntropy(), 1, TWO),
    "labels": (BinaryCrossEntropy(), 2, LABELS),
    "margin": (Hinge(), 1, 2 * TWO - 1),
    "value": (HalfMSE(), 1, X[:, 2]),
    "values": (HalfMSE(), 2, X[:, 1:]),
}
SHAPES = {
    "two classes": {"decisions": (40,), "scores": (40,), "probabilities": (40, 2)},
    "three classes": {"decisions": (40,), "scores": (40, 3), "probabilities": (40, 3)},
    "probabilities": {"decisions": (40,), "scores": (40, 3), "probabilities": (40, 3)},
    "words": {"decisions": (40,), "scores": (40, 3), "probabilities": (40, 3)},
    "one output": {"decisions": (40,), "scores": (40,), "probabilities": (40, 2)},
    "labels": {"decisions": (40, 2), "scores": (40, 2), "probabilities": (40, 2)},
    "margin": {"decisions": (40,), "scores": (40,)},
    "value": {"decisions": (40,)},
    "values": {"decisions": (40, 2)},
}
SETTINGS = {"optimizer": Adam(), "epochs": 2, "progress": False}


def fitted(task, place, **settings):
    loss, n_out, y = TASKS[task]
    model = MLP(3, [4], n_out, backend=place.backend)
    model.fit(X, y, loss=loss, **SETTINGS | settings)
    return model, y


def recorder(needs, found):
    """A metric that keeps a copy of what it is given."""

    @xpnet.metric(needs=needs, name=needs)
    def record(predicted, target, sample_weight=None, *, n_classes, multilabel):
        found[needs] = predicted, target, sample_weight, n_classes, multilabel
        return 0.5

    return record


@pytest.mark.parametrize("task", TASKS)
def test_metrics_get_what_they_need(task, place):
    model, y = fitted(task, place)
    shapes, found = SHAPES[task], {}
    model.evaluate(X, y, metrics=[recorder(needs, found) for needs in shapes], sample_weight=WEIGHT)
    assert {needs: tuple(given[0].shape) for needs, given in found.items()} == shapes
    for predicted, target, weight, n_classes, multilabel in found.values():
        assert place.backend.owns(predicted)
        assert place.backend.owns(target)
        assert place.host(weight).tolist() == WEIGHT.tolist()
        kinds = {"value": None, "values": None, "labels": 2, "margin": 2, "one output": 2}
        assert n_classes == kinds.get(task, model.n_out)
        assert multilabel == (task == "labels")
    same = place.host(found["decisions"][0]).tolist()
    predicted = model.predict(X)
    if task == "words":
        assert [model.classes[index] for index in same] == predicted.tolist()
    else:
        assert same == place.host(predicted).tolist()


@pytest.mark.parametrize("task", ["two classes", "three classes", "one output", "labels"])
def test_scores_are_log_odds_of_probabilities(task, place):
    model, y = fitted(task, place)
    found = {}
    model.evaluate(X, y, metrics=[recorder(n, found) for n in ("scores", "probabilities")])
    scores, p = (place.host(found[needs][0]) for needs in ("scores", "probabilities"))
    p = p[:, 1] if scores.ndim == 1 else p
    np.testing.assert_allclose(scores, np.log(p / (1 - p)), rtol=1e-5, atol=1e-6)
    assert scores.dtype == np.float64


def test_scores_are_exact_where_probabilities_are_1():
    z = np.array([[900.0, 0.0, -5.0], [1.0, 902.0, 0.0]])
    found = CrossEntropy().scores(z)
    assert found[0, 0] == pytest.approx(900 - np.log1p(np.exp(-5.0)), rel=1e-15)
    assert found[1, 1] == pytest.approx(902 - np.log(1 + np.e), rel=1e-15)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("task", "needs", "others"),
    [
        ("margin", "probabilities", "decisions or scores"),
        ("value", "probabilities", "decisions"),
        ("value", "scores", "decisions"),
    ],
)
def test_unmet_needs_are_refused_before_a_step(task, needs, others):
    loss, n_out, y = TASKS[task]
    model = MLP(3, [4], n_out)
    before = model.theta.copy()
    needy = xpnet.metric(lambda p, t: 0.0, needs=needs, name="needy")
    message = f"metric 'needy' needs {needs}, which {type(loss).__name__}.* Take one that needs "
    with pytest.raises(ArgumentError, match=f"{message}{others}, or another loss."):
        model.fit(X, y, loss=loss, metrics=[needy], **SETTINGS)
    assert (model.theta == before).all()
    assert len(model.history) == 0
    model.fit(X, y, loss=loss, **SETTINGS)
    with pytest.raises(ArgumentError, match=f"metric 'needy' needs {needs}"):
        model.evaluate(X, y, metrics=[needy])


def test_metrics_of_one_value_refuse_several_quantiles():
    loss, how = QuantileLoss((0.1, 0.5)), {"y": X[:, 0], **SETTINGS}
    message = r"^metric 'rmse' needs as many predictions as targets, 1 in a row; got 2 of Quantile"
    with pytest.raises(ArgumentError, match=message + r".* Select columns: .*rmse\(p\[:, 0\], t\)"):
        MLP(3, [4], 2).fit(X, loss=loss, metrics=[rmse], **how)
    median = xpnet.metric(lambda p, t: rmse(p[:, 1], t), name="median_rmse")
    assert MLP(3, [4], 2).fit(X, loss=loss, metrics=[median], **how)["median_rmse"][0] > 0
    history = MLP(3, [4], 1).fit(X, loss=QuantileLoss(), metrics=[rmse], **how)
    assert history["rmse"][0] > 0


@pytest.mark.parametrize("metric", [rmse, mae, r2, explained_variance, Pinball()])
@pytest.mark.parametrize("task", ["words", "one output", "margin", "labels"])
def test_metrics_of_values_refuse_classes(metric, task):
    """The error of class indices is not in the units of the classes, such as 5, 7 and 9."""
    loss, n_out, y = TASKS[task]
    model = MLP(3, [4], n_out)
    with pytest.raises(
        ArgumentError, match=f"metric '{metric_name(metric)}' needs values; got the"
    ):
        model.fit(X, y, loss=loss, metrics=[metric], **SETTINGS)
    assert not model.trained


def weighted_accuracy(predicted, target, sample_weight=None):
    return np.average(predicted == target, weights=sample_weight)


@pytest.mark.parametrize("epochs_by", ["mini-batch", "full batch"])
def test_validation_weights_reach_metrics(epochs_by):
    optimizer = Adam() if epochs_by == "mini-batch" else xpnet.minimize.LBFGS()
    model = MLP(3, [4], 3)
    settings = {"loss": CrossEntropy(), "metrics": [weighted_accuracy, accuracy]}
    validation = X[:20], THREE[:20], WEIGHT[:20]
    settings |= SETTINGS | {"optimizer": optimizer, "validation": validation}
    history = model.fit(X[20:], THREE[20:], **settings)
    correct = model.predict(X[:20]) == THREE[:20]
    expected = np.average(correct, weights=WEIGHT[:20])
    assert history["val_weighted_accuracy"][-1] == pytest.approx(expected, rel=1e-6)
    measured = model.evaluate(
        *validation[:2], metrics=[weighted_accuracy], sample_weight=WEIGHT[:20]
    )
    assert measured["weighted_accuracy"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("validation", [None, 0.25])
def test_metrics_lack_class_weights(validation):
    found = []

    def weights(predicted, target, sample_weight):
        found.append(None if sample_weight is None else sample_weight.copy())
        return 0.0

    settings = {"loss": CrossEntropy(), "metrics": [weights], "validation": validation}
    settings |= SETTINGS | {"class_weight": [1.0, 5.0]}
    MLP(3, [4], 2).fit(X, TWO, **settings)
    assert found[-1] is None
    MLP(3, [4], 2).fit(X, TWO, sample_weight=WEIGHT, **settings)
    assert set(found[-1].tolist()) <= set(WEIGHT.astype("float32").tolist())
    assert len(found[-1]) == (40 if validation is None else 10)


def test_user_metrics_cannot_change_their_data():
    def vandal(predicted, target, sample_weight):
        predicted[...], target[...], sample_weight[...] = 0, 0, 0
        return 1.0

    model, y = fitted("three classes", Numpy())
    measured = model.evaluate(X, y, metrics=[vandal, weighted_accuracy], sample_weight=np.ones(40))
    assert measured["weighted_accuracy"] == np.mean(model.predict(X) == y)


class Numpy:
    backend = "numpy"


def test_nan_is_allowed_and_never_the_best():
    values = iter([np.nan, 0.5, np.nan, 0.25, 0.125])

    @xpnet.metric(higher_is_better=True)
    def shaky(predicted, target):
        return next(values)

    stopping = EarlyStopping("shaky", patience=5)
    thetas = []
    model = MLP(3, [4], 3)
    history = model.fit(
        X,
        THREE,
        loss=CrossEntropy(),
        metrics=[shaky],
        callbacks=[stopping, lambda run: thetas.append(run.model.theta.copy())],
        **SETTINGS | {"epochs": 5},
    )
    np.testing.assert_array_equal(history["shaky"], [np.nan, 0.5, np.nan, 0.25, 0.125])
    assert (model.theta == thetas[1]).all()


def test_directions_of_declared_metrics_are_known():
    @xpnet.metric(higher_is_better=True)
    def gain(predicted, target):
        return float(len(thetas))

    thetas = []
    model = MLP(3, [4], 3)
    callbacks = [EarlyStopping("gain"), lambda run: thetas.append(run.model.theta.copy())]
    settings = {"loss": CrossEntropy(), "metrics": [gain]} | SETTINGS
    model.fit(X, THREE, callbacks=callbacks, **settings)
    assert (model.theta == thetas[1]).all()
    with pytest.warns(UserWarning, match="gain is better if it is higher.* Write maximize=True"):
        model.fit(X, THREE, callbacks=[EarlyStopping("gain", maximize=False)], **settings)


def named(name):
    return xpnet.metric(lambda p, t: 0.0, name=name)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([rmse, rmse], "metrics must have distinct names.* got 2 with the name 'rmse'"),
        ([partial(rmse), rmse], "got 2 with the name 'rmse'"),
        ([lambda p, t: 0.0, lambda p, t: 1.0], "got 2 with the name '<lambda>'"),
        ([named("loss")], "metrics must have other names than"),
        ([named("val_accuracy")], "must have names that do not begin with val_ or avg_"),
        ([xpnet.metrics], "metrics must hold functions"),
        (["auc"], r"not names; got 'auc'. Write metrics=\[xpnet.metrics.AUC\(\)\]"),
        ("log_loss", r"not names; got 'log_loss'. Write metrics=\[xpnet.metrics.log_loss\]"),
        (["average_precision"], r"Write metrics=\[xpnet.metrics.AveragePrecision\(\)\]"),
        (["roc_auc"], r"not names; got 'roc_auc'. See help\(xpnet.metrics\)"),
    ],
)
def test_unusable_metrics_are_refused_by_name(metrics, message):
    model = MLP(3, [4], 3)
    with pytest.raises(ArgumentError, match=message):
        model.fit(X, THREE, loss=CrossEntropy(), metrics=metrics, **SETTINGS)


def test_callbacks_cannot_add_a_column_of_a_metric():
    class Adds:
        columns = ("accuracy",)

        def epoch(self, run):
            pass

    rule = "callbacks must add columns that no metric and no other callback has; got 'accuracy'"
    with pytest.raises(ArgumentError, match=rule):
        MLP(3, [4], 3).fit(
            X, THREE, loss=CrossEntropy(), metrics=[accuracy], callbacks=[Adds()], **SETTINGS
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"needs": "logits"}, "needs must be .*decisions.*got 'logits'"),
        ({"name": ""}, "name must be a text"),
        ({"name": 3}, "name must be a text"),
        ({"higher_is_better": "yes"}, "higher_is_better must be True, False or None"),
        ({"function": 3}, "function must be a function"),
        ({"function": F1}, r"function must be a function; .* Write F1\(...\)"),
    ],
)
def test_wrong_declarations_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        xpnet.metric(**{"function": lambda p, t: 0.0} | arguments)


class Counter:
    """An object with a method that is a metric."""

    def share(self, predicted, target):
        return (predicted == target).mean()


RENAMED = {
    "function": (log_loss, "probabilities", False),
    "object": (AUC(of="b"), "scores", True),
    "partial": (partial(log_loss), "probabilities", False),
    "partial of an object": (partial(AUC(of="b"), sample_weight=WEIGHT), "scores", True),
    "declared twice": (xpnet.metric(AUC(of="b"), name="first"), "scores", True),
    "method": (Counter().share, "decisions", None),
    "frozen": (np.mean.__call__, "decisions", None),
}


@pytest.mark.parametrize("case", RENAMED)
def test_renamed_metrics_keep_what_they_declare(case):
    function, needs, direction = RENAMED[case]
    found = bound(xpnet.metric(function, name="other"), ("a", "b", "c"))
    assert (found.name, found.needs, found.higher_is_better) == ("other", needs, direction)


def test_renaming_does_not_change_the_metric():
    xpnet.metric(log_loss, name="other", needs="scores", higher_is_better=True)
    found = bound(log_loss)
    assert (found.name, found.needs, found.higher_is_better) == ("log_loss", "probabilities", False)


def test_renamed_metrics_have_the_same_value():
    model, y = fitted("words", Numpy())
    renamed = xpnet.metric(AUC(of="b"), name="other")
    metrics = [AUC(of="b"), renamed, F1(), xpnet.metric(partial(F1()), name="again")]
    found = model.evaluate(X, y, metrics=metrics, sample_weight=WEIGHT)
    assert found["other"] == found["auc_b"]
    assert found["again"] == found["f1_macro"]


def test_arguments_of_a_partial_are_kept():
    model, y = fitted("three classes", Numpy())
    metrics = [xpnet.metric(partial(accuracy, sample_weight=WEIGHT), name="weighted")]
    found = model.evaluate(X, y, metrics=metrics, sample_weight=np.ones(40))
    assert found["weighted"] == pytest.approx(
        np.average(model.predict(X) == y, weights=WEIGHT), rel=1e-12
    )


@pytest.mark.parametrize("metric", [accuracy, balanced_accuracy, F1(), partial(F1())])
def test_metrics_of_classes_refuse_values(metric):
    model = MLP(3, [4], 1)
    rule = r"needs classes; got the values of HalfMSE\(\).*xpnet.metrics.rmse"
    with pytest.raises(ArgumentError, match=rule):
        model.fit(X, X[:, 2], loss=HalfMSE(), metrics=[metric], **SETTINGS)
    assert not model.trained


def test_errors_in_metrics_name_the_metric():
    model, y = fitted("labels", Numpy())
    with pytest.raises(ArgumentError, match="In the metric 'balanced_accuracy': predicted must"):
        model.evaluate(X, y, metrics=[balanced_accuracy])


def test_unknown_directions_are_refused_by_name():
    def odd(predicted, target):
        return 0.0

    odd.higher_is_better = "max"
    with pytest.raises(ArgumentError, match="higher_is_better of the metric 'odd' must be True"):
        bound(odd)


def test_unknown_needs_are_refused_by_name():
    def odd(predicted, target):
        return 0.0

    odd.needs = "logits"
    with pytest.raises(ArgumentError, match="needs of the metric 'odd' must be"):
        bound(odd)


@pytest.mark.parametrize("value", ["0.5", [0.5, 0.5], None, 1j, np.zeros(2)])
def test_results_that_are_no_number_are_refused(value):
    model = MLP(3, [4], 3)
    odd = xpnet.metric(partial(lambda p, t, value: value, value=value), name="odd")
    with pytest.raises(ArgumentError, match="metric 'odd' must return one number"):
        model.fit(X, THREE, loss=CrossEntropy(), metrics=[odd], **SETTINGS)
    assert not model.trained


def test_evaluation_does_not_warn_of_overflow():
    model = MLP(3, [4], 2)
    model.fit(X, X[:, 0], loss=xpnet.GaussianNLL(), **SETTINGS)
    model.theta = model.theta * 1e4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(X, X[:, 0])


def test_distillation_targets_give_their_labels():
    teacher, _ = fitted("three classes", Numpy())
    rows = xpnet.distillation_targets(teacher, X, THREE)
    student = MLP(3, [4], 3)
    history = student.fit(X, rows, loss=xpnet.Distillation(), metrics=[accuracy], **SETTINGS)
    assert history["accuracy"][-1] == np.mean(student.predict(X) == THREE)
