"""Reliability: bins and calibration errors beside a plain loop, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import ArgumentError
from xpnet.calibration import reliability
from xpnet.metrics import CalibrationError
from xpnet.metrics.calibration_bins import calibration_bins


def loop(confidence, correct, weight, bins):
    """Weight, mean confidence and accuracy of each bin, row by row; None without weight."""
    rows = [[] for _ in range(bins)]
    for c, right, w in zip(confidence, correct, weight, strict=True):
        b = next((b for b in range(bins) if b / bins < c <= (b + 1) / bins), 0)
        rows[b].append((c, right, w))
    found = []
    for row in rows:
        total = sum(w for _, _, w in row)
        if total == 0:
            found.append((0.0, None, None))
        else:
            mean = sum(w * c for c, _, w in row) / total
            found.append((total, mean, sum(w * right for _, right, w in row) / total))
    return found


def errors(found):
    """ECE and MCE of the result of `loop`."""
    total = sum(w for w, *_ in found)
    gaps = [(w, abs(a - c)) for w, c, a in found if w > 0]
    return sum(w * gap for w, gap in gaps) / total, max(gap for _, gap in gaps)


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_bins_equal_a_plain_loop(bins, is_weighted, place, rng, monkeypatch):
    monkeypatch.setattr("xpnet.metrics.calibration_bins.CHUNK_ROWS", 23)
    c = np.concatenate([rng.random(60), np.arange(bins + 1) / bins, [0.2, 0.2, 1.0, 0.0]])
    correct, m = rng.random(len(c)) < c, len(c)
    w = rng.integers(0, 3, m) * 0.7 if is_weighted else np.ones(m)
    weight = place.array(w) if is_weighted else None
    total, mean, accuracy = calibration_bins(place.array(c), place.array(correct), weight, bins)
    assert all(x.dtype == place.xp.float64 for x in (total, mean, accuracy))
    for b, (expected, *means) in enumerate(loop(c, correct, w, bins)):
        assert float(total[b]) == pytest.approx(expected, rel=1e-13)
        got = [float(mean[b]), float(accuracy[b])]
        assert got == pytest.approx([x or 0.0 for x in means], rel=1e-12)


def test_confidence_beyond_one_is_in_the_last_bin():
    total, *_ = calibration_bins(np.array([1 + 1e-7, -1e-9]), np.array([1, 0]), None, 4)
    assert total.tolist() == [1, 0, 0, 1]


def test_nan_makes_used_bins_nan():
    c = np.array([0.1, np.nan, 0.9])
    _, mean, _ = calibration_bins(c, np.array([1, 1, 1]), None, 2)
    assert np.isnan(mean).all()


@pytest.mark.parametrize("kind", ["indices", "words", "probabilities"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_top_label_equals_a_plain_loop(kind, is_weighted, place, rng):
    p = rng.dirichlet(np.ones(4), size=90)
    y = np.array([rng.choice(4, p=row) for row in p])
    w = rng.uniform(0, 2, 90) if is_weighted else np.ones(90)
    names = ["d", "a", "c", "b"]
    target = {
        "indices": place.array(y),
        "words": np.array(names)[y],
        "probabilities": place.array(0.6 * np.eye(4)[y] + 0.1),
    }[kind]
    classes = names if kind == "words" else None
    weight = place.array(w) if is_weighted else None
    found = reliability(place.array(p), target, weight, bins=9, classes=classes)
    expected = loop(p.max(axis=1), p.argmax(axis=1) == y, w, 9)
    np.testing.assert_allclose(found.weight, [row[0] for row in expected], rtol=1e-12)
    for name, i in (("confidence", 1), ("accuracy", 2)):
        column = [np.nan if row[i] is None else row[i] for row in expected]
        np.testing.assert_allclose(getattr(found, name), column, rtol=1e-12)
    assert (found.ece, found.mce) == pytest.approx(errors(expected), rel=1e-12)
    np.testing.assert_array_equal(found.edges, np.arange(10) / 9)
    assert found.is_top_label


@pytest.mark.parametrize("kind", ["0/1", "signs", "words", "booleans", "column"])
def test_event_equals_a_plain_loop(kind, place, rng):
    p = rng.random(80)
    occurs = rng.random(80) < p**2
    target = {
        "0/1": place.array(occurs.astype(int)),
        "signs": place.array(2.0 * occurs - 1),
        "words": np.where(occurs, "ill", "well"),
        "booleans": place.array(occurs),
        "column": place.array(occurs.astype(float)[:, None]),
    }[kind]
    given = p[:, None] if kind == "column" else p
    classes = ["well", "ill"] if kind == "words" else None
    found = reliability(place.array(given), target, classes=classes)
    expected = loop(p, occurs, np.ones(80), 15)
    assert (found.ece, found.mce) == pytest.approx(errors(expected), rel=1e-12)
    assert not found.is_top_label


def test_host_targets_fit_device_probabilities(place32, rng):
    p, y = rng.dirichlet(np.ones(3), size=20), rng.integers(3, size=20)
    on_device = reliability(place32.array(p), y.tolist(), [1.0] * 20)
    assert on_device.ece == pytest.approx(reliability(p.astype("float32"), y).ece, rel=1e-12)


def test_true_probabilities_are_calibrated(rng):
    p = rng.dirichlet(np.ones(5), size=100_000)
    y = (p.cumsum(axis=1) < rng.random((100_000, 1))).sum(axis=1)
    assert reliability(p, y).ece < 0.01
    assert reliability(p**2 / (p**2).sum(axis=1, keepdims=True), y).ece > 0.1


def test_text_shows_every_bin():
    text = str(reliability([0.05, 0.9, 0.92], [0, 1, 0], bins=4))
    assert text.splitlines() == [
        "confidence        rows   mean frequency",
        "0.00-0.25            1  0.050     0.000   |",
        "0.25-0.50            0",
        "0.50-0.75            0",
        "0.75-1.00            2  0.910     0.500  ##################              |",
        "ECE 0.2900, MCE 0.4100",
        "#: frequency; |: mean confidence, where calibrated bars end",
    ]


@pytest.mark.parametrize("bins", [1, 15, 1000])
def test_text_has_at_most_80_columns(bins, rng):
    p = rng.random(5000)
    text = str(reliability(p, rng.random(5000) < p, rng.uniform(0, 1e7, 5000), bins=bins))
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": [[0.5, 0.6]] * 3}, r"probabilities must sum to 1 .*1\.1 in row 0"),
        ({"probabilities": [0.5, 1.5, 0.0]}, r"probabilities must be from 0 to 1; got 1\.5 in row"),
        ({"probabilities": [0.5, np.nan, 0.0]}, r"probabilities must be finite; got nan in row 1"),
        ({"probabilities": []}, r"probabilities must have the shape \(m,\) or"),
        ({"probabilities": ["a"] * 3}, r"probabilities must hold real numbers"),
        ({"target": [0, 1]}, r"target must have the shape \(3,\)"),
        ({"target": [0, 1, 2]}, r"target must hold 0 or 1, or -1 or 1; got 2"),
        ({"target": [0, -1, 1]}, r"target must hold 0 or 1, or -1 or 1; got both 0 and -1"),
        ({"target": ["a", "b", "a"]}, r"target must hold class indices .*Pass classes="),
        (
            {"target": ["a", "b", "a"], "classes": ["a"]},
            r"classes must name 2 classes; got 1",
        ),
        ({"target": ["a", "b", "a"], "classes": ["a", "c"]}, r"'b'"),
        ({"probabilities": [[0.5, 0.5]] * 3, "target": [0, 1, 2]}, r"target must hold class indic"),
        ({"probabilities": [[0.5, 0.5]] * 3, "target": [0, 1, 0.5]}, r"target must hold class ind"),
        ({"sample_weight": [1, -1, 1]}, r"sample_weight must be at least 0; got -1 in row 1"),
        ({"sample_weight": [0, 0, 0]}, r"sample_weight must not be all 0"),
        ({"bins": 0}, r"bins must be an integer of at least 1; got 0"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    given = {"probabilities": [0.2, 0.6, 0.9], "target": [0, 1, 1]} | change
    with pytest.raises(ArgumentError, match=message):
        reliability(**given)


@pytest.mark.parametrize("bins", [5, 15])
def test_metric_equals_the_error_of_the_diagram(bins, rng):
    p, y, w = rng.dirichlet(np.ones(4), size=70), rng.integers(4, size=70), rng.random(70)
    metric = CalibrationError(bins=bins)
    expected = reliability(p, y, w, bins).ece
    assert float(metric(p, y, sample_weight=w)) == pytest.approx(expected, rel=1e-12)


def test_large_weights_are_summed_as_they_are(place):
    p, t, weight = (place.array(x) for x in ([0.25, 0.75, 0.75], [0, 1, 0], [1e12, 2e12, 1e-12]))
    found = reliability(p, t, weight, bins=2)
    np.testing.assert_allclose(found.weight, [1e12, 2e12], rtol=1e-15)
