"""Targets of a regression: their scaling, the warning where it is needed, and their shape."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import xpnet
from xpnet import (
    MAE,
    MLP,
    MSE,
    Adam,
    BinaryCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    HalfMSE,
    Hinge,
    Huber,
    PoissonNLL,
    Standardize,
    TrainingStep,
    to_numpy,
)
from xpnet.errors import ArgumentError, NonFiniteError
from xpnet.metrics import r2, rmse
from xpnet.minimize import LBFGS

X = np.random.default_rng(0).normal(size=(96, 2))
LINE = X[:, 0] - 0.5 * X[:, 1]
QUIET = {"progress": False}
WAYS = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


def linear(n_out=1, **settings):
    return MLP(2, [], n_out, **settings)


def trained(y, loss=None, n_out=1, *, model=None, **settings):
    """Train a linear model by Adam with target_scaling, and return it."""
    model = linear(n_out) if model is None else model
    how = {"target_scaling": "standardize", "optimizer": Adam(0.05), "epochs": 60} | settings
    model.fit(X, y, loss=HalfMSE() if loss is None else loss, **QUIET, **how)
    return model


# Units

LOSSES = {
    "HalfMSE": (HalfMSE(), 1),
    "MSE": (MSE(), 1),
    "MAE": (MAE(), 1),
    "Huber": (Huber(0.1), 1),
    "GaussianNLL": (GaussianNLL(), 2),
}
SCALES = {"prices": (3e5, 1e5), "times": (1e9, 3.0), "tiny": (0.0, 1e-9), "huge": (0.0, 1e39)}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", LOSSES)
def test_predictions_have_the_units_of_the_targets(name, scale):
    (loss, n_out), (offset, size) = LOSSES[name], SCALES[scale]
    y = offset + size * LINE
    model = trained(y, loss, n_out)
    predicted = model.predict(X)
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted, y, rtol=0, atol=0.1 * size)
    measured = model.evaluate(X, y, metrics=[rmse, r2])
    exact = np.sqrt(np.mean((predicted - y) ** 2))
    assert measured["rmse"] == pytest.approx(exact, rel=1e-12)
    assert measured["r2"] > 0.99


def test_scaling_works_on_every_backend(place32):
    y = 1e9 + 3 * LINE
    model = trained(place32.array(y, "float64"), model=linear(backend=place32.backend))
    found = model.predict(place32.array(X))
    assert place32.backend.owns(found)
    np.testing.assert_allclose(to_numpy(found), y, rtol=0, atol=0.1)
    np.testing.assert_allclose(model.target_scaling.mean, y.mean(), rtol=1e-14)
    history = trained(y, model=linear(backend=place32.backend), validation=0.25, metrics=[rmse])
    assert history.history["val_rmse"][-1] < 0.1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_are_in_scaled_units(dtype):
    y = 300.0 + 50.0 * LINE
    model = linear(dtype=dtype)
    model.fit(X, y, loss=MSE(), optimizer=Adam(1e-3), target_scaling="standardize", **QUIET)
    z = (y - y.mean()) / y.std()
    output = np.asarray(model.forward(X), np.float64)[:, 0]
    assert model.evaluate(X, y)["loss"] == pytest.approx(np.mean((output - z) ** 2), rel=1e-5)
    objective = model.objective(X, y, MSE()).value(model.theta)
    assert float(objective) == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-5)
    report = xpnet.inspect_layers(model, X, y)
    assert report.loss == pytest.approx(float(objective), rel=1e-5)


GIVEN = {
    "a list": lambda y: y.tolist(),
    "integers": lambda y: np.round(y).astype("int64"),
    "unsigned integers": lambda y: np.round(y).astype("uint32"),
    "float32": lambda y: y.astype("float32"),
    "other byte order": lambda y: y.astype(">f8"),
    "reversed": lambda y: y[::-1].copy()[::-1],
}


@pytest.mark.parametrize("kind", GIVEN)
def test_targets_of_every_kind_are_scaled(kind):
    y = GIVEN[kind](1e6 + 1e4 * LINE)
    exact = np.asarray(y, np.float64)
    model = trained(y)
    assert model.target_scaling.mean[0] == pytest.approx(exact.mean(), rel=1e-14)
    assert model.target_scaling.std[0] == pytest.approx(exact.std(), rel=1e-12)
    np.testing.assert_allclose(model.predict(X), exact, rtol=0, atol=500)


def test_tensors_and_series_are_scaled(torch):
    y = 1e9 + 3 * LINE
    tensor, model = torch.tensor(y, requires_grad=True), linear(backend="torch")
    np.testing.assert_allclose(trained(tensor, model=model).predict(X), y, rtol=0, atol=0.1)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    series = pandas.Series(y, index=np.arange(96)[::-1])
    np.testing.assert_allclose(trained(series).predict(X), y, rtol=0, atol=0.1)
    assert trained(series.to_frame()).predict(X).shape == (96, 1)


def test_each_column_has_its_own_scale():
    y = np.stack([1e9 + LINE, 1e-6 * X[:, 0], np.full(96, 7.0), 1e5 * X[:, 1]], axis=1)
    model = trained(y, n_out=4)
    error = np.abs(model.predict(X) - y).max(axis=0)
    assert (error < 0.1 * np.array([1, 1e-6, 1, 1e5])).all()
    assert model.target_scaling.std[2] == 1.0
    assert model.target_scaling.mean[2] == 7.0


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_squares_out_of_range_do_not_matter(size):
    model = trained(size * LINE)
    std = size * float(np.std(LINE))
    assert model.target_scaling.std[0] == pytest.approx(std, rel=1e-12)
    np.testing.assert_allclose(model.predict(X) / size, LINE, rtol=0, atol=0.1)


def test_scaling_is_fitted_to_the_training_rows():
    y = 1e6 + 1e4 * LINE
    seen = []
    keep = [lambda run: seen.append(run.rows)]
    pair = (X[:8], y[:8] + 1e7)
    for validation in (pair, 0.25):
        model = linear()
        trained(y, model=model, validation=validation, callbacks=keep)
        z = np.asarray(seen[-1].y, np.float64)
        assert z.mean() == pytest.approx(0, abs=1e-6)
        assert z.std() == pytest.approx(1, rel=1e-6)
        raw = seen[-1].metric_targets
        assert model.target_scaling.mean[0] == raw.mean()
        assert len(raw) == (72 if validation == 0.25 else 96)
    assert model.target_scaling.mean[0] != y.mean()


def test_rows_of_weight_0_do_not_change_the_scaling():
    y = 1e6 + 1e4 * LINE
    weight = np.where(LINE > 0, 1 + LINE, 0.0)
    weighted = trained(np.where(LINE > 0, y, 1e15), sample_weight=weight)
    assert weighted.target_scaling.mean[0] == pytest.approx(y[LINE > 0].mean(), rel=1e-14)
    np.testing.assert_allclose(weighted.predict(X)[LINE > 0], y[LINE > 0], rtol=0, atol=1e3)


def test_constant_but_for_rounding_is_only_shifted():
    y = np.where(np.arange(96) % 2, np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1)))
    assert trained(y).target_scaling.std[0] == 1.0


def test_full_batch_training_scales_targets():
    y = 1e9 + 3 * LINE
    model = trained(y, optimizer=LBFGS(), epochs=20, metrics=[rmse])
    np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=1e-3)
    assert model.history["rmse"][-1] < 1e-3


def test_mapped_features_train_on_scaled_targets(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped, y = np.load(tmp_path / "X.npy", mmap_mode="r"), 1e9 + 3 * LINE
    model = linear()
    how = {"loss": MSE(), "optimizer": Adam(0.05), "epochs": 60} | QUIET
    model.fit(mapped, y, target_scaling="standardize", validation=(mapped, y), **how)
    np.testing.assert_allclose(model.predict(mapped), y, rtol=0, atol=0.1)


# One scaling a model


@pytest.mark.parametrize("way", [*WAYS, "save", "save as float64"])
@pytest.mark.parametrize("shape", [(96,), (96, 1)])
def test_copies_keep_scaling_and_shape(way, shape, tmp_path):
    model = trained((1e9 + 3 * LINE).reshape(shape))
    if way in WAYS:
        other = WAYS[way](model)
    else:
        model.save(tmp_path / "m.safetensors")
        dtype = "float64" if way == "save as float64" else None
        other = xpnet.load(tmp_path / "m.safetensors", dtype=dtype)
    if way == "save as float64":
        np.testing.assert_allclose(other.predict(X), model.predict(X), rtol=1e-12)
    else:
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.predict(X).shape == shape
    np.testing.assert_array_equal(other.target_scaling.std, model.target_scaling.std)


def test_later_training_keeps_the_scaling():
    model = trained(1e6 + 1e4 * LINE)
    first = model.target_scaling
    model.fit(X, 2e6 + 1e4 * LINE, loss=MSE(), optimizer=Adam(1e-3), epochs=1, **QUIET)
    assert model.target_scaling is first
    trained(2e6 + 1e4 * LINE, model=model, epochs=1)
    assert model.target_scaling is first


@pytest.mark.parametrize("loss", [CrossEntropy(), PoissonNLL()])
def test_training_without_regression_removes_it(loss):
    model = trained(np.stack([LINE, LINE], axis=1) * 1e6, n_out=2)
    counts = np.zeros(96, int) if isinstance(loss, CrossEntropy) else np.ones((96, 2))
    model.fit(X, counts, loss=loss, optimizer=Adam(1e-3), epochs=1, **QUIET)
    assert model.target_scaling is None
    assert model.predict(X).dtype in (np.int64, np.float32)


def test_failed_first_epoch_restores_the_units():
    model = trained(1e6 + 1e4 * LINE)
    before = model.predict(X)
    how = {"loss": MSE(), "optimizer": xpnet.SGD(1e30), "target_scaling": "standardize"}
    with pytest.raises(NonFiniteError, match="epoch 1"):
        model.fit(X, 5.0 * LINE, **how, **QUIET)
    np.testing.assert_array_equal(model.predict(X), before)


class NotRecordable(xpnet.Dense):
    """A layer that a recorded step cannot contain."""

    def forward(self, p, x, ctx):
        return super().forward(p, x + 0 * float(x[0, 0]), ctx)


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"engine": "replay"}])
def test_training_that_cannot_begin_changes_nothing(settings):
    model = xpnet.Sequential([NotRecordable(1)], 2)
    trained(1e6 + 1e4 * LINE, model=model)
    scaling, before = model.target_scaling, model.predict(X)
    says = r"must be 'float32' here|could not be recorded|engine must be 'eager' here"
    with pytest.raises(ArgumentError, match=says):
        trained((5 * LINE)[:, None], MSE(), model=model, **settings)
    assert model.target_scaling is scaling
    assert model.loss == HalfMSE()
    np.testing.assert_array_equal(model.predict(X), before)


def test_scaling_of_more_columns_is_refused():
    class WithCensoring(HalfMSE):
        """Targets are rows of a value and a flag."""

        def check(self, target, n_out, n_rows):
            pass

    with pytest.raises(ArgumentError, match="target_scaling must have one column for each target"):
        trained(np.stack([LINE] * 5, axis=1), WithCensoring())


def test_assigned_scaling_serves_a_loop_by_hand():
    y = 1e9 + 3 * LINE
    model = linear(loss=MSE())
    model.target_scaling = Standardize.fit(y[:, None])
    scaled = model.target_scaling.apply(y[:, None])
    step = TrainingStep(model, MSE(), Adam(0.05))
    for _ in range(200):
        step(X, scaled)
    np.testing.assert_allclose(model.predict(X)[:, 0], y, rtol=0, atol=0.1)
    model.target_scaling = Standardize.fit(np.ones((3, 1)))
    assert model.target_scaling.std[0] == 1.0
    model.target_scaling = None
    assert model.predict(X).dtype == np.float32


def test_output_layer_takes_its_units_along():
    y = 1e6 + 1e4 * LINE
    source, target = trained(y, model=MLP(2, [4], 1)), MLP(2, [4], 1, rng=1, loss=HalfMSE())
    xpnet.copy_layers(source, target, [0])
    assert target.target_scaling is None
    xpnet.copy_layers(source, target, [0, 1])
    np.testing.assert_array_equal(target.predict(X)[:, 0], source.predict(X))


def test_pretrained_model_predicts_in_its_units():
    y = 1e9 + 3 * LINE
    model = MLP(2, [8, 8], 1, activation=xpnet.Tanh())
    how = {"loss": HalfMSE(), "optimizer": Adam(0.02), "epochs": 200} | QUIET
    xpnet.pretrain_layers(model, X, y, target_scaling="standardize", **how)
    np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=1.0)
    scaling = model.target_scaling
    xpnet.pretrain_layers(model, X, y, **how)
    np.testing.assert_array_equal(model.target_scaling.mean, scaling.mean)
    model.fit(X, y, **how)
    np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=0.5)


# Refused


def test_scaling_of_a_model_in_other_units_is_refused(tmp_path):
    model = linear()
    model.fit(X, LINE, loss=MSE(), optimizer=Adam(1e-3), epochs=1, **QUIET)
    model.save(tmp_path / "m")
    for trained_before in (model, xpnet.load(tmp_path / "m")):
        theta = trained_before.theta.copy()
        says = "target_scaling must be None for a model that was trained .* Train a new model"
        with pytest.raises(ArgumentError, match=says):
            trained(LINE, model=trained_before)
        np.testing.assert_array_equal(trained_before.theta, theta)
        assert trained_before.target_scaling is None


@pytest.mark.parametrize(
    ("loss", "n_out", "y"),
    [
        (CrossEntropy(), 2, np.arange(96) % 2),
        (BinaryCrossEntropy(), 1, np.arange(96) % 2),
        (Hinge(), 1, np.arange(96) % 2 * 2 - 1),
        (PoissonNLL(), 1, np.arange(96)),
        (xpnet.Distillation(), 2, np.arange(96) % 2),
    ],
)
def test_losses_of_other_targets_are_named(loss, n_out, y):
    model = linear(n_out)
    before = to_numpy(model.theta).copy()
    message = f"target_scaling must be None for {type(loss).__name__}, .*; got 'standardize'"
    with pytest.raises(ArgumentError, match=message):
        trained(y, loss, model=model)
    np.testing.assert_array_equal(model.theta, before)


@pytest.mark.parametrize(
    "value", ["minmax", "", True, 1, Standardize, Standardize([0.0], [1.0]), np.ones(2)]
)
def test_other_scalings_are_refused(value):
    with pytest.raises(ArgumentError, match=r"target_scaling must be 'standardize' or None; got"):
        trained(LINE, target_scaling=value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("standardize", r"be a fitted Standardize or None; got 'standardize'. Write Standardize\."),
        (xpnet.MinMax(0, 1), "be a fitted Standardize or None; got MinMax"),
        (Standardize(np.zeros(3), np.ones(3)), "have one column for each target"),
    ],
)
def test_assigned_scaling_is_validated(value, says):
    model = linear(2)
    with pytest.raises(ArgumentError, match=f"target_scaling must {says}"):
        model.target_scaling = value
    assert model.target_scaling is None


BAD = {
    "NaN": (np.where(np.arange(96) == 5, np.nan, LINE), "y must be finite; got nan in row 5"),
    "infinity": (np.where(np.arange(96) == 5, np.inf, LINE), "y must be finite; got inf in row 5"),
    "words": (np.array(["a", "b"] * 48), "y must hold real numbers"),
    "two columns": (np.zeros((96, 2)), r"y must have the shape \(96, 1\) or \(96,\).*n_out=2"),
    "complex": (LINE + 1j, "y must hold real numbers"),
}


@pytest.mark.parametrize("target_scaling", [None, "standardize"])
@pytest.mark.parametrize("case", BAD)
def test_invalid_targets_are_refused(case, target_scaling):
    y, says = BAD[case]
    with pytest.raises(ArgumentError, match=says):
        trained(y, target_scaling=target_scaling)


def test_targets_beyond_the_dtype_are_refused():
    y = np.where(np.arange(96) == 90, 1e39, LINE)
    for validation in (None, 0.25):
        with pytest.raises(ArgumentError, match=r"^y must be finite in float32.*39 in row 90\."):
            trained(y, target_scaling=None, validation=validation)
    with pytest.raises(ArgumentError, match=r"the validation's y must be .* 1e\+39 in row 90\."):
        trained(LINE, target_scaling=None, validation=(X, y))
    with pytest.raises(ArgumentError, match=r"validation's y, standardized, must be .*in row 90\."):
        trained(LINE, validation=(X, y))
    trained(1e39 * LINE, model=linear(dtype="float64"))


# The warning

FAR = {
    "prices": (3e5 + 1e5 * LINE, ["y has the mean", "e+05"]),
    "temperatures": (290 + 10 * LINE, ["y has the mean 28", "deviation 10"]),
    "a wide column": (1e3 * (LINE - LINE.mean()), ["deviation 1"]),
    "a narrow column": (1e-4 * LINE, ["deviation 0.0001"]),
    "a narrow column beside 5": (5 + 1e-4 * LINE, ["y has the mean 5"]),
    "a constant": (np.full(96, 1e9), ["mean 1e+09 and the standard deviation 0"]),
    "integers": (np.arange(96) + 1990, ["mean 2038"]),
    "a column": ((3e5 + LINE)[:, None], ["column 0 of y"]),
}
NEAR = {
    "standard": LINE,
    "small": 0.01 * LINE,
    "moderate": 50 + 20 * LINE,
    "a constant": np.full(96, 0.1),
    "zeros": np.zeros(96),
    "rounding": 0.1 + 1e-17 * np.arange(96),
    "booleans": LINE > 0,
}
ONE_EPOCH = {"optimizer": Adam(1e-3), "epochs": 1} | QUIET


@pytest.mark.parametrize("case", FAR)
def test_targets_far_from_a_fresh_network_warn(case):
    y, words = FAR[case]
    with pytest.warns(UserWarning, match="far from the scale of a fresh network") as caught:
        linear().fit(X, y, loss=HalfMSE(), **ONE_EPOCH)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for word in [*words, 'target_scaling="standardize"']:
        assert word in str(caught[0].message)


@pytest.mark.parametrize("case", NEAR)
def test_targets_near_a_fresh_network_do_not(case):
    linear().fit(X, NEAR[case], loss=HalfMSE(), **ONE_EPOCH)


@pytest.mark.parametrize("optimizer", [Adam(1e-3), LBFGS()])
def test_warning_names_the_first_far_column(optimizer, place32):
    y = np.stack([LINE, 1e5 + LINE, 1e-5 * LINE], axis=1)
    model = linear(3, backend=place32.backend)
    with pytest.warns(UserWarning, match=r"column 1 of y has the mean 1e\+05 .*2 of 3 columns"):
        model.fit(X, y, loss=MSE(), **ONE_EPOCH | {"optimizer": optimizer})


def test_training_rows_alone_are_considered():
    linear().fit(X, LINE, loss=MSE(), validation=(X, LINE + 1e6), **ONE_EPOCH)


def test_warning_is_given_once_and_where_useful(tmp_path):
    y = 3e5 + 1e5 * LINE
    model = linear()
    with pytest.warns(UserWarning, match="target_scaling"):
        model.fit(X, y, loss=MSE(), **ONE_EPOCH)
    model.save(tmp_path / "m.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in (model, xpnet.load(tmp_path / "m.safetensors"), copy.deepcopy(model)):
            known.fit(X, y, loss=MSE(), **ONE_EPOCH)
        linear().fit(X, y, loss=MSE(), target_scaling="standardize", **ONE_EPOCH)
        linear().fit(X, np.round(abs(y)), loss=PoissonNLL(), **ONE_EPOCH)
        linear().objective(X, y, MSE())
        linear(loss=MSE()).evaluate(X, y)
    with pytest.raises(ArgumentError, match="metric"):  # no warning before an error
        linear().fit(X, y, loss=MSE(), metrics=[rmse, rmse], **ONE_EPOCH)


# The shape

SHAPES = [(96,), (96, 1), (96, 3)]


def target_of(shape):
    return LINE if len(shape) == 1 else np.repeat(LINE[:, None], shape[1], axis=1)


def shapes_seen(seen):
    """Return a metric that appends the shapes of its arguments."""

    def shapes(predicted, target):
        seen.append((tuple(predicted.shape), tuple(target.shape)))
        return 0.0

    return shapes


@pytest.mark.parametrize("target_scaling", [None, "standardize"])
@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_have_the_shape_of_targets(shape, target_scaling, place32):
    n_out = 1 if len(shape) == 1 else shape[1]
    model = linear(n_out, backend=place32.backend, loss=HalfMSE())
    assert tuple(model.predict(X).shape) == (96, n_out)
    trained(target_of(shape), model=model, target_scaling=target_scaling, epochs=1)
    assert tuple(model.predict(X).shape) == shape
    assert tuple(model.predict(X[:1]).shape) == (1, *shape[1:])
    assert tuple(model.forward(X).shape) == (96, n_out)


@pytest.mark.parametrize("loss", [PoissonNLL(), GaussianNLL(), MAE()])
def test_every_regression_follows_the_shape(loss):
    model = linear(2 if isinstance(loss, GaussianNLL) else 1)
    for y in (np.abs(LINE), np.abs(LINE)[:, None], np.abs(LINE)):
        model.fit(X, y, loss=loss, **ONE_EPOCH)
        assert model.predict(X).shape == y.shape


@pytest.mark.parametrize("optimizer", [Adam(1e-3), LBFGS()])
@pytest.mark.parametrize("shape", SHAPES)
def test_metrics_get_arrays_of_one_shape(shape, optimizer, place32):
    y, seen = target_of(shape), []
    y = place32.array(y)
    how = {"metrics": [shapes_seen(seen)], "loss": MSE()} | ONE_EPOCH | {"optimizer": optimizer}
    n_out = y.shape[1] if y.ndim == 2 else 1
    linear(n_out, backend=place32.backend).fit(X, y, **how)
    model = linear(n_out, backend=place32.backend)
    model.fit(X, y, validation=0.25, target_scaling="standardize", **how)
    other = place32.array(target_of({(96,): (96, 1), (96, 1): (96,)}.get(shape, shape)))
    model.fit(X, y, validation=(X, other), **how)
    model.evaluate(X, other, metrics=how["metrics"])
    assert len(seen) >= 4
    assert {(p[1:], t[1:]) for p, t in seen} == {(shape[1:], shape[1:])}
    assert all(p == t for p, t in seen)


@pytest.mark.parametrize("shape", SHAPES)
def test_untrained_model_is_evaluated_in_shape_of_y(shape):
    y, seen = target_of(shape), []
    model = linear(1 if len(shape) == 1 else shape[1], loss=MSE())
    model.evaluate(X, y, metrics=[shapes_seen(seen)])
    assert seen == [(shape, shape)]


def test_shapes_of_classes_do_not_change():
    y = np.arange(96) % 2
    for given in (y, y[:, None]):
        model = linear(2)
        model.fit(X, given, loss=CrossEntropy(), **ONE_EPOCH)
        assert model.predict(X).shape == (96,)
        binary = linear()
        binary.fit(X, given, loss=BinaryCrossEntropy(), **ONE_EPOCH)
        assert binary.predict(X).shape == (96,)
