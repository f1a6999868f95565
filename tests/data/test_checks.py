"""Validation of X and of lengths, on every backend and in chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpnet import finite
from xpnet.data import check_features, check_same_length
from xpnet.errors import ArgumentError
from xpnet.finite import row_chunks


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_valid_features_pass(place, dtype: str):
    check_features(place.array(np.ones((3, 2)), dtype), 2)
    check_features(place.array(np.ones((3, 2)), dtype))


BAD = [
    (np.zeros(3), 3, r"inputs must have shape \(rows, columns\); .*write inputs\[None"),
    (np.zeros((2, 3, 1)), 3, r"shape \(rows, columns\); got a float64 array of shape \(2, 3, 1\)"),
    (np.zeros((2, 3)), 4, r"inputs must have 4 columns, as many as the input has; .*\(2, 3\)"),
    (np.zeros((2, 3)), 1, r"inputs must have 1 column, "),
    (np.zeros((0, 3)), 3, "inputs must have at least one row"),
    (np.zeros((3, 0)), None, "inputs must have at least one column"),
    (np.array([[0.0, 1], [np.inf, np.nan]]), 2, "be finite; got inf in row 1, column 0"),
    (np.array([[0.0, -np.inf]]), 2, "be finite; got -inf in row 0, column 1"),
    (np.array([[0.0], [np.nan]]), 1, "be finite; got nan in row 1, column 0"),
]


@pytest.mark.parametrize(("X", "n_in", "message"), BAD)
def test_invalid_features_are_refused(place, X: np.ndarray, n_in: int | None, message: str):
    with pytest.raises(ArgumentError, match=message):
        check_features(place.array(X), n_in, "inputs")


@pytest.mark.parametrize(
    "X",
    [
        np.array([["1", "2"]]),
        np.array([[1j]]),
        np.array([[1, None]], dtype=object),
        np.array([["2020-01-01"]], dtype="M8[D]"),
        np.zeros((2, 2), dtype=[("a", "f8")]),
    ],
    ids=["text", "complex", "object", "time", "record"],
)
def test_dtypes_that_are_not_real_are_refused(X: np.ndarray):
    with pytest.raises(ArgumentError, match="X must hold real numbers; got a"):
        check_features(X)


def test_lists_are_refused():
    with pytest.raises(ArgumentError, match="must be of one of the libraries numpy, cupy, torch"):
        check_features([[1.0]])


@pytest.mark.parametrize("row", [0, 6, 7, 49])
def test_memmaps_are_checked_in_chunks(tmp_path: Path, monkeypatch, row: int):
    X = np.memmap(tmp_path / "X", dtype="float32", mode="w+", shape=(50, 3))
    monkeypatch.setattr(finite, "CHUNK", 21)
    assert [len(chunk) for _, chunk in row_chunks(X)] == [7] * 7 + [1]
    check_features(X, 3)
    X[row, 2] = X[49, 2] = np.nan
    with pytest.raises(ArgumentError, match=f"got nan in row {row}, column 2"):
        check_features(X, 3)


def test_different_lengths_are_refused(place):
    X = place.array(np.zeros((3, 2)))
    check_same_length(X, place.array(np.zeros(3)))
    with pytest.raises(
        ArgumentError, match="t must have one row for each of the 3 rows of X; got 1"
    ):
        check_same_length(X, place.array(np.zeros(1)), second="t")
    with pytest.raises(ArgumentError, match="y must have rows"):
        check_same_length(X, place.array(np.zeros(())))
