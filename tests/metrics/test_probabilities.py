"""Metrics of probabilities: soft targets, several labels, clipping, and the calibration error."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.metrics import AUC, CalibrationError, TopKAccuracy, brier, log_loss

P = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.25, 0.5]])
TARGET = np.array([0, 1, 0])
SOFT = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])


@pytest.mark.parametrize(
    ("metric", "predicted", "target", "expected"),
    [
        (log_loss, P, TARGET, -np.log(0.5 * 0.75 * 0.25) / 3),
        (log_loss, P, SOFT, -np.sum(SOFT * np.log(P)) / 3),
        (log_loss, [0.25, 0.5], [1, -1], -np.log(0.25 * 0.5) / 2),
        (log_loss, [0.25, 0.5], [0.5, 0.0], -np.log(0.25 * 0.75) / 4 - np.log(0.5) / 2),
        (log_loss, [[0.75, 0.25], [0.5, 0.5]], [True, False], -np.log(0.25 * 0.5) / 2),
        (brier, P, TARGET, (0.375 + 0.09375 + 0.875) / 3),
        (brier, P, SOFT, np.sum((SOFT - P) ** 2) / 3),
        (brier, [0.25, 0.5], [1, -1], (0.75**2 + 0.5**2) / 2),
        (brier, [0.25, 0.5], [0.5, 0.0], (0.25**2 + 0.5**2) / 2),
        (brier, [[0.75, 0.25], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0]], (0.75**2 + 0.5**2) / 2),
    ],
)
def test_values_follow_their_formulas(metric, predicted, target, expected, place):
    found = metric(place.array(predicted), place.array(target))
    assert found.shape == ()
    assert place.backend.owns(found) or place.backend.name == "numpy"
    assert float(found) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("metric", [log_loss, brier, CalibrationError(5)])
def test_labels_are_averaged(metric, place, rng):
    p, labels = rng.random((30, 3)), rng.integers(0, 2, (30, 3))
    weight = rng.uniform(0, 2, 30)
    expected = np.mean([metric(p[:, k], labels[:, k], weight) for k in range(3)])
    for target in (labels, 2 * labels - 1, labels.astype(float), labels == 1):
        given = (place.array(x) for x in (p, target, weight))
        assert float(metric(*given, multilabel=True)) == pytest.approx(expected, rel=1e-13)


def test_log_loss_clips_at_epsilon_of_dtype(place, place32):
    for where, dtype in ((place, "float64"), (place32, "float32")):
        p = where.array(np.eye(2))
        worst, best = float(log_loss(p, [1, 0])), float(log_loss(p, [0, 1]))
        eps = float(np.finfo(dtype).eps)
        assert worst == pytest.approx(-np.log(eps), rel=1e-12)
        assert best == pytest.approx(eps, rel=1e-6)


def test_brier_of_good_predictions_does_not_cancel():
    p = np.array([[1e-9, 1.0], [1.0, 0.0]])
    assert float(brier(p, [1, 0])) == pytest.approx(0.25e-18, rel=1e-12)


def binned_by_loops(p, target, weight, bins):
    """The calibration error by its definition, of Python's numbers."""
    p, target, weight = p.tolist(), target.tolist(), weight.tolist()
    total, error = sum(weight), 0.0
    for b in range(bins):
        rows = [
            i
            for i in range(len(p))
            if b / bins < max(p[i]) <= (b + 1) / bins or (b == 0 and max(p[i]) == 0)
        ]
        confidence = sum(weight[i] * max(p[i]) for i in rows)
        right = sum(weight[i] * (p[i].index(max(p[i])) == target[i]) for i in rows)
        error += abs(right - confidence) / total
    return error


@pytest.mark.parametrize("bins", [1, 2, 15])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_calibration_error_equals_its_definition(bins, n_classes, place):
    for seed in range(40 if place.backend.name == "numpy" else 5):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.full(n_classes, 0.5), 30)
        target = rng.integers(0, n_classes, 30)
        weight = rng.uniform(0, 1, 30) * (rng.random(30) < 0.8)
        p[:n_classes] = np.eye(n_classes)
        for w in (np.ones(30), weight):
            expected = binned_by_loops(p, target, w, bins)
            given = (place.array(x) for x in (p, target, w))
            assert float(CalibrationError(bins)(*given)) == pytest.approx(expected, abs=1e-12)
            if n_classes == 2:
                given = (place.array(x) for x in (p[:, 1], target, w))
                assert float(CalibrationError(bins)(*given)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "metric", [log_loss, brier, CalibrationError(), AUC("weighted"), TopKAccuracy(1)]
)
def test_classes_that_are_numbers_are_no_indices(metric, place):
    """Indices 1 and 2 are valid, too: of the classes 2 and 3."""
    p, target = place.array(P), place.array(TARGET)
    expected = float(metric(p, target))
    for classes in ((1, 2, 3), (3.0, 7.0, 5.0)):
        numbers = place.array(np.array(classes)[TARGET])
        assert float(metric(p, numbers, classes=classes)) == expected
        assert float(metric(p, place.array(P), classes=classes)) >= 0  # they have their own columns
    with pytest.raises(ArgumentError, match="target must hold the class names 1, 2, 3; got 0"):
        metric(p, target, classes=(1, 2, 3))


def test_words_are_in_the_order_of_the_columns():
    order = ["pig", "cat", "dog"]
    words = np.array(order)[TARGET]
    for metric in (log_loss, brier, CalibrationError()):
        assert float(metric(P, words, classes=order)) == float(metric(P, TARGET))
    with pytest.raises(ArgumentError, match="target must hold 3 class names; got 2 class names"):
        log_loss(P, words)
    assert float(log_loss([0.25, 0.5], ["b", "a"])) == float(log_loss([0.25, 0.5], [1, 0]))


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.5, 1.5, 0.1], "hold probabilities, numbers of 0 to 1; got 1.5 in row 1"),
        ([0.5, 0.5, -0.1], "hold probabilities, numbers of 0 to 1; got -0.1 in row 2"),
        (P * 0.9, r"hold probabilities that sum to 1 in a row; got .* in row 0\. Are these scores"),
        (np.log(P), "hold probabilities, numbers of 0 to 1"),
    ],
)
def test_other_numbers_are_no_probabilities(p, message, place):
    if not place.backend.is_host:
        pytest.skip("nothing is read from a device")
    for metric in (log_loss, brier, CalibrationError()):
        with pytest.raises(ArgumentError, match=f"predicted must {message}"):
            metric(place.array(p), place.array([0, 1, 0]))


def test_rounded_probabilities_are_accepted():
    p = np.array([[1 + 1e-7, 0.0], [0.3, 0.7 - 1e-6]], "float32")
    assert 0 < float(log_loss(p, [0, 1])) < 1
    assert 0 < float(brier(p, [0, 1])) < 1


@pytest.mark.parametrize("bins", [0, 1.5, True])
def test_bins_are_counted(bins):
    with pytest.raises(ArgumentError, match="bins must be an integer of at least 1"):
        CalibrationError(bins)
