"""Averages in fit, SWA and recomputed statistics, and their effect on the test loss."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    SGD,
    Activation,
    Adam,
    Averaged,
    BatchNorm,
    CrossEntropy,
    Dense,
    ExponentialAverage,
    HalfMSE,
    MinMax,
    PolyakAverage,
    Sequential,
    StochasticWeightAveraging,
    Tanh,
    UseAverage,
    recompute_statistics,
    to_numpy,
)
from xpnet.data import load_digits
from xpnet.errors import ArgumentError
from xpnet.metrics import accuracy
from xpnet.minimize import LBFGS

LOSS = CrossEntropy()


class PLACE:
    """NumPy in float64, for tests that do not depend on the backend."""

    backend = xpnet.get_backend("numpy", dtype="float64")


def small(place, dropout=0.2, **settings):
    """A model with two batch norms, and data with three classes."""
    rng = np.random.default_rng(3)
    X = 2 * rng.standard_normal((70, 4)) + 3
    y = np.argmax(X[:, :3], axis=1)
    model = MLP(4, [8, 6], 3, batch_norm=True, backend=place.backend, dropout=dropout, **settings)
    return model, X, y


def expected_statistics(model, X) -> np.ndarray:
    """The mean and unbiased variance of the input of each batch norm, computed in NumPy."""
    p = {k: to_numpy(v) for k, v in model.layout.views(model.theta).items()}
    x, found = X, {}
    for i, layer in enumerate(model.layers):
        name = f"layers.{i}."
        if isinstance(layer, Dense):
            x = x @ p[name + "weight"] + p.get(name + "bias", 0)
        elif isinstance(layer, BatchNorm):
            mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
            found |= {name + "mean": mean, name + "var": var, name + "count": [len(x)]}
            found |= {name + "mean_rest": 0 * mean}
            x = (x - mean) / np.sqrt(var + layer.eps) * p[name + "scale"] + p[name + "shift"]
        elif isinstance(layer, Activation):
            x = np.maximum(x, 0)
    entries = model.network.statistics_layout.entries
    return np.concatenate([found[e.path] for e in entries])


def test_recomputed_statistics_are_of_all_rows(place, monkeypatch):
    monkeypatch.setattr("xpnet.training.batch_norm_statistics.CHUNK_ROWS", 23)
    model, X, _ = small(place)
    recompute_statistics(model, place.array(X))
    got = to_numpy(model.statistics)
    np.testing.assert_allclose(got, expected_statistics(model, X), rtol=1e-10)


def test_recomputing_preprocesses_and_keeps_theta(place):
    model, X, _ = small(place, preprocessing=MinMax(0, 2, to=(0, 1)))
    before = to_numpy(model.theta).copy()
    recompute_statistics(model, place.array(X))
    np.testing.assert_allclose(
        to_numpy(model.statistics), expected_statistics(model, X / 2), rtol=1e-10
    )
    np.testing.assert_array_equal(to_numpy(model.theta), before)


@pytest.mark.parametrize("average", [PolyakAverage(), ExponentialAverage(0.9)], ids=repr)
def test_fit_ends_with_the_average(average, place):
    model, X, y = small(place)
    thetas, use, optimizer = [], UseAverage(), Averaged(Adam(0.01), average)
    how = {"loss": LOSS, "epochs": 4, "batch_size": 70, "progress": False}
    model.fit(
        place.array(X),
        place.array(y),
        optimizer=optimizer,
        callbacks=[lambda run: thetas.append(to_numpy(run.model.theta).copy()), use],
        **how,
    )
    weights = getattr(average, "alpha", 1.0) ** np.arange(3, -1, -1.0)
    np.testing.assert_allclose(to_numpy(model.theta), np.average(thetas, 0, weights), rtol=1e-10)
    np.testing.assert_allclose(
        to_numpy(model.statistics), expected_statistics(model, X), rtol=1e-10
    )
    np.testing.assert_array_equal(to_numpy(use.theta), thetas[-1])
    assert use.state.step == 4


def test_average_is_evaluated_without_side_effects():
    model, X, y = small(PLACE)
    again, _, _ = small(PLACE)
    how = {"loss": LOSS, "epochs": 3, "optimizer": Averaged(SGD(0.1)), "progress": False}
    use = UseAverage(validation=(X, y), metrics=[accuracy])
    history = model.fit(X, y, validation=(X, y), callbacks=[use], **how)
    plain = again.fit(X, y, validation=(X, y), **how)
    assert history["val_loss"] == plain["val_loss"]
    scores = model.evaluate(X, y, metrics=[accuracy])
    assert history["avg_loss"][-1] == pytest.approx(scores["loss"], rel=1e-12)
    assert history["avg_accuracy"][-1] == scores["accuracy"]
    assert len(history["avg_loss"]) == 3


def test_averages_are_evaluated_with_weights():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 2)), rng.uniform(size=40)
    use, model = UseAverage((X, X[:, :1], weight)), MLP(2, [3], 1)
    settings = {"loss": HalfMSE(), "optimizer": Averaged(SGD(0.1)), "progress": False}
    history = model.fit(X, X[:, :1], epochs=2, callbacks=[use], **settings)
    expected = model.evaluate(X, X[:, :1], sample_weight=weight)["loss"]
    assert history["avg_loss"][-1] == pytest.approx(expected, rel=1e-6)


def test_swa_is_the_mean_of_later_epochs(place):
    model, X, y = small(place)
    thetas, swa = [], StochasticWeightAveraging(start=3, every=2)
    how = {"loss": LOSS, "epochs": 8, "optimizer": SGD(0.1), "progress": False}
    model.fit(
        place.array(X),
        place.array(y),
        callbacks=[lambda run: thetas.append(to_numpy(run.model.theta).copy()), swa],
        **how,
    )
    assert swa.n_averaged == 3
    np.testing.assert_allclose(
        to_numpy(model.theta), np.mean([thetas[2], thetas[4], thetas[6]], axis=0), rtol=1e-10
    )
    np.testing.assert_allclose(
        to_numpy(model.statistics), expected_statistics(model, X), rtol=1e-10
    )


def test_averaged_model_is_saved_and_loaded(tmp_path):
    model, X, y = small(PLACE)
    use = UseAverage()
    model.fit(X, y, loss=LOSS, optimizer=Averaged(Adam(0.01)), callbacks=[use], progress=False)
    model.save(tmp_path / "model.safetensors")
    again = xpnet.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_fit_resumes_from_files_exactly(place, tmp_path):
    optimizer = Averaged(Adam(0.01), ExponentialAverage(0.9))
    how = {"loss": LOSS, "batch_size": 70, "shuffle": False, "progress": False}
    (whole, X, y), (halves, _, _) = (small(place, dropout=0.0) for _ in range(2))
    data = place.array(X), place.array(y)
    whole.fit(*data, optimizer=optimizer, epochs=6, callbacks=[UseAverage()], **how)

    use = UseAverage()
    halves.fit(*data, optimizer=optimizer, epochs=2, callbacks=[use], **how)
    xpnet.save_state(use.state, tmp_path / "state.safetensors")
    state = xpnet.load_state(tmp_path / "state.safetensors", backend=place.backend)
    halves.theta = use.theta
    resumed = xpnet.Resumed(optimizer, state)
    halves.fit(*data, optimizer=resumed, epochs=4, callbacks=[UseAverage()], **how)
    np.testing.assert_allclose(to_numpy(halves.theta), to_numpy(whole.theta), rtol=1e-12)


def test_failed_evaluation_restores_the_model(place):
    def broken(predicted, target):
        raise RuntimeError("no such metric")

    (model, X, y), (plain, _, _) = (small(place) for _ in range(2))
    how = {"loss": LOSS, "optimizer": Averaged(SGD(0.1)), "epochs": 1, "progress": False}
    plain.fit(X, y, **how)
    with pytest.raises(RuntimeError, match="no such metric"):
        model.fit(X, y, callbacks=[UseAverage((X, y), metrics=[broken])], **how)
    for ours, theirs in ((model.theta, plain.theta), (model.statistics, plain.statistics)):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


def noisy_digits():
    """Digits with a fifth of the training labels wrong, so that SGD does not converge."""
    digits, rng = load_digits(), np.random.default_rng(5)
    y = digits.y_train.copy()
    wrong = rng.random(len(y)) < 0.2
    y[wrong] = rng.integers(10, size=int(wrong.sum()))
    return digits.X_train, y, digits.X_test, digits.y_test


@pytest.mark.parametrize(
    ("optimizer", "callback"),
    [
        (Averaged(SGD(0.5), PolyakAverage(start=450)), UseAverage()),
        (Averaged(SGD(0.5), ExponentialAverage(0.99)), UseAverage()),
        (SGD(0.5), StochasticWeightAveraging(start=6)),
    ],
    ids=["Polyak", "exponential", "SWA"],
)
def test_averages_beat_last_theta_on_noisy_labels(optimizer, callback):
    X, y, X_test, y_test = noisy_digits()
    scores = []
    for how in ({"optimizer": SGD(0.5)}, {"optimizer": optimizer, "callbacks": [callback]}):
        for seed in range(3):
            model = MLP(64, [32], 10, batch_norm=True, preprocessing=MinMax(0, 16), rng=seed)
            model.fit(X, y, loss=LOSS, epochs=15, batch_size=16, rng=seed, progress=False, **how)
            scores.append(model.evaluate(X_test, y_test)["loss"])
    assert np.mean(scores[3:]) < 0.9 * np.mean(scores[:3])


def test_mean_of_weights_needs_recomputed_statistics():
    """The mean of distant weights has other activations than each of them."""
    digits = load_digits()
    models = [MLP(64, [32], 10, batch_norm=True, preprocessing=MinMax(0, 16)) for _ in range(2)]
    for seed, model in enumerate(models):
        how = {"loss": LOSS, "optimizer": SGD(1.0), "epochs": 6, "rng": seed, "batch_size": 16}
        model.fit(digits.X_train, digits.y_train, progress=False, **how)
    first, second = models
    first.theta = (first.theta + second.theta) / 2
    stale = first.evaluate(digits.X_test, digits.y_test)["loss"]
    recompute_statistics(first, digits.X_train)
    assert first.evaluate(digits.X_test, digits.y_test)["loss"] < 0.9 * stale


def run_with(callback, optimizer):
    model, X, y = small(PLACE)
    model.fit(X, y, loss=LOSS, optimizer=optimizer, epochs=2, callbacks=[callback], progress=False)


BAD = {
    r"optimizer must be Averaged\(...\) for UseAverage; got SGD\(lr=0.1\)": lambda: run_with(
        UseAverage(), SGD(0.1)
    ),
    r"state must be what Adam.init makes for a float64 theta of shape": lambda: run_with(
        UseAverage(), xpnet.Resumed(Adam(), Adam().init(np.zeros(3)))
    ),
    r"start must be at most the 2 epochs; got 3": lambda: run_with(
        StochasticWeightAveraging(3), SGD(0.1)
    ),
    "start must be an integer of at least 1; got 0": lambda: StochasticWeightAveraging(0),
    "every must be an integer of at least 1; got 0": lambda: StochasticWeightAveraging(1, 0),
    r"validation must be a pair \(X, y\), or \(X, y, weight\); got 0.1": lambda: UseAverage(0.1),
    "X must have at least 2 rows": lambda: recompute_statistics(small(PLACE)[0], np.zeros((1, 4))),
    "X must have 4 columns": lambda: recompute_statistics(small(PLACE)[0], np.zeros((5, 3))),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    with pytest.raises(ArgumentError, match=message):
        BAD[message]()


def test_swa_works_with_full_batch_methods():
    """Callbacks see the rows and the method in full-batch training too."""
    model, X, y = small(PLACE, dropout=0.0)
    how = {"loss": LOSS, "epochs": 2, "progress": False}
    model.fit(X, y, optimizer=SGD(0.1), **how)
    swa = StochasticWeightAveraging(1)
    model.fit(X, y, optimizer=LBFGS(), callbacks=[swa], **how)
    assert swa.n_averaged == 2
    np.testing.assert_allclose(
        to_numpy(model.statistics), expected_statistics(model, X), rtol=1e-10
    )
    with pytest.raises(ArgumentError, match=r"optimizer must be Averaged.* got LBFGS"):
        model.fit(X, y, optimizer=LBFGS(), callbacks=[UseAverage()], **how)


def test_recomputing_without_batch_norm_is_a_no_op():
    model = Sequential([Dense(3, Tanh()), Dense(1)], 2, loss=HalfMSE())
    recompute_statistics(model, np.zeros((4, 2)))
    assert model.statistics.shape == (0,)
