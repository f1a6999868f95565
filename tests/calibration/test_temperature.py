"""Temperature scaling: the minimum beside SciPy's, what it keeps, and what it refuses."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    Adam,
    ArgumentError,
    BatchNorm,
    BinaryCrossEntropy,
    CrossEntropy,
    Dense,
    Distillation,
    HalfMSE,
    Hinge,
    Sequential,
    Standardize,
    Temperature,
)
from xpnet.calibration import temperature_scaled

M, K = 200, 4


def reader(loss, width, backend="numpy", **settings):
    """A model that outputs its features."""
    if backend == "numpy":
        settings = {"dtype": "float64"} | settings
    model = Sequential([Dense(width)], width, loss=loss, backend=backend, **settings)
    model.theta = [*np.eye(width).ravel(), *np.zeros(width)]
    return model


def rows(rng, scale=3.0):
    """Logits, and classes that follow their softmax at a temperature of ``scale``."""
    z = rng.normal(size=(M, K)) * 2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(K, p=row) for row in p])
    return scale * z, y


def softmax_nll(z, t, w):
    """The mean negative log-likelihood as a function of log T, for rows of probabilities t."""
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    return lambda u: (
        -np.sum(w[:, None] * t * special.log_softmax(z * np.exp(-u), axis=1)) / np.sum(w)
    )


def logistic_nll(z, t, w):
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")

    def value(u):
        x = z * np.exp(-u)
        return -np.sum(w[:, None] * (t * special.log_expit(x) + (1 - t) * special.log_expit(-x)))

    return value


def of_scipy(value):
    """The temperature at which the difference of ``value`` changes sign."""
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    bounds = math.log(1e-3), math.log(1e3)
    rough = optimize.minimize_scalar(value, bounds=bounds, method="bounded").x
    h = 1e-3  # a fourth-order difference, whose root has an error of about h⁴

    def slope(u):
        return 8 * (value(u + h) - value(u - h)) - (value(u + 2 * h) - value(u - 2 * h))

    return math.exp(optimize.brentq(slope, rough - 0.1, rough + 0.1, xtol=1e-14))


def temperature_of(model):
    assert isinstance(model.layers[-1], Temperature)
    return model.layers[-1].temperature


# --- the right number -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["indices", "words", "probabilities"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_softmax_temperature_equals_scipy(kind, is_weighted, rng):
    z, y = rows(rng)
    t, names = np.eye(K)[y], np.array(["d", "b", "a", "c"])
    if kind == "probabilities":
        t = rng.dirichlet(np.ones(K), size=M) * 0.3 + 0.7 * t
    w = rng.uniform(0, 2, size=M) if is_weighted else np.ones(M)
    target = {"indices": y, "words": names[y], "probabilities": t}[kind]
    model = reader(CrossEntropy(0.1), K, classes=names.tolist() if kind == "words" else None)
    scaled = temperature_scaled(model, z, target, sample_weight=w if is_weighted else None)
    assert temperature_of(scaled) == pytest.approx(of_scipy(softmax_nll(z, t, w)), rel=1e-8)


@pytest.mark.parametrize("width", [1, 3])
def test_logistic_temperature_equals_scipy(width, rng):
    z = rng.normal(size=(M, width)) * 5
    t = (rng.random((M, width)) < 1 / (1 + np.exp(-z / 3))).astype(float)
    t[:5] = 0.3
    w = rng.uniform(0, 2, size=M)
    model = reader(BinaryCrossEntropy(), width)
    scaled = temperature_scaled(model, z, t, sample_weight=w)
    assert temperature_of(scaled) == pytest.approx(of_scipy(logistic_nll(z, t, w)), rel=1e-8)


def test_temperature_of_drawn_classes_is_found(rng):
    z = rng.normal(size=(20000, K))
    y = np.argmax(z + rng.gumbel(size=z.shape), axis=1)  # drawn from softmax(z)
    scaled = temperature_scaled(reader(CrossEntropy(), K), 2.5 * z, y)
    assert temperature_of(scaled) == pytest.approx(2.5, rel=0.05)


@pytest.mark.parametrize("factor", [1e-2, 1.0, 50.0])
def test_slope_is_zero_whatever_the_scale(factor, rng):
    z, y = rows(rng, scale=factor)
    T = temperature_of(temperature_scaled(reader(CrossEntropy(), K), z, y))
    x = z / T
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    slope = np.sum(p * x, axis=1) - x[np.arange(M), y]
    assert np.mean(slope) == pytest.approx(0, abs=1e-12)


def test_chunks_change_nothing(rng, monkeypatch):
    z, y = rows(rng)
    w = rng.uniform(0, 2, size=M)
    model = reader(CrossEntropy(), K)
    whole = temperature_of(temperature_scaled(model, z, y, sample_weight=w))
    monkeypatch.setattr("xpnet.finite.CHUNK", 7 * K)
    parts = temperature_of(temperature_scaled(model, z, y, sample_weight=w))
    assert parts == pytest.approx(whole, rel=1e-12)


def test_every_backend_finds_the_temperature(place, rng):
    z, y = rows(rng)
    model = reader(CrossEntropy(), K, place.backend)
    scaled = temperature_scaled(model, place.array(z), place.array(y))
    expected = temperature_of(temperature_scaled(reader(CrossEntropy(), K), z, y))
    assert temperature_of(scaled) == pytest.approx(expected, rel=1e-10)
    assert scaled.backend == model.backend
    p, q = (place.host(m.predict_proba(place.array(z))) for m in (model, scaled))
    np.testing.assert_array_equal(p.argmax(axis=1), q.argmax(axis=1))


def test_float32_model_finds_the_temperature(place32, rng):
    z, y = rows(rng)
    scaled = temperature_scaled(reader(CrossEntropy(), K, place32.backend), place32.array(z), y)
    expected = temperature_of(temperature_scaled(reader(CrossEntropy(), K), z, y))
    assert temperature_of(scaled) == pytest.approx(expected, rel=1e-5)


def test_student_is_scaled_by_its_labels(rng):
    z, y = rows(rng)
    found = [
        temperature_of(temperature_scaled(reader(loss, K), z, y))
        for loss in (CrossEntropy(), Distillation())
    ]
    assert found[0] == found[1]


# --- the model ------------------------------------------------------------------------------------


@pytest.fixture
def trained(rng):
    X = rng.normal(size=(300, 5)) * [1, 2, 3, 4, 5]
    y = np.array(["no", "yes"])[(X[:, 0] + X[:, 1] + rng.normal(size=300) > 0).astype(int)]
    model = MLP(
        5, [12], 2, batch_norm=BatchNorm(), dropout=0.2, preprocessing=Standardize.fit(X), rng=4
    )
    model.fit(
        X[:150], y[:150], loss=CrossEntropy(0.1), optimizer=Adam(lr=0.02), epochs=20, progress=False
    )
    return model, X[150:], y[150:]


def test_scaled_model_keeps_everything_else(trained):
    model, X, y = trained
    before = copy.deepcopy(model)
    scaled = temperature_scaled(model, X, y)
    assert scaled.layers[:-1] == model.layers == before.layers
    for name in ("theta", "statistics"):
        np.testing.assert_array_equal(getattr(scaled, name), getattr(before, name))
        assert not np.shares_memory(getattr(scaled, name), getattr(model, name))
    assert (scaled.classes, scaled.loss, scaled.trained) == (("no", "yes"), CrossEntropy(0.1), True)
    assert scaled.preprocessing is model.preprocessing
    assert scaled.history.columns == model.history.columns
    streams = scaled.state.streams, before.state.streams
    assert streams[0].seed == streams[1].seed
    assert streams[0].masks.step == streams[1].masks.step > 0
    np.testing.assert_array_equal(scaled.predict(X), model.predict(X))
    assert scaled.evaluate(X, y)["loss"] != model.evaluate(X, y)["loss"]


def test_scaled_model_has_a_smaller_likelihood_loss(trained):
    model, X, y = trained
    scaled = temperature_scaled(model, X, y)
    k = (y == "yes").astype(int)
    loss = [-np.log(m.predict_proba(X)[np.arange(len(k)), k]).mean() for m in (model, scaled)]
    assert loss[1] < loss[0]


def test_second_scaling_replaces_the_first(trained):
    model, X, y = trained
    once = temperature_scaled(model, X, y)
    twice = temperature_scaled(once, X, y)
    assert twice.layers[:-1] == model.layers
    assert temperature_of(twice) == pytest.approx(temperature_of(once), rel=1e-6)
    other = temperature_scaled(once, X[:60], y[:60])
    expected = temperature_of(temperature_scaled(model, X[:60], y[:60]))
    assert temperature_of(other) == pytest.approx(expected, rel=1e-6)


def test_file_keeps_the_temperature(trained, tmp_path):
    model, X, y = trained
    scaled = temperature_scaled(model, X, y)
    scaled.save(tmp_path / "model.safetensors")
    again = xpnet.load(tmp_path / "model.safetensors")
    assert again.layers == scaled.layers
    np.testing.assert_array_equal(again.predict_proba(X), scaled.predict_proba(X))


def test_file_of_a_newer_layer_is_refused_by_name(trained, tmp_path, monkeypatch):
    model, X, y = trained
    temperature_scaled(model, X, y).save(tmp_path / "model.safetensors")
    monkeypatch.delitem(xpnet.serialization.TYPES, "Temperature")  # as in an older xpnet
    with pytest.raises(xpnet.FileFormatError, match=r"got 'Temperature', which xpnet \S+ does not"):
        xpnet.load(tmp_path / "model.safetensors")


def test_scaled_model_trains_and_predicts_replayed(trained):
    model, X, y = trained
    scaled = temperature_scaled(model, X, y)
    rows_of_one = [scaled.predict_proba(X[:3]) for _ in range(30)]  # recorded after 16
    np.testing.assert_allclose(rows_of_one[-1], rows_of_one[0], rtol=1e-6)
    results = []
    for engine in ("replay", "eager"):
        each = copy.deepcopy(scaled)
        each.fit(
            X,
            y,
            loss=CrossEntropy(),
            optimizer=Adam(),
            epochs=2,
            engine=engine if engine == "eager" or xpnet_replays() else "eager",
            progress=False,
        )
        results.append(each.theta.copy())
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-7)


def xpnet_replays():
    """Whether NumPy steps are compiled here, which needs Numba."""
    from xpnet.ops.select import why_not_compiled  # noqa: PLC0415

    return not why_not_compiled()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
def test_separable_rows_are_refused(binary, rng):
    z = rng.normal(size=(50, 1 if binary else K)) * 4
    y = (z[:, 0] > 0).astype(int) if binary else z.argmax(axis=1)
    model = reader(BinaryCrossEntropy() if binary else CrossEntropy(), z.shape[1])
    with pytest.raises(ArgumentError, match=r"y must have rows that the model does not classify"):
        temperature_scaled(model, z, y)


def test_worthless_logits_are_refused(rng):
    z = rng.normal(size=(50, K))
    with pytest.raises(ArgumentError, match=r"y must have larger logits in its classes"):
        temperature_scaled(reader(CrossEntropy(), K), z, z.argmin(axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": Hinge()}, r"the loss of model must be CrossEntropy, .*got Hinge\(\)"),
        ({"loss": HalfMSE()}, r"the loss of model must be CrossEntropy, .*got HalfMSE\(\)"),
        ({"loss": None}, r"the loss of model must .*got None\. Call fit first"),
        ({"model": "a"}, r"model must be a Sequential; got 'a'"),
        ({"y": [0] * M}, r"y must have rows|y must have larger"),
        ({"y": np.full(M, K)}, r"y must hold class indices of 0 to 3; got 4"),
        ({"y": np.zeros(3, int)}, r"y must have the shape"),
        ({"X": np.full((M, K), np.nan)}, r"X must be finite"),
        ({"sample_weight": -np.ones(M)}, r"sample_weight must be at least 0"),
        ({"sample_weight": np.zeros(M)}, r"sample_weight must not be all 0"),
    ],
)
def test_bad_arguments_are_refused(change, message, rng):
    z, y = rows(rng)
    given = {"X": z + np.eye(K)[0] * 100, "y": y, "sample_weight": None} | change
    model = given.pop("model", None) or reader(given.pop("loss", CrossEntropy()), K)
    given.pop("loss", None)
    with pytest.raises(ArgumentError, match=message):
        temperature_scaled(model, given["X"], given["y"], sample_weight=given["sample_weight"])


def test_infinite_logits_are_refused():
    model = Sequential([Dense(2)], 1, loss=CrossEntropy())
    model.theta = [3e38, 0, 3e38, 0]
    with (
        pytest.raises(ArgumentError, match="model must predict finite logits for X"),
        np.errstate(over="ignore"),
    ):
        temperature_scaled(model, [[1.0], [1.0]], [0, 1])
