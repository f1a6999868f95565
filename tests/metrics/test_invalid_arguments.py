"""Arguments of metrics that are refused, in one sentence that names the argument."""

import numpy as np
import pytest
from helpers.metric_cases import METRIC_CASES, data_of

from xpnet import metrics
from xpnet.errors import ArgumentError
from xpnet.metrics import AUC, F1, TopKAccuracy, accuracy, log_loss, r2, rmse

DECISIONS = "classes", "two", "labels", "values"
OF_DECISIONS = [name for name, case in METRIC_CASES.items() if case.kind in DECISIONS]
OTHERS = [name for name in METRIC_CASES if name not in OF_DECISIONS]
ROWS = 23


def data(name, rng):
    case = METRIC_CASES[name]
    return case, *data_of(case.kind, rng, ROWS)


@pytest.mark.parametrize("metric", [accuracy, rmse, r2, metrics.mae, F1()])
@pytest.mark.parametrize(
    ("predicted", "target"),
    [((3,), (4,)), ((3,), (1,)), ((3, 2), (3,)), ((3, 2), (2, 3)), ((6,), (3, 2, 1))],
)
def test_different_shapes_are_refused(metric, predicted, target, place):
    rule = "target must have the shape of the predictions, "
    with pytest.raises(ArgumentError, match=rule):
        metric(place.array(np.ones(predicted)), place.array(np.ones(target)))


@pytest.mark.parametrize("name", OTHERS)
def test_targets_of_other_shapes_are_refused(name, place, rng):
    case, predicted, target = data(name, rng)
    with pytest.raises(ArgumentError, match=rf"^target must have the shape \({ROWS},"):
        case.metric(place.array(predicted), place.array(target[1:]), **case.settings)
    with pytest.raises(ArgumentError, match=rf"^target must have the shape \({ROWS},"):
        case.metric(place.array(predicted), place.array(np.ones((ROWS, 7))), **case.settings)
    with pytest.raises(ArgumentError, match=r"^predicted must hold .*; got a float64 array of"):
        case.metric(place.array(np.ones((2, 2, 2))), place.array(target), **case.settings)


@pytest.mark.parametrize("name", METRIC_CASES)
def test_no_rows_are_refused(name, place, rng):
    case, predicted, target = data(name, rng)
    with pytest.raises(ArgumentError, match=r"^predicted must have at least one row"):
        case.metric(place.array(predicted[:0]), place.array(target[:0]), **case.settings)


@pytest.mark.parametrize("name", METRIC_CASES)
@pytest.mark.parametrize(
    ("weight", "rule"),
    [
        (np.ones(ROWS + 1), rf"have the shape \({ROWS},\)"),
        (np.ones((ROWS, 2)), rf"have the shape \({ROWS},\)"),
        (np.where(np.arange(ROWS) == 3, -1.0, 1.0), "be at least 0; got -1.0 in row 3"),
        (np.where(np.arange(ROWS) == 3, np.nan, 1.0), "be finite; got nan in row 3"),
        (np.where(np.arange(ROWS) == 3, np.inf, 1.0), "be finite; got inf in row 3"),
        (np.zeros(ROWS), "not be all 0"),
        (["a"] * ROWS, "hold real numbers"),
        (1.0, rf"have the shape \({ROWS},\)"),
    ],
)
def test_other_weights_are_refused(name, weight, rule, rng):
    case, predicted, target = data(name, rng)
    with pytest.raises(ArgumentError, match=rf"^sample_weight must {rule}"):
        case.metric(predicted, target, weight, **case.settings)


@pytest.mark.parametrize("name", METRIC_CASES)
def test_complex_and_ragged_are_refused(name, rng):
    case, predicted, target = data(name, rng)
    with pytest.raises(ArgumentError, match=r"^predicted must hold real numbers"):
        case.metric(predicted * 1j, target, **case.settings)
    with pytest.raises(ArgumentError, match=r"^target must "):
        case.metric(predicted, target * 1j, **case.settings)
    with pytest.raises(ArgumentError, match=r"^predicted must be a list with rows of equal"):
        case.metric([[1], [1, 2]], target, **case.settings)


@pytest.mark.parametrize("name", [*OTHERS, "rmse", "mae", "r2", "pinball"])
def test_words_as_numbers_are_refused(name, rng):
    case, predicted, target = data(name, rng)
    with pytest.raises(ArgumentError, match=r"^predicted must hold real numbers"):
        case.metric(predicted.astype(str), target, **case.settings)


@pytest.mark.parametrize("name", OF_DECISIONS[:10])
def test_words_beside_numbers_are_refused(name, rng):
    case, predicted, target = data(name, rng)
    for given in ((predicted.astype(str), target), (predicted, target.astype(str))):
        with pytest.raises(ArgumentError, match=r"^target must hold (names|numbers), as the pred"):
            case.metric(*given, **case.settings)


@pytest.mark.parametrize(
    ("index", "got"),
    [(-2, "-2 in row 1"), (4, "the index 4"), (0.5, "0.5 in row 1"), (np.nan, "nan in row 1")],
)
def test_indices_outside_are_refused(index, got):
    predicted, target = np.array([0, 1, 3]), np.array([0, index, 3])
    rule = "must hold class indices.*; got "
    for metric in (F1(), metrics.matthews, metrics.balanced_accuracy):
        with pytest.raises(ArgumentError, match=rf"^target {rule}{got}"):
            metric(predicted, target, n_classes=4)
        with pytest.raises(ArgumentError, match=rf"^predicted {rule}{got}"):
            metric(target, predicted, n_classes=4)
    scores = np.eye(4)[:3]
    for metric in (AUC(), log_loss, metrics.brier, TopKAccuracy()):
        with pytest.raises(ArgumentError, match=rf"^target {rule}{got}"):
            metric(scores, target)


@pytest.mark.parametrize("value", [2, -0.5, np.nan])
def test_numbers_beside_two_classes_are_refused(value):
    target, score = np.array([0, value]), np.array([0.3, 0.4])
    rule = "hold numbers of 0 to 1, or -1 and 1; got"
    for metric in (AUC(), log_loss, metrics.brier):
        with pytest.raises(ArgumentError, match=rf"^target must {rule}"):
            metric(score, target)
    for metric in (F1(), accuracy):
        with pytest.raises(ArgumentError, match=rf"^target must {rule}"):
            metric([0, 1], target, n_classes=2)


def test_soft_targets_have_rows_of_sum_one():
    soft = np.full((2, 3), 0.5)
    with pytest.raises(ArgumentError, match="target must hold probabilities that sum to 1 in a"):
        log_loss(np.full((2, 3), 1 / 3), soft)


def test_unknown_words_are_refused():
    p = np.full((2, 2), 0.5)
    with pytest.raises(ArgumentError, match=r"^target must hold the class names a, b; got 'c'"):
        log_loss(p, ["a", "c"], classes=["a", "b"])
    with pytest.raises(ArgumentError, match=r"^classes must name each of the 2 classes"):
        log_loss(p, ["a", "c"], classes=["a", "b", "c"])
    with pytest.raises(ArgumentError, match=r"^classes must be distinct"):
        log_loss(p, ["a", "a"], classes=["a", "a"])
    with pytest.raises(ArgumentError, match=r"^target must hold 2 class names; got 1 class names"):
        AUC()(p, ["a", "a"])
    with pytest.raises(ArgumentError, match=r"^target must hold numbers for several labels"):
        AUC()(p, ["a", "a"], multilabel=True)
    with pytest.raises(ArgumentError, match=r"^target must hold class names that are all text"):
        F1()(np.array(["a", None], object), ["a", "b"])
    with pytest.raises(ArgumentError, match=r"^n_classes must be an integer of at least 1; got 0"):
        F1()([0, 1], [0, 1], n_classes=0)
