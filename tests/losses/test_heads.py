"""Heads: columns of outputs and targets, weights, predictions, metrics, files and bad input."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import (
    MAE,
    SGD,
    ArgumentError,
    BinaryCrossEntropy,
    Branches,
    CrossEntropy,
    Dense,
    GammaNLL,
    GaussianNLL,
    HalfMSE,
    Heads,
    Hinge,
    Loss,
    Ordinal,
    ReLU,
    Sequential,
    losses,
)
from xpnet.metrics import accuracy, rmse

ROWS = 24

LOSS = Heads(
    [CrossEntropy(), GaussianNLL(), BinaryCrossEntropy(), HalfMSE()],
    widths=[3, 2, 2, 1],
    weights=[1.0, 0.5, 2.0, 1.0],
)


@pytest.fixture
def output(rng):
    return rng.normal(size=(ROWS, 8))


@pytest.fixture
def y(rng):
    classes, bits = rng.integers(0, 3, ROWS), rng.integers(0, 2, (ROWS, 2))
    return np.column_stack([classes, rng.normal(size=ROWS), bits, rng.normal(size=ROWS)])


def model_of(loss=None, **settings):
    heads = Branches(Dense(3), [Dense(4, ReLU()), Dense(2)], Dense(2), Dense(1))
    return Sequential([Dense(8, ReLU()), heads], 5, loss=loss, **settings)


@pytest.mark.parametrize("weight", [None, np.linspace(0.0, 2.0, ROWS)], ids=["plain", "weighted"])
def test_loss_is_the_weighted_sum_of_its_heads(weight, output, y):
    parts = [
        (CrossEntropy(), slice(0, 3), y[:, 0].astype(int), 1.0),
        (GaussianNLL(), slice(3, 5), y[:, 1], 0.5),
        (BinaryCrossEntropy(), slice(5, 7), y[:, 2:4], 2.0),
        (HalfMSE(), slice(7, 8), y[:, 4], 1.0),
    ]
    value, grad = LOSS.value_and_grad(output, y, weight)
    each = [loss.value_and_grad(output[:, at], t, weight) for loss, at, t, _ in parts]
    factors = [c for *_, c in parts]
    total = sum(c * v for c, (v, _) in zip(factors, each, strict=True))
    assert float(value) == pytest.approx(total, rel=1e-14)
    expected = np.hstack([c * g for c, (_, g) in zip(factors, each, strict=True)])
    np.testing.assert_allclose(grad, expected, rtol=1e-14)
    d, z = np.cos(output), output
    for name, given in (("hessian_product", True), ("fisher_product", False)):
        product = getattr(LOSS, name)(z, *([y] if given else []), d, weight)
        found = [
            c * getattr(loss, name)(z[:, at], *([t] if given else []), d[:, at], weight)
            for loss, at, t, c in parts
        ]
        np.testing.assert_allclose(product, np.hstack(found), rtol=1e-14)


def test_one_head_is_its_loss(output):
    y = np.arange(ROWS) % 8
    value, grad = Heads([CrossEntropy()], [8]).value_and_grad(output, y)
    expected, other = CrossEntropy().value_and_grad(output, y)
    assert value == expected
    np.testing.assert_array_equal(grad, other)


def test_heads_hold_heads(output, y):
    inner = Heads(LOSS.losses[:2], LOSS.widths[:2], LOSS.weights[:2])
    outer = Heads([inner, *LOSS.losses[2:]], [5, 2, 1], [1.0, 2.0, 1.0])
    outer.check(y, 8, ROWS)
    value, grad = outer.value_and_grad(output, y)
    assert float(value) == pytest.approx(float(LOSS.value(output, y)), rel=1e-14)
    np.testing.assert_allclose(grad, LOSS.value_and_grad(output, y)[1], rtol=1e-14)


EVERY = {
    name: kind()
    for name, kind in vars(losses).items()
    if isinstance(kind, type)
    and issubclass(kind, Loss)
    and kind not in (Loss, Heads, losses.FormulaLoss)
} | {
    "two quantiles": losses.QuantileLoss((0.2, 0.7)),
    "formula": losses.from_formula(lambda xp, z, t: (z - t) ** 4, name="fourth"),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_loss_may_be_a_head(name, rng):
    """`Loss.target_columns` says how many columns of y it reads."""
    loss, n_out = EVERY[name], 4
    heads = Heads([HalfMSE(), loss, HalfMSE()], [1, n_out, 1], [1.0, 3.0, 1.0])
    columns = loss.target_columns(n_out)
    given = np.ones((ROWS, columns))
    y = np.column_stack([np.zeros(ROWS), given, np.zeros(ROWS)])
    heads.check(y, n_out + 2, ROWS)
    output = -np.sort(-rng.normal(size=(ROWS, n_out + 2)), axis=1)
    target = given[:, 0].astype(int) if loss.target_kind == "classes" else given
    value, grad = heads.value_and_grad(output, y)
    expected, inner = loss.value_and_grad(output[:, 1:-1], target)
    ends = 0.5 * (output[:, 0] ** 2 + output[:, -1] ** 2).mean()
    assert float(value) == pytest.approx(3.0 * float(expected) + ends, rel=1e-12)
    np.testing.assert_allclose(grad[:, 1:-1], 3.0 * inner, rtol=1e-12)
    decided = loss.decide(output[:, 1:-1]).reshape(ROWS, -1)
    np.testing.assert_array_equal(heads.decide(output)[:, 1:-1], decided)


# --- models ---------------------------------------------------------------------------------------


def test_prediction_has_the_columns_of_the_targets(rng, y, place):
    model = model_of(LOSS, backend=place.backend)
    X = rng.normal(size=(ROWS, 5))
    output = place.host(model.forward(place.array(X)))
    predicted = place.host(model.predict(place.array(X)))
    assert predicted.shape == y.shape
    np.testing.assert_array_equal(predicted[:, 0], output[:, :3].argmax(axis=1))
    np.testing.assert_allclose(predicted[:, 1], output[:, 3])
    np.testing.assert_array_equal(predicted[:, 2:4], output[:, 5:7] > 0)
    np.testing.assert_allclose(predicted[:, 4], output[:, 7])
    widths = [place.host(part).shape[1] for part in LOSS.split(place.array(output))]
    assert widths == [3, 2, 2, 1]


def test_training_by_heads_lowers_every_loss(rng):
    X = rng.normal(size=(200, 5))
    y = np.column_stack(
        [X[:, :3].argmax(axis=1), X[:, 0], X[:, 1] > 0, X[:, 2] > 0, 2 * X[:, 3] - 1]
    )
    model = model_of(rng=1)
    metrics = [
        xpnet.metric(lambda p, t: accuracy(p[:, 0], t[:, 0]), name="accuracy"),
        xpnet.metric(lambda p, t: accuracy(p[:, 2], t[:, 2]), name="positive"),
        xpnet.metric(lambda p, t: rmse(p[:, 4], t[:, 4]), name="rmse"),
    ]
    settings = {"loss": LOSS, "optimizer": xpnet.Adam(0.02), "metrics": metrics}
    history = model.fit(X, y, epochs=30, validation=0.25, progress=False, **settings)
    assert history["val_accuracy"][-1] > 0.8
    assert history["val_positive"][-1] > 0.75
    assert history["val_rmse"][-1] < 0.6 * history["val_rmse"][0]
    assert model.evaluate(X, y)["loss"] < history["loss"][0]


def test_saved_model_has_the_same_heads(rng, y, tmp_path):
    model = model_of()
    X = rng.normal(size=(ROWS, 5))
    model.fit(X, y, loss=LOSS, optimizer=SGD(0.1), epochs=1, progress=False)
    model.save(tmp_path / "model.safetensors")
    loaded = xpnet.load(tmp_path / "model.safetensors")
    assert loaded.loss == LOSS
    assert loaded.evaluate(X, y) == model.evaluate(X, y)


# --- bad input ------------------------------------------------------------------------------------

REFUSED = {
    "no heads": (([], []), r"^losses must have at least one head; got none\. Write Heads\("),
    "heads without losses": (
        ([], [3, 1]),
        r"^losses must have at least one head; got none\. Write Heads\(\[CrossEntropy\(\)",
    ),
    "a head without a loss": (
        ([HalfMSE()], [3, 1]),
        r"^widths must have one width for each loss, 1 in all; got 2\.$",
    ),
    "a loss without a width": (([HalfMSE(), MAE()], [3]), r"^widths must have one width for each"),
    "weights": (([HalfMSE()], [1], [1.0, 2.0]), r"^weights must have one weight for each loss"),
    "one loss": (
        (HalfMSE(), [1]),
        r"^losses must be a list; got HalfMSE\(\)\. Write losses=",
    ),
    "a class": (([HalfMSE], [1]), r"^losses\[0\] must be a Loss; .* Write HalfMSE\(\) to make one"),
    "a width of 0": (([HalfMSE()], [0]), r"^widths\[0\] must be an integer of at least 1; got 0"),
    "a weight of 0": (([HalfMSE()], [1], [0.0]), r"^weights\[0\] must be a finite number, above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_heads_are_refused(name):
    arguments, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message):
        Heads(*arguments)


def changed(row, column, value):
    def change(y):
        y[row, column] = value
        return y

    return change


BAD_TARGETS = {
    "no class index": (
        changed(5, 0, 0.5),
        r"^In head 0, CrossEntropy\(label_smoothing=0\.0\), of width 3, with column 0 of y: y "
        r"must hold class indices, whole numbers; got 0\.5 in row 5\.",
    ),
    "no such class": (changed(5, 0, 3), r"^In head 0, .* class indices of 0 to 2; got 3 in row 5"),
    "no bit": (
        changed(7, 3, 2),
        r"^In head 2, BinaryC.*, of width 2, with columns 2 to 3 of y: .* got 2\.0 in row 7",
    ),
    "NaN": (changed(2, 4, np.nan), r"^y must be finite; got nan in row 2, column 4\.$"),
    "too few columns": (
        lambda y: y[:, :4],
        r"^y must have the shape \(24, 5\); .* It needs the columns of all heads: 1 for head 0, "
        r"CrossEntropy\(label_smoothing=0\.0\); 1 for head 1, GaussianNLL\(\); 2 for head 2, "
        r"BinaryCrossEntropy\(\); 1 for head 3, HalfMSE\(\)\.$",
    ),
    "words": (
        lambda y: np.array([["a"] * 5] * ROWS),
        r"^y must hold real numbers; .*encode_labels",
    ),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets_name_their_head(name, rng, y):
    change, message = BAD_TARGETS[name]
    with pytest.raises(ArgumentError, match=message):
        model_of().fit(
            rng.normal(size=(ROWS, 5)),
            change(y),
            loss=LOSS,
            optimizer=SGD(),
            epochs=1,
            progress=False,
        )


def test_widths_that_are_not_those_of_the_output(y):
    message = r"^n_out must be 8, the sum of the widths of the heads \(3, 2, 2, 1\); got 9\.$"
    with pytest.raises(ArgumentError, match=message):
        LOSS.check(y, 9, ROWS)
    message = r"^In head 0, GaussianNLL\(\), of width 3, with column 0 of y: n_out must be even for"
    with pytest.raises(ArgumentError, match=message):
        Heads([GaussianNLL()], [3]).check(np.ones((2, 1)), 3, 2)


SETTINGS = {
    "target_scaling": ("standardize", "^target_scaling must be None for Heads, which does not"),
    "class_weight": ([1.0, 2.0, 3.0], "^class_weight must be given for class indices only"),
    "metrics": (
        [rmse],
        r"^metric 'rmse' needs the columns of one head; .* Select them: xpnet\.metric\("
        r"lambda p, t: rmse\(p\[:, 0\], t\[:, 0\]\)",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_one_loss_are_refused(name, rng, y):
    value, message = SETTINGS[name]
    settings = {"loss": LOSS, "optimizer": SGD(), "epochs": 1, "progress": False, name: value}
    with pytest.raises(ArgumentError, match=message):
        model_of().fit(rng.normal(size=(ROWS, 5)), y, **settings)


def test_a_head_without_a_distribution_is_named():
    loss, z = Heads([HalfMSE(), Hinge()], [1, 1]), np.ones((2, 2))
    message = r"^In head 1, Hinge\(\): loss must be one with a predictive distribution"
    with pytest.raises(ArgumentError, match=message):
        loss.fisher_product(z, z)
    message = r"^loss must be one with probabilities; got Heads\(.* Take those of a head: Cross"
    with pytest.raises(ArgumentError, match=message):
        model_of(LOSS).predict_proba(np.ones((2, 5)))


def test_a_head_of_one_column_names_the_column_of_y():
    loss, y = Heads([HalfMSE(), GammaNLL()], [1, 1]), np.array([[1.0, 2.0], [1.0, -3.0]])
    message = r"^In head 1, GammaNLL\(\), of width 1, with column 1 of y: .* got -3\.0 in row 1\. T"
    with pytest.raises(ArgumentError, match=message):
        loss.check(y, 2, 2)


def test_heads_have_the_advice_of_an_infinite_head():
    assert Heads([HalfMSE(), Ordinal()], [1, 2]).if_infinite == Ordinal.if_infinite
    assert Heads([HalfMSE()], [1]).if_infinite == HalfMSE.if_infinite
