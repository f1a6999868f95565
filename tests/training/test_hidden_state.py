"""Which functions may hold state, so that they are not called before the training."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache, partial

import numpy as np
import pytest
from numpy import finfo as Tolerance

from xpnet.errors import require
from xpnet.metrics import accuracy
from xpnet.training.hidden_state import holds_state

CACHE = {}
NUMBERS = itertools.count()
COUNT = 0


class Score:
    """A metric that is an object, with a method that is one too."""

    total = 0

    def __call__(self, predicted, target):
        return 0.5

    def method(self, predicted, target):
        return 0.5


def plain(predicted, target):
    return math.sqrt(np.mean((predicted - target) ** 2))


def helped(predicted, target):
    require(True, "target", "be", 1)
    return 1 - float(accuracy(predicted, target)) + Tolerance(np.float64).eps


def powered(predicted, target, power=2, *, scale=1.0):
    return scale * power


def of_iterator(predicted, target):
    return next(NUMBERS)


def of_dictionary(predicted, target):
    return CACHE.setdefault("score", 0.5)


def of_helper(predicted, target):
    return of_iterator(predicted, target)


def in_a_generator(predicted, target):
    return sum(next(NUMBERS) for _ in target)


def counted_globally(predicted, target):
    global COUNT  # noqa: PLW0603 - state of this kind is tested
    COUNT += 1
    return COUNT


def with_mutable_default(predicted, target, seen=[]):  # noqa: B006 - state of this kind is tested
    seen.append(1)
    return len(seen)


def of_class(predicted, target):
    return Score.total


def with_attribute(predicted, target):
    return with_attribute.calls


with_attribute.calls = 0


def closure_over(value):
    return lambda predicted, target: value


def counter():
    count = 0

    def counted(predicted, target):
        nonlocal count
        count += 1
        return count

    return counted


def not_assigned_yet():
    if not CACHE:
        return lambda predicted, target: value
    value = 0
    return value


STATELESS = [
    *(plain, helped, powered, closure_over(np), closure_over(accuracy), closure_over(math.dist)),
    lambda predicted, target: 0.5,
    partial(powered, power=3),
    partial(partial(powered, power=3), scale=np.float32(2.0)),
]
STATEFUL = [
    *(of_iterator, of_dictionary, of_helper, in_a_generator, counted_globally, of_class),
    *(with_mutable_default, with_attribute, counter(), not_assigned_yet()),
    *(Score(), Score().method, lru_cache(plain), [0.5].count, np.random.default_rng(0).normal),
    closure_over([0.5]),
    closure_over(([0.5],)),
    closure_over(np.zeros(2)),
    closure_over(Score()),
    closure_over([].append),
    closure_over(of_iterator),
    partial(powered, power=[2]),
    partial(of_iterator),
]


@pytest.mark.parametrize("function", STATELESS)
def test_functions_without_variables_hold_no_state(function):
    assert holds_state(function) is False


@pytest.mark.parametrize("function", STATEFUL)
def test_other_functions_may_hold_state(function):
    assert holds_state(function) is True
