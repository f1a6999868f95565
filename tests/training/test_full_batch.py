"""fit by a method of minimize: history, callbacks, best θ, reason of the end, refusals."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    ArgumentError,
    Checkpoint,
    ClipByNorm,
    CrossEntropy,
    EarlyStopping,
    MinMax,
    Tanh,
)
from xpnet.data import load_digits
from xpnet.metrics import accuracy
from xpnet.minimize import (
    BFGS,
    DFP,
    LBFGS,
    FirstOrder,
    GradientDescent,
    Newton,
    NewtonCG,
    NonlinearCG,
    Reason,
    minimize,
)
from xpnet.minimize.method import memory_of
from xpnet.optimizers import schedules

QUIET = {"loss": CrossEntropy(), "optimizer": LBFGS(), "progress": False}
METHODS = [
    LBFGS(),
    BFGS(),
    DFP(),
    Newton(),
    NewtonCG(),
    NonlinearCG(),
    GradientDescent(),
    FirstOrder(xpnet.Adam(0.05)),
]


@pytest.fixture
def task(rng):
    X = rng.normal(size=(90, 4))
    return X, (X[:, 0] > 0).astype("int64") + (X[:, 1] > 1)


def digits_model(**settings):
    return MLP(64, [32], 10, activation=Tanh(), preprocessing=MinMax(0, 16), **settings)


def test_lbfgs_learns_the_digits():
    digits = load_digits()
    model = digits_model()
    model.fit(digits.X_train, digits.y_train, epochs=100, l2=1e-3, **QUIET)
    score = model.evaluate(digits.X_test, digits.y_test, metrics=[accuracy])
    assert score["accuracy"] >= 0.96


def test_fit_takes_the_iterates_of_minimize(task, place):
    X, y = task
    settings = {"activation": Tanh(), "backend": place.backend}
    model, other = MLP(4, [6], 3, **settings), MLP(4, [6], 3, **settings)
    weight = np.linspace(0.5, 1.5, 90)
    history = model.fit(X, y, epochs=8, l2=0.01, sample_weight=weight, **QUIET)
    objective = other.objective(X, y, CrossEntropy(), l2=0.01, sample_weight=weight)
    result = minimize(objective, other.theta, LBFGS(), max_iter=8, keep_trajectory=True)
    np.testing.assert_array_equal(place.host(model.theta), place.host(result.x))
    path = result.trajectory[1:]
    total = np.add(history["loss"], history["penalty"])
    np.testing.assert_allclose(total, [step.value for step in path], rtol=1e-13)
    assert history["step"] == [step.step for step in path]
    assert history["grad_norm"] == [step.grad_norm for step in path]
    assert history.stopped == Reason.ITERATIONS.value


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_every_method_lowers_the_loss(method, task):
    X, y = task
    model = MLP(4, [], 3, dtype="float64")
    settings = QUIET | {"optimizer": method}
    start = float(model.objective(X, y, CrossEntropy()).value(model.theta))
    history = model.fit(X, y, epochs=15, l2=1e-2, **settings)
    assert min(history["loss"]) < 0.7 * start
    assert history["epoch"] == list(range(1, len(history) + 1))


def test_history_has_one_row_per_iteration(task):
    X, y = task
    history = MLP(4, [8], 3).fit(
        X, y, epochs=4, validation=0.2, metrics=[accuracy], l2=1e-3, **QUIET
    )
    columns = ["epoch", "loss", "penalty", "val_loss", "val_accuracy"]
    assert list(history.columns) == [*columns, "step", "grad_norm", "seconds"]
    assert len(history) == 4
    on_training = MLP(4, [8], 3).fit(X, y, epochs=2, metrics=[accuracy], **QUIET)
    assert list(on_training.columns) == [
        *("epoch", "loss", "accuracy", "step", "grad_norm", "seconds")
    ]
    model = MLP(4, [8], 3)
    model.fit(X, y, epochs=2, metrics=[accuracy], **QUIET)
    assert on_training["accuracy"][-1] == model.evaluate(X, y, metrics=[accuracy])["accuracy"]


def test_stationary_point_ends_training(task):
    X, y = task
    model = MLP(4, [], 3, dtype="float64")
    history = model.fit(X, y, epochs=200, l2=0.1, **QUIET)
    assert len(history) < 50
    assert history.stopped == Reason.GRADIENT.value
    again = model.fit(X, y, epochs=200, l2=0.1, callbacks=[EarlyStopping("loss")], **QUIET)
    assert len(again) == 0
    assert again.stopped == Reason.GRADIENT.value


def test_model_ends_with_the_best_theta(task):
    X, y = task
    model = MLP(4, [8], 3, dtype="float64")
    wild = QUIET | {"optimizer": FirstOrder(xpnet.SGD(4.0))}
    history = model.fit(X, y, epochs=12, **wild)
    assert history["loss"][-1] > min(history["loss"])
    assert model.evaluate(X, y)["loss"] == pytest.approx(min(history["loss"]), rel=1e-12)


def test_early_stopping_restores_best_validation(task):
    X, y = task
    best = {}

    def remember(run):
        if run.row["val_loss"] <= min(run.history["val_loss"]):
            best["theta"] = run.model.theta.copy()

    model = MLP(4, [32], 3)
    history = model.fit(
        X[:30], y[:30], epochs=200, validation=(X[30:], y[30:]),
        callbacks=[remember, EarlyStopping(patience=3)], **QUIET,
    )  # fmt: skip
    assert len(history) < 200
    assert "has not improved for 3 epochs" in history.stopped
    np.testing.assert_array_equal(model.theta, best["theta"])


def test_checkpoint_and_stopping_callback_work(task, tmp_path):
    X, y = task
    path = tmp_path / "best.safetensors"
    model = MLP(4, [8], 3)
    history = model.fit(
        X, y, epochs=50, callbacks=[Checkpoint(path, "loss"), lambda run: run.epoch == 7], **QUIET
    )
    assert len(history) == 7
    assert history.stopped == "a callback stopped training in epoch 7"
    np.testing.assert_array_equal(xpnet.load(path).theta, model.theta)


def interrupt(run):
    if run.epoch == 3:
        raise KeyboardInterrupt


def press(run):
    if run.epoch == 3:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("callback", [interrupt, press])
def test_interrupt_keeps_the_best_theta(task, callback):
    X, y = task
    model = MLP(4, [8], 3)
    settings = QUIET | {"epochs": 50, "callbacks": [callback]}
    with pytest.raises(KeyboardInterrupt):
        MLP(4, [8], 3).fit(X, y, **settings)
    history = model.fit(X, y, on_interrupt="return", **settings)
    assert history.stopped == "interrupted after iteration 3"
    model_loss = model.evaluate(X, y)["loss"]
    assert model_loss == pytest.approx(min(history["loss"]), rel=1e-6)


def test_words_memmap_and_batch_norm_train(task, tmp_path):
    X, y = task
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    words = np.array(["ash", "birch", "cedar"])[y]
    model = MLP(4, [8], 3, batch_norm=True, dtype="float64")
    first = QUIET | {"optimizer": xpnet.Adam(0.01)}
    model.fit(X, words, epochs=5, batch_size=16, **first)
    statistics, before = model.statistics.copy(), model.evaluate(X, words)["loss"]
    model.fit(mapped, words, epochs=10, **QUIET)
    np.testing.assert_array_equal(model.statistics, statistics)
    assert model.evaluate(X, words)["loss"] < 0.5 * before
    assert (model.predict(X) == words).mean() > 0.85


def test_progress_prints_one_line_per_iteration(task, capsys):
    MLP(4, [8], 3).fit(*task, epochs=2, **QUIET | {"progress": True})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss 0.")


NOT_FOR_METHODS = {
    "batch_size": 32,
    "schedule": schedules.ConstantRate(),
    "clip": ClipByNorm(1.0),
    "shuffle": True,
    "drop_last": True,
}


@pytest.mark.parametrize("name", NOT_FOR_METHODS)
def test_mini_batch_arguments_are_refused(name, task):
    message = rf"{name} must be left out for LBFGS, which sees all rows in every iteration"
    with pytest.raises(ArgumentError, match=message):
        MLP(4, [8], 3).fit(*task, **{name: NOT_FOR_METHODS[name]}, **QUIET)


BAD = {
    "l1": ({"l1": 0.1}, r"l1 must be 0 for LBFGS, which needs a gradient everywhere; got 0\.1"),
    "l2": ({"l2": -0.1}, r"l2 must be a finite number, at least 0"),
    "epochs": ({"epochs": 0}, r"epochs must be an integer of at least 1; got 0"),
    "class": ({"optimizer": LBFGS}, r"optimizer must be .* Write LBFGS\(\) to make one"),
    "name": ({"optimizer": "lbfgs"}, r"optimizer must be an Optimizer or Method; got 'lbfgs'"),
    "loss": ({"loss": "mse"}, r"loss must be a Loss; got 'mse'"),
    "callback": ({"callbacks": [EarlyStopping]}, r"callbacks must hold functions"),
    "metric": ({"metrics": [3]}, r"metrics must hold functions"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_leave_the_model_unchanged(name, task):
    changes, message = BAD[name]
    model = MLP(4, [8], 3)
    theta = model.theta.copy()
    with pytest.raises(ArgumentError, match=message):
        model.fit(*task, **QUIET | changes)
    np.testing.assert_array_equal(model.theta, theta)
    assert model.loss is None


RANDOM = {
    "dropout": r"for Dropout\(p=0\.5\) in layer 1; got LBFGS",
    "batch_norm": "a BatchNorm in layer 1 that has seen no rows",
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_networks_are_refused(name, task):
    model = MLP(4, [8], 3, **{name: 0.5 if name == "dropout" else True})
    with pytest.raises(ArgumentError, match=RANDOM[name]):
        model.fit(*task, **QUIET)
    assert model.loss is None


@pytest.mark.parametrize("method", [BFGS(), DFP(), Newton()], ids=lambda m: type(m).__name__)
def test_dense_methods_refuse_large_networks(method):
    model = MLP(20_000, [50], 3)
    memory = memory_of(model.backend)
    if memory is None:
        pytest.skip("this machine does not say how much memory it has")
    message = r"which needs 4 matrices of 1000203 × 1000203, 16,006 GB in float32\. Use LBFGS\(\)"
    X = np.zeros((2, 20_000), "float32")
    with pytest.raises(ArgumentError, match=rf"optimizer must fit .*{message}"):
        model.fit(X, [0, 1], **QUIET | {"optimizer": method})
    with pytest.raises(ArgumentError, match=rf"method must fit .*{message}"):
        minimize(model.objective(X, [0, 1], CrossEntropy()), model.theta, method)
