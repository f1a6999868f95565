"""A loss that is not a mean over rows is trained on all of them at once, in their order, or not."""

from __future__ import annotations

import re

import numpy as np
import pytest

import xpnet
from xpnet import MLP, Adam, HalfMSE
from xpnet.derivatives import check_gradients, empirical_fisher_vp, hvp
from xpnet.errors import ArgumentError
from xpnet.losses import Loss
from xpnet.minimize import LBFGS

N_ROWS = 2100  # more than a chunk of an objective, and than one of a prediction


class Differences(Loss):
    """``½ mean ((z_i − z_{i+1}) − (t_i − t_{i+1}))²`` of successive rows, weights left out."""

    row_mean = False

    def value_and_grad(self, output, target, weight=None, *, out=None):
        error = output[:, 0] - target
        d = error[1:] - error[:-1]
        grad = np.zeros_like(output)
        grad[1:, 0] += d
        grad[:-1, 0] -= d
        return 0.5 * (d * d).sum() / len(output), grad / len(output)

    def value(self, output, target, weight=None):
        return self.value_and_grad(output, target)[0]

    def hessian_product(self, output, target, d_output, weight=None):
        return self.value_and_grad(d_output, np.zeros_like(target))[1]


@pytest.fixture
def data():
    X = np.linspace(-1.0, 1.0, N_ROWS)[:, None]
    return X, 50.0 * np.sin(3.0 * X[:, 0])


def new_model() -> MLP:
    return MLP(1, [4], 1, activation=xpnet.Tanh(), dtype="float64", rng=0)


def loss_of(model, X, y) -> float:
    return float(Differences().value(model.forward(X), y))


REFUSED = {
    "fit": (
        lambda model, X, y: model.fit(X, y, loss=Differences(), optimizer=Adam(), progress=False),
        "batch_size must be at least the 2100 rows for Differences, which is not a mean over rows; "
        "got 64. Give all rows at once, or take a loss that is one.",
    ),
    "fit in two parts": (
        lambda model, X, y: model.fit(
            X, y, loss=Differences(), optimizer=Adam(), batch_size=N_ROWS - 1
        ),
        "batch_size must be at least the 2100 rows",
    ),
    "objective": (
        lambda model, X, y: model.objective(X, y, Differences(), chunk_rows=1024),
        "chunk_rows must be at least the 2100 rows for Differences",
    ),
    "empirical Fisher": (
        lambda model, X, y: empirical_fisher_vp(model, X, y, Differences(), model.theta),
        "loss must be a mean over rows, each with a gradient; got Differences().",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_of_rows_are_refused(name, data):
    call, message = REFUSED[name]
    model = new_model()
    before = model.theta.copy()
    with pytest.raises(ArgumentError, match=f"^{re.escape(message)}"):
        call(model, *data)
    np.testing.assert_array_equal(model.theta, before)


def test_fit_gives_all_rows_in_their_order(data):
    model, other = new_model(), new_model()
    history = model.fit(
        *data,
        loss=Differences(),
        optimizer=Adam(lr=0.01),
        epochs=3,
        batch_size=N_ROWS,
        progress=False,
    )
    step = xpnet.TrainingStep(other, Differences(), Adam(lr=0.01))
    losses = [float(step(*data)) for _ in range(3)]
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-13)
    np.testing.assert_allclose(model.theta, other.theta, rtol=1e-12)


def test_rows_of_a_mean_are_still_shuffled(data):
    runs = []
    for shuffle in (True, False):
        model = new_model()
        model.fit(
            *data,
            loss=HalfMSE(),
            optimizer=Adam(),
            epochs=1,
            batch_size=512,
            shuffle=shuffle,
            progress=False,
        )
        runs.append(model.theta.copy())
    assert np.abs(runs[0] - runs[1]).max() > 1e-9


def test_objective_takes_all_rows_at_once(data):
    model = new_model()
    value, grad = model.objective(*data, Differences()).value_and_grad(model.theta)
    expected, d_output = Differences().value_and_grad(model.forward(data[0]), data[1])
    assert float(value) == pytest.approx(float(expected), rel=1e-13)
    _, by_step = model.value_and_grad(*data, Differences())
    np.testing.assert_allclose(grad, by_step, rtol=1e-11, atol=1e-16)
    assert np.isfinite(d_output).all()


def test_full_batch_method_minimizes_it(data):
    model = new_model()
    before = loss_of(model, *data)
    history = model.fit(*data, loss=Differences(), optimizer=LBFGS(), epochs=30, progress=False)
    assert history["loss"][-1] == pytest.approx(loss_of(model, *data), rel=1e-9)
    assert history["loss"][-1] < 0.6 * before


def test_evaluation_and_validation_see_all_rows(data):
    model = new_model()
    model.fit(*data, loss=Differences(), optimizer=LBFGS(), epochs=1, progress=False)
    X, y = data
    assert model.evaluate(X, y)["loss"] == pytest.approx(loss_of(model, X, y))
    history = model.fit(
        *data,
        loss=Differences(),
        optimizer=Adam(),
        epochs=1,
        batch_size=N_ROWS,
        validation=(X[:1500], y[:1500]),
        progress=False,
    )
    assert history["val_loss"][-1] == pytest.approx(loss_of(model, X[:1500], y[:1500]))


def test_second_derivatives_are_of_all_rows(data):
    model, v = new_model(), np.linspace(-1.0, 1.0, new_model().theta.size)
    check_gradients(model, *data, Differences()).raise_if_wrong()
    product, h = hvp(model, *data, Differences(), v), 1e-6
    ends = []
    for s in (h, -h):
        moved = new_model()
        moved.theta = model.theta + s * v
        ends.append(moved.value_and_grad(*data, Differences())[1].copy())
    np.testing.assert_allclose(product, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-9)
