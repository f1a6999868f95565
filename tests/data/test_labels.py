"""Encoding of labels, and class weights."""

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
def test_encoded_labels_are_recovered(y: list):
    indices, classes = encode_labels(y)
    assert classes[indices].tolist() == y
    assert classes.tolist() == sorted(set(y))
    assert indices.dtype == np.int64
    reverse = classes[::-1]
    assert reverse[encode_labels(y, reverse)[0]].tolist() == y


def test_labels_are_encoded_on_every_backend(place):
    indices, classes = encode_labels(place.array([7, 3, 7], "int64"))
    assert (indices.tolist(), classes.tolist()) == ([1, 0, 1], [3, 7])


def test_strings_of_a_data_frame_are_encoded():
    assert encode_labels(np.array(["b", "a"], dtype=object))[0].tolist() == [1, 0]


def test_one_hot_equals_rows_of_the_identity(place):
    y = np.array([2, 0, 1, 2])
    for dtype in ("uint8", "int64"):
        for wanted in ("float32", "float64"):
            rows = one_hot(place.array(y, dtype), 4, wanted)
            assert place.backend.owns(rows)
            assert str(rows.dtype).endswith(wanted)
            np.testing.assert_array_equal(place.host(rows), np.eye(4)[y])


def test_one_hot_of_uint8_has_more_than_256_classes():
    assert one_hot(np.array([200], dtype="uint8"), 300).argmax() == 200


def test_balanced_weights_of_names_are_in_sorted_order():
    names = ["no", "no", "no", "yes"]
    expected = balanced_class_weights([0, 0, 0, 1]).tolist()
    for labels in (names, np.array(names), np.array(names, dtype=object)[:, None]):
        assert balanced_class_weights(labels).tolist() == expected


@settings(derandomize=True, deadline=None, max_examples=50)
@given(y=st.lists(st.integers(0, 6), min_size=1))
def test_balanced_classes_have_equal_total_weight(y: list[int]):
    w = sample_weights(y, balanced_class_weights(y))
    shares = [w[np.array(y) == k].sum() for k in set(y)]
    np.testing.assert_allclose(shares, len(y) / len(set(y)))


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [([1, 2, 3], [3, 1, 2]), ({0: 0.5}, [1, 0.5, 1]), ({}, [1, 1, 1]), ({2: 4, 9: 1}, [4, 1, 1])],
)
def test_sample_weights_are_those_of_the_class(place, class_weight, expected: list[float]):
    weights = sample_weights(place.array([2, 0, 1], "int64"), class_weight)
    assert weights.tolist() == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_labels([0.5, 1.0]), "y must hold strings or integers; got a float64 array"),
        (lambda: encode_labels(["a", None]), "y must hold strings or integers"),
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
        (lambda: balanced_class_weights([0.5]), "which are integers; .* See encode_labels"),
        (lambda: sample_weights([0, 2], [1, 1]), "a weight for each of 3 classes; got 2 weights"),
        (lambda: sample_weights([0], [-1.0]), r"class_weight\[0\] must be .* at least 0; got -1"),
        (lambda: sample_weights([0], {"a": 1.0}), "a key of class_weight must be an integer"),
    ],
)
def test_invalid_arguments_are_refused(call, message: str):
    with pytest.raises(ArgumentError, match=message):
        call()
