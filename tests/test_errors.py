"""Messages name the argument, the rule, the value received and what to do."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from xpnet import errors
from xpnet.errors import (
    ArgumentError,
    Phrase,
    describe,
    require,
    require_count,
    require_number,
    require_type,
    unknown_name,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((2, 3), dtype="float32"), "a float32 array of shape (2, 3)"),
        (np.zeros(2, dtype="int8"), "an int8 array of shape (2,)"),
        (np.zeros(2, dtype="uint8"), "a uint8 array of shape (2,)"),
        ("adam", "'adam'"),
        (None, "None"),
        ("x" * 100, "'" + "x" * 76 + "..."),
    ],
)
def test_describe_is_short_and_exact(value, text):
    assert describe(value) == text


def test_describe_agrees_on_every_backend(place):
    assert describe(place.array(np.zeros((2, 3)))) == "a float64 array of shape (2, 3)"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: require(False, "a", "be b", 1), "a must be b; got 1."),
        (lambda: require(False, "a", "be b", "c", "Do d."), "a must be b; got 'c'. Do d."),
        (lambda: require(False, "a", "be b", Phrase("1 row")), "a must be b; got 1 row."),
        (lambda: require_number("1", "lr"), "lr must be a finite number; got '1'."),
        (lambda: require_number(True, "lr"), "lr must be a finite number; got True."),
        (lambda: require_number(1j, "lr"), "lr must be a finite number; got 1j."),
        (lambda: require_number(math.nan, "lr"), "lr must be a finite number; got nan."),
        (lambda: require_number(math.inf, "lr"), "lr must be a finite number; got inf."),
        (
            lambda: require_number(10**400, "lr"),
            f"lr must be a finite number; got 1{'0' * 76}....",
        ),
        (lambda: require_number(0, "lr", above=0), "lr must be a finite number, above 0; got 0."),
        (
            lambda: require_number(1, "p", low=0, below=1),
            "p must be a finite number, at least 0 and below 1; got 1.",
        ),
        (
            lambda: require_number(2, "p", above=0, high=1),
            "p must be a finite number, above 0 and at most 1; got 2.",
        ),
        (lambda: require_count(0, "n"), "n must be an integer of at least 1; got 0."),
        (lambda: require_count(-1, "n", low=0), "n must be an integer of at least 0; got -1."),
        (lambda: require_count(2.0, "n"), "n must be an integer of at least 1; got 2.0."),
        (lambda: require_count(True, "n"), "n must be an integer of at least 1; got True."),
        (lambda: require_type(1, str, "s"), "s must be a str; got 1."),
        (lambda: require_type(1, (str, bytes), "s"), "s must be a str or bytes; got 1."),
        (lambda: require_type("1", int, "i", "Do."), "i must be an int; got '1'. Do."),
        (lambda: require_type(bool, int, "i"), "Write bool() to make one."),
    ],
)
def test_messages_name_argument_rule_and_value(check, message):
    with pytest.raises(ArgumentError) as error:
        check()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "check",
    [
        lambda: require(True, "a", "be b", 1),
        lambda: require_number(np.float32(0.5), "p", low=0.5, high=0.5),
        lambda: require_number(3, "p", above=2, below=4),
        lambda: require_count(np.int64(1), "n"),
        lambda: require_count(0, "n", low=0),
        lambda: require_type(True, int, "i"),
    ],
)
def test_valid_values_pass(check):
    check()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("numpi", " Did you mean 'numpy'?"),
        ("CUPY", " Did you mean 'CuPy'?"),
        ("zzz", ""),
        (3, ""),
    ],
)
def test_unknown_name_error_suggests_a_name(name, hint):
    error = unknown_name("backend", name, {"numpy", "CuPy"})
    assert isinstance(error, ArgumentError)
    assert str(error) == f"backend must be one of CuPy, numpy; got {name!r}.{hint}"


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.ArgumentError, ValueError),
        (errors.FileFormatError, ValueError),
        (errors.BackendUnavailableError, RuntimeError),
        (errors.MissingExtraError, ImportError),
        (errors.NonFiniteError, ArithmeticError),
        (errors.FallbackWarning, UserWarning),
    ],
)
def test_errors_derive_from_builtin_ones(kind, base):
    assert issubclass(kind, base)


def test_non_finite_error_has_step_and_layer():
    error = errors.NonFiniteError("no", epoch=2, step=7, layer="loss", history="h")
    assert (str(error), error.epoch, error.step, error.layer, error.history) == (
        *("no", 2, 7, "loss", "h"),
    )


def test_argument_errors_can_be_pickled():
    assert str(pickle.loads(pickle.dumps(ArgumentError("x must be y.")))) == "x must be y."
