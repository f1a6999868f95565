"""Softmax and its losses for the largest logits: finite numbers give finite results, silently."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.training_cases import ENGINES

import xpnet
from xpnet import CrossEntropy, Dense, NonFiniteError, Sequential, Softmax, to_numpy
from xpnet.losses import Distillation
from xpnet.ops import operations_for
from xpnet.ops.operations import Operations

LARGEST = {"float32": 3e38, "float64": 1.7e308}
ROWS = [[1, -1, 0], [-1, 1, 0.5], [1, 1, 1], [-1, -1, -1], [0, 0, 0], [1, 1, -1], [0, -1, -1]]
PROBABILITIES = [[1, 0, 0], [0, 1, 0], *[[1 / 3] * 3] * 3, [0.5, 0.5, 0], [1, 0, 0]]
LABELS = [0, 1, 2, 0, 1, 1, 0]
RIGHT = -np.log([1, 1, 1 / 3, 1 / 3, 1 / 3, 0.5, 1])


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def placed(place, dtype):
    """A function that places numbers on each backend in each dtype."""
    return lambda values: place.array(np.asarray(values, "float64"), dtype)


def logits(dtype):
    return np.asarray(ROWS) * LARGEST[dtype]


@pytest.mark.parametrize("kind", ["indices", "rows", "smoothed"])
def test_largest_logits_give_the_limit(placed, dtype, kind):
    z, eye = placed(logits(dtype)), np.eye(3)[LABELS]
    y = placed(eye)
    if kind == "indices":
        y = operations_for(z).xp.asarray(np.array(LABELS), device=z.device)
    value, grad = CrossEntropy(1e-9 if kind == "smoothed" else 0.0).value_and_grad(z, y, None)
    assert np.isfinite(float(value))
    if kind != "smoothed":
        assert float(value) == pytest.approx(RIGHT.mean(), rel=1e-6)
    expected = (np.asarray(PROBABILITIES) - eye) / len(ROWS)
    np.testing.assert_allclose(to_numpy(grad), expected, rtol=1e-6, atol=1e-7)


def test_softmax_and_its_logarithm_are_finite(placed, dtype):
    z = placed(logits(dtype))
    ops = operations_for(z)
    for found in (ops.softmax(z), Softmax().forward(ops, z), CrossEntropy().probabilities(z)):
        np.testing.assert_allclose(to_numpy(found), PROBABILITIES, rtol=1e-6, atol=1e-30)
    log_p = to_numpy(ops.log_softmax(z))
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p), PROBABILITIES, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("rows", [False, True])
def test_plain_operations_give_the_limit(dtype, rows):
    """NumPy without compiled loops."""
    z, eye = logits(dtype).astype(dtype), np.eye(3, dtype=dtype)[LABELS]
    target = eye if rows else np.array(LABELS)
    value, grad = Operations(np).softmax_cross_entropy(z, target, 1.0 / len(ROWS))
    assert float(value) == pytest.approx(RIGHT.mean(), rel=1e-6)
    np.testing.assert_allclose(grad, (PROBABILITIES - eye) / len(ROWS), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_distillation_of_large_logits_is_finite(placed, dtype, temperature):
    z, teacher = logits(dtype), np.column_stack([logits(dtype), LABELS])
    loss = Distillation(temperature=temperature, share=0.5)
    value, grad = loss.value_and_grad(placed(z), placed(teacher))
    # Here the student agrees with the teacher, so that the soft part is an entropy.
    soft = np.array([0, 0, *[np.log(3)] * 3, np.log(2), 0]) * temperature**2
    assert float(value) == pytest.approx((0.5 * soft + 0.5 * RIGHT).mean(), rel=1e-5)
    expected = 0.5 * (np.asarray(PROBABILITIES) - np.eye(3)[LABELS]) / len(ROWS)
    np.testing.assert_allclose(to_numpy(grad), expected, rtol=1e-5, atol=1e-6)


def test_wrong_class_of_a_large_logit_costs_that(placed, dtype):
    z = placed(logits(dtype)[[0, 6]])
    y = operations_for(z).xp.asarray(np.array([2, 1]), device=z.device)
    value, grad = CrossEntropy().value_and_grad(z, y, None)
    assert float(value) == pytest.approx(LARGEST[dtype], rel=1e-6)
    np.testing.assert_allclose(to_numpy(grad), [[0.5, 0, -0.5], [0.5, -0.5, 0]], atol=1e-7)


def test_difference_that_overflows_is_bounded(placed, dtype):
    z = placed(logits(dtype)[:1])
    y = operations_for(z).xp.asarray(np.array([1]), device=z.device)
    value = float(CrossEntropy().value_and_grad(z, y, None)[0])
    assert value == pytest.approx(float(np.finfo(dtype).max), rel=1e-5)


def test_excluded_class_has_probability_zero(placed):
    """A logit of −∞ excludes a class; the others share the probability."""
    z = placed([[1.0, -np.inf, 1.0]])
    y = operations_for(z).xp.asarray(np.array([0]), device=z.device)
    for target in (y, placed([[1.0, 0.0, 0.0]])):
        value, grad = CrossEntropy().value_and_grad(z, target, None)
        assert float(value) == pytest.approx(np.log(2), rel=1e-6)
        np.testing.assert_allclose(to_numpy(grad), [[-0.5, 0, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(operations_for(z).softmax(z)), [[0.5, 0, 0.5]], rtol=1e-6)


MASKED = [
    ([[-np.inf, 0]], [0]),
    ([[1, 2], [-np.inf, 0]], [0, 0]),
    ([[3e38, -3e38], [-np.inf, 3e38], [0, 0]], [0, 0, 1]),
    ([[-np.inf, -np.inf, 1]], [1]),
]


@pytest.mark.parametrize("kind", ["indices", "rows", "weighted"])
@pytest.mark.parametrize(("z", "labels"), MASKED, ids=range(len(MASKED)))
def test_excluded_true_class_costs_infinity(placed, kind, z, labels):
    """So a training with it raises an error."""
    p = np.exp(np.asarray(z) - np.max(z, axis=1, keepdims=True))
    expected = (p / p.sum(axis=1, keepdims=True) - np.eye(p.shape[1])[labels]) / len(z)
    z, ops = placed(z), operations_for(placed(z))
    y = ops.xp.asarray(np.array(labels), device=z.device)
    y = placed(np.eye(p.shape[1])[labels]) if kind == "rows" else y
    weight = placed(np.ones(len(labels))) if kind == "weighted" else None
    value, grad = CrossEntropy().value_and_grad(z, y, weight)
    assert float(value) == np.inf
    np.testing.assert_allclose(to_numpy(grad), expected, rtol=1e-6, atol=1e-7)
    value, _ = Operations(np).softmax_cross_entropy(to_numpy(z), to_numpy(y), 1.0)
    assert float(value) == np.inf


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_distillation_of_an_excluded_class_is_infinite(placed, temperature, share):
    z, y = placed([[-np.inf, 0.0, 1.0]]), placed([[1.0, 0.0, 0.0, 0.0]])
    assert float(Distillation(temperature, share).value(z, y)) == np.inf


def test_training_on_an_excluded_class_raises_an_error():
    model = Sequential([Dense(2)], 1, dtype="float32")
    model.theta[...] = [-3e38, 0.0, 0.0, 0.0]
    X, y = np.full((4, 1), 10.0), np.array([1, 1, 1, 0])
    settings = {"loss": CrossEntropy(), "optimizer": xpnet.SGD(1e-3), "progress": False}
    with pytest.raises(NonFiniteError), np.errstate(over="ignore"):
        model.fit(X, y, epochs=1, **settings)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_stay_visible(placed, value):
    z = placed([[0, value, 1]])
    y = operations_for(z).xp.asarray(np.array([0]), device=z.device)
    assert not np.isfinite(float(CrossEntropy().value_and_grad(z, y, None)[0]))


def test_predicted_probabilities_are_finite(dtype):
    model = Sequential([Dense(3)], 1, dtype=dtype, loss=CrossEntropy())
    model.theta[...] = [2.0, -2.0, 1.0, 0, 0, 0]
    p = model.predict_proba(np.array([[1.0], [-1.0]]) * (LARGEST[dtype] / 2))
    np.testing.assert_array_equal(p, [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_on_large_logits_are_finite(engine):
    model = Sequential([Dense(3)], 1)
    model.theta[...] = [3.0, -3.0, 1.0, 0, 0, 0]
    step = xpnet.TrainingStep(model, CrossEntropy(), xpnet.SGD(1e-40), engine=engine)
    for _ in range(3):
        assert float(step(np.full((2, 1), 1e38, "float32"), np.array([0, 0]))) == 0
