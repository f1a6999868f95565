"""The learning-rate range test: its losses, its suggestion, and that it changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import looped
from helpers.training_cases import ENGINES

import xpnet
from xpnet import (
    MLP,
    SGD,
    Adam,
    ArgumentError,
    CrossEntropy,
    HalfMSE,
    LearningRateRange,
    Momentum,
    NonFiniteError,
    Resumed,
    Tanh,
    learning_rate_range,
)
from xpnet.backend import to_numpy
from xpnet.random import RandomStreams
from xpnet.state import VECTORS
from xpnet.training.learning_rate_range import _Losses


def task(rows=90):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(rows, 4))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def model_of(backend="numpy", **network):
    network = {"dropout": 0.3, "batch_norm": True, "dtype": "float64", "rng": 1} | network
    return MLP(4, [6], 3, activation=Tanh(), backend=backend, **network)


def ranged(model, data=None, **settings):
    arguments = {"loss": CrossEntropy(), "optimizer": Adam(), "n_steps": 20, "batch_size": 16}
    return learning_rate_range(model, *(data or task()), **arguments | settings)


def contents(model):
    """All that a training changes."""
    vectors = [to_numpy(getattr(model.state, name)).tobytes() for name in VECTORS]
    settings = model.input_spec, model.loss, model.classes, model.trained
    return vectors, model.state.streams.drawn, settings, id(model.history), copy.copy(model.history)


# --- nothing changes ------------------------------------------------------------------------------

CHANGES = {
    "plain": {},
    "a seed": {"rng": 7},
    "clip and penalty": {"clip": xpnet.ClipByNorm(0.1), "l1": 0.01, "l2": 0.1},
    "weights": {"sample_weight": np.linspace(0.1, 1, 90), "class_weight": [1.0, 2.0, 3.0]},
    "several epochs": {"n_steps": 40},
    "divergence": {"optimizer": SGD(), "high": 1e12},
    "names of classes": {"data": (task()[0], np.array(["a", "b", "c"])[task()[1]])},
    "scaled targets": {
        "data": (task()[0], 200 * task()[0][:, :3]),
        "loss": HalfMSE(),
        "target_scaling": "standardize",
    },
}


@pytest.mark.parametrize("engine", ENGINES)
@looped(name=CHANGES, trained=[False, True])
def test_model_is_unchanged_to_the_bit(name, trained, engine):
    model, settings = model_of(), CHANGES[name]
    if trained:
        how = {"loss": settings.get("loss", CrossEntropy()), "optimizer": Adam(), "epochs": 2}
        how |= {"target_scaling": settings.get("target_scaling"), "progress": False}
        model.fit(*settings.get("data", task()), **how)
    before = contents(model)
    found = ranged(model, engine=engine, **settings)
    assert contents(model) == before
    assert len(found.rates) > 5


def test_next_training_has_the_same_bits(place):
    """Also the masks and orders of its rows, and the statistics of batch norm."""
    data, thetas = [place.array(array) for array in task()], []
    for tests in (False, True):
        model = model_of(place.backend)
        if tests:
            found = ranged(model, data)
            assert len(found.losses) == 20
        how = {"loss": CrossEntropy(), "optimizer": Adam(), "epochs": 2, "progress": False}
        history = model.fit(*data, **how)
        thetas.append([place.host(model.theta), place.host(model.statistics), history["loss"]])
    for actual, expected in zip(thetas[1], thetas[0], strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_optimizer_and_generator_are_unchanged():
    model, rng = model_of(), np.random.default_rng(3)
    state = Momentum().init(model.theta)
    state.slots[0][...] = 1.0
    before = state.copy(), rng.bit_generator.state
    ranged(model, optimizer=Resumed(Momentum(), state), rng=rng)
    np.testing.assert_array_equal(state.slots[0], before[0].slots[0])
    assert (state.step, rng.bit_generator.state) == (before[0].step, before[1])


class InterruptingLoss(CrossEntropy):
    replayable = False
    calls = 0

    def value_and_grad(self, *given, **more):
        InterruptingLoss.calls += 1
        if InterruptingLoss.calls == 8:
            raise KeyboardInterrupt
        return super().value_and_grad(*given, **more)


FAILURES = {
    "Ctrl-C": (KeyboardInterrupt, {"loss": InterruptingLoss()}),
    "an overflow": (NonFiniteError, {"data": (np.full((90, 4), 1e200), np.zeros((90, 3)))}),
    "a refused argument": (ArgumentError, {"class_weight": [1.0]}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_model_is_unchanged_after_a_failure(name):
    error, settings = FAILURES[name]
    if name == "an overflow":
        settings = settings | {"loss": HalfMSE(), "target_scaling": "standardize"}
    model = MLP(4, [], 3, dtype="float64")
    before = contents(model)
    with np.errstate(all="ignore"), pytest.raises(error):
        ranged(model, **settings)
    assert contents(model) == before


# --- the losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_steps", [4, 5, 17])
def test_losses_are_those_of_a_hand_written_loop(n_steps):
    """90 rows have 5 batches of 16; the 10 rows that are left are left out."""
    (X, y), model, streams = task(), model_of(batch_norm=False, dropout=0.0), RandomStreams(6)
    found = ranged(model, n_steps=n_steps, low=1e-4, high=0.1, smoothing=0.8, rng=6)
    rates = [1e-4 * 1e3 ** (i / (n_steps - 1)) for i in range(n_steps)]
    np.testing.assert_allclose(found.rates, rates, rtol=1e-13)
    optimizer, mean, weight = Adam(lr=0.5), 0.0, 0.0
    state, losses, means = optimizer.init(model.theta), [], []
    while len(losses) < n_steps:
        order = streams.row_order(90)
        for start in range(0, 80, 16):
            rows = order[start : start + 16]
            losses.append(float(model.value_and_grad(X[rows], y[rows], CrossEntropy())[0]))
            optimizer.step(model.theta, model.grad, state, rates[min(len(losses), n_steps) - 1])
            mean, weight = 0.8 * mean + losses[-1], 0.8 * weight + 1
            means.append(mean / weight)
    np.testing.assert_allclose(found.losses, losses[:n_steps], rtol=1e-10)
    np.testing.assert_allclose(found.smoothed, means[:n_steps], rtol=1e-10)
    assert not found.diverged


def test_few_rows_are_one_batch():
    found = ranged(model_of(), task(10), n_steps=6)
    assert len(found.losses) == 6


def test_divergent_loss_ends_the_test(place):
    """The numbers are finite, although those of the next step may not be."""
    data = [place.array(array) for array in task()]
    model = model_of(place.backend, batch_norm=False)
    found = ranged(model, data, optimizer=SGD(), low=1e-2, high=1e15, n_steps=40)
    assert found.diverged
    assert 3 < len(found.rates) == len(found.losses) == len(found.smoothed) < 40
    assert np.isfinite(found.losses).all()
    assert "where the loss diverged" in repr(found)


def test_overflow_ends_the_test(place):
    X, model = task()[0], MLP(4, [], 1, backend=place.backend)
    data = place.array(X), place.array(X[:, 0])
    settings = {"loss": HalfMSE(), "optimizer": SGD(), "n_steps": 8}
    with np.errstate(all="ignore"):
        found = ranged(model, data, low=1e-3, high=1e300, divergence=1e300, **settings)
    assert found.diverged
    assert 1 <= len(found.losses) < 8
    assert np.isfinite(found.losses).all()


DIVERGES = {
    "4 times the minimum": ([1.0, 0.5, 1.9, 2.1, 0.0], 4),
    "a minimum below 0": ([1.0, -1.0, 4.9, 5.1, 0.0], 4),
    "a rise from the beginning": ([1.0, 2.0, 3.9, 4.1], 4),
    "no divergence": ([1.0, 3.0, 2.0], 3),
}


@pytest.mark.parametrize("name", DIVERGES)
def test_divergence_is_relative_to_the_minimum(name):
    losses, stop = DIVERGES[name]
    found = _Losses(9, 0.0, 4.0)
    ended = [i for i, loss in enumerate(losses, 1) if found.step(SimpleNamespace(loss=loss))]
    assert ended[:1] == ([stop] if name != "no divergence" else [])


def test_batches_in_parts_have_the_same_losses():
    model = model_of(batch_norm=False)
    one, other = (ranged(model, accumulate=k).losses for k in (1, 3))
    np.testing.assert_allclose(other, one, rtol=1e-10)


# --- the suggestion -------------------------------------------------------------------------------


def curve(smoothed):
    rates = np.geomspace(1e-5, 1.0, len(smoothed))
    return LearningRateRange(rates, np.array(smoothed), np.array(smoothed, float), False)


FALL = [5, 5, 5, 5, 5, 4.8, 4, 2.5, 2, 1.8, 2, 9]
SUGGESTIONS = {
    "steepest descent": (FALL, 6),  # 4.8 − 2.5 is the largest of two steps
    "noise at the beginning": ([9, 1, *FALL[2:]], 6),
    "a fall after the minimum": ([*FALL, 20, 8, 7], 6),
    "a fall to the end": ([5, 5, 5, 5, 5, 4.5, 4, 1], 6),
    "a rise": (list(range(12)), None),
    "a constant": ([1.0] * 12, None),
    "two steps": ([2.0, 1.0], None),
}


@pytest.mark.parametrize("name", SUGGESTIONS)
def test_suggestion_is_the_steepest_descent(name):
    smoothed, index = SUGGESTIONS[name]
    found = curve(smoothed)
    assert found.suggestion == (None if index is None else found.rates[index])
    assert ("no suggestion" in repr(found)) == (index is None)


@looped(optimizer=[Adam(), SGD(), Momentum(), xpnet.RMSProp()])
def test_suggested_rate_trains_better_than_its_limits(optimizer):
    X, y = task(400)
    how = {"loss": CrossEntropy(), "batch_size": 32}
    found = learning_rate_range(model_of(dropout=0.0), X, y, optimizer=optimizer, high=100, **how)
    losses = []
    for lr in (found.suggestion, found.suggestion / 100, found.suggestion * 1000):
        model = model_of(dropout=0.0)
        with np.errstate(all="ignore"):
            try:
                model.fit(
                    X, y, optimizer=replace(optimizer, lr=lr), epochs=5, progress=False, **how
                )
                losses.append(model.evaluate(X, y)["loss"])
            except NonFiniteError:
                losses.append(np.inf)
    assert losses[0] < min(losses[1:])


# --- bad input ------------------------------------------------------------------------------------

REFUSED = {
    "low": ({"low": 0.0}, "low must be a finite number, above 0; got 0.0."),
    "high": ({"high": float("inf")}, "high must be a finite number, above 0; got inf."),
    "order": ({"low": 0.1, "high": 0.1}, "high must be above low, 0.1; got 0.1."),
    "n_steps": ({"n_steps": 2}, "n_steps must be an integer of at least 3; got 2."),
    "batch_size": ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0."),
    "smoothing": ({"smoothing": 1.0}, "smoothing must be a finite number, at least 0 and below 1"),
    "divergence": ({"divergence": 1.0}, "divergence must be a finite number, above 1; got 1.0."),
    "a method": (
        {"optimizer": xpnet.minimize.LBFGS()},
        "optimizer must be an Optimizer; got LBFGS(",
    ),
    "rows": (
        {"data": (task()[0], np.zeros(3, int))},
        "y must have the shape (90,) or (90, 3); got an int64 array",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_arguments_are_refused(name):
    settings, message = REFUSED[name]
    model = model_of()
    before = contents(model)
    with pytest.raises(ArgumentError) as caught:
        ranged(model, **settings)
    assert str(caught.value).startswith(message)
    assert contents(model) == before


def test_model_without_parameters_is_refused():
    with pytest.raises(ArgumentError, match=r"^model must be a model with parameters"):
        ranged("a model")
