"""Conformal sets and intervals: beside brute force, their mean coverage, and what they refuse."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    Adam,
    ArgumentError,
    BinaryCrossEntropy,
    CrossEntropy,
    Dense,
    Distillation,
    GaussianNLL,
    HalfMSE,
    Hinge,
    PoissonNLL,
    Sequential,
    Standardize,
)
from xpnet.calibration import (
    AdaptiveSets,
    ConformalIntervals,
    ConformalSets,
    LeastAmbiguous,
    conformal_intervals,
    conformal_quantile,
    conformal_sets,
)

K = 4
SCORES = {
    "least ambiguous": LeastAmbiguous(),
    "adaptive": AdaptiveSets(),
    "adaptive, randomized": AdaptiveSets(randomized=True),
}
every_score = pytest.mark.parametrize("name", SCORES)


def reader(loss, width, backend="numpy", **settings):
    """A model that outputs its features."""
    if backend == "numpy":
        settings = {"dtype": "float64"} | settings
    model = Sequential([Dense(width)], width, loss=loss, backend=backend, **settings)
    model.theta = [*np.eye(width).ravel(), *np.zeros(width)]
    return model


def logits(rng, m):
    """Logits with ties, and classes drawn from a flatter softmax."""
    z = np.round(2 * rng.normal(size=(m, K)), 1)
    y = np.argmax(0.5 * z + rng.gumbel(size=z.shape), axis=1)
    return z, y


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def seeds(name):
    return {"rng": 5} if SCORES[name] == AdaptiveSets(randomized=True) else {}


# --- brute force ----------------------------------------------------------------------------------


def score(name, p, k, u):
    """The score of class k of one row, by the definitions in the papers."""
    if name == "least ambiguous":
        return 1 - p[k]
    ranked = sorted(range(len(p)), key=lambda j: (-p[j], j))
    total = 0.0
    for j in ranked:
        total += p[j]
        if j == k:
            total = 1.0 if j == ranked[-1] else total
            return total - (u * p[k] if "randomized" in name else 0.0)
    raise AssertionError


def quantile(scores, level):
    """The smallest score q for which at least ⌈(n + 1) level⌉ scores are at most q."""
    rank = math.ceil((len(scores) + 1) * Fraction(str(level)))
    return min(q for q in scores if sum(s <= q for s in scores) >= rank)


@every_score
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_sets_equal_brute_force(name, level, place, rng):
    z, y = logits(rng, 60)
    X = logits(rng, 40)[0]
    model = reader(CrossEntropy(), K, place.backend)
    given = {"level": level, "score": SCORES[name], **seeds(name)}
    sets = conformal_sets(model, place.array(z), place.array(y), **given)
    p, q = (place.host(model.predict_proba(place.array(x))) for x in (z, X))
    draws = [np.random.default_rng(5).random(len(rows)) for rows in (p, q)]
    scores = [score(name, *row) for row in zip(p, y, draws[0], strict=True)]
    threshold = quantile(scores, level)
    assert sets.threshold == pytest.approx(threshold, rel=1e-12)
    found = sets.predict(place.array(X), **seeds(name))
    assert place.backend.owns(found)
    table = np.array(
        [[score(name, row, k, u) for k in range(K)] for row, u in zip(q, draws[1], strict=True)]
    )
    clear = (np.abs(table - threshold) > 1e-12) | (table == threshold)
    np.testing.assert_array_equal(place.host(found)[clear], (table <= threshold)[clear])
    assert clear.mean() > 0.9


def test_rank_has_no_rounding_error():
    for n in range(1, 200):
        for percent in range(1, 100):
            rank = -(-(n + 1) * percent // 100)
            if rank <= n:
                assert conformal_quantile(np.arange(1, n + 1), percent / 100) == rank


def test_quantile_takes_the_next_of_equal_scores():
    assert conformal_quantile([1, 1, 1, 2, 2, 3, 3, 3, 9], 0.5) == 2
    assert conformal_quantile([0.0, math.inf, 1.0], 0.5) == 1.0


@pytest.mark.parametrize("shape", ["vector", "columns"])
@pytest.mark.parametrize("scaling", [None, Standardize([10.0, -4.0], [2.0, 0.5])])
def test_intervals_equal_brute_force(shape, scaling, place, rng):
    k = 1 if shape == "vector" else 2
    model = reader(HalfMSE(), k, place.backend)
    if scaling is not None:
        model.target_scaling = Standardize(scaling.mean[:k], scaling.std[:k])
    X = rng.normal(size=(50, k))
    y = 3 * rng.normal(size=(50, k))
    predicted = X if scaling is None else X * scaling.std[:k] + scaling.mean[:k]
    y = y[:, 0] if k == 1 else y
    found = conformal_intervals(model, place.array(X), place.array(y), level=0.8)
    columns = np.abs(predicted - y.reshape(50, k)).T
    expected = [quantile(column.tolist(), 0.8) for column in columns]
    np.testing.assert_allclose(found.radius, expected, rtol=1e-12)
    ends = found.predict(place.array(X))
    assert place.backend.owns(ends)
    ends = place.host(ends)
    assert ends.shape == (50, k, 2)
    np.testing.assert_allclose(ends[..., 0], predicted - expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ends[..., 1], predicted + expected, rtol=1e-12, atol=1e-12)
    coverage = np.mean(columns <= np.array(expected)[:, None] * (1 + 1e-12), axis=1)
    np.testing.assert_allclose(found.coverage(place.array(X), place.array(y)), coverage, atol=0.021)
    np.testing.assert_allclose(found.mean_width(place.array(X)), 2 * np.array(expected), rtol=1e-12)


@pytest.mark.parametrize("scaling", [None, Standardize([10.0], [2.0])])
def test_gaussian_intervals_follow_the_deviation(scaling, place, rng):
    model = reader(GaussianNLL(), 2, place.backend)
    model.target_scaling = scaling
    X, y = rng.normal(size=(50, 2)), rng.normal(size=(50, 1))
    mean, std = (0.0, 1.0) if scaling is None else (10.0, 2.0)
    mu, sigma = X[:, :1] * std + mean, np.exp(X[:, 1:] / 2) * std
    found = conformal_intervals(model, place.array(X), place.array(y), level=0.9)
    expected = quantile((np.abs(y - mu) / sigma).ravel().tolist(), 0.9)
    assert found.radius == pytest.approx((expected,), rel=1e-12)
    ends = place.host(found.predict(place.array(X)))
    np.testing.assert_allclose(ends[..., 0], mu - expected * sigma, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ends[..., 1], mu + expected * sigma, rtol=1e-12, atol=1e-12)


def test_interval_of_vector_targets_has_two_columns(rng):
    X = rng.normal(size=(40, 1))
    model = MLP(1, [3], 1)
    model.fit(X, X[:, 0], loss=HalfMSE(), optimizer=Adam(), epochs=1, progress=False)
    found = conformal_intervals(model, X, X[:, 0])
    assert found.predict(X).shape == (40, 2)
    assert isinstance(found.coverage(X, X[:, 0]), float)


# --- coverage -------------------------------------------------------------------------------------

DRAWS, N = 20, 1000


@pytest.fixture(scope="module")
def classifier():
    """A small network that is overconfident, and rows that it was not trained on."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(8000, 6))
    y = np.argmax(2 * X[:, :K] + rng.gumbel(size=(8000, K)) * 1.5, axis=1)
    names = np.array(["a", "b", "c", "d"])[y]
    model = MLP(6, [32], K, rng=1)
    given = {"loss": CrossEntropy(), "optimizer": Adam(lr=0.03), "epochs": 40, "progress": False}
    model.fit(X[:300], names[:300], **given)
    return model, X[300:], names[300:]


@every_score
def test_mean_coverage_of_sets_is_the_level(name, classifier):
    model, X, y = classifier
    found, sizes = [], []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(X))
        own, other = order[:N], order[N : 2 * N]
        given = {"rng": rng} if seeds(name) else {}
        sets = conformal_sets(model, X[own], y[own], score=SCORES[name], **given)
        found.append(sets.coverage(X[other], y[other], **given))
        sizes.append(sets.mean_size(X[other], **given))
    assert 0.89 <= np.mean(found) <= 0.91
    assert 1 < np.mean(sizes) < K
    expected = math.sqrt(0.9 * 0.1 * 2 / N)
    assert np.std(found) < 2 * expected


def test_uncorrected_probabilities_cover_less(classifier):
    model, X, y = classifier
    sets = ConformalSets(model, AdaptiveSets(), threshold=0.9, level=0.9, n_rows=1)
    assert sets.coverage(X, y) < 0.85


def test_mean_coverage_of_intervals_is_the_level(rng):
    X = rng.normal(size=(6000, 2))
    y = np.sin(3 * X[:, 0]) + np.exp(0.5 * X[:, 1]) * rng.normal(size=6000)
    for loss, width in ((HalfMSE(), 1), (GaussianNLL(), 2)):
        model = MLP(2, [16], width, rng=1)
        model.fit(X[:500], y[:500], loss=loss, optimizer=Adam(lr=0.02), epochs=10, progress=False)
        found = []
        for seed in range(DRAWS):
            order = 500 + np.random.default_rng(seed).permutation(5500)
            own, other = order[:N], order[N : 2 * N]
            intervals = conformal_intervals(model, X[own], y[own])
            found.append(intervals.coverage(X[other], y[other]))
        assert 0.89 <= np.mean(found) <= 0.91


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), Distillation(), CrossEntropy(0.2)])
def test_every_classifier_has_sets(loss, rng):
    width = 1 if isinstance(loss, BinaryCrossEntropy) else 2
    z = rng.normal(size=(60, width))
    y = np.where(z[:, 0] + rng.normal(size=60) > 0, "x", "o")
    sets = conformal_sets(reader(loss, width, classes=["o", "x"]), z, y)
    assert sets.predict(z).shape == (60, 2)
    assert sets.classes == ("o", "x")
    names = sets.labels(z)
    assert np.mean([word in row for word, row in zip(y, names, strict=True)]) == sets.coverage(z, y)
    assert sets.mean_size(z) == pytest.approx(np.mean(list(map(len, names))))


def test_numbers_are_saved_beside_the_model(tmp_path, rng):
    z, y = logits(rng, 60)
    sets = conformal_sets(reader(CrossEntropy(), K), z, y, score=AdaptiveSets())
    intervals = conformal_intervals(reader(HalfMSE(), K), z, z**2)
    for value in (sets, intervals):
        value.model.save(tmp_path / "model.safetensors")
        xpnet.save_state_dict(value.state_dict(), tmp_path / "numbers.safetensors")
        state = xpnet.load_state_dict(tmp_path / "numbers.safetensors")
        model = xpnet.load(tmp_path / "model.safetensors")
        score = (AdaptiveSets(),) if value is sets else ()
        again = type(value)(model, *score, **state)
        np.testing.assert_array_equal(again.predict(z), value.predict(z))
        assert again.state_dict() == value.state_dict()


def test_score_of_your_own_makes_sets(rng):
    class Rank:
        randomized = False

        def __call__(self, probabilities, uniform):
            return np.argsort(np.argsort(-probabilities, axis=1), axis=1).astype(float)

    z, y = logits(rng, 60)
    sets = conformal_sets(reader(CrossEntropy(), K), z, y, score=Rank())
    assert set(sets.predict(z).sum(axis=1)) == {sets.threshold + 1}


# --- refusals -------------------------------------------------------------------------------------


Z = np.linspace(-1, 1, 40).reshape(20, 2)
LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    ("function", "loss", "given", "message"),
    [
        (
            conformal_sets,
            CrossEntropy(),
            {"level": 0.99},
            r"X must have at least 99 rows",
        ),
        (
            conformal_sets,
            CrossEntropy(),
            {"level": 1.0},
            r"level must be a finite number, above 0",
        ),
        (
            conformal_sets,
            CrossEntropy(),
            {"score": LeastAmbiguous},
            r"score must be a score",
        ),
        (conformal_sets, CrossEntropy(), {"score": "aps"}, r"score must be a score"),
        (conformal_sets, CrossEntropy(), {"rng": 1}, r"rng must be None for a score that is not"),
        (
            conformal_sets,
            CrossEntropy(),
            {"score": AdaptiveSets(randomized=True)},
            r"rng must be given for a randomized score; got None\. Write rng=0",
        ),
        (
            conformal_sets,
            CrossEntropy(),
            {"y": np.eye(2)[LABELS]},
            r"y must hold one class a row",
        ),
        (conformal_sets, CrossEntropy(), {"y": LABELS[:3]}, r"y must have the shape"),
        (conformal_sets, BinaryCrossEntropy(), {}, r"model must have one output for BinaryCross"),
        (conformal_sets, Hinge(), {}, r"the loss of model must be CrossEntropy.*got Hinge\(\)"),
        (conformal_sets, HalfMSE(), {}, r"the loss of model must be CrossEntropy.*got HalfMSE"),
        (conformal_sets, None, {}, r"the loss of model .*Call fit first"),
        (
            conformal_intervals,
            CrossEntropy(),
            {},
            r"must be one of values.*got Cross",
        ),
        (conformal_intervals, None, {}, r"the loss of model .*Call fit first"),
        (conformal_intervals, HalfMSE(), {"y": Z, "level": 0.96}, r"X must have at least 24 rows"),
        (conformal_intervals, HalfMSE(), {"y": Z * np.nan}, r"y must be finite; got nan in row 0"),
        (conformal_intervals, GaussianNLL(), {"X": Z * 2000}, r"model must have finite residuals;"),
    ],
)
def test_bad_arguments_are_refused(function, loss, given, message):
    given = {"X": Z, "y": LABELS} | given
    with pytest.raises(ArgumentError, match=message), np.errstate(all="ignore"):
        function(reader(loss, 2), given.pop("X"), given.pop("y"), **given)


def test_soft_target_of_one_output_is_refused():
    with pytest.raises(ArgumentError, match=r"y must hold classes, which are 0 or 1; got 0.5 in r"):
        conformal_sets(reader(BinaryCrossEntropy(), 1), Z[:, :1], np.full(20, 0.5))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, math.nan], "scores must not hold NaN; got NaN in row 1"),
        ([], "scores must be a vector of at least one real number"),
        ([[1.0]], "scores must be a vector"),
        ([1.0], "X must have at least 9 rows for a level of 0.9; got 1 row"),
    ],
)
def test_bad_scores_are_refused(scores, message):
    with pytest.raises(ArgumentError, match=message):
        conformal_quantile(scores, 0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": math.nan}, "threshold must be a finite number"),
        ({"level": 0}, "level must be a finite number"),
        ({"n_rows": 0}, "n_rows must be an integer"),
        ({"score": AdaptiveSets}, "score must be a score"),
        ({"model": 3}, "model must be a Sequential"),
    ],
)
def test_bad_values_of_sets_are_refused(change, message):
    model = reader(CrossEntropy(), 2)
    good = {"score": LeastAmbiguous(), "threshold": 0.5, "level": 0.9, "n_rows": 9}
    with pytest.raises(ArgumentError, match=message):
        ConformalSets(**({"model": model} | good | change))


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        ([1.0], "radius must hold a number for each of 2 target columns"),
        (1.0, "radius must hold a number for each of 2 target columns"),
        ([1.0, -1.0], "a radius must be a finite number, at least 0"),
    ],
)
def test_bad_radius_is_refused(radius, message):
    with pytest.raises(ArgumentError, match=message):
        ConformalIntervals(reader(HalfMSE(), 2), radius, 0.9, 100)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Z[:3], "y must have a target for each prediction"),
        (Z * np.nan, "y must be finite; got nan in row 0"),
        ([["a", "b"]] * 20, "y must hold real numbers"),
    ],
)
def test_coverage_of_bad_targets_is_refused(y, message):
    intervals = ConformalIntervals(reader(HalfMSE(), 2), (1.0, 1.0), 0.9, 100)
    with pytest.raises(ArgumentError, match=message):
        intervals.coverage(Z, y)


def test_counts_have_intervals(rng):
    X = rng.normal(size=(30, 1))
    intervals = conformal_intervals(reader(PoissonNLL(), 1), X, rng.poisson(np.exp(X[:, 0])))
    ends = intervals.predict(X)
    np.testing.assert_allclose(ends.mean(axis=-1), np.exp(X), rtol=1e-12)
