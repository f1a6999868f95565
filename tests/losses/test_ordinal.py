"""Ordered classes: probabilities, names, logits that are not in order, files."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet
from xpnet import MLP, Adam, Ordinal
from xpnet.errors import ArgumentError, NonFiniteError
from xpnet.metrics import accuracy

RNG = np.random.default_rng(3)
ORDERED = -np.sort(-3.0 * RNG.normal(size=(20, 3)), axis=1)
SIZES = ["small", "medium", "large"]


@pytest.fixture
def sizes():
    """Rows of two classes, the ends, which logits in any order can have."""
    X = RNG.normal(size=(40, 2))
    return X, np.where(X[:, 0] > 0, "large", "small")


def test_probabilities_sum_to_one(place):
    p = place.host(Ordinal().probabilities(place.array(ORDERED)))
    assert p.shape == (20, 4)
    assert (p > 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-14)
    found = [float(Ordinal().value(ORDERED[i : i + 1], np.array([2]))) for i in range(20)]
    np.testing.assert_allclose(found, -np.log(p[:, 2]), rtol=1e-12)


def test_small_probabilities_keep_their_digits():
    p = Ordinal().probabilities(np.array([[60.0, 59.5], [0.25, 0.25 - 2.0**-50]]))
    expected = np.exp(-59.5) - np.exp(-60.0), 2.0**-50 / (4 * np.cosh(0.125) ** 2)
    np.testing.assert_allclose(p[:, 1], expected, rtol=1e-12)


def test_scores_are_log_odds_of_each_class(place):
    p = Ordinal().probabilities(ORDERED)
    scores = place.host(Ordinal().scores(place.array(ORDERED)))
    np.testing.assert_allclose(scores, np.log(p) - np.log1p(-p), rtol=1e-9)
    one = ORDERED[:, :1]
    np.testing.assert_array_equal(place.host(Ordinal().scores(place.array(one))), one[:, 0])


def test_logits_out_of_order_have_no_probability(place):
    z, v = place.array([[1.0, 2.0], [1.0, 1.0], [2.0, 1.0]]), place.array(np.ones((3, 2)))
    value, grad = Ordinal().value_and_grad(z, place.array([1, 1, 1], None))
    assert float(value) == np.inf
    grad = place.host(grad)
    assert np.array_equal(grad[:2], [[-np.inf, np.inf]] * 2)  # toward the right order
    assert np.isfinite(grad[2]).all()
    assert place.host(Ordinal().probabilities(z))[0, 1] == 0.0
    assert np.isfinite(place.host(Ordinal().fisher_product(z, v))).all()
    value, grad = Ordinal().value_and_grad(z, place.array([0, 2, 0], None))
    assert np.isfinite(float(value))
    assert np.isfinite(place.host(grad)).all()


def test_training_on_logits_out_of_order_ends():
    model, y = MLP(2, [], 3), np.arange(40) % 4
    with pytest.raises(NonFiniteError, match=r"^the loss .* end the network with Ordered"):
        model.fit(
            RNG.normal(size=(40, 2)), y, loss=Ordinal(), optimizer=Adam(), epochs=1, progress=False
        )


def test_names_are_in_the_given_order(sizes, tmp_path):
    X, y = sizes
    model = MLP(2, [4], 2, classes=SIZES, dtype="float64")
    fit = {"optimizer": Adam(0.05), "epochs": 30, "progress": False, "metrics": [accuracy]}
    history = model.fit(X, y, loss=Ordinal(), **fit)
    assert history["accuracy"][-1] == np.mean(model.predict(X) == y) > 0.5
    assert model.predict_proba(X).shape == (40, 3)
    model.save(tmp_path / "sizes.safetensors")
    again = xpnet.load(tmp_path / "sizes.safetensors")
    assert (again.classes, again.loss) == (tuple(SIZES), Ordinal())
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_names_without_an_order_are_refused(sizes):
    message = (
        r"^classes must be given for Ordinal, which needs their order; got None\. Name them "
        r"from the lowest to the highest"
    )
    with pytest.raises(ArgumentError, match=message):
        MLP(2, [4], 2).fit(*sizes, loss=Ordinal(), optimizer=Adam(), progress=False)


def test_wrong_numbers_of_names_are_refused(sizes):
    with pytest.raises(ArgumentError, match=r"^classes must be 4 distinct names"):
        MLP(2, [], 3, classes=SIZES, loss=Ordinal())
    with pytest.raises(ArgumentError, match=r"^classes must be 2 distinct names"):
        MLP(2, [], 2, classes=SIZES, loss=xpnet.CrossEntropy())
    model, fit = MLP(2, [], 2, classes=SIZES), {"optimizer": Adam(), "progress": False}
    with pytest.raises(ArgumentError, match=r"network with 3 outputs \(n_out=3\)"):
        model.fit(*sizes, loss=xpnet.CrossEntropy(), **fit)
    model = MLP(2, [], 3, classes=SIZES)
    with pytest.raises(ArgumentError, match="y must have 4 classes for 3 outputs"):
        model.fit(*sizes, loss=Ordinal(), **fit)


def test_labels_from_one_are_names(sizes):
    X, y = sizes
    model = MLP(2, [], 2)
    stars = np.where(y == "large", 3, 1)
    model.fit(X, stars, loss=Ordinal(), optimizer=Adam(0.1), epochs=40, progress=False)
    assert model.classes == (1, 2, 3)
    assert np.mean(model.predict(X) == stars) > 0.9
