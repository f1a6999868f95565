"""Inspection: the numbers that theory predicts, on every backend."""

import itertools
import math

import numpy as np
import pytest

import xpnet
from xpnet import (
    MLP,
    SGD,
    Activation,
    ArgumentError,
    BatchNorm,
    CrossEntropy,
    Dense,
    Dropout,
    HalfMSE,
    LayerRecorder,
    Sequential,
    Standardize,
    inspect_layers,
)
from xpnet import initializers as init
from xpnet.inspection.meter import Meter

WIDTH = 100


def deep(activation, weight_init, batch_norm=False, layers=5, **settings):
    """The classical network: five layers of width 100."""
    stack = []
    for _ in range(layers):
        if batch_norm:
            stack += [Dense(WIDTH, weight_init=weight_init), BatchNorm(), Activation(activation)]
        else:
            stack.append(Dense(WIDTH, activation, weight_init=weight_init))
    return Sequential(stack, n_in=WIDTH, **settings)


@pytest.fixture(name="X")
def rows(rng):
    return rng.standard_normal((1000, WIDTH))


@pytest.fixture(name="y")
def targets(rng):
    return rng.standard_normal((1000, WIDTH))


def rms(distribution):
    return math.hypot(distribution.mean, distribution.std)


# Distributions


def assert_distribution(found, x, bins):
    x = np.asarray(x, dtype=np.float64).ravel()
    finite = x[np.isfinite(x)]
    assert found.mean == pytest.approx(finite.mean(), rel=1e-12, abs=1e-15)
    assert found.std == pytest.approx(finite.std(), rel=1e-12, abs=1e-15)
    assert (found.low, found.high) == (finite.min(), finite.max())
    assert found.zeros == np.mean(x == 0)
    assert found.not_finite == pytest.approx(np.mean(~np.isfinite(x)))
    counts, edges = np.histogram(finite, bins)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.edges, edges, rtol=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).standard_normal((40, 5)),
        np.random.default_rng(2).integers(-3, 4, (30, 3)) * 1.0,
        np.full((4, 2), 7.0),
        np.zeros((3, 1)),
        np.array([[2.0], [math.nan]]),
        np.array([[1.0, math.nan, -2.0, 0.0], [math.inf, 5.0, -math.inf, 0.0]]),
    ],
)
def test_distribution_agrees_with_numpy(place, values):
    meter = Meter(place.xp, bins=12)
    first = meter.distribution(place.array(values))
    second = meter.distribution(place.array(values + 1))
    assert_distribution(meter.read_distribution(first), values, 12)
    assert_distribution(meter.read_distribution(second), values + 1, 12)


def test_distribution_without_finite_numbers_is_nan():
    meter = Meter(np, bins=3)
    found = meter.read_distribution(meter.distribution(np.full((2, 2), math.nan)))
    assert math.isnan(found.mean)
    assert math.isnan(found.low)
    assert (found.not_finite, found.counts.tolist()) == (1.0, [0, 0, 0])


# Reports


def test_outputs_and_gradients_agree_with_numpy(place):
    rng = np.random.default_rng(5)
    model = Sequential(
        [Dense(4, xpnet.Tanh()), Dense(3)], n_in=2, backend=place.backend, loss=HalfMSE()
    )
    X, y = rng.standard_normal((20, 2)), rng.standard_normal((20, 3))
    report = inspect_layers(model, place.array(X), place.array(y), bins=10)
    p = {k: place.host(v) for k, v in model.layout.views(model.theta).items()}
    a = np.tanh(X @ p["layers.0.weight"] + p["layers.0.bias"])
    out = a @ p["layers.1.weight"] + p["layers.1.bias"]
    d_out = (out - y) / 20
    d_a = d_out @ p["layers.1.weight"].T
    d_weight = X.T @ (d_a * (1 - a * a)), a.T @ d_out
    for layer, output, gradient, weight in zip(
        report, (a, out), (d_a, d_out), d_weight, strict=True
    ):
        assert_distribution(_rounded(layer.output), output, 10)
        assert layer.spread == pytest.approx(math.sqrt(output.var(axis=0).mean()), rel=1e-10)
        assert_distribution(_rounded(layer.gradient), gradient, 10)
        assert_distribution(_rounded(layer.weight_gradient), weight, 10)
    assert report.loss == pytest.approx(0.5 * np.sum((out - y) ** 2) / 20, rel=1e-12)
    assert (report.n_rows, len(report), report[1].n_out) == (20, 2, 3)


def _rounded(found):
    """Compare two distributions; the order of a summation may change the extremes."""

    class Approximately(float):
        def __eq__(self, other):
            return math.isclose(self, other, rel_tol=1e-10, abs_tol=1e-14)

        __hash__ = float.__hash__

    values = {**vars(found)}
    values["low"], values["high"] = Approximately(found.low), Approximately(found.high)
    return type(found)(**values)


def test_inspection_does_not_change_the_model(X):
    labels = np.arange(1000) % 3
    model = MLP(WIDTH, [8, 8], 3, batch_norm=True, dropout=0.2, loss=CrossEntropy())
    model.value_and_grad(X, labels, CrossEntropy())
    before = [np.array(v) for v in (model.theta, model.statistics, model.grad)]
    inspect_layers(model, X, labels)
    for vector, old in zip((model.theta, model.statistics, model.grad), before, strict=True):
        np.testing.assert_array_equal(vector, old)


def test_inspection_uses_the_models_preprocessing():
    X = np.random.default_rng(0).uniform(100, 200, (50, 2))
    words = np.where(X[:, 0] > 150, "high", "low")
    model = MLP(2, [4], 2, preprocessing=Standardize.fit(X), loss=CrossEntropy())
    model.fit(X, words, loss=CrossEntropy(), optimizer=SGD(lr=0.1), epochs=3, progress=False)
    report = inspect_layers(model, X, words)
    assert report.loss == pytest.approx(model.evaluate(X, words)["loss"], rel=1e-5)


def test_training_mode_uses_batch_statistics(X):
    model = Sequential([BatchNorm(), Dropout(0.5)], n_in=WIDTH)
    norm, dropped = inspect_layers(model, 5 + 3 * X)
    assert (norm.output.mean, norm.output.std) == pytest.approx((0, 1), abs=1e-4)
    assert dropped.output.zeros == pytest.approx(0.5, abs=0.01)
    plain, kept = inspect_layers(model, 5 + 3 * X, training=False)
    assert (plain.output.mean, plain.output.std) == pytest.approx((5, 3), rel=0.02)
    assert kept.output.zeros == 0
    assert norm.saturated is None
    assert dropped.saturated is None


# Saturated and dead

SLOPES = [
    # the activation, inputs, whether each is saturated
    (xpnet.Sigmoid(), [-4.6, -4.5, 0.0, 4.5, 4.6], [1, 0, 0, 0, 1]),
    (xpnet.Tanh(), [-2.31, -2.27, 0.0, 2.27, 2.31], [1, 0, 0, 0, 1]),
    (xpnet.ReLU(), [-1.0, 0.0, 1e-9, 3.0], [1, 1, 0, 0]),
    (xpnet.LeakyReLU(0.01), [-1.0, 1.0], [1, 0]),
    (xpnet.LeakyReLU(0.1), [-1.0, 1.0], [0, 0]),
    (xpnet.ELU(), [-3.3, -3.1, 1.0], [1, 0, 0]),
    (xpnet.SELU(), [-4.0, -3.0, 1.0], [1, 0, 0]),
    (xpnet.Softplus(), [-3.3, -3.1, 1.0], [1, 0, 0]),
    (xpnet.Exponential(), [-3.3, -3.1, 1.0], [1, 0, 0]),
    (xpnet.HardSigmoid(), [-2.6, -2.4, 2.4, 2.6], [1, 0, 0, 1]),
    (xpnet.GELU(), [-4.0, -1.0, 1.0], [1, 0, 0]),
    (xpnet.GELUTanh(), [-4.0, -1.0, 1.0], [1, 0, 0]),
    (xpnet.SiLU(), [-8.0, -2.0, 1.0], [1, 0, 0]),
    (xpnet.Affine(0.001), [-1.0, 1.0], [0, 0]),
    (xpnet.Identity(), [-1.0, 1.0], [0, 0]),
    (xpnet.Step(), [-1.0, 1.0], [1, 1]),
]


@pytest.mark.parametrize(("phi", "z", "flat"), SLOPES, ids=lambda v: repr(v)[:12])
@pytest.mark.parametrize("kind", ["dense", "activation"])
def test_saturation_is_a_small_derivative(place, phi, z, flat, kind):
    layer = Dense(1, phi, weight_init=init.Ones()) if kind == "dense" else Activation(phi)
    model = Sequential([layer], n_in=1, backend=place.backend)
    for value, expected in zip(z, flat, strict=True):
        report = inspect_layers(model, place.array(np.array([[value]])))
        assert report[0].saturated == expected, value


def test_softmax_saturates_at_one_hot_outputs():
    model = Sequential([Activation(xpnet.Softmax())], n_in=2)
    # ∂a/∂z = a(1 − a) is at most ¼; at 3.5 it is 0.028 and at 10 it is 5e-5.
    report = inspect_layers(model, [[0.0, 0.0], [3.5, 0.0], [10.0, 0.0], [-10.0, 0.0]])
    assert report[0].saturated == 0.5


def test_unit_is_dead_if_zero_for_every_row(place):
    model = Sequential([Dense(4, xpnet.ReLU())], n_in=3, backend=place.backend)
    model.layout.views(model.theta)["layers.0.bias"][...] = place.array(
        np.array([-100.0, 100.0, 100.0, -100.0])
    )
    report = inspect_layers(model, place.array(np.eye(3)))
    assert (report[0].dead, report[0].saturated) == (0.5, 0.5)


# The classical experiment


def test_zero_weights_stop_gradients_of_sigmoids(X, y):
    report = inspect_layers(deep(xpnet.Sigmoid(), init.Zeros()), X, y, loss=HalfMSE())
    for layer in report:
        assert (layer.output.mean, layer.output.std) == (0.5, 0)
        assert (layer.saturated, layer.dead) == (0, 0)
    assert [layer.gradient.zeros for layer in report] == [1, 1, 1, 1, 0]
    assert [layer.weight_gradient.zeros for layer in report] == [1, 1, 1, 1, 0]


def test_zero_weights_make_relus_dead(X, y):
    report = inspect_layers(deep(xpnet.ReLU(), init.Zeros()), X, y, loss=HalfMSE())
    for layer in report:
        assert (layer.output.high, layer.saturated, layer.dead) == (0, 1, 1)
        assert layer.weight_gradient.zeros == 1


def normal_tail(z):
    return math.erfc(z / math.sqrt(2))


def test_unit_weights_saturate_sigmoids(X, y):
    report = inspect_layers(deep(xpnet.Sigmoid(), init.Normal(1)), X, y, loss=HalfMSE())
    # z of the first layer is N(0, 10²) given the row's length; |z| > 4.585 counts.
    assert report[0].saturated == pytest.approx(normal_tail(4.585 / 10), abs=0.02)
    for layer in report:
        assert layer.saturated > 0.4
    assert report[0].output.counts[[0, -1]].sum() > 0.5 * report[0].output.counts.sum()


@pytest.mark.parametrize(
    ("weights", "factor"),
    [
        (init.Normal(1), math.sqrt(WIDTH / 2)),
        (init.Normal(0.1), math.sqrt(WIDTH * 0.01 / 2)),
        (init.Normal(0.01), math.sqrt(WIDTH * 0.0001 / 2)),
        (init.LecunNormal(), math.sqrt(1 / 2)),
        (init.FanInUniform(), math.sqrt(1 / 6)),
        (init.LecunUniform(), math.sqrt(1 / 2)),
        (init.GlorotNormal(), math.sqrt(1 / 2)),
        (init.GlorotUniform(), math.sqrt(1 / 2)),
        (init.HeNormal(), 1.0),
        (init.HeUniform(), 1.0),
    ],
    ids=repr,
)
def test_relus_scale_the_signal_by_the_variance(X, y, weights, factor):
    """``E a² ← n var(w)/2 · E a²`` forward, and the same backward."""
    # The formula assumes an error independent of the weights: large targets dominate it.
    report = inspect_layers(deep(xpnet.ReLU(), weights), X, 1e8 * y, loss=HalfMSE())
    for depth, layer in enumerate(report, start=1):
        assert rms(layer.output) == pytest.approx(factor**depth, rel=0.25)
    grads = [rms(layer.gradient) for layer in report]
    for depth in range(4):
        assert grads[depth] / grads[-1] == pytest.approx(factor ** (4 - depth), rel=0.35)
    assert 0.4 < report[0].saturated < 0.6


def test_small_weights_make_sigmoids_constant(X):
    report = inspect_layers(deep(xpnet.Sigmoid(), init.Normal(0.01)), X)
    # z is N(0, 0.1²) in the first layer and a = ½ + z/4; then w alone spreads: √(100/4)·0.01/4.
    assert report[0].output.std == pytest.approx(0.1 / 4, rel=0.1)
    for layer in list(report)[1:]:
        assert layer.output.std == pytest.approx(0.05 / 4, rel=0.3)


def test_sigmoids_lose_the_variation_of_the_rows(X):
    """The constant half of each output carries no information about the row."""
    report = inspect_layers(deep(xpnet.Sigmoid(), init.LecunNormal()), X)
    for before, after in itertools.pairwise(report):
        assert after.spread == pytest.approx(before.spread / 4, rel=0.25)
    assert report[4].output.std > 0.1
    assert report[4].spread < 2e-3


@pytest.mark.parametrize("phi", [xpnet.Sigmoid(), xpnet.ReLU()], ids=repr)
def test_batch_norm_corrects_unit_weights(X, y, phi):
    report = inspect_layers(
        deep(phi, init.Normal(1), batch_norm=True, dtype="float64"), X, y, loss=HalfMSE()
    )
    norms = [layer for layer in report if "BatchNorm" in layer.name]
    assert len(norms) == 5
    for layer in norms:
        assert layer.output.mean == pytest.approx(0, abs=1e-12)
        assert layer.output.std == pytest.approx(1, abs=1e-4)
    for layer in report:
        if "Activation(Sigmoid)" in layer.name:
            assert layer.saturated == pytest.approx(normal_tail(4.585), abs=0.002)
        if "Activation(ReLU)" in layer.name:
            assert layer.saturated == pytest.approx(0.5, abs=0.05)


# The callback, the table, invalid input


def test_recorder_inspects_every_few_epochs(X):
    labels = np.arange(1000) % 2
    model = MLP(WIDTH, [8], 2)
    recorder = LayerRecorder(X[:50], labels[:50], every=2, bins=7)
    settings = {"loss": CrossEntropy(), "optimizer": SGD(lr=0.1), "progress": False}
    model.fit(X, labels, epochs=5, callbacks=[recorder], **settings)
    assert list(recorder.reports) == [2, 4]
    assert recorder.reports[4].loss < recorder.reports[2].loss
    assert len(recorder.reports[2][0].output.counts) == 7
    model.fit(X, labels, epochs=2, callbacks=[recorder], **settings)
    assert list(recorder.reports) == [2]


def test_table_shows_every_layer():
    layers = [Dense(3, weight_init=init.Ones()), BatchNorm(), Activation(xpnet.ReLU()), Dropout(0)]
    model = Sequential([*layers, Dense(1, weight_init=init.Ones())], n_in=1, loss=HalfMSE())
    table = str(inspect_layers(model, [[-1.0], [1.0]], [1.0, 1.0])).splitlines()
    assert [line[:24].rstrip() for line in table] == [
        "",
        "layer",
        "0 Dense(3)",
        "1 BatchNorm",
        "2 Activation(ReLU)",
        "3 Dropout(0)",
        "4 Dense(1)",
    ]
    heads = ["layer", "mean", "std", "spread", "saturated", "dead", "std", "zeros", "std"]
    assert table[1].split() == heads
    assert len({len(line) for line in table[2:]}) == 1
    assert table[4].split()[2:] == [
        "0.5",
        "0.5",
        "0.5",
        "50.0",
        "%",
        "0.0",
        "%",
        "0.75",
        "0.0",
        "%",
        "–",
    ]
    assert table[3].split()[5:8] == ["–", "0.0", "%"]


def test_table_counts_numbers_that_are_not_finite():
    model = Sequential([Dense(2), Dense(2)], n_in=1, dtype="float32")
    model.theta[...] = 3e38
    report = inspect_layers(model, [[2.0]], [[0.0, 0.0]], loss=HalfMSE())
    assert report[0].output.not_finite == 1
    assert str(report).splitlines()[-1] == "not finite: 0 Dense(2) 100.0 %, 1 Dense(2) 100.0 %"


MODEL = MLP(2, [3], 2)
BAD = [
    (lambda: inspect_layers("model", [[1.0]]), "model must be a Sequential; got 'model'."),
    (
        lambda: inspect_layers(MODEL, [[1.0]]),
        r"X must have 2 columns, as many as the input has; got a float64 array of shape \(1, 1\)",
    ),
    (
        lambda: inspect_layers(MODEL, [[1.0, 2.0]], [0]),
        r"loss must be given with y for a model without one; got None. Give loss=, such as Cross",
    ),
    (
        lambda: inspect_layers(MODEL, [[1.0, 2.0]], [5], loss=CrossEntropy()),
        "y must hold class indices",
    ),
    (lambda: inspect_layers(MODEL, [[1.0, 2.0]], [0], loss="mse"), "loss must be a Loss; got 'ms"),
    (
        lambda: inspect_layers(MODEL, [[1.0, 2.0]], bins=0),
        "bins must be an integer of at least 1; got 0.",
    ),
    (
        lambda: inspect_layers(MODEL, [[1.0, 2.0]], saturation=1),
        "saturation must be a finite number, at least 0 and below 1; got 1.",
    ),
    (lambda: LayerRecorder([[1.0]], every=0), "every must be an integer of at least 1; got 0."),
    (lambda: LayerRecorder([1.0]), r"X must have shape \(rows, columns\)"),
    (
        lambda: inspect_layers(
            Sequential([Dense(1, xpnet.Step())], 1), [[1.0]], [1.0], loss=HalfMSE()
        ),
        "activation must be differentiable to train; got Step",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
