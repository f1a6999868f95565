"""Metrics: values on every backend, shapes, and invalid arguments."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.metrics import accuracy, confusion_matrix, r2, rmse

Z = [[1.0], [2.0], [4.0]]
T = [[1.0], [3.0], [2.0]]
PROBABILITIES = [[0.2, 0.8], [0.9, 0.1], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("metric", "predicted", "target", "expected"),
    [
        (accuracy, [0, 1, 1], [0, 1, 2], 2 / 3),
        (accuracy, [1, 0, 1], PROBABILITIES, 2 / 3),
        (accuracy, [1, 0, 1], [[1], [0], [0]], 2 / 3),
        (accuracy, [[1, -1], [1, 1]], [[1, 1], [1, 1]], 0.75),
        (accuracy, [True, False], [1.0, 1.0], 0.5),
        (rmse, Z, T, np.sqrt(5 / 3)),
        (rmse, [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 8.0]], np.sqrt(2)),
        (rmse, [1, 3], [1, 1], np.sqrt(2)),
        (r2, Z, T, 1 - 5 / 2),
        (r2, T, T, 1.0),
    ],
)
def test_metrics_follow_their_formulas(metric, predicted, target, expected, place):
    found = metric(place.array(predicted), place.array(target))
    assert found.shape == ()
    assert place.backend.owns(found) or place.backend.name == "numpy"
    assert float(found) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1.0, 1e120, 1e200])
def test_metrics_do_not_overflow_or_underflow(scale, place):
    z, t = (place.array(scale * np.array(x)) for x in (Z, T))
    assert float(rmse(z, t)) == pytest.approx(scale * np.sqrt(5 / 3), rel=1e-14)
    assert float(r2(z, t)) == pytest.approx(1 - 5 / 2, rel=1e-14)


@pytest.mark.parametrize("target", [[1.0, 1.0], [1.0, 2.0]])
def test_metrics_of_nan_are_nan(target, place):
    for metric in (rmse, r2):
        assert np.isnan(float(metric(place.array([np.nan, 1.0]), place.array(target))))


@pytest.mark.parametrize("metric", [rmse, r2])
def test_columns_and_vectors_are_equivalent(metric, place):
    z, t = place.array(Z), place.array(T)
    expected = float(metric(z, t))
    assert float(metric(z, t[:, 0])) == float(metric(z[:, 0], t)) == expected


def test_metrics_compute_in_float64(place32):
    z = place32.array(np.full(3, 1 + 2.0**-20))
    assert float(rmse(z, place32.array(np.ones(3)))) == 2.0**-20


@pytest.mark.parametrize("metric", [accuracy, rmse, r2])
@pytest.mark.parametrize(
    ("predicted", "target"),
    [((3,), (4,)), ((3,), (1,)), ((3, 2), (3,)), ((3, 2), (2, 3)), ((6,), (3, 2, 1))],
)
def test_different_shapes_are_refused(metric, predicted, target, place):
    rule = "target must have the shape of the predictions, "
    with pytest.raises(ArgumentError, match=rule):
        metric(place.array(np.ones(predicted)), place.array(np.ones(target)))


def test_confusion_matrix_takes_probabilities(place):
    found = confusion_matrix(place.array([1, 0, 1]), place.array(PROBABILITIES))
    assert place.host(found).tolist() == [[1, 1], [0, 1]]
    assert str(found.dtype).endswith("int64")


@pytest.mark.parametrize("shape", [(2, 2), (3,), ()])
def test_confusion_matrix_refuses_other_shapes(shape):
    with pytest.raises(ArgumentError, match="target must have the shape of the predictions"):
        confusion_matrix(np.ones(shape, int), np.ones(2, int))


@pytest.mark.parametrize(
    "target", [[0, 1, 1], [[0], [1], [1]], [False, True, True], [0.0, 1.0, 1.0]]
)
def test_confusion_matrix_takes_every_kind_of_class(target, place):
    found = confusion_matrix(place.array([0, 0, 1]), place.array(target))
    assert place.host(found).tolist() == [[1, 0], [1, 1]]
    assert confusion_matrix([0, 0, 1], target).tolist() == [[1, 0], [1, 1]]


def test_confusion_matrix_sorts_class_names():
    names = np.array(["no", "yes"])
    found = confusion_matrix(names[[0, 0, 1]], ["no", "yes", "maybe"])
    assert found.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
    with pytest.raises(ArgumentError, match="target must hold names, as the predictions do"):
        confusion_matrix(names, [0, 1])


@pytest.mark.parametrize("index", [-1, 0.5, np.nan, np.inf])
def test_confusion_matrix_refuses_other_numbers(index, place):
    values, indices = place.array([0.0, index]), place.array([0, 1])
    for name, pair in (("predicted", (values, indices)), ("target", (indices, values))):
        with pytest.raises(ArgumentError, match=f"{name} must hold class indices, whole numbers"):
            confusion_matrix(*pair)
