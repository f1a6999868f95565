"""The model on every backend: gradients, repeatability, and refused arguments."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    Activation,
    ArgumentError,
    BatchNorm,
    BinaryCrossEntropy,
    CrossEntropy,
    Dense,
    Dropout,
    HalfMSE,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from xpnet.derivatives import check_gradients, jvp
from xpnet.random import MaskStream

NETWORKS = {
    "linear": [Dense(3)],
    "sigmoid": [Dense(6, Sigmoid()), Dense(3)],
    "batch norm": [Dense(6, bias=False), BatchNorm(), Activation(Tanh()), Dense(3)],
    "batch norm after": [Dense(6, Sigmoid()), BatchNorm(momentum=None), Dense(3)],
    "dropout": [Dense(6, Tanh()), Dropout(0.4), Dense(3)],
    "softmax inside": [Dense(6, Softmax()), Dense(3)],
}


def data(rng, m=7, n=4, k=3):
    return rng.normal(size=(m, n)), rng.integers(k, size=m)


def randomized(layers, rng, backend="numpy"):
    """A float64 model with random γ, β and biases, so that a gradient check finds errors."""
    model = Sequential(layers, 4, backend=backend, dtype="float64", rng=3)
    model.theta = rng.normal(scale=0.7, size=model.layout.size)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_equals_central_differences(name, place, rng):
    X, y = data(rng)
    weight = place.writable(rng.uniform(0.5, 2, size=7))
    X, y = place.array(X), place.array(y)
    model = randomized(NETWORKS[name], rng, place.backend)

    def fun(values):
        """With the same dropout mask each time."""
        model.theta = values
        model.state.masks.restart(5)
        return model.value_and_grad(X, y, CrossEntropy(), weight=weight)

    entries = None if place.backend.name == "numpy" else 5
    report = check_gradients(fun, model.theta + 0.0, layout=model.layout, entries=entries)
    report.raise_if_wrong()
    assert not any(check.n_kinks for check in report.checks)


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_mode_equals_reverse_mode(name, place, rng):
    X, _ = data(rng)
    model = randomized(NETWORKS[name], rng, place.backend)
    network, backend = model.network, place.backend
    contexts = network.contexts(backend, model.statistics, training=True, masks=MaskStream(2))
    X = place.array(X)
    p = network.by_layer(model.theta)
    output, saved = network.forward(p, X, contexts)
    direction = place.writable(rng.normal(size=model.layout.size))
    dX = place.array(rng.normal(size=X.shape))
    weights = place.array(rng.normal(size=output.shape))
    tangent, _ = network.jvp(p, network.by_layer(direction), saved, dX, contexts)
    grad = place.backend.zeros(model.layout.size)
    network.request_dx(contexts, True)
    d_input = network.backward(p, network.by_layer(grad), saved, weights, contexts)
    xp = place.xp
    forward = float(xp.sum(tangent * weights))
    reverse = float(xp.sum(grad * direction)) + float(xp.sum(d_input * dX))
    assert forward == pytest.approx(reverse, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_agrees_on_every_backend(place, rng, batch_norm):
    X, y = rng.normal(size=(50, 4)), rng.integers(3, size=50)

    def trained(backend):
        model = MLP(
            4, [8], 3, batch_norm=batch_norm, dropout=0.3, backend=backend, dtype="float64", rng=1
        )
        start = xpnet.to_numpy(model.theta).copy()
        model.fit(
            X, y, loss=CrossEntropy(), optimizer=xpnet.Adam(), epochs=3, batch_size=16,
            progress=False, rng=7,
        )  # fmt: skip
        return start, xpnet.to_numpy(model.theta), xpnet.to_numpy(model.statistics)

    for mine, reference in zip(trained(place.backend), trained("numpy"), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-11, atol=1e-12)


def test_same_seed_gives_identical_training(rng):
    X, y = rng.normal(size=(80, 4)), rng.integers(3, size=80)
    thetas = []
    for _ in range(2):
        model = MLP(4, [8], 3, dropout=0.2)
        model.fit(X, y, loss=CrossEntropy(), optimizer=xpnet.Adam(), epochs=2, progress=False)
        thetas.append(model.theta.copy())
    assert np.array_equal(*thetas)


def test_training_forward_depends_on_the_seed(place, rng):
    X = rng.normal(size=(20, 4))
    layers = [Dense(6, Tanh()), BatchNorm(), Dropout(0.4), Dense(3)]
    model = Sequential(layers, 4, backend=place.backend)
    before = place.host(model.statistics).copy()
    seeds = (0, 1, 1, 2)
    outputs = [
        place.host(model.forward(place.array(X), training=True, seed=seed)) for seed in seeds
    ]
    np.testing.assert_array_equal(outputs[1], outputs[2])
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[1], outputs[3])
    np.testing.assert_array_equal(place.host(model.statistics), before)
    on_numpy = Sequential(layers, 4, dtype="float64").forward(X, training=True, seed=1)
    np.testing.assert_allclose(outputs[1], on_numpy, rtol=1e-12, atol=1e-13)


def test_training_forward_leaves_other_masks_alone(rng):
    """It has its own stream of masks, so the next training step has the same masks."""
    X, y = data(rng, m=12)
    grads = []
    for calls in (0, 3):
        model = randomized(NETWORKS["dropout"], np.random.default_rng(0))
        for seed in range(calls):
            model.forward(X, training=True, seed=seed)
        grads.append(model.value_and_grad(X, y, CrossEntropy())[1].copy())
    np.testing.assert_array_equal(*grads)


def test_training_forward_matches_derivatives(rng):
    X = data(rng, m=12)[0]
    model = randomized(NETWORKS["dropout"], rng)
    v, h = rng.normal(size=model.theta.size), 1e-6
    ends = [model.forward(X, theta=model.theta + s * v, training=True, seed=5) for s in (h, -h)]
    tangent = jvp(model, X, dtheta=v, training=True, seed=5)
    np.testing.assert_allclose(tangent, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


def test_monte_carlo_mean_approaches_the_prediction():
    """A linear layer behind dropout: the mean over masks is the output without dropout."""
    model = Sequential([Dropout(0.5), Dense(1)], 8, dtype="float64")
    X = np.ones((3, 8))
    outputs = [model.forward(X, training=True, seed=seed) for seed in range(600)]
    error = np.std(outputs, axis=0) / np.sqrt(len(outputs))
    assert (np.abs(np.mean(outputs, axis=0) - model.forward(X)) < 4 * error).all()


@pytest.mark.parametrize("seed", [-1, 0.5, True, None, "a"])
def test_bad_forward_seed_is_refused(seed):
    with pytest.raises(ArgumentError, match="seed must be an integer of at least 0"):
        MLP(4, [5], 3, dropout=0.5).forward(X_GOOD, training=True, seed=seed)


def test_statistics_layout_names_running_statistics(place, rng):
    model = MLP(4, [5, 6], 3, batch_norm=True, backend=place.backend)
    views = model.statistics_layout.views(model.statistics)
    shapes = {name: tuple(view.shape) for name, view in views.items()}
    assert shapes == {
        f"layers.{i}.{name}": (1,) if name == "count" else (n,)
        for i, n in ((1, 5), (4, 6))
        for name in ("mean", "var", "count", "mean_rest")
    }
    X, y = place.array(rng.normal(size=(30, 4))), rng.integers(3, size=30)
    model.fit(X, y, loss=CrossEntropy(), optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
    assert float(views["layers.1.count"][0]) == 30
    assert place.host(views["layers.4.mean"]).any()
    views["layers.1.mean"][...] = 7.0
    assert (place.host(model.statistics) == 7.0).sum() == 5


def test_other_theta_is_evaluated(place, rng):
    model = randomized([Dense(6, Sigmoid()), Dense(3)], rng, place.backend)
    X = place.array(rng.normal(size=(5, 4)))
    other = place.writable(rng.normal(size=model.layout.size))
    before = place.host(model.theta).copy()
    output = place.host(model.forward(X, theta=other))
    np.testing.assert_array_equal(place.host(model.theta), before)
    model.theta = other
    np.testing.assert_array_equal(place.host(model.forward(X)), output)


def test_layers_read_views_of_theta(rng):
    model = MLP(4, [8], 3)
    theta = model.theta
    model.theta = np.zeros(model.layout.size)
    assert model.theta is theta
    assert not model.forward(rng.normal(size=(2, 4))).any()


def test_long_data_are_evaluated_in_parts(rng):
    model = MLP(4, [8], 3)
    X = rng.normal(size=(9000, 4))
    np.testing.assert_allclose(model.forward(X)[8990:], model.forward(X[8990:]), rtol=1e-5)


def test_predictions_are_class_names(place, rng):
    X = rng.normal(size=(60, 4))
    y = np.where(X[:, 0] > 0, "yes", "no")
    model = MLP(4, [8], 2, backend=place.backend)
    model.fit(
        X, y, loss=CrossEntropy(), optimizer=xpnet.Adam(lr=0.05), epochs=20, batch_size=16,
        metrics=[xpnet.metrics.accuracy], progress=False,
    )  # fmt: skip
    assert model.classes == ("no", "yes")
    assert (model.predict(X) == y).mean() > 0.9
    assert model.evaluate(X, y, metrics=[xpnet.metrics.accuracy])["accuracy"] > 0.9
    proba = place.host(model.predict_proba(X))
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_absent_class_keeps_its_output(rng):
    model, X = MLP(2, [4], 3, classes=("a", "b", "c")), rng.normal(size=(40, 2))
    y = np.where(X[:, 0] > 0, "a", "c")
    model.fit(X, y, loss=CrossEntropy(), optimizer=xpnet.Adam(0.1), epochs=40, progress=False)
    assert (model.predict(X) == y).mean() > 0.9
    assert set(model.predict(1e3 * rng.normal(size=(500, 2)))) <= {"a", "b", "c"}


def test_binary_class_names_need_one_output(rng):
    X = rng.normal(size=(60, 2))
    y = np.where(X[:, 0] > 0, "b", "a")
    model = Sequential([Dense(1)], 2)
    model.fit(
        X, y, loss=BinaryCrossEntropy(), optimizer=xpnet.Adam(lr=0.1), epochs=30, progress=False
    )
    assert (model.predict(X) == y).mean() > 0.9
    assert model.predict_proba(X).shape == (60, 2)


def test_preprocessing_applies_to_raw_features(rng):
    X = rng.normal(loc=50, scale=9, size=(40, 3))
    scaling = xpnet.Standardize.fit(X)
    with_scaling = MLP(3, [5], 2, preprocessing=scaling, loss=CrossEntropy())
    without = MLP(3, [5], 2, loss=CrossEntropy())
    np.testing.assert_allclose(
        with_scaling.predict_proba(X), without.predict_proba(scaling.apply(X)), rtol=1e-6
    )


X_GOOD, Y_GOOD = np.zeros((6, 4)), np.array([0, 1, 2, 0, 1, 2])
NAN = np.where(np.arange(24).reshape(6, 4) == 9, np.nan, 0.0)
FIT = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(), "progress": False}
BAD_FITS = {
    "width": ({"X": np.zeros((6, 5))}, "X must have 4 columns"),
    "one row": ({"X": np.zeros(4)}, r"write X\[None, :\]"),
    "empty": ({"X": np.zeros((0, 4)), "y": Y_GOOD[:0]}, "X must have at least one row"),
    "words in X": ({"X": np.full((6, 4), "a")}, "X must hold real numbers"),
    "NaN in X": ({"X": NAN}, "got nan in row 2, column 1"),
    "lengths": ({"y": Y_GOOD[:5]}, "y must have the shape"),
    "label": ({"y": Y_GOOD + 2}, "got 3 in row 1"),
    "negative label": ({"y": Y_GOOD - 1}, "got -1 in row 0"),
    "float labels": ({"y": Y_GOOD + 0.5}, "y must hold class indices"),
    "too many words": (
        {"y": np.array(list("abcdef"))},
        "y must have 3 classes for 3 outputs; got 6",
    ),
    "too few words": (
        {"y": np.array(list("ababab"))},
        "y must have 3 classes for 3 outputs; got 2. Name those that do not occur by classes=",
    ),
    "one word": (
        {"y": np.array(list("aaaaaa")), "loss": BinaryCrossEntropy()},
        "y must have 2 classes for 3 outputs; got 1",
    ),
    "loss class": ({"loss": CrossEntropy}, r"Write CrossEntropy\(\)"),
    "loss name": ({"loss": "mse"}, "loss must be a Loss; got 'mse'"),
    "optimizer": ({"optimizer": "adam"}, "optimizer must be an Optimizer"),
    "epochs": ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
    "batch size": ({"batch_size": 0}, "batch_size must be an integer"),
    "drop all": ({"batch_size": 7, "drop_last": True}, "batch_size must be at most the 6 rows"),
    "l2": ({"l2": -1.0}, "l2 must be a finite number, at least 0; got -1.0"),
    "validation": ({"validation": 1.5}, "validation must be a pair"),
    "validation rows": ({"validation": 0.01}, "leave rows on both sides"),
    "weight": ({"sample_weight": -np.ones(6)}, "sample_weight must be at least 0"),
    "weight length": ({"sample_weight": np.ones(5)}, "sample_weight must have the shape"),
    "metric": ({"metrics": ["accuracy"]}, "metrics must hold functions"),
    "callback": ({"callbacks": [xpnet.EarlyStopping]}, "callbacks must hold functions"),
    "seed": ({"rng": -1}, "rng must be a seed"),
    "ragged": ({"X": [[1, 2, 3, 4], [5]]}, r"be a list with rows of equal length; got \[\[1"),
    "a metric alone": (
        {"metrics": xpnet.metrics.accuracy},
        r"metrics must be a sequence of functions; got .* Write metrics=\[\.\.\.\]",
    ),
    "a callback alone": ({"callbacks": xpnet.EarlyStopping()}, r"Write callbacks=\[\.\.\.\]"),
    "no callbacks": ({"callbacks": None}, "callbacks must be a sequence of .*; got None"),
    "a class of callbacks": (
        {"callbacks": [xpnet.EarlyStopping]},
        r"Write EarlyStopping\(\.\.\.\)",
    ),
    "clip": ({"clip": 1.0}, r"clip must be a ClipByNorm or ClipByValue; got 1\.0"),
    "clip class": ({"clip": xpnet.ClipByNorm}, r"clip must be .* Write ClipByNorm\(\.\.\.\)"),
    "class weight": (
        {"y": np.array(list("abcabc")), "class_weight": {"a": 1.0, "d": 2.0}},
        "a key of class_weight must be one of a, b, c; got 'd'",
    ),
    "class weight word": (
        {"class_weight": "balanced"},
        "class_weight must be a mapping by class, or numbers in order; got 'balanced'",
    ),
    "class weight number": ({"class_weight": 2.0}, "numbers in order; got 2.0"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_fit_refuses_bad_arguments(case):
    change, message = BAD_FITS[case]
    arguments = {"X": X_GOOD, "y": Y_GOOD} | FIT | change
    model = MLP(4, [5], 3)
    before = model.theta.copy()
    with pytest.raises(ArgumentError, match=message):
        model.fit(arguments.pop("X"), arguments.pop("y"), **arguments)
    assert np.array_equal(model.theta, before)
    assert model.loss is None
    assert model.classes is None


BAD_MODELS = {
    "no layers": (lambda: Sequential([], 3), "layers must hold at least one layer"),
    "a class": (lambda: Sequential([Dense], 3), r"Write Dense\(...\)"),
    "one layer": (lambda: Sequential(Dense(3), 3), r"layers must be a sequence; got Dense\("),
    "equal classes": (
        lambda: MLP(2, [3], 2, classes=["a", "a"]),
        "classes must be 2 distinct names",
    ),
    "few classes": (
        lambda: MLP(2, [3], 3, classes=["a", "b"]),
        r"classes must be 3 distinct names; got \('a', 'b'\)",
    ),
    "n_in": (lambda: MLP(0, [3], 2), "n_in must be an integer of at least 1; got 0"),
    "hidden number": (lambda: MLP(3, 5, 2), "hidden must be a sequence of widths; got 5"),
    "hidden width": (lambda: MLP(3, [0], 2), "a width of hidden must be an integer"),
    "activation class": (lambda: MLP(3, [4], 2, activation=ReLU), r"Write ReLU\(\)"),
    "activation name": (lambda: MLP(3, [4], 2, activation="relu"), "activation must be an Act"),
    "dropout": (lambda: MLP(3, [4], 2, dropout=1.0), "dropout must be a finite number"),
    "backend": (lambda: MLP(3, [4], 2, backend="nunpy"), "Did you mean 'numpy'"),
    "dtype": (lambda: MLP(3, [4], 2, dtype="float16"), "dtype must be one of float32, float64"),
    "preprocessing": (
        lambda: MLP(3, [4], 2, preprocessing=xpnet.Standardize),
        r"preprocessing must be a fitted .* Write Standardize\.fit\(X\)",
    ),
    "loss": (lambda: MLP(3, [4], 2, loss=HalfMSE), r"Write HalfMSE\(\)"),
}


def test_theta_beyond_float32_is_refused():
    model = MLP(3, [2], 3)
    with pytest.raises(ArgumentError, match=r"theta must be finite; got inf in layers.0.weight"):
        model.theta = np.full(17, 1e39)


ZEROS = np.zeros(17, "float32")
BAD_THETAS = {
    "a number": (0.0, r"theta must have the shape \(17,\), one number a parameter; got a float64"),
    "too short": (ZEROS[:16], r"the shape \(17,\), .*; got a float32 array of shape \(16,\)"),
    "a matrix": (ZEROS[None, :], r"the shape \(17,\), .*; got a float32 array of shape \(1, 17\)"),
    "words": (["w"] * 17, "theta must hold real numbers; got a"),
    "complex": (ZEROS * 1j, "theta must hold real numbers; got a complex64"),
}


@pytest.mark.parametrize("case", BAD_THETAS)
def test_theta_of_wrong_shape_or_type_is_refused(case):
    value, message = BAD_THETAS[case]
    model = MLP(2, [3], 2)
    with pytest.raises(ArgumentError, match=message):
        model.forward(np.ones((1, 2)), theta=value)
    with pytest.raises(ArgumentError, match=message):
        model.theta = value


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_theta_that_is_not_finite_is_refused(number, place):
    model, value = MLP(2, [3], 2, backend=place.backend), place.writable(ZEROS)
    before, value[7] = place.host(model.theta).copy(), float(number)
    with pytest.raises(ArgumentError, match=rf"be finite; got {number} in layers.1.weight\[0, 1\]"):
        model.theta = value
    np.testing.assert_array_equal(place.host(model.theta), before)


def test_theta_is_converted_to_the_model_dtype(place32, rng):
    """For any number of rows, as if it were the model's own θ."""
    model = MLP(2, [3], 2, backend=place32.backend)
    other, X = rng.normal(size=17), place32.array(rng.normal(size=(100, 2)))
    given = other if place32.backend.name != "numpy" else other.tolist()
    outputs = [model.forward(X[:n, ...], theta=given) for n in (1, 100)]
    model.theta = other
    for output in outputs:
        assert output.dtype == place32.backend.dtype
        expected = model.forward(X[: output.shape[0], ...])
        np.testing.assert_array_equal(place32.host(output), place32.host(expected))


@pytest.mark.parametrize("case", BAD_MODELS)
def test_model_refuses_bad_arguments(case):
    build, message = BAD_MODELS[case]
    with pytest.raises(ArgumentError, match=message):
        build()


def test_evaluate_without_a_loss_is_refused():
    model = MLP(4, [5], 3)
    with pytest.raises(ArgumentError, match="Call fit first"):
        model.evaluate(X_GOOD, Y_GOOD)
    with pytest.raises(ArgumentError, match="Call fit first"):
        model.predict_proba(X_GOOD)
    assert model.predict(X_GOOD).shape == (6, 3)


def test_arrays_of_another_library_are_refused(torch):
    with pytest.raises(ArgumentError, match="move it first"):
        MLP(4, [5], 3).forward(torch.zeros((2, 4)))


def test_hand_written_loop_equals_fit(rng):
    X, y = rng.normal(size=(64, 4)).astype("float32"), rng.integers(3, size=64)
    by_fit, by_hand = MLP(4, [8], 3), MLP(4, [8], 3)
    optimizer = xpnet.Momentum()
    by_fit.fit(
        X, y, loss=CrossEntropy(), optimizer=optimizer, epochs=2, shuffle=False, progress=False,
        batch_size=16,
    )  # fmt: skip
    state = optimizer.init(by_hand.theta)
    for _ in range(2):
        for X_b, y_b in xpnet.batches(X, y, 16, shuffle=False):
            _, g = by_hand.value_and_grad(X_b, y_b, CrossEntropy())
            optimizer.step(by_hand.theta, g, state)
    np.testing.assert_array_equal(by_hand.theta, by_fit.theta)


def test_summary_counts_every_parameter():
    norm = BatchNorm(momentum=None, eps=1e-3)
    text = MLP(784, [200, 100], 10, batch_norm=norm, dropout=0.5).summary()
    assert "178,410" in text
    assert "BatchNorm(momentum=None, eps=0.001)" in text
    assert "Activation(ReLU())" in text


def test_summary_columns_line_up_for_long_names():
    layers = [Dense(5, ReLU()), BatchNorm(momentum=None, eps=1e-3), Dropout(0.123456789), Dense(3)]
    lines = Sequential(layers, 4).summary().splitlines()
    assert len({len(line) for line in lines}) == 1


def test_activation_among_layers_is_named():
    for wrong in (ReLU(), ReLU):
        with pytest.raises(ArgumentError, match=r"Write Activation\(ReLU\(\)\)\."):
            Sequential([Dense(8), wrong, Dense(3)], 4)


@pytest.mark.parametrize(
    ("weight", "says"),
    [
        (-np.ones(4), "weight must be at least 0"),
        (np.ones(3), r"weight must have the shape \(4,\)"),
        (np.full(4, np.nan), "weight must be finite"),
        (np.zeros(4), "weight must not be all 0"),
    ],
)
def test_bad_row_weights_are_refused(weight, says):
    model = MLP(2, [3], 2)
    with pytest.raises(ArgumentError, match=says):
        model.value_and_grad(np.ones((4, 2)), np.zeros(4, int), CrossEntropy(), weight=weight)
