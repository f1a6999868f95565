"""Learning rates that schedules and changed optimizers give, in every engine."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_device import fake_backend, use_fake_device

from xpnet import MLP, SGD, ArgumentError, CrossEntropy, TrainingStep
from xpnet.engine.recorded_step import why_not_recorded
from xpnet.errors import describe, plain_number
from xpnet.optimizers.schedules import Schedule

RECORDED = not why_not_recorded()
HOST_ENGINES = ["eager", *(["replay"] if RECORDED else [])]
ENGINES = [*HOST_ENGINES, "captured"]


class Gives(Schedule):
    """The factor 1, and another one at one step: epoch 2, step 3 of 4."""

    def __init__(self, factor, epoch=1.5):
        self.value, self.epoch = factor, epoch

    def factor(self, epoch, n_epochs, values=()):
        return self.value if epoch == self.epoch else 1.0

    def __repr__(self):
        return "Gives()"


REFUSED = {
    "negative": -1,
    "negative NumPy number": np.float64(-0.5),
    "negative in an array": np.array(-1),
    "NaN": float("nan"),
    "NaN of NumPy": np.float32("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "overflow": 1e308,
    "nothing": None,
    "text": "0.5",
    "array": np.array([0.5]),
    "complex": 0.5j,
    "list": [0.5],
    "path": Path("0.5"),
}
TAKEN = {
    "integer": (0, 0.0),
    "boolean": (True, 1.0),
    "NumPy integer": (np.int64(2), 2.0),
    "NumPy number": (np.float32(0.5), 0.5),
    "array without dimensions": (np.array(0.25), 0.25),
    "fraction": (Fraction(1, 2), 0.5),
}


def model_for(engine, monkeypatch):
    """A model for the engine, and the argument ``engine`` of `fit`."""
    backend = "numpy"
    if engine == "captured":
        use_fake_device(monkeypatch)
        backend = fake_backend("float64")
    model = MLP(4, [5], 3, backend=backend, dtype="float64", batch_norm=True)
    return model, "eager" if engine == "eager" else "replay"


def fit(model, engine, epochs=3, **settings):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(14, 4)), rng.integers(0, 3, 14)
    settings |= {"optimizer": settings.get("optimizer", SGD(lr=20.0)), "batch_size": 4}
    settings |= {"engine": engine, "epochs": epochs, "progress": False}
    return model.fit(X, y, loss=CrossEntropy(), **settings)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", REFUSED)
def test_rate_that_is_no_rate_is_refused(engine, case, monkeypatch):
    model, name = model_for(engine, monkeypatch)
    expected, _ = model_for(engine, monkeypatch)
    fit(expected, name, epochs=1)
    with pytest.raises(ArgumentError) as caught:
        fit(model, name, schedule=Gives(REFUSED[case]))
    message = str(caught.value)
    assert message.startswith(
        "schedule must give learning rates that are finite and at least 0; got "
    )
    assert "of 20.0 by Gives() in epoch 2, step 3" in message
    assert message.endswith("The parameters are those of the beginning of epoch 2.")
    assert f"got the factor {describe(plain_number(REFUSED[case]))} of" in message
    for vector in ("theta", "statistics"):
        found = np.asarray(getattr(model, vector)), np.asarray(getattr(expected, vector))
        np.testing.assert_array_equal(*found)
    assert len(model.history) == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", TAKEN)
def test_factor_of_any_type_of_number_is_taken(engine, case, monkeypatch):
    factor, number = TAKEN[case]
    thetas = []
    for value in (factor, number):
        model, name = model_for(engine, monkeypatch)
        history = fit(model, name, schedule=Gives(value, epoch=1.75), optimizer=SGD(0.01))
        thetas.append(np.asarray(model.theta))
        assert history["lr"] == [0.01, 0.01 * number, 0.01]
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf")])
def test_changed_rate_of_an_optimizer_is_refused(engine, lr, monkeypatch):
    model, name = model_for(engine, monkeypatch)
    optimizer = SGD(0.01)

    def change(run):
        object.__setattr__(run.optimizer, "lr", lr)

    with pytest.raises(
        ArgumentError, match=rf"optimizer\.lr must .* got {lr} in epoch 2, step 1\."
    ):
        fit(model, name, optimizer=optimizer, callbacks=[change])


@pytest.mark.parametrize("engine", HOST_ENGINES)
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("given", [False, True])
def test_step_refuses_what_is_no_rate(engine, case, given):
    value, optimizer = REFUSED[case], SGD(0.1)
    if case == "overflow" or (given and value is None):
        value = float("inf")
    step = TrainingStep(MLP(4, [5], 3), CrossEntropy(), optimizer, engine=engine)
    X, y = np.ones((2, 4), "float32"), np.array([0, 1])
    for _ in range(2):
        step(X, y)
    before = step._model.theta.copy()
    if not given:
        object.__setattr__(optimizer, "lr", value)
    name = "lr" if given else "optimizer.lr"
    for check in (True, False):
        with pytest.raises(ArgumentError, match=f"^{name} must be a finite number, at least 0"):
            step(X, y, lr=value if given else None, check=check)
    np.testing.assert_array_equal(step._model.theta, before)
    assert step.state.step == 2


@pytest.mark.parametrize("engine", HOST_ENGINES)
@pytest.mark.parametrize("case", TAKEN)
def test_step_takes_any_type_of_number(engine, case):
    value, number = TAKEN[case]
    thetas = []
    for lr in (value, number) if case != "boolean" else (number, number):
        model = MLP(4, [5], 3)
        step = TrainingStep(model, CrossEntropy(), SGD(0.1), engine=engine)
        for _ in range(3):
            step(np.ones((2, 4), "float32"), np.array([0, 1]), lr=lr)
        thetas.append(model.theta.copy())
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_schedule_is_asked_once_for_each_step(engine, drop_last, monkeypatch):
    times = []

    class Counts(Schedule):
        def factor(self, epoch, n_epochs, values=()):
            times.append((epoch, n_epochs, len(values)))
            return 1.0

    model, name = model_for(engine, monkeypatch)
    fit(model, name, schedule=Counts(), drop_last=drop_last, epochs=2, optimizer=SGD(0.01))
    steps = range(3 if drop_last else 4)
    assert times == [(e + i / 4, 2, e) for e in (0, 1) for i in steps]
