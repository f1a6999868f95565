"""Second derivatives of activations beside differences in fifty digits, far into the tails."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from xpnet.ops.rules import activations as rules


def sigmoid(z):
    return 1 / (1 + (-z).exp())


FACTOR = Decimal(math.sqrt(8.0 / math.pi))
FUNCTIONS = {
    "silu": (lambda z: z * sigmoid(z), rules.silu_curvature, 80.0),
    "gelu_tanh": (
        lambda z: z * sigmoid(FACTOR * (z + Decimal("0.044715") * z**3)),
        rules.gelu_tanh_curvature,
        9.0,
    ),
}


def second_difference(function, z):
    """``f''(z)`` to some 20 digits, where it is not far smaller than ``f``."""
    with localcontext() as context:
        context.prec = 120
        z, h = Decimal(float(z)), Decimal(10) ** -12
        return float((function(z + h) - 2 * function(z) + function(z - h)) / (h * h))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_curvatures_are_accurate_in_the_tails(name, dtype):
    function, rule, far = FUNCTIONS[name]
    z = (np.array([0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1]) * far).astype(dtype)
    z = np.concatenate([-z, z])
    expected = np.array([second_difference(function, number) for number in z])
    # An exponent of 80 has an error of 80 units of rounding in e^80.
    np.testing.assert_allclose(rule(np, z), expected, rtol=400 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_curvatures_of_huge_numbers_are_zero(name):
    rule = FUNCTIONS[name][1]
    np.testing.assert_array_equal(rule(np, np.array([1e4, -1e30, math.inf, -math.inf])), 0)
    assert math.isnan(rule(np, np.array([math.nan]))[0])
