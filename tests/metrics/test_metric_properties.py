"""Properties of every metric: order and scale of weights, repeated rows, monotone scores."""

import numpy as np
import pytest
from helpers.metric_cases import METRIC_CASES, data_of
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.metrics import AUC, AveragePrecision

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=15, deadline=None, derandomize=True)


def drawn(case, seed):
    """Predictions, targets and whole weights, of which some are 0."""
    rng = np.random.default_rng(seed)
    predicted, target = data_of(case.kind, rng)
    weight = rng.integers(0, 4, len(target))
    weight[:6] += 1  # the first rows have every class
    return predicted, target, weight


def value_of(case, *arrays):
    return float(case.metric(*arrays, **case.settings))


@pytest.mark.parametrize("name", METRIC_CASES)
@given(seed=SEEDS)
@FEW
def test_order_of_rows_does_not_matter(name, seed):
    case = METRIC_CASES[name]
    arrays = drawn(case, seed)
    order = np.random.default_rng(seed).permutation(len(arrays[0]))
    found = value_of(case, *(x[order] for x in arrays))
    np.testing.assert_allclose(found, value_of(case, *arrays), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", METRIC_CASES)
@given(seed=SEEDS, scale=st.sampled_from([1e-300, 0.1, 3.7, 1e307]))
@FEW
def test_scale_of_weights_does_not_matter(name, seed, scale):
    case = METRIC_CASES[name]
    predicted, target, weight = drawn(case, seed)
    found = value_of(case, predicted, target, scale * weight)
    expected = value_of(case, predicted, target, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", METRIC_CASES)
@given(seed=SEEDS)
@FEW
def test_whole_weights_are_repeated_rows(name, seed):
    """Where every class has a row with a weight; see `test_class_without_weight_occurs`."""
    case = METRIC_CASES[name]
    predicted, target, weight = drawn(case, seed)
    found = value_of(case, *(np.repeat(x, weight, axis=0) for x in (predicted, target)))
    np.testing.assert_allclose(
        found, value_of(case, predicted, target, weight), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("name", METRIC_CASES)
def test_equal_weights_change_nothing(name, rng):
    case = METRIC_CASES[name]
    predicted, target = data_of(case.kind, rng)
    expected = value_of(case, predicted, target)
    for weight in (np.full(23, 0.3), np.ones(23, int), np.ones(23, bool), [2] * 23):
        found = value_of(case, predicted, target, weight)
        assert found == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("metric", [AUC(), AveragePrecision()])
@given(seed=SEEDS, slope=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
@FEW
def test_monotone_maps_of_scores_change_nothing(metric, seed, slope, shift):
    rng = np.random.default_rng(seed)
    score, target = np.round(rng.normal(size=30), 1), rng.permutation(np.arange(30) % 2)
    expected = float(metric(score, target))
    for mapped in (slope * score + shift, np.arctan(score), np.exp(score), score.astype("f4")):
        assert float(metric(mapped, target)) == pytest.approx(expected, rel=1e-14)
    if isinstance(metric, AUC):
        assert float(metric(-score, target)) == pytest.approx(1 - expected, abs=1e-15)
