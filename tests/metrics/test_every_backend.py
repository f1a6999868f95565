"""Every metric on every backend: values, NaN, and what is read from a device."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import backends, strict_cupy
from helpers.metric_cases import METRIC_CASES, data_of

from xpnet import metrics
from xpnet.metrics import OWN_METRICS, OWN_TYPES, confusion_matrix
from xpnet.metrics.counts import BLOCK, confusion, sums_by_index

DECISIONS = "classes", "two", "labels"
OF_FLOATS = [name for name, case in METRIC_CASES.items() if case.kind not in DECISIONS]


def test_every_metric_has_a_case():
    tested = {case.metric for case in METRIC_CASES.values()}
    assert set(OWN_METRICS) <= tested
    assert set(OWN_TYPES) == {type(metric) for metric in tested} - {type(metrics.rmse)}


@pytest.fixture
def weight(rng):
    return rng.uniform(0.1, 2, 23) * (np.arange(23) % 5 != 0)


@pytest.mark.parametrize("name", METRIC_CASES)
def test_backends_agree(name, place, rng, weight):
    case = METRIC_CASES[name]
    predicted, target = data_of(case.kind, rng)
    for w in (None, weight):
        expected = float(case.metric(predicted, target, w, **case.settings))
        z, t = place.array(predicted), place.array(target)
        on_place = None if w is None else place.array(w)
        found = case.metric(z, t, on_place, **case.settings)
        assert found.shape == ()
        assert place.backend.owns(found) or place.backend.name == "numpy"
        assert str(found.dtype).endswith("float64")
        beside_host = case.metric(z, target, w, **case.settings)
        multilabel = {k: v for k, v in case.settings.items() if k == "multilabel"}
        counted = case.metric(z, t, on_place, **multilabel)  # it finds the number of classes
        for value in (found, beside_host, counted):
            np.testing.assert_allclose(float(value), expected, rtol=1e-13, atol=1e-15)
        assert 0 < abs(expected) < 1.5  # not a case without content


@pytest.mark.parametrize("name", METRIC_CASES)
def test_arguments_are_not_changed(name, rng, weight):
    case = METRIC_CASES[name]
    given = [*data_of(case.kind, rng), weight]
    before = [x.copy() for x in given]
    case.metric(*given, **case.settings)
    for x, y in zip(given, before, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", OF_FLOATS)
def test_nan_prediction_makes_the_value_nan(name, place, rng):
    case = METRIC_CASES[name]
    predicted, target = data_of(case.kind, rng)
    if predicted.ndim == 1:
        predicted[3] = np.nan
    else:
        predicted[3, 1] = np.nan
    found = case.metric(place.array(predicted), place.array(target), **case.settings)
    assert np.isnan(float(found))


@pytest.mark.parametrize("name", METRIC_CASES)
def test_float32_predictions_are_summed_in_float64(name, place32, rng):
    case = METRIC_CASES[name]
    predicted, target = data_of(case.kind, rng)
    given = place32.array(predicted), place32.array(target)
    hosts = [np.asarray(place32.host(x)) for x in given]
    if case.kind.startswith("prob"):
        hosts[0] = hosts[0].astype(float)
    expected = case.metric(*hosts, **case.settings)
    assert float(case.metric(*given, **case.settings)) == pytest.approx(float(expected), rel=1e-13)


def waits(counts):
    """What the host waited for, without the edges of bins, which are copied to the device."""
    return {k: n for k, n in counts.items() if k.startswith("sync") or k == "h2d:index"}


@pytest.mark.gpu
@pytest.mark.parametrize("name", METRIC_CASES)
def test_nothing_but_results_is_read(name, cuda, rng, weight):
    if not backends.uses_stand_in():
        pytest.skip("the stand-in counts the reads")
    import cupy  # noqa: PLC0415

    case = METRIC_CASES[name]
    arrays = [cupy.asarray(x) for x in (*data_of(case.kind, rng), weight)]
    for given in (arrays, arrays[:2]):
        with strict_cupy.counted() as counts:
            value = case.metric(*given, **case.settings)
            assert waits(counts) == {}
            float(value)
            assert waits(counts) == {"sync:float": 1}


@pytest.mark.gpu
@pytest.mark.parametrize("name", METRIC_CASES)
def test_weights_without_a_check_give_nan(name, cuda, rng, weight):
    """Weights on a device are not read, so that wrong ones are not refused."""
    import cupy  # noqa: PLC0415

    case = METRIC_CASES[name]
    predicted, target = (cupy.asarray(x) for x in data_of(case.kind, rng))
    for wrong in (0 * weight, np.where(np.arange(23) == 7, np.nan, weight)):
        found = case.metric(predicted, target, cupy.asarray(wrong), **case.settings)
        assert np.isnan(float(found))


@pytest.mark.gpu
def test_confusion_matrix_of_known_size_reads_nothing(cuda, rng, weight):
    if not backends.uses_stand_in():
        pytest.skip("the stand-in counts the reads")
    import cupy  # noqa: PLC0415

    z, t = data_of("classes", rng)
    with strict_cupy.counted() as counts:
        given = [cupy.asarray(x) for x in (z, t, weight)]
        found = confusion_matrix(*given[:2], 4, sample_weight=given[2])
        assert waits(counts) == {}
    np.testing.assert_allclose(found.get(), confusion_matrix(z, t, 4, sample_weight=weight))


@pytest.mark.parametrize("n_classes", [1, 3, 40])
def test_counts_of_blocks_equal_those_of_numpy(n_classes, place, rng, monkeypatch):
    """A device counts by products of one-hot matrices, the host by `numpy.bincount`."""
    monkeypatch.setattr("xpnet.metrics.counts.BLOCK", 7 * n_classes)
    assert 7 * n_classes < BLOCK
    z, t = rng.integers(0, n_classes, (2, 100))
    w = rng.uniform(0, 1, 100)
    on_place = [place.array(x) for x in (z, t)]
    for weight in (None, w):
        given = None if weight is None else place.array(weight)
        expected = np.zeros((n_classes, n_classes))
        np.add.at(expected, (t, z), 1 if weight is None else weight)
        found = place.host(confusion(*on_place, given, n_classes))
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        found = place.host(sums_by_index(on_place[1], given, n_classes))
        np.testing.assert_allclose(found, expected.sum(axis=1), rtol=1e-13)
