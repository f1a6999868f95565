"""Every rule of activations and losses gives the same numbers on scalars in a compiled loop."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from xpnet.ops.rules import activations, curvatures, erf, losses

POINTS = np.concatenate([np.linspace(-9.0, 9.0, 73), [-1e4, -80.0, 80.0]])
OUTPUTS = np.linspace(-0.4, 1.0, 29)
# The scalars of the rules that have some.
SCALARS = {
    "affine": (2.0, -0.5),
    "affine_slope": (2.0, -0.5),
    "leaky_relu": (0.1,),
    "leaky_relu_slope": (0.1,),
    "elu": (0.7,),
    "elu_slope": (0.7,),
    "huber": (1.5,),
    "huber_slope": (1.5,),
    "elu_curvature": (0.7,),
    "huber_curvature": (1.5,),
}


def rules_of(module) -> dict:
    """The functions that ``module`` itself defines, by name."""
    own = inspect.getmembers(module, inspect.isfunction)
    return {name: rule for name, rule in own if rule.__module__ == module.__name__}


def takes(rule) -> list[str]:
    """The names of its arguments after the namespace."""
    return list(inspect.signature(rule).parameters)[1:]


RULES = rules_of(erf) | rules_of(activations) | rules_of(losses) | rules_of(curvatures)
BINARY = {name: rule for name, rule in RULES.items() if takes(rule)[:2] == ["z", "t"]}
UNARY = {name: rule for name, rule in RULES.items() if name not in BINARY}


@pytest.fixture(scope="module")
def numba():
    reason = "Numba is not installed: nothing to compile with"
    numba = pytest.importorskip("numba", reason=reason)
    for rule in (UNARY | BINARY).values():
        numba.extending.register_jitable(rule)
    return numba


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", UNARY)
def test_a_rule_of_one_array_compiles(name, dtype, numba):
    rule, scalars = UNARY[name], SCALARS.get(name, ())
    x = (OUTPUTS if takes(rule)[0] == "a" else POINTS).astype(dtype)
    x = np.minimum(x, 80)

    @numba.njit(error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = rule(np, x[i], *scalars)

    check_same(loop, rule(np, x, *scalars), x)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", BINARY)
def test_a_rule_of_two_arrays_compiles(name, dtype, numba):
    rule, scalars = BINARY[name], SCALARS.get(name, ())
    z = np.minimum(POINTS, 80).astype(dtype)
    t = np.where(np.arange(z.size) % 3, 1, -1).astype(dtype)

    @numba.njit(error_model="numpy")
    def loop(z, t, out):
        for i in range(z.size):
            out[i] = rule(np, z[i], t[i], *scalars)

    check_same(loop, rule(np, z, t, *scalars), z, t)


def check_same(loop, expected, *arrays):
    out = np.empty_like(arrays[0])
    loop(*arrays, out)
    assert np.asarray(expected).dtype in (out.dtype, np.float64)
    # A compiled float32 loop computes with float64 literals: it is the more exact of the two.
    tolerance = 1e-13 if out.dtype == np.float64 else 2e-5
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)
