"""Random and stratified splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.data import train_test_split
from xpnet.errors import ArgumentError


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(2, 20), min_size=1, max_size=5),
    fraction=st.floats(0.01, 0.99),
    stratify=st.booleans(),
    seed=st.integers(0, 99),
)
def test_split_is_a_partition(counts: list[int], fraction: float, stratify: bool, seed: int):
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


def test_split_depends_on_the_seed_not_the_backend(place):
    X, y = np.arange(24.0).reshape(12, 2), np.arange(12) % 3
    expected = train_test_split(X, y, 0.25, np.random.default_rng(3), stratify=True)
    found = train_test_split(place.array(X), place.array(y), 0.25, 3, stratify=True)
    for one, other in zip(expected, found, strict=True):
        assert place.backend.owns(other)
        np.testing.assert_array_equal(place.host(other), one)
    again = train_test_split(X, y, 0.25, 4, stratify=True)
    assert not np.array_equal(again[1], expected[1])


@pytest.mark.parametrize("stratify", [False, True])
def test_split_is_random_and_in_random_order(stratify: bool):
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
def test_invalid_arguments_are_refused(arguments: tuple, message: str):
    with pytest.raises(ArgumentError, match=message):
        train_test_split(*arguments)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", "a", "b"]), "y must have two rows or more of every class; got one .* b"),
        (np.eye(3), "y must be 1-D class labels to be stratified"),
    ],
)
def test_invalid_strata_are_refused(y: np.ndarray, message: str):
    with pytest.raises(ArgumentError, match=message):
        train_test_split(np.eye(3), y, stratify=True)
