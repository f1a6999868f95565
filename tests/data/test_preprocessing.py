"""Scalings: fitted values, every backend, chunks, invalid arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet import finite
from xpnet.data import MinMax, Standardize
from xpnet.errors import ArgumentError

matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False),
)


def fits(X):
    return [Standardize.fit(X), MinMax.fit(X), MinMax.fit(X, to=(-1.0, 3.0))]


def test_standardize_follows_its_formula(place, rng):
    X = rng.normal(3, 2, (50, 4))
    scaling = Standardize.fit(place.array(X))
    np.testing.assert_allclose(scaling.mean, X.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(scaling.std, X.std(axis=0), rtol=1e-14)
    Z = scaling.apply(place.array(X))
    assert place.backend.owns(Z)
    np.testing.assert_allclose(place.host(Z), (X - X.mean(axis=0)) / X.std(axis=0), atol=1e-14)


def test_minmax_follows_its_formula(place, rng):
    X = rng.normal(3, 2, (50, 4))
    scaling = MinMax.fit(place.array(X), to=(-1.0, 3.0))
    Z = place.host(scaling.apply(place.array(X)))
    low, high = X.min(axis=0), X.max(axis=0)
    np.testing.assert_allclose(Z, -1 + (X - low) * 4 / (high - low), atol=1e-14)
    np.testing.assert_allclose(Z.min(axis=0), -1, atol=1e-14)
    np.testing.assert_allclose(Z.max(axis=0), 3, atol=1e-14)


def test_apply_keeps_input_dtype_and_device(place32, rng):
    X = rng.normal(size=(5, 3)).astype("float32")
    given_array = place32.array(X)
    for scaling in fits(X):
        Z = scaling.apply(given_array)
        assert Z.dtype == given_array.dtype
        assert Z.device == given_array.device
        np.testing.assert_array_equal(place32.host(given_array), X)
        np.testing.assert_allclose(place32.host(scaling.invert(Z)), X, atol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(X=matrices)
def test_invert_is_the_inverse_of_apply(X: np.ndarray):
    for scaling in fits(X):
        back = scaling.invert(scaling.apply(X))
        np.testing.assert_allclose(back, X, rtol=0, atol=1e-9 * max(1, np.abs(X).max()))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(X=matrices, chunk=st.integers(1, 12))
def test_fit_in_chunks_equals_fit_of_all_rows(X: np.ndarray, chunk: int):
    whole = fits(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite, "CHUNK", chunk)
        parts = fits(X)
    scale = max(1, np.abs(X).max())
    for one, other in zip(whole, parts, strict=True):
        for name, value in one.arrays().items():
            np.testing.assert_allclose(other.arrays()[name], value, rtol=1e-12, atol=1e-13 * scale)


def test_fit_far_from_zero_has_no_cancellation(tmp_path: Path, monkeypatch, rng):
    X = np.memmap(tmp_path / "X", dtype="float64", mode="w+", shape=(1000, 2))
    X[...] = 1e9 + rng.normal(size=X.shape)
    monkeypatch.setattr(finite, "CHUNK", 64)
    scaling = Standardize.fit(X)
    np.testing.assert_allclose(scaling.std, np.std(np.asarray(X) - 1e9, axis=0), rtol=1e-6)


def ulps(value, dtype, *counts):
    """``value`` plus numbers of units in its last place, as a column of ``dtype``."""
    value = np.dtype(dtype).type(value)
    return (value + np.array(counts, dtype) * np.spacing(value))[:, None]


CONSTANT = {
    "0.1 and its neighbour": ulps(0.1, "float64", 0, 0, 1),
    "0.1 and its neighbour, float32": ulps(0.1, "float32", 0, 1, 0),
    "both neighbours of 1e9": ulps(1e9, "float32", -1, 0, 1, 0),
    "both neighbours of -1e6": ulps(-1e6, "float32", -1, 0, 1, 0),
    "sums of 0.1": np.array([[0.1 + 0.2], [0.3]]),
    "neighbour below a power of two": ulps(1.0, "float64", 0, -0.5),
    "largest": ulps(-3.4e38, "float32", 0, 1),
    "largest of float64": ulps(1.7e308, "float64", 0, -1),
    "many": np.full((10**6, 1), 0.1, "float32"),
    "many, float64": np.full((10**6, 1), 0.1),
    "integers": np.full((5, 1), 2**40),
}

VARYING = {
    "mean 1e6, std 1": (1e6 + np.random.default_rng(0).standard_normal((100, 1))).astype("f4"),
    "mean 1, std 1e-6": 1 + 1e-6 * np.random.default_rng(0).standard_normal((100, 1)),
    "mean 1e9, std 1": 1e9 + np.random.default_rng(0).standard_normal((100, 1)),
    "three ulp": ulps(1.0, "float32", 0, 3),
    "tiny": np.array([[0.0], [1e-30]]),
    "neighbouring integers": np.array([[10**9], [10**9 + 1]]),
    "bytes": np.array([[254], [255]], "uint8"),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_constant_but_for_rounding_is_zero(place, name, monkeypatch):
    monkeypatch.setattr(finite, "CHUNK", 4096)
    X = place.array(CONSTANT[name], str(CONSTANT[name].dtype))
    for scaling in fits(X):
        Z = place.host(scaling.apply(X))
        np.testing.assert_array_equal(Z, np.zeros_like(Z))
        restored = place.host(scaling.invert(place.array(Z, str(Z.dtype)))).astype("float64")
        np.testing.assert_allclose(restored, CONSTANT[name].astype("float64"), rtol=2e-3)
    assert Standardize.fit(X).std == 0
    assert CONSTANT[name].min() <= Standardize.fit(X).mean <= CONSTANT[name].max()


@pytest.mark.parametrize("name", VARYING)
def test_small_variation_is_not_constant(place, name):
    X = place.array(VARYING[name], str(VARYING[name].dtype))
    exact = VARYING[name].astype("float64")
    np.testing.assert_allclose(Standardize.fit(X).std, exact.std(axis=0), rtol=1e-6)
    scaling = MinMax.fit(X)
    assert (scaling.low, scaling.high) == (exact.min(), exact.max())


def test_constant_columns_of_mapped_files_are_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(finite, "CHUNK", 64)
    X = np.memmap(tmp_path / "X.dat", np.float32, "w+", shape=(1000, 2))
    X[:, 0], X[:, 1] = 1e9, np.arange(1000)
    X[700, 0] = np.nextafter(np.float32(1e9), np.float32(0))
    assert (Standardize.fit(X).std > 0).tolist() == [False, True]
    assert (MinMax.fit(X).high > MinMax.fit(X).low).tolist() == [False, True]


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e300])
def test_constant_column_is_zero_and_restored(place, value: float):
    X = np.array([[value, 1.0], [value, 2.0], [value, 4.0]])
    scalings = [
        Standardize.fit(X[:, :1]),
        MinMax.fit(X[:, :1]),
        MinMax.fit(X[:, :1], to=(2.0, 3.0)),
    ]
    for scaling in scalings:
        Z = scaling.apply(place.array(X[:, :1]))
        assert place.host(Z).tolist() == [[0.0]] * 3
        assert place.host(scaling.apply(place.array(X[:, 1:]))).tolist() == [[0.0]] * 3
        if value < 1e300:
            np.testing.assert_array_equal(place.host(scaling.invert(Z)), X[:, :1])


@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", "float32"), ("int16", "float32"), ("int64", "float64")]
)
def test_integers_are_converted_to_floats(place, dtype: str, expected: str):
    Z = MinMax(0, 255, to=(-1, 1)).apply(place.array([[[0, 255], [51, 102]]], dtype))
    assert str(Z.dtype).endswith(expected)
    np.testing.assert_allclose(place.host(Z), [[[-1, 1], [-0.6, -0.2]]], atol=1e-6)


def test_from_arrays_inverts_arrays(rng):
    X = rng.normal(size=(6, 3))
    for scaling in [*fits(X), MinMax(0, 255, to=(-1, 1)), Standardize(0.1307, 0.3081)]:
        again = type(scaling).from_arrays(scaling.arrays())
        assert all(isinstance(value, np.ndarray) for value in scaling.arrays().values())
        np.testing.assert_array_equal(again.apply(X), scaling.apply(X))


def test_fitted_values_are_read_only(rng):
    mean = np.zeros(2)
    scaling = Standardize(mean, np.ones(2))
    mean[0] = 5
    assert scaling.mean[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        scaling.mean[0] = 1


NAN = np.array([[0.0, 1.0], [np.nan, 1.0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Standardize([0.0], [-1.0]), "std must be at least 0"),
        (lambda: Standardize([0.0], [1.0, 2.0]), r"std must have the shape \(1,\) of mean"),
        (lambda: Standardize([[0.0]], [[1.0]]), "mean must be one number or a vector"),
        (lambda: Standardize([np.nan], [1.0]), "mean must be finite"),
        (lambda: MinMax(1, 0), "low must be at most high"),
        (lambda: MinMax(0, np.inf), "high must be finite"),
        (lambda: MinMax(0, 1, to=(1, 1)), r"to\[0\] must be a finite number, below 1; got 1"),
        (lambda: MinMax(0, 1, to=3), "to must be a tuple of two numbers; got 3"),
        (lambda: MinMax(0, 1, to=(0, np.nan)), r"to\[1\] must be a finite number; got nan"),
        (lambda: Standardize.fit(NAN), "X must be finite; got nan in row 1, column 0"),
        (lambda: MinMax.fit(NAN), "X must be finite; got nan in row 1, column 0"),
        (lambda: Standardize.fit(np.zeros(3)), r"X must have shape \(rows, columns\)"),
        (
            lambda: Standardize.fit(np.array([[1.0, 1e300], [2.0, -1e300]])),
            r"X must have squares within the range of float64, .* up to 1e\+300 in column 1",
        ),
        (lambda: MinMax([0, 0], [1, 1]).apply(np.zeros((2, 3))), r"X must have shape \(rows, 2\)"),
        (lambda: MinMax([0, 0], [1, 1]).invert(np.zeros(2)), r"X must have shape \(rows, 2\)"),
        (lambda: MinMax(0, 1).apply(np.array([["a"]])), "X must hold real numbers"),
        (lambda: MinMax.from_arrays({"low": np.zeros(1)}), "exactly low, high, to; got low"),
        (lambda: Standardize.from_arrays({}), "arrays must hold exactly mean, std; got none"),
    ],
)
def test_invalid_arguments_are_refused(make, message: str):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(("std", "expected"), [(1e-300, 0.0), (1e300, 0.0), (2.0, 1.5)])
def test_widths_outside_of_the_dtype_do_not_warn(std, expected):
    scaled = Standardize([1.0], [std]).apply(np.full((2, 1), 4.0, "float32"))
    assert scaled.tolist() == [[expected], [expected]]
