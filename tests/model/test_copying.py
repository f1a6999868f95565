"""Copied and pickled models have vectors of their own and give the same results."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import xpnet
from xpnet import MLP, Adam, CrossEntropy, MinMax, PolyakAverage, get_backend, to_numpy

LOSS = CrossEntropy()
WAYS = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def train(model, task, epochs=2):
    how = {"loss": LOSS, "optimizer": Adam(0.01), "validation": task, "progress": False}
    return model.fit(*task, epochs=epochs, **how)


@pytest.fixture
def task(rng):
    X = rng.normal(size=(60, 4))
    return X, np.array(["no", "yes", "maybe"])[np.argmax(X[:, :3], axis=1)]


@pytest.fixture
def model(place32, task):
    backend, scaling = place32.backend, MinMax.fit(task[0])
    model = MLP(4, [8], 3, batch_norm=True, dropout=0.2, backend=backend, preprocessing=scaling)
    train(model, task)
    return model


def numbers(model):
    vectors = model.theta, model.grad, model.statistics
    return np.concatenate([to_numpy(v) for v in vectors])


@every_way
def test_copy_equals_the_original(way, model, task):
    model.note = "mine"
    other = way(model)
    assert other.predict(task[0]).tolist() == model.predict(task[0]).tolist()
    for X in (task[0][:1], task[0]):
        pair = (to_numpy(m.predict_proba(X)) for m in (other, model))
        np.testing.assert_array_equal(*pair)
    np.testing.assert_array_equal(numbers(other), numbers(model))
    for name in ("loss", "classes", "backend", "layers", "layout", "n_in", "note", "history"):
        assert getattr(other, name) == getattr(model, name), name
    for name, value in model.preprocessing.arrays().items():
        np.testing.assert_array_equal(other.preprocessing.arrays()[name], value)
    assert type(other.theta) is type(model.theta)
    assert other.theta.dtype == model.theta.dtype


@every_way
def test_training_a_copy_leaves_the_original(way, model, task):
    before, other = numbers(model), way(model)
    train(other, task, epochs=3)
    np.testing.assert_array_equal(numbers(model), before)
    assert len(model.history) == 2
    train(model, task, epochs=3)
    np.testing.assert_array_equal(numbers(other), numbers(model))


@every_way
def test_copy_has_views_of_its_own_vectors(way, model, task):
    other = way(model)
    other.theta[...] = 0.0
    assert not to_numpy(other.forward(np.ones((3, 4)))).any()
    _, grad = other.value_and_grad(np.ones((3, 4)), [0, 1, 2], LOSS)
    assert grad is other.grad
    assert to_numpy(grad)[-3:].tolist() == pytest.approx([0, 0, 0], abs=1e-6)  # 1/3 - 1/3 a class
    assert to_numpy(model.theta).any()


VALUES = {
    "backend": get_backend("numpy", dtype="float64"),
    "optimizer": xpnet.Averaged(Adam(), PolyakAverage()),
    "frozen": xpnet.Frozen(Adam(), MLP(2, [2], 1).layout, [0]),
    "state": Adam().init(np.ones(0)),
    "history": xpnet.training.History({"loss": [1.0]}),
    "layout": MLP(2, [2], 1).layout,
}


@pytest.mark.parametrize("name", VALUES)
def test_pickled_values_are_equal(name):
    copies = (way(VALUES[name]) for way in WAYS.values())
    assert [repr(value) for value in copies] == [repr(VALUES[name])] * len(WAYS)
