"""Metrics of scores: pairs counted one by one, undefined cases, ties, and classes by name."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.metrics import AUC, AveragePrecision, TopKAccuracy

SCORES = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
TARGET = np.array([0, 2, 1, 1])


def by_pairs(scores, positive, weight):
    """The area under the ROC curve by its definition."""
    pairs = [
        (w * v, (s > r) + 0.5 * (s == r))
        for s, w in zip(scores[positive], weight[positive], strict=True)
        for r, v in zip(scores[~positive], weight[~positive], strict=True)
    ]
    weights, values = zip(*pairs, strict=True)
    return np.average(values, weights=weights)


def by_thresholds(scores, positive, weight):
    """The average precision by its definition."""
    value = recall = 0.0
    for threshold in sorted(set(scores), reverse=True):
        above = scores >= threshold
        hits = weight[above & positive].sum()
        gained = hits / weight[positive].sum() - recall
        value += gained * hits / weight[above].sum()
        recall += gained
    return value


@pytest.mark.parametrize(
    ("metric", "brute"), [(AUC(), by_pairs), (AveragePrecision(), by_thresholds)]
)
@pytest.mark.parametrize("values", [np.arange(3), np.array([-np.inf, 0.0, np.inf]), np.arange(40)])
def test_areas_equal_their_definitions(metric, brute, values, place, rng):
    scores, positive = rng.choice(values, 40), rng.random(40) < 0.4
    weight = rng.uniform(0, 2, 40)
    expected = brute(scores, positive, weight)
    found = metric(place.array(scores), place.array(positive), place.array(weight))
    assert float(found) == pytest.approx(expected, rel=1e-13)
    expected = brute(scores, positive, np.ones(40))
    assert float(metric(place.array(scores), place.array(positive))) == pytest.approx(expected)


def test_million_weights_are_summed_exactly_enough(rng):
    m = 10**6
    score, positive = rng.integers(0, 50, m), rng.random(m) < 0.1
    weight = rng.uniform(0, 1, m)
    sums = np.array([np.bincount(score, weight * x, 50) for x in (positive, ~positive)])
    below = np.cumsum(sums[1]) - 0.5 * sums[1]
    expected = sums[0] @ below / (sums[0].sum() * sums[1].sum())
    assert float(AUC()(score, positive, weight)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("target", [[1, 1, 1], [0, 0, 0], [-1, -1, -1]])
def test_auc_of_one_class_is_nan(target, place):
    scores, t = place.array([0.1, 0.2, 0.3]), place.array(target)
    assert np.isnan(float(AUC()(scores, t)))
    assert float(AveragePrecision()(scores, t)) == float(target[0] == 1)


def test_class_of_weight_zero_is_no_class():
    assert np.isnan(float(AUC()([0.1, 0.2, 0.3], [0, 0, 1], [1, 1, 0])))
    assert float(AveragePrecision()([0.1, 0.2, 0.3], [0, 0, 1], [1, 1, 0])) == 0.0


def test_absent_class_is_nan_in_macro_only(place):
    scores, target = place.array(SCORES), place.array(TARGET % 2)
    assert np.isnan(float(AUC()(scores, target)))
    values = [float(AUC(of=k)(scores, target)) for k in (0, 1)]
    assert np.isnan(float(AUC(of=2)(scores, target)))
    assert float(AUC("weighted")(scores, target)) == pytest.approx(np.mean(values))
    values = [float(AveragePrecision(of=k)(scores, target)) for k in (0, 1)]
    assert float(AveragePrecision()(scores, target)) == pytest.approx(sum(values) / 3)
    assert float(AveragePrecision("weighted")(scores, target)) == pytest.approx(np.mean(values))


def test_labels_without_a_target():
    labels = np.zeros((4, 3), int)
    assert np.isnan(float(AUC("weighted")(SCORES, labels, multilabel=True)))
    assert float(AveragePrecision("weighted")(SCORES, labels, multilabel=True)) == 0.0


def test_nan_is_not_hidden_by_absent_classes():
    scores = SCORES.copy()
    scores[0, 2] = np.nan
    assert np.isnan(float(AUC("weighted")(scores, TARGET % 2)))


def test_two_classes_in_two_columns(rng):
    """The value is that of the second column; that of the first class uses the first."""
    scores, target = rng.normal(size=(20, 2)), rng.integers(0, 2, 20)
    for metric in (AUC, AveragePrecision):
        assert float(metric()(scores, target)) == float(metric()(scores[:, 1], target))
        of_first = float(metric(of=0)(scores, target))
        assert of_first == float(metric()(scores[:, 0], 1 - target))
        assert float(metric(of=0)(-scores[:, 0], target)) == pytest.approx(of_first, rel=1e-15)


def test_targets_may_be_probabilities(place, rng):
    soft = np.eye(3)[TARGET] * 0.7 + 0.1
    scores = place.array(SCORES)
    for metric in (AveragePrecision(), AUC(of=1), TopKAccuracy(1)):
        assert float(metric(scores, place.array(soft))) == float(metric(scores, TARGET))


def test_words_are_in_the_order_of_the_columns():
    words = np.array(["pig", "cat", "dog"])[TARGET]
    order = ["pig", "cat", "dog"]
    for metric in (AUC(), AveragePrecision(), TopKAccuracy(2)):
        assert float(metric(SCORES, words, classes=order)) == float(metric(SCORES, TARGET))
    by_name = AUC(of="cat")(SCORES, words, classes=order)
    assert float(by_name) == float(AUC(of=1)(SCORES, TARGET))
    by_default = AUC()(SCORES[:, [1, 2, 0]], words)  # sorted: cat, dog, pig
    assert float(by_default) == float(AUC()(SCORES, TARGET))
    assert float(AUC(of="b")([0.1, 0.2], ["a", "b"])) == 1.0


def test_tied_scores_count_as_the_later_class():
    tied = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    assert float(TopKAccuracy(1)(tied, [1, 1])) == 1.0
    assert float(TopKAccuracy(1)(tied, [0, 0])) == 0.0
    assert float(TopKAccuracy(2)(tied, [0, 1])) == 1.0
    assert float(TopKAccuracy(3)(tied, [2, 2])) == float(TopKAccuracy(9)(tied, [2, 2])) == 1.0


def test_top_k_is_compared_in_blocks(place, rng, monkeypatch):
    scores, target = np.round(rng.normal(size=(50, 6)), 1), rng.integers(0, 6, 50)
    expected = float(TopKAccuracy(2)(scores, target))
    monkeypatch.setattr("xpnet.metrics.ranking.BLOCK", 6 * 7)
    assert float(TopKAccuracy(2)(place.array(scores), place.array(target))) == expected


def test_top_k_of_one_column_has_threshold_zero():
    log_odds = np.array([-1.0, 0.0, 0.4, 2.0])
    assert float(TopKAccuracy(1)(log_odds, [0, 0, 1, 1])) == 1.0
    assert float(TopKAccuracy(1)(log_odds, [-1, 1, 1, 1])) == 0.75
    assert float(TopKAccuracy(2)(log_odds, [1, 1, 0, 0])) == 1.0


def test_names_say_average_class_or_k():
    assert [AUC().name, AUC("weighted").name, AUC(of="cat").name] == [
        "auc", "auc_weighted", "auc_cat"
    ]  # fmt: skip
    assert AveragePrecision().name == "average_precision"
    assert AUC(of="cat").resolved(["ant", "cat"]).name == "auc_cat"
    assert AUC(of="cat").resolved(["ant", "cat"]).of == 1
    assert TopKAccuracy().name == "top_5_accuracy"
    with pytest.raises(ArgumentError, match="of must be one of ant, bee; got 'cat'"):
        AUC(of="cat").resolved(("ant", "bee"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AUC("micro"), "average must be one of macro, weighted; got 'micro'"),
        (lambda: AUC(of=-1), "of must be a class name or the index of a class"),
        (lambda: TopKAccuracy(0), "k must be an integer of at least 1; got 0"),
        (lambda: TopKAccuracy(1.5), "k must be an integer of at least 1; got 1.5"),
        (lambda: AUC(of=3)(SCORES, TARGET), "of must be the index of a class of 0 to 2; got 3"),
        (lambda: AUC(of="x")(SCORES, TARGET), "of must be the index of a class where classes"),
    ],
)
def test_unknown_settings_are_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
