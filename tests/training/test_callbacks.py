"""Callbacks: what is refused before the first step, what is best, and who stops a training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    SGD,
    Averaged,
    Checkpoint,
    CrossEntropy,
    EarlyStopping,
    Sequential,
    StochasticWeightAveraging,
    UseAverage,
)
from xpnet.errors import ArgumentError

QUIET = {"loss": CrossEntropy(), "optimizer": SGD(lr=0.1), "progress": False}


@pytest.fixture
def task(rng):
    """Features and classes that depend on them."""
    X = rng.standard_normal((80, 3))
    return X, (X[:, 0] > 0).astype(int)


def metric_of(values):
    """A metric with given values, one per epoch; the last one is repeated."""
    remaining = itertools.chain(values, itertools.repeat(values[-1]))

    def score(predicted, targets):
        return next(remaining)

    return score


class OwnLayer:
    """A user-defined layer, which no file can describe."""

    def specs(self, n_in):
        return xpnet.Activation(xpnet.Tanh()).specs(n_in)

    def forward(self, p, x, ctx):
        return x, None

    def backward(self, p, g, saved, dy, ctx):
        return dy


INVALID = {
    "unknown column": lambda path: [EarlyStopping()],
    "after another": lambda path: [lambda run: None, EarlyStopping()],
    "misspelled column": lambda path: [EarlyStopping("los")],
    "checkpoint column": lambda path: [Checkpoint(path / "a")],
    "no folder": lambda path: [Checkpoint(path / "none" / "a", "loss")],
    "folder": lambda path: [Checkpoint(path, "loss")],
    "late average": lambda path: [StochasticWeightAveraging(99)],
    "no average": lambda path: [UseAverage()],
    "two averages": lambda path: [StochasticWeightAveraging(1), StochasticWeightAveraging(2)],
    "invalid rows": lambda path: [UseAverage((np.ones((2, 9)), [0, 1]))],
}


@pytest.mark.parametrize("case", INVALID)
@pytest.mark.parametrize("engine", ["eager", None])
def test_invalid_callbacks_leave_the_model(task, tmp_path, case, engine):
    model = MLP(3, [4], 2, batch_norm=True)
    before, statistics = model.theta.copy(), model.statistics.copy()
    optimizer = Averaged(SGD(lr=0.1)) if case == "invalid rows" else SGD(lr=0.1)
    settings = QUIET | {"optimizer": optimizer, "callbacks": INVALID[case](tmp_path)}
    with pytest.raises((ArgumentError, OSError)):
        model.fit(*task, epochs=3, engine=engine, **settings)
    np.testing.assert_array_equal(model.theta, before)
    np.testing.assert_array_equal(model.statistics, statistics)


def test_model_that_cannot_be_saved_is_refused(task, tmp_path):
    model = Sequential([OwnLayer(), xpnet.Dense(2)], 3)
    before = model.theta.copy()
    with pytest.raises(ArgumentError, match="OwnLayer"):
        model.fit(*task, callbacks=[Checkpoint(tmp_path / "best", "loss")], **QUIET)
    np.testing.assert_array_equal(model.theta, before)
    assert not list(tmp_path.iterdir())


def test_invalid_callbacks_leave_minimizers(task):
    model = MLP(3, [4], 2, activation=xpnet.Tanh())
    before = model.theta.copy()
    settings = QUIET | {"optimizer": xpnet.minimize.LBFGS(), "callbacks": [EarlyStopping()]}
    with pytest.raises(ArgumentError, match="monitor must be one of epoch, grad_norm, loss, seconds, step"):
        model.fit(*task, **settings)
    np.testing.assert_array_equal(model.theta, before)


def test_columns_of_user_callbacks_are_monitored(task):
    def add(run):
        run.row["own"] = float(run.epoch)

    history = MLP(3, [], 2).fit(
        *task, epochs=9, callbacks=[EarlyStopping("own", patience=2), add], **QUIET
    )
    assert len(history) == 3
    assert "epoch 1" in history.stopped


def test_columns_of_averages_are_monitored(task):
    use = UseAverage(task)
    settings = QUIET | {"optimizer": Averaged(SGD(lr=0.1))}
    callbacks = [EarlyStopping("avg_loss", patience=99), use]
    assert len(MLP(3, [], 2).fit(*task, epochs=3, callbacks=callbacks, **settings)) == 3


@pytest.mark.parametrize(
    ("values", "epochs", "best"),
    [
        ([np.nan, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 8, 8),
        ([0.5, np.nan, np.nan, np.nan, np.nan, 0.6], 8, 6),
        ([np.nan], 8, None),
        ([0.5, np.nan, 0.4, np.nan, 0.3, 0.2, 0.1], 6, 1),
        ([np.inf, np.nan, 0.5, 0.5, 0.5, 0.5], 5, 1),
        ([-np.inf, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 8, 8),
    ],
)
def test_nan_is_never_best(task, tmp_path, values, epochs, best):
    path, thetas = tmp_path / "best", []
    callbacks = [
        EarlyStopping("val_score", patience=3, maximize=True),
        Checkpoint(path, "val_score", maximize=True),
        lambda run: thetas.append(run.model.theta.copy()),
    ]
    model = MLP(3, [4], 2)
    history = model.fit(
        *task, epochs=8, validation=0.25, metrics=[metric_of(values)], callbacks=callbacks, **QUIET
    )
    assert len(history) == epochs
    assert path.exists() == (best is not None)
    kept = thetas[-1] if best is None else thetas[best - 1]
    np.testing.assert_array_equal(model.theta, kept)
    if best is not None:
        np.testing.assert_array_equal(xpnet.load(path).theta, kept)


def test_checkpoint_keeps_its_best_over_fits(task, tmp_path):
    path, model = tmp_path / "best", MLP(3, [4], 2)
    checkpoint = Checkpoint(path, "val_score", maximize=True)

    def fit(callback, *values):
        model.fit(
            *task, epochs=len(values), validation=0.25, metrics=[metric_of(values)],
            callbacks=[callback], **QUIET,
        )  # fmt: skip
        return xpnet.load(path).theta, model.theta.copy()

    saved, last = fit(checkpoint, 0.2, 0.6)
    np.testing.assert_array_equal(saved, last)
    np.testing.assert_array_equal(fit(checkpoint, 0.5, 0.6)[0], saved)
    other = Checkpoint(path, "val_score", maximize=True, best=checkpoint.best)
    np.testing.assert_array_equal(fit(other, 0.1)[0], saved)
    np.testing.assert_array_equal(*fit(other, 0.7))
    assert other.best == 0.7


@pytest.mark.parametrize("best", [np.nan, np.inf, "0.5"])
def test_checkpoint_refuses_an_invalid_best(best):
    with pytest.raises(ArgumentError, match="best must be a finite number"):
        Checkpoint("path", best=best)


@pytest.mark.parametrize("callback", [UseAverage, lambda: StochasticWeightAveraging(2)])
@pytest.mark.parametrize("order", [1, -1])
def test_average_ends_with_the_best_epoch(task, callback, order):
    """Stopping at the best epoch is the training that ends there, in any order of callbacks."""
    scores = [0.1, 0.2, 0.3, 0.9, 0.1, 0.1, 0.1]
    settings = QUIET | {"optimizer": Averaged(SGD(lr=0.5)), "validation": 0.2}
    stop = EarlyStopping("val_score", patience=2, maximize=True)
    model, expected = (MLP(3, [8], 2, batch_norm=True) for _ in range(2))
    history = model.fit(
        *task, epochs=7, metrics=[metric_of(scores)], callbacks=[callback(), stop][::order],
        **settings,
    )  # fmt: skip
    assert len(history) == 6
    expected.fit(*task, epochs=4, callbacks=[callback()], **settings)
    np.testing.assert_array_equal(model.theta, expected.theta)
    np.testing.assert_array_equal(model.statistics, expected.statistics)


@pytest.mark.parametrize(
    ("value", "stops"),
    [(True, True), (np.True_, True), (1, False), (17, False), ("text", False), (None, False)],
)
def test_only_true_stops_training(task, value, stops):
    history = MLP(3, [], 2).fit(*task, epochs=3, callbacks=[lambda run: value], **QUIET)
    assert len(history) == (1 if stops else 3)


def test_arrays_from_callbacks_stop_nothing(task):
    values = [np.ones(3), np.array([True]), [1]]
    callbacks = [lambda run, value=value: value for value in values]
    assert len(MLP(3, [], 2).fit(*task, epochs=2, callbacks=callbacks, **QUIET)) == 2
