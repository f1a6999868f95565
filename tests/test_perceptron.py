"""The perceptron: its rule, its bound and its variants, on every backend."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import ArgumentError, Perceptron
from xpnet.perceptron import Separator, mistake_bound, widest_separator

SEEDS = st.integers(0, 2**32 - 1)
drawn = settings(derandomize=True, deadline=None, max_examples=40)


def separable(seed, m=40, n=3, least=0.05):
    """Return rows on both sides of a random hyperplane, at a distance of at least ``least``."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(n)
    b = -w @ rng.uniform(-1, 1, n)
    X = rng.uniform(-2, 2, (20 * m, n))
    scores = (X @ w + b) / np.linalg.norm(w)
    X, scores = X[np.abs(scores) > least], scores[np.abs(scores) > least]
    keep = np.sort(np.append(np.argmax(scores), np.append(np.argmin(scores), np.arange(m))))
    return X[keep], np.where(scores[keep] > 0, 1, -1)


def noisy(seed, m=60):
    """Return rows of two overlapping classes."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(m) % 2) * 2 - 1
    return rng.standard_normal((m, 2)) + 0.7 * y[:, None], y


def textbook(X, y, max_passes):
    """Apply the rule row by row; return the weights, their sum and the mistakes."""
    rows = [t * np.append(x, 1.0) for x, t in zip(X, y, strict=True)]
    w, total, mistakes = np.zeros(len(rows[0])), np.zeros(len(rows[0])), []
    n_passes, before = 0, -1
    while n_passes < max_passes and before < len(mistakes):
        n_passes, before = n_passes + 1, len(mistakes)
        for i, row in enumerate(rows):
            if w @ row <= 0:
                w = w + row
                mistakes.append(i)
            total += w
    return w, total / (n_passes * len(rows)), mistakes, n_passes


def ratchet(X, y, max_passes):
    """Return the training errors of the pocket and of the last weights."""
    rows = y[:, None] * np.append(X, np.ones((len(X), 1)), axis=1)
    w, run, longest, fewest = np.zeros(rows.shape[1]), 0, 0, len(rows)
    for i in np.tile(np.arange(len(rows)), max_passes):
        if w @ rows[i] > 0:
            run += 1
            errors = np.sum(rows @ w <= 0)
            if run >= longest and errors < fewest:
                fewest = errors
                held = w
            if run > longest and errors == fewest and held is w:
                longest = run
        else:
            w, run = w + rows[i], 0
    return min(fewest, np.sum(rows @ w <= 0))


def n_errors(separator, X, y):
    """Count the training errors; a row on the hyperplane is one."""
    return int(np.sum(y * (X @ separator.w + separator.b) <= 0))


@pytest.mark.parametrize("data", [separable(3), separable(4, m=200, n=10), noisy(5)])
def test_fit_agrees_with_the_rule_row_by_row(data):
    X, y = data
    w, mean, mistakes, n_passes = textbook(X, y, 50)
    result = Perceptron(max_passes=50).fit(X, y)
    np.testing.assert_allclose(np.append(result.w, result.b), w, rtol=1e-12)
    np.testing.assert_allclose(
        np.append(result.averaged.w, result.averaged.b), mean, rtol=1e-9, atol=1e-12
    )
    assert result.mistakes.tolist() == mistakes
    assert (result.n_mistakes, result.n_passes) == (len(mistakes), n_passes)


def test_every_backend_makes_the_same_mistakes(place):
    for features, y in (separable(7), noisy(8)):
        X = features.astype("float32")
        here = Perceptron(max_passes=30).fit(X, y)
        there = Perceptron(max_passes=30).fit(place.array(X), place.array(y))
        assert there.mistakes.tolist() == here.mistakes.tolist()
        assert place.backend.owns(there.w)
        np.testing.assert_array_equal(place.host(there.w), here.w)
        predicted = there.predict(place.array(X))
        assert place.backend.owns(predicted)
        np.testing.assert_array_equal(place.host(predicted), here.predict(X))
        np.testing.assert_array_equal(place.host(there.predict(X)), here.predict(X))


@pytest.mark.slow
@drawn
@given(SEEDS, st.integers(1, 6))
def test_mistakes_stay_below_the_bound(seed, n):
    X, y = separable(seed, n=n)
    result = Perceptron(max_passes=100_000).fit(X, y)
    assert result.converged
    np.testing.assert_array_equal(result.predict(X), y)
    assert result.n_mistakes <= result.mistake_bound
    assert result.mistake_bound == pytest.approx(mistake_bound(X, y, result.last), rel=1e-9)
    assert n_errors(result.pocket, X, y) == 0
    tightest = mistake_bound(X, y, widest_separator(X, y, tol=0.01))
    assert result.n_mistakes <= tightest <= result.mistake_bound * 1.03


@drawn
@given(SEEDS)
def test_last_weights_are_the_sum_of_the_mistakes(seed):
    X, y = noisy(seed)
    result = Perceptron(max_passes=20).fit(X, y)
    rows = y[:, None] * np.append(X, np.ones((len(X), 1)), axis=1)
    path = np.cumsum(rows[result.mistakes], axis=0)
    np.testing.assert_allclose(np.append(result.w, result.b), path[-1], atol=1e-9)
    before = np.vstack([np.zeros(3), path[:-1]])
    assert np.all(np.sum(before * rows[result.mistakes], axis=1) <= 1e-9)


@drawn
@given(SEEDS)
def test_pocket_has_no_more_errors_than_last(seed):
    X, y = noisy(seed)
    result = Perceptron(max_passes=20).fit(X, y)
    assert n_errors(result.pocket, X, y) <= n_errors(result.last, X, y)


@pytest.mark.parametrize("seed", range(8))
def test_pocket_is_the_best_of_the_long_runs(seed):
    X, y = noisy(seed, m=200)
    result = Perceptron(max_passes=5).fit(X, y)
    assert n_errors(result.pocket, X, y) == ratchet(X, y, 5)


def test_pocket_and_average_help_overlapping_classes():
    last, averaged, pocket = 0, 0, 0
    for seed in range(20):
        X, y = noisy(seed, m=100)
        result = Perceptron(max_passes=20).fit(X, y)
        last += n_errors(result.last, X, y)
        averaged += n_errors(result.averaged, X, y)
        pocket += n_errors(result.pocket, X, y)
    assert pocket < 0.75 * last
    assert averaged < 0.9 * last


def test_inseparable_rows_end_without_convergence():
    X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [-1, 1, 1, -1]
    result = Perceptron(max_passes=25).fit(X, y)
    assert not result.converged
    assert result.n_passes == 25
    assert result.mistake_bound == math.inf
    assert result.margin <= 0
    assert str(result).startswith("not converged after 25 passes: ")
    assert n_errors(result.pocket, np.array(X), np.array(y)) <= 2


def test_str_reports_a_single_correction():
    result = Perceptron().fit([[1.0], [-1.0]], [1, -1])
    assert (result.w.tolist(), result.b) == ([2.0], 0.0)
    assert (result.n_mistakes, result.n_passes) == (2, 2)
    assert result.radius == pytest.approx(math.sqrt(2))
    assert result.margin == pytest.approx(1.0)
    assert str(result) == (
        "converged after 2 passes: 2 mistakes, at most 2 by (R/γ)² with R = 1.414, γ = 1."
    )


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [
        ([-1, 1], [-1, 1]),
        ([-1.0, 1.0], [-1, 1]),
        ([0, 1], [0, 1]),
        ([7, 3], [7, 3]),
        ([False, True], [0, 1]),
        (["cat", "dog"], ["cat", "dog"]),
    ],
)
def test_predict_returns_the_names_of_the_classes(labels, predicted):
    assert Perceptron().fit([[-1.0], [1.0]], labels).predict([[-2.0], [2.0]]).tolist() == predicted


def test_widest_separator_agrees_with_slsqp(place):
    X = place.array(np.array([[-3.0, 0.0], [-1.0, 1.0], [3.0, 5.0], [4.0, 0.0]]))
    separator = widest_separator(X, place.array(np.array([-1, -1, 1, 1])), tol=1e-6)
    # The bias is one of the weights: the margin is that of [x, 1], not of x.
    rows = np.array([[3.0, 0, -1], [1, -1, -1], [3, 5, 1], [4, 0, 1]])
    v = np.append(place.host(separator.w), separator.b)
    assert np.min(rows @ v) == pytest.approx(1.0)
    scipy = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    best = scipy.minimize(
        lambda u: (0.5 * u @ u, u),
        np.array([1.0, 0, 0]),
        jac=True,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda u: rows @ u - 1, "jac": lambda u: rows},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(v, best.x, atol=1e-5)


BAD = [
    (lambda: Perceptron(max_passes=0), "max_passes must be an integer of at least 1; got 0."),
    (
        lambda: Perceptron().fit([1.0, 2.0], [1, -1]),
        r"X must have shape \(rows, columns\); got a float64 array of shape \(2,\)\.",
    ),
    (
        lambda: Perceptron().fit([[1.0], [math.nan]], [1, -1]),
        "X must be finite; got nan in row 1, column 0.",
    ),
    (
        lambda: Perceptron().fit([[1.0], [1e101]], [1, -1]),
        r"X must be within ±1e\+100; got 1e\+101\.",
    ),
    (
        lambda: Perceptron().fit([[1.0]], [1, -1]),
        "y must have one row for each of the 1 rows of X; got 2 rows.",
    ),
    (
        lambda: Perceptron().fit([[1.0], [2.0], [3.0]], [0, 1, 2]),
        "y must hold two classes; got 3: 0, 1, 2.",
    ),
    *(
        (
            lambda bad=bad: Perceptron().fit([[1.0], [2.0]], [1.0, bad]),
            "y must hold strings or integers; got a float64 array",
        )
        for bad in (math.inf, -math.inf, math.nan, 0.5, 1e300)
    ),
    (
        lambda: mistake_bound([[1.0], [-1.0]], [1, -1], Perceptron().fit([[1.0], [-1.0]], [1, -1])),
        r"separator must be a Separator; got FittedPerceptron\(.*Pass its attribute last",
    ),
    (lambda: Perceptron().fit([[1.0], [2.0]], [1, 1]), "y must hold two classes; got 1: 1."),
    (lambda: Perceptron().fit([[1.0], [2.0]], [0.5, 1]), "y must hold strings or integers; got"),
    (
        lambda: Perceptron().fit([[1.0], [-1.0]], [1, -1]).predict([[1.0, 2.0]]),
        r"X must have 1 column, as many as the input has; got a float64 array of shape \(1, 2\)\.",
    ),
    (
        lambda: mistake_bound([[1.0], [-1.0]], [1, -1], Separator(np.array([-1.0]), 0.0)),
        "separator must have every row on the side of its class; got a margin of -1.",
    ),
    (
        lambda: mistake_bound([[1.0], [-1.0]], [1, -1], Separator(np.array([1.0, 0.0]), 0.0)),
        r"separator must have 1 weight, one for each column of X; got a float64 arr",
    ),
    (
        lambda: mistake_bound([[1.0], [-1.0]], [1, -1], np.array([1.0])),
        "separator must be a Separator; got a float64 array",
    ),
    (
        lambda: widest_separator([[0.0], [1.0], [2.0]], [1, -1, 1], max_passes=50),
        "X must be separated by a hyperplane, which 50 passes did not find",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_invalid_input_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
