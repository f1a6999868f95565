"""Labels, weights and splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data import (
    balanced_class_weights,
    encode_labels,
    one_hot,
    sample_weights,
    train_test_split,
)
from xpnet.errors import ArgumentError


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    y=st.one_of(
        st.lists(st.integers(-5, 5), min_size=1),
        st.lists(st.text("abé ", min_size=1, max_size=3), min_size=1),
        st.lists(st.booleans(), min_size=1),
    )
)
def test_encoded_labels_come_back(y: list):
    indices, classes = encode_labels(y)
    assert classes[indices].tolist() == y
    assert classes.tolist() == sorted(set(y))
    assert indices.dtype == np.int64
    reverse = classes[::-1]
    assert reverse[encode_labels(y, reverse)[0]].tolist() == y


def test_labels_of_every_backend(place):
    indices, classes = encode_labels(place.array([7, 3, 7], "int64"))
    assert (indices.tolist(), classes.tolist()) == ([1, 0, 1], [3, 7])


def test_text_of_a_data_frame():
    assert encode_labels(np.array(["b", "a"], dtype=object))[0].tolist() == [1, 0]


def test_one_hot(place):
    y = np.array([2, 0, 1, 2])
    for dtype in ("uint8", "int64"):
        for wanted in ("float32", "float64"):
            rows = one_hot(place.array(y, dtype), 4, wanted)
            assert place.backend.owns(rows)
            assert str(rows.dtype).endswith(wanted)
            np.testing.assert_array_equal(place.host(rows), np.eye(4)[y])


def test_one_hot_of_more_classes_than_a_byte_counts():
    assert one_hot(np.array([200], dtype="uint8"), 300).argmax() == 200


@settings(derandomize=True, deadline=None, max_examples=50)
@given(y=st.lists(st.integers(0, 6), min_size=1))
def test_balanced_weights_give_each_class_the_same_share(y: list[int]):
    w = sample_weights(y, balanced_class_weights(y))
    shares = [w[np.array(y) == k].sum() for k in set(y)]
    np.testing.assert_allclose(shares, len(y) / len(set(y)))


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [([1, 2, 3], [3, 1, 2]), ({0: 0.5}, [1, 0.5, 1]), ({}, [1, 1, 1]), ({2: 4, 9: 1}, [4, 1, 1])],
)
def test_sample_weights(place, class_weight, expected: list[float]):
    weights = sample_weights(place.array([2, 0, 1], "int64"), class_weight)
    assert weights.tolist() == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_labels([0.5, 1.0]), "y must hold words or integers; got a float64 array"),
        (lambda: encode_labels(["a", None]), "y must hold words or integers"),
        (lambda: encode_labels([]), "y must be 1-D and not empty"),
        (lambda: encode_labels([["a"]]), "y must be 1-D"),
        (lambda: encode_labels(["a", "zoo"], ["a", "zo"]), "row 1 of y must be .*mean 'zo'"),
        (lambda: encode_labels([1, 2], ["1", "2"]), "y must hold labels of the kind of classes"),
        (lambda: encode_labels(["a"], ["a", "a"]), "classes must be distinct"),
        (lambda: one_hot(np.array([0, 3]), 3), "y must hold class indices of 0 to 2; got 3"),
        (lambda: one_hot(np.array([-1, 0]), 3), "y must hold class indices of 0 to 2; got -1"),
        (lambda: one_hot(np.array([0.0]), 3), "y must hold class indices, which are integers"),
        (lambda: one_hot(np.array([[0]]), 3), "y must be 1-D"),
        (lambda: one_hot(np.array([0]), 0), "n_classes must be an integer of at least 1"),
        (lambda: one_hot(np.array([0]), 2, "float99"), "dtype must be one of"),
        (lambda: balanced_class_weights([-1]), "y must hold class indices of at least 0; got -1"),
        (lambda: balanced_class_weights(["a"]), "which are integers; .* See encode_labels"),
        (lambda: sample_weights([0, 2], [1, 1]), "a weight for each of 3 classes; got 2 weights"),
        (lambda: sample_weights([0], [-1.0]), r"class_weight\[0\] must be .* at least 0; got -1"),
        (lambda: sample_weights([0], {"a": 1.0}), "a key of class_weight must be an integer"),
    ],
)
def test_bad_labels(call, message: str):
    with pytest.raises(ArgumentError, match=message):
        call()


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(2, 20), min_size=1, max_size=5),
    fraction=st.floats(0.01, 0.99),
    stratify=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_split_is_a_partition(counts: list[int], fraction: float, stratify: bool, seed: int):
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.arange(len(y))[:, None]
    X_train, X_test, y_train, y_test = train_test_split(X, y, fraction, seed, stratify=stratify)
    assert sorted([*X_train[:, 0], *X_test[:, 0]]) == list(range(len(y)))
    np.testing.assert_array_equal(y[X_train[:, 0]], y_train)
    np.testing.assert_array_equal(y[X_test[:, 0]], y_test)
    assert len(y_test) == min(max(round(len(y) * fraction), 1), len(y) - 1)
    if stratify:
        exact = np.array(counts) * len(y_test) / len(y)
        assert (np.abs(np.bincount(y_test, minlength=len(counts)) - exact) < 1).all()


def test_a_split_is_the_same_on_every_backend_and_for_a_seed(place):
    X, y = np.arange(24.0).reshape(12, 2), np.arange(12) % 3
    expected = train_test_split(X, y, 0.25, np.random.default_rng(3), stratify=True)
    found = train_test_split(place.array(X), place.array(y), 0.25, 3, stratify=True)
    for one, other in zip(expected, found, strict=True):
        assert place.backend.owns(other)
        np.testing.assert_array_equal(place.host(other), one)
    again = train_test_split(X, y, 0.25, 4, stratify=True)
    assert not np.array_equal(again[1], expected[1])


@pytest.mark.parametrize("stratify", [False, True])
def test_a_split_is_at_random_and_in_random_order(stratify: bool):
    X, y = np.arange(100)[:, None], np.arange(100) // 50
    for part in train_test_split(X, y, 0.5, stratify=stratify)[:2]:
        assert (np.diff(part[:, 0]) < 0).any()
        for first in (0, 50):
            inside = part[(part >= first) & (part < first + 50)]
            assert 0 < (inside < first + 25).sum() < 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3), np.zeros(2)), "y must have one row for each of the 3 rows of X; got 2 rows"),
        ((np.eye(1), np.zeros(1)), "X must have at least two rows; got 1"),
        ((np.eye(3), np.zeros(3), 0.0), "test_fraction must be .*above 0 and below 1; got 0.0"),
        ((np.eye(3), np.zeros(3), 1), "test_fraction must be .*below 1; got 1"),
        ((np.eye(3), np.zeros(3), 0.5, -1), "rng must be a seed"),
    ],
)
def test_bad_splits(arguments: tuple, message: str):
    with pytest.raises(ArgumentError, match=message):
        train_test_split(*arguments)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", "a", "b"]), "y must have two rows or more of every class; got one .* b"),
        (np.eye(3), "y must be 1-D class labels to be stratified"),
    ],
)
def test_bad_stratified_splits(y: np.ndarray, message: str):
    with pytest.raises(ArgumentError, match=message):
        train_test_split(np.eye(3), y, stratify=True)
