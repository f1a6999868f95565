"""Every metric equals scikit-learn's on random cases: ties, weights of 0, absent classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from xpnet import metrics
from xpnet.metrics import (
    AUC,
    F1,
    AveragePrecision,
    Pinball,
    Precision,
    Recall,
    TopKAccuracy,
    classification_table,
    confusion_matrix,
)

pytest.importorskip("sklearn", "1.7", reason="scikit-learn 1.7 or later is not installed")
sklearn = pytest.importorskip("sklearn.metrics")

N_CASES = 200


@dataclass
class Case:
    """Data of one case; ``t`` are class indices, ``labels`` 0 or 1 in several columns."""

    seed: int
    n_classes: int
    t: np.ndarray
    z: np.ndarray
    scores: np.ndarray
    p: np.ndarray
    labels: np.ndarray
    decided: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    weight: np.ndarray | None

    @property
    def all(self) -> range:
        return range(self.n_classes)


def drawn(seed: int) -> Case:
    rng = np.random.default_rng([17, seed])
    n_classes, m = 2 + seed % 5, int(rng.integers(2, 50))
    present = rng.permutation(n_classes)[: int(rng.integers(1, n_classes + 1))]
    present = np.arange(n_classes) if seed % 3 else present
    t, z = rng.choice(present, m), rng.integers(0, n_classes, m)
    z = np.where(rng.random(m) < 0.6, t, z)
    z = np.full(m, z[0]) if seed % 11 == 0 else z
    p = rng.dirichlet(np.ones(n_classes), m)
    if seed % 2:
        p = np.round(p * 8)
        p[:, 0] += 1  # no row of zeros
        p /= p.sum(axis=1, keepdims=True)
    p[: seed % 4] = np.eye(n_classes)[z[: seed % 4]]
    scores = np.log(p + 1e-3)
    labels = rng.integers(0, 2, (m, n_classes))
    decided = np.where(rng.random(labels.shape) < 0.7, labels, 1 - labels)
    targets = rng.normal(size=(m, 1 + seed % 3)) * 10.0 ** rng.integers(-3, 4)
    values = targets + rng.normal(size=targets.shape) * rng.choice([0, 0.1, 1])
    weight = None
    if seed % 5 > 1:
        weight = rng.uniform(0, 3, m) if seed % 5 > 2 else rng.integers(0, 3, m)
        weight = np.where(rng.random(m) < 0.2, 0, weight)
        weight[-1] = 1
    return Case(seed, n_classes, t, z, scores, p, labels, decided, values, targets, weight)


CASES = [drawn(seed) for seed in range(N_CASES)]
TWO = [case for case in CASES if case.n_classes == 2]
MORE = [case for case in CASES if case.n_classes > 2][::4]


def own(metric, predicted, target, **settings):
    return lambda c: metric(getattr(c, predicted), getattr(c, target), c.weight, **settings)


def theirs(name, target, predicted, **settings):
    """scikit-learn's function of data of a case; settings may be functions of the case."""

    def compute(c):
        given = {k: v(c) if callable(v) else v for k, v in settings.items()}
        function = getattr(sklearn, name)
        return function(getattr(c, target), getattr(c, predicted), sample_weight=c.weight, **given)

    return compute


def remembered(function):
    """Compute a result of scikit-learn once for each case, as several metrics share it."""
    results = {}

    def compute(c, *arguments):
        key = id(c), arguments
        if key not in results:
            results[key] = function(c, *arguments)
        return results[key]

    return compute


@remembered
def precision_recall_f1(c, target, predicted, average, labels):
    return sklearn.precision_recall_fscore_support(
        *(getattr(c, name) for name in (target, predicted)),
        average=average, labels=labels, sample_weight=c.weight, zero_division=0.0,
    )  # fmt: skip


def averaged(cls, index):
    """Precision, recall or F1, which is the result of scikit-learn with an index."""
    rows = {}
    name = cls.base_name
    for average in ("macro", "micro", "weighted"):
        for what, pair in (("", ("t", "z")), (" of labels", ("labels", "decided"))):
            rows[f"{name}_{average}{what}"] = (
                own(cls(average), *pair[::-1]),
                lambda c, *given: precision_recall_f1(c, *given)[index],
                *pair, average, None,
            )  # fmt: skip
    given = "t", "z", "macro", (1,)
    rows[f"{name} of class 1"] = (
        own(cls(of=1), "z", "t"),
        lambda c, *given: precision_recall_f1(c, *given)[index],
        *given,
    )
    return rows


@remembered
def of_columns(c, function, truth):
    """The value of each class or label, and the weight of its targets."""
    truth = np.eye(c.n_classes, dtype=int)[c.t] if truth == "t" else c.labels
    binary, weight = getattr(sklearn, function), np.ones(len(c.t)) if c.weight is None else c.weight
    columns = zip(truth.T, c.scores.T, strict=True)
    return [binary(t, s, sample_weight=c.weight) for t, s in columns], weight @ truth


def average_of_columns(c, function, truth, average):
    """scikit-learn's formula, which the second value of two classes replaces."""
    values, shares = of_columns(c, function, truth)
    if average == "class 1" or (truth == "t" and c.n_classes == 2):
        return values[1]
    if average == "macro":
        return np.mean(values)
    return np.average(np.where(shares == 0, 0, values), weights=shares) if sum(shares) else np.nan


def by_class(cls, function):
    """One class against the rest, and the averages of all."""
    name = cls.base_name
    rows = {
        f"{name} of class 1": (
            own(cls(of=1), "scores", "t"), average_of_columns, function, "t", "class 1"
        )
    }  # fmt: skip
    for average in ("macro", "weighted"):
        rows[f"{name}_{average}"] = (
            own(cls(average), "scores", "t"), average_of_columns, function, "t", average
        )  # fmt: skip
        rows[f"{name}_{average} of labels"] = (
            own(cls(average), "scores", "labels", multilabel=True),
            average_of_columns, function, "labels", average,
        )  # fmt: skip
    return rows


TABLE = {
    "accuracy": (own(metrics.accuracy, "z", "t"), theirs("accuracy_score", "t", "z")),
    "balanced_accuracy": (
        own(metrics.balanced_accuracy, "z", "t"),
        theirs("balanced_accuracy_score", "t", "z"),
    ),
    "matthews": (own(metrics.matthews, "z", "t"), theirs("matthews_corrcoef", "t", "z")),
    "log_loss": (
        own(metrics.log_loss, "p", "t"),
        theirs("log_loss", "t", "p", labels=lambda c: c.all),
    ),
    "brier": (
        own(metrics.brier, "p", "t"),
        theirs("brier_score_loss", "t", "p", labels=lambda c: c.all),
    ),
    "top_1": (
        own(TopKAccuracy(1), "p", "t"),
        lambda c: top_k(c, 1),
    ),
    "top_2": (own(TopKAccuracy(2), "p", "t"), lambda c: top_k(c, 2)),
    **averaged(Precision, 0),
    **averaged(Recall, 1),
    **averaged(F1, 2),
    **by_class(AUC, "roc_auc_score"),
    **by_class(AveragePrecision, "average_precision_score"),
    "rmse": (
        own(metrics.rmse, "values", "targets"),
        theirs("root_mean_squared_error", "targets", "values"),
    ),
    "mae": (
        own(metrics.mae, "values", "targets"),
        theirs("mean_absolute_error", "targets", "values"),
    ),
    "r2": (own(metrics.r2, "values", "targets"), theirs("r2_score", "targets", "values")),
    "explained_variance": (
        own(metrics.explained_variance, "values", "targets"),
        theirs("explained_variance_score", "targets", "values"),
    ),
    "pinball": (
        own(Pinball(0.9), "values", "targets"),
        theirs("mean_pinball_loss", "targets", "values", alpha=0.9),
    ),
}


def top_k(c, k):
    if c.n_classes == 2:  # scikit-learn takes one column of two classes
        hits = (c.p[:, 1] >= c.p[:, 0]) == c.t if k == 1 else np.ones(len(c.t))
        return np.average(hits, weights=c.weight)
    return sklearn.top_k_accuracy_score(c.t, c.p, k=k, labels=c.all, sample_weight=c.weight)


def reference(compute, case, *arguments):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return compute(case, *arguments)


def is_degenerate(c):
    """Whether a covariance of scikit-learn's Matthews coefficient is only rounding."""
    used = np.ones(len(c.t), bool) if c.weight is None else c.weight > 0
    return min(len(np.unique(x[used])) for x in (c.t, c.z)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_metric_equals_that_of_sklearn(name):
    ours, compute, *arguments = TABLE[name]
    # A label is what two classes are. Most of the time is that of scikit-learn, for each column.
    cases = CASES[::4] if name.endswith("of labels") else CASES
    n_defined = 0
    for case in cases:
        found = float(ours(case))
        if name == "matthews" and is_degenerate(case):
            assert found == 0.0
            continue
        expected = reference(compute, case, *arguments)
        n_defined += not np.isnan(expected)
        np.testing.assert_allclose(
            found, expected, rtol=1e-12, atol=1e-12, err_msg=f"drawn({case.seed})"
        )
    assert n_defined > 0.6 * len(cases)


BINARY = {
    "precision": (Precision("binary"), "precision_score"),
    "recall": (Recall("binary"), "recall_score"),
    "f1": (F1("binary"), "f1_score"),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("negative", [0, -1])
def test_two_classes_equal_those_of_sklearn(name, negative):
    metric, function = BINARY[name]
    for c in TWO:
        z, t = (np.where(x == 1, 1, negative) for x in (c.z, c.t))
        if len(np.unique([z, t])) == 1:
            continue
        settings = {"zero_division": 0.0, "sample_weight": c.weight}
        expected = reference(lambda c: getattr(sklearn, function)(t, z, **settings), c)  # noqa: B023
        np.testing.assert_allclose(metric(z, t, c.weight), expected, rtol=1e-12)
        np.testing.assert_allclose(metric(z, t, c.weight, n_classes=2), expected, rtol=1e-12)


PROBABILITIES = {
    "log_loss": (metrics.log_loss, "log_loss", {"labels": [0, 1]}),
    "brier": (metrics.brier, "brier_score_loss", {}),
    "auc": (AUC(), "roc_auc_score", {}),
    "average_precision": (AveragePrecision(), "average_precision_score", {}),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_vector_of_second_class_equals_sklearn(name):
    metric, function, settings = PROBABILITIES[name]
    for c in TWO:
        p = c.p[:, 1]
        settings = settings | {"sample_weight": c.weight}
        expected = reference(lambda c: getattr(sklearn, function)(c.t, p, **settings), c)  # noqa: B023
        for given in (p, p[:, None], c.p):
            for target in (c.t, 2 * c.t - 1, c.t.astype(float), c.t == 1, c.t[:, None]):
                np.testing.assert_allclose(
                    metric(given, target, c.weight), expected, rtol=1e-12, atol=1e-12
                )


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_multiclass_auc_equals_that_of_sklearn(average):
    n_defined = 0
    for c in MORE:
        expected = reference(
            lambda c: sklearn.roc_auc_score(
                c.t, c.p, multi_class="ovr", average=average, labels=c.all, sample_weight=c.weight
            ),
            c,
        )
        n_defined += not np.isnan(expected)
        np.testing.assert_allclose(AUC(average)(c.p, c.t, c.weight), expected, rtol=1e-12)
    assert n_defined > 20


def test_confusion_matrix_equals_that_of_sklearn():
    for c in CASES[::2]:
        expected = sklearn.confusion_matrix(c.t, c.z, labels=c.all, sample_weight=c.weight)
        found = confusion_matrix(c.z, c.t, c.n_classes, sample_weight=c.weight)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        assert found.dtype == (np.int64 if c.weight is None else np.float64)


def test_table_equals_the_report_of_sklearn():
    for c in CASES[::4]:
        words = [f"class {k}" for k in c.all]
        table = classification_table(c.z, c.t, c.weight, classes=words)
        expected = sklearn.precision_recall_fscore_support(
            c.t, c.z, labels=c.all, sample_weight=c.weight, zero_division=0.0
        )
        assert table.names == tuple(words)
        found = table.precision, table.recall, table.f1, table.support
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        for average in ("macro", "weighted"):
            expected = sklearn.precision_recall_fscore_support(
                c.t, c.z, average=average, sample_weight=c.weight, zero_division=0.0
            )
            np.testing.assert_allclose(getattr(table, average), expected[:3], rtol=1e-12)


def test_words_give_the_values_of_indices():
    for c in CASES[:50]:
        words = np.array([f"class {k}" for k in c.all])
        z, t = words[c.z], words[c.t]
        for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.matthews, F1()):
            expected = metric(c.z, c.t, c.weight)
            np.testing.assert_allclose(metric(z, t, c.weight), expected, rtol=1e-14)
            np.testing.assert_allclose(
                metric(z.astype(object), list(t), c.weight), expected, rtol=1e-14
            )
        for metric in (AUC(), AveragePrecision(), TopKAccuracy(2), metrics.log_loss, metrics.brier):
            found = metric(c.p, t, c.weight, classes=words)
            np.testing.assert_equal(found, metric(c.p, c.t, c.weight))
        assert np.all(np.isin(c.t, c.all))
