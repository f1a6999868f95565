"""Schedule-free Adam: its reference, and that ``fit`` evaluates x while it trains y."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.training_cases import ENGINES

import xpnet
from xpnet import (
    MLP,
    BatchNorm,
    Checkpoint,
    Dense,
    EarlyStopping,
    HalfMSE,
    Sequential,
    TrainingCheckpoint,
    UseAverage,
)
from xpnet.errors import ArgumentError
from xpnet.metrics import rmse
from xpnet.optimizers import (
    SGD,
    Averaged,
    ByRole,
    ClipByNorm,
    Frozen,
    Grouped,
    LinearWarmup,
    Lookahead,
    Resumed,
    ScheduleFreeAdam,
)
from xpnet.parameters import Layout

LAYOUT = Layout.of([("layers.0.weight", (2, 2), "weight"), ("layers.1.bias", (3,), "bias")])
RATES = [0.0, 0.05, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1]


def reference(theta, grads, decay):
    """`AdamWScheduleFree.step` of the package `schedulefree`, with the rates RATES."""
    x, y, z, v = theta, theta, theta, 0.0
    largest, total = 0.0, 0.0
    for step, (grad, lr) in enumerate(zip(grads, RATES, strict=True), start=1):
        largest = max(largest, lr)
        total += largest**2
        share = largest**2 / total if total else 0.0
        v = 0.9 * v + 0.1 * grad**2
        direction = grad / (np.sqrt(v / (1 - 0.9**step)) + 1e-3) + decay * y
        y = y + share * (z - y) + lr * (0.8 * (1 - share) - 1) * direction
        z = z - lr * direction
        x = y + (1 - 1 / 0.8) * (z - y)
    return y, z, x


def taken(optimizer, place, theta, grads, layout=None):
    theta = place.writable(theta)
    state = optimizer.init(theta, layout)
    for grad, lr in zip(grads, RATES, strict=True):
        optimizer.step(theta, place.array(grad), state, lr=lr)
    return theta, state


def test_ten_steps_with_warm_up_and_decay(place, rng):
    start, grads = rng.standard_normal(7), rng.standard_normal((10, 7))
    optimizer = ScheduleFreeAdam(0.1, 0.8, 0.9, 1e-3, weight_decay=0.3)
    decay = np.array([0.3] * 4 + [0.0] * 3)
    theta, state = taken(optimizer, place, start, grads, LAYOUT)
    y, z, x = reference(start, grads, decay)
    point = optimizer.evaluation_point(theta, state)
    for found, expected in ((theta, y), (state.slots[1], z), (point, x)):
        np.testing.assert_allclose(place.host(found), expected, rtol=1e-11, atol=1e-12)
    theta, _ = taken(optimizer, place, start, grads)
    expected, *_ = reference(start, grads, 0.3)
    np.testing.assert_allclose(place.host(theta), expected, rtol=1e-11, atol=1e-12)


def test_ten_steps_agree_with_the_package(torch, rng):
    schedulefree = pytest.importorskip("schedulefree", reason="schedulefree is not installed")
    start, grads = rng.standard_normal(7), rng.standard_normal((10, 7))
    optimizer, other = ScheduleFreeAdam(0.1, weight_decay=0.3), torch.tensor(start)
    theirs = schedulefree.AdamWScheduleFree([other.requires_grad_()], lr=0.1, weight_decay=0.3)
    theirs.train()
    theta, state = start.copy(), optimizer.init(start)
    for grad in grads:
        other.grad = torch.tensor(grad)
        theirs.step()
        optimizer.step(theta, grad, state)
    np.testing.assert_allclose(theta, other.detach().numpy(), rtol=1e-10)
    theirs.eval()
    point = optimizer.evaluation_point(theta, state)
    np.testing.assert_allclose(point, other.detach().numpy(), rtol=1e-10)


def test_wrappers_pass_on_the_evaluation_point(place, rng):
    start, grads = rng.standard_normal(7), rng.standard_normal((10, 7))
    own = ScheduleFreeAdam(0.1)
    whole, state = taken(own, place, start, grads)
    x = place.host(own.evaluation_point(whole, state))
    plain = own.init(place.array(start))
    for wrapper in (Averaged(own), Lookahead(own, k=99), Resumed(own, plain)):
        theta, state = taken(wrapper, place, start, grads)
        found = place.host(wrapper.evaluation_point(theta, state))
        np.testing.assert_allclose(found, x, rtol=1e-12)
    for wrapper in (Frozen(own, LAYOUT, [1]), Grouped([(ByRole("bias"), SGD(0.1))], default=own)):
        theta, state = taken(wrapper, place, start, grads, LAYOUT)
        found = place.host(wrapper.evaluation_point(theta, state))
        np.testing.assert_allclose(found[:4], x[:4], rtol=1e-12)
        np.testing.assert_array_equal(found[4:], place.host(theta)[4:])
    theta, state = taken(SGD(), place, start, grads)
    assert SGD().evaluation_point(theta, state) is theta


def data(rng):
    X = rng.standard_normal((60, 3))
    return X, X @ rng.standard_normal((3, 2)) + 0.3 * rng.standard_normal((60, 2))


SETTINGS = {"loss": HalfMSE(), "batch_size": 16, "progress": False, "rng": 2}


class AtEpochs:
    """Keeps the point x of every epoch, from the optimizer's state."""

    stateless = True

    def __init__(self):
        self.points = []

    def epoch(self, run):
        point = run.optimizer.evaluation_point(run.model.theta, run.state)
        assert not np.array_equal(point, run.model.theta)
        self.points.append(point.copy())


@pytest.mark.parametrize("engine", ENGINES)
def test_fit_validates_and_ends_at_x(engine, rng):
    (X, y), model, kept = data(rng), MLP(3, [4], 2, dtype="float64", rng=1), AtEpochs()
    settings = SETTINGS | {"schedule": LinearWarmup(1), "clip": ClipByNorm(1.0), "engine": engine}
    history = model.fit(
        X[:40],
        y[:40],
        optimizer=ScheduleFreeAdam(0.05),
        validation=(X[40:], y[40:]),
        metrics=[rmse],
        callbacks=[kept],
        epochs=4,
        **settings,
    )
    np.testing.assert_array_equal(model.theta, kept.points[-1])
    for point, loss, error in zip(
        kept.points, history["val_loss"], history["val_rmse"], strict=True
    ):
        model.theta[...] = point
        measured = model.evaluate(X[40:], y[40:], metrics=[rmse])
        assert (measured["loss"], measured["rmse"]) == pytest.approx((loss, error), rel=1e-12)


def test_statistics_are_those_of_x(rng):
    X, y = data(rng)
    layers = [Dense(4), BatchNorm(), Dense(2)]
    model, use = Sequential(layers, 3, dtype="float64", rng=1), UseAverage()
    plain = Sequential(layers, 3, dtype="float64", rng=1)
    for one, callbacks in ((model, [use]), (plain, [])):
        one.fit(X, y, optimizer=ScheduleFreeAdam(0.05), callbacks=callbacks, **SETTINGS)
    np.testing.assert_array_equal(plain.theta, model.theta)
    np.testing.assert_array_equal(plain.statistics, model.statistics)
    hidden = X @ model.layout.views(model.theta)["layers.0.weight"]
    hidden = hidden + model.layout.views(model.theta)["layers.0.bias"]
    mean = model.statistics_layout.views(model.statistics)["layers.1.mean"]
    np.testing.assert_allclose(mean, hidden.mean(axis=0), rtol=1e-10)
    assert not np.array_equal(use.theta, model.theta)


def test_best_epoch_is_saved_and_restored_at_x(rng, tmp_path):
    (X, y), kept, path = data(rng), AtEpochs(), tmp_path / "best.safetensors"
    model = MLP(3, [30], 2, dtype="float64", rng=1)
    history = model.fit(
        X[:20],
        y[:20],
        optimizer=ScheduleFreeAdam(0.1),
        validation=(X[20:], y[20:]),
        callbacks=[kept, EarlyStopping(patience=3), Checkpoint(path)],
        epochs=200,
        **SETTINGS,
    )
    best = int(np.argmin(history["val_loss"]))
    assert best < len(history) - 1
    np.testing.assert_array_equal(model.theta, kept.points[best])
    np.testing.assert_array_equal(xpnet.load(path).theta, model.theta)


@pytest.mark.parametrize("callbacks", [[], [UseAverage()]], ids=["added", "given"])
def test_training_is_resumed(callbacks, rng, tmp_path):
    path, (X, y) = tmp_path / "training.safetensors", data(rng)
    whole, model = (MLP(3, [4], 2, dtype="float64", rng=1) for _ in range(2))
    more = SETTINGS | {"optimizer": ScheduleFreeAdam(0.05), "validation": 0.3}
    whole.fit(X, y, epochs=4, callbacks=callbacks, **more)
    model.fit(X, y, epochs=2, callbacks=[*callbacks, TrainingCheckpoint(path, epochs=1)], **more)
    resumed = xpnet.resume(path, X, y, epochs=4, progress=False)
    np.testing.assert_array_equal(resumed.theta, whole.theta)
    assert resumed.history["val_loss"] == whole.history["val_loss"]


def test_training_continues_from_y(rng):
    X, y = data(rng)
    optimizer, use = ScheduleFreeAdam(0.05), UseAverage()
    model = MLP(3, [4], 2, dtype="float64", rng=1)
    model.fit(X, y, optimizer=optimizer, callbacks=[use], epochs=2, **SETTINGS)
    model.theta[...] = use.theta
    again = Resumed(optimizer, use.state)
    model.fit(X, y, optimizer=again, epochs=2, **SETTINGS)
    assert use.state.step == 8


BAD = {
    "beta1 must be a finite number, at least 0 and below 1": lambda: ScheduleFreeAdam(beta1=1),
    "beta2 must be a finite number, at least 0 and below 1": lambda: ScheduleFreeAdam(beta2=1),
    "eps must be a finite number, above 0": lambda: ScheduleFreeAdam(eps=0),
    "weight_decay must be a finite number, at least 0": lambda: ScheduleFreeAdam(weight_decay=-1),
}


@pytest.mark.parametrize("message", BAD)
def test_invalid_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()
