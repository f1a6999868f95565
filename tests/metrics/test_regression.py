"""Metrics of values: formulas on every backend, columns, weights, and extreme numbers."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.metrics import Pinball, explained_variance, mae, r2, rmse

Z = [[1.0], [2.0], [4.0]]
T = [[1.0], [3.0], [2.0]]
METRICS = [rmse, mae, r2, explained_variance, Pinball(0.3)]


@pytest.mark.parametrize(
    ("metric", "predicted", "target", "expected"),
    [
        (rmse, Z, T, np.sqrt(5 / 3)),
        (rmse, [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 8.0]], np.sqrt(8) / 2),
        (rmse, [1, 3], [1, 1], np.sqrt(2)),
        (mae, Z, T, 1.0),
        (mae, [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 8.0]], 1.0),
        (r2, Z, T, 1 - 5 / 2),
        (r2, T, T, 1.0),
        (r2, [[0.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]], (1 + 1 - 1 / 0.5) / 2),
        (r2, [1.0, 1.0], [1.0, 1.0], 1.0),
        (r2, [1.0, 2.0], [0.1, 0.1], 0.0),
        (explained_variance, [2.0, 3.0, 5.0], [1.0, 2.0, 4.0], 1.0),
        (explained_variance, Z, T, 1 - (14 / 3) / 2),
        (explained_variance, [2.0, 2.0], [0.1, 0.1], 1.0),
        (explained_variance, [2.0, 3.0], [0.1, 0.1], 0.0),
        (explained_variance, [2.0], [1.0], 1.0),
        (Pinball(0.9), [1.0, 3.0], [2.0, 2.0], (0.9 + 0.1) / 2),
        (Pinball(), Z, T, 0.5),
    ],
)
def test_values_follow_their_formulas(metric, predicted, target, expected, place):
    found = metric(place.array(predicted), place.array(target))
    assert found.shape == ()
    assert place.backend.owns(found) or place.backend.name == "numpy"
    assert float(found) == pytest.approx(expected, rel=1e-15)


def test_r2_of_one_row_is_nan(place):
    assert np.isnan(float(r2(place.array([1.0]), place.array([1.0]))))


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0], [1e-300, 2e-300, 3e-300]])
@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1.0, 1e120, 1e200])
def test_squares_do_not_overflow_or_underflow(scale, weight, place):
    z, t = (place.array(scale * np.array(x)) for x in (Z, T))
    w = None if weight is None else place.array(weight)
    square, explained = (5 / 3, 1 - 5 / 2) if weight is None else (14 / 6, 1 - 14 / (17 / 6))
    assert float(rmse(z, t, w)) == pytest.approx(scale * np.sqrt(square), rel=1e-14)
    assert float(r2(z, t, w)) == pytest.approx(explained, rel=1e-14)
    expected = float(explained_variance(np.array(Z), np.array(T), weight))
    assert float(explained_variance(z, t, w)) == pytest.approx(expected, rel=1e-13)


def test_largest_number_of_float64_is_measured(place):
    largest = np.finfo(np.float64).max
    z, t, weight = (place.array(x) for x in ([1.0, 3.0], [1.0, 1.0], [largest, 0.0]))
    for metric in METRICS:
        assert float(metric(z, t, weight)) in (0.0, 1.0)
    assert float(rmse(place.array([largest]), place.array([0.0]))) == pytest.approx(largest)


def test_columns_may_have_different_scales(place):
    factors = np.array([1e-200, 1.0, 1e200])
    z, t = (place.array(np.array(x) * factors) for x in (Z, T))
    assert float(r2(z, t)) == pytest.approx(1 - 5 / 2, rel=1e-14)


def test_constant_errors_explain_all_the_variance(rng):
    """Their mean is not exact for most sizes."""
    for m in range(2, 40):
        target, weight = np.zeros(m), rng.uniform(0.1, 1, m)
        assert float(explained_variance(np.full(m, 0.1), target)) == 1.0
        assert float(explained_variance(np.full(m, 0.1), target, weight)) == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_columns_and_vectors_are_equivalent(metric, place):
    z, t = place.array(Z), place.array(T)
    expected = float(metric(z, t))
    assert float(metric(z, t[:, 0])) == float(metric(z[:, 0], t)) == expected
    weight = place.array([[1.0], [2.0], [0.5]])
    assert float(metric(z, t, weight)) == float(metric(z, t[:, 0], weight[:, 0]))


@pytest.mark.parametrize("target", [[1.0, 1.0], [1.0, 2.0]])
def test_nan_makes_the_value_nan(target, place):
    for metric in METRICS:
        assert np.isnan(float(metric(place.array([np.nan, 1.0]), place.array(target))))


def test_constant_targets_are_those_with_weight():
    """Their weighted mean is not exact, so that a sum of squares would not be 0."""
    t, weight = np.array([0.1, 0.1, 0.1, 5.0]), np.array([0.3, 0.7, 0.11, 0.0])
    assert float(r2(t, t, weight)) == 1.0
    assert float(r2(t + 1, t, weight)) == 0.0
    assert float(explained_variance(t + np.sign(weight), t, weight)) == 1.0


def test_errors_are_computed_in_float64(place32):
    z = place32.array(np.full(3, 1 + 2.0**-20))
    assert float(rmse(z, place32.array(np.ones(3)))) == 2.0**-20


@pytest.mark.parametrize(
    ("q", "name"), [(0.5, "pinball_0.5"), (0.9, "pinball_0.9"), (1, "pinball_1")]
)
def test_pinball_is_named_by_quantile(q, name):
    assert Pinball(q).name == name
    assert not Pinball(q).higher_is_better


@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan, "0.5"])
def test_pinball_refuses_other_quantiles(q):
    with pytest.raises(ArgumentError, match="q must be a finite number, at least 0 and at most 1"):
        Pinball(q)
