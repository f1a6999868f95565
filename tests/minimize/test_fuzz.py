"""A seeded sample of benchmarks/fuzz_minimize.py: every method on random functions."""

import itertools

import numpy as np
import pytest

from benchmarks.fuzz_minimize import DTYPES, KINDS, METHODS, faults_of, functions

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_random_functions_end_with_true_reasons(kind):
    for function, dtype in itertools.product(functions(2, 2026, (kind,)), DTYPES):
        for method in METHODS:
            with np.errstate(all="ignore"):
                reason, faults = faults_of(function, method, dtype)
            assert not faults, f"{reason} of {method} in {dtype} on {function}: {faults}"
