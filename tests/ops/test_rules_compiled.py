"""Every rule compiled to a loop agrees with the rule on NumPy arrays.

On more points than in ``test_faster_operations``.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from xpnet.ops.rules import activations, erf, losses
from xpnet.ops.select import why_not_compiled

if why_not_compiled():
    pytest.skip(why_not_compiled(), allow_module_level=True)

from xpnet.ops.cpu import elementwise
from xpnet.ops.cpu.jit import loop_of

pytestmark = pytest.mark.slow  # every test compiles a loop
POINTS = np.concatenate([np.linspace(-9.0, 9.0, 73), [-1e4, -80.0, 80.0]])[None, :]
OUTPUTS = np.linspace(-0.4, 1.0, 29)[None, :]
# The scalars of rules.
SCALARS = {
    "affine": (2.0, -0.5),
    "affine_derivative": (2.0, -0.5),
    "leaky_relu": (0.1,),
    "leaky_relu_derivative": (0.1,),
    "elu": (0.7,),
    "elu_derivative": (0.7,),
    "huber": (1.5,),
    "huber_derivative": (1.5,),
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


RULES = {"erf": erf.erf, "erfc": erf.erfc} | rules_of(activations) | rules_of(losses)
BINARY = {name: rule for name, rule in RULES.items() if takes(rule)[:2] == ["z", "t"]}
UNARY = {name: rule for name, rule in RULES.items() if name not in BINARY}
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@dtypes
@pytest.mark.parametrize("name", UNARY)
def test_compiled_rule_of_one_array_agrees(name, dtype):
    """Derivatives in the loop in which the library has them, a product with a factor of 1."""
    rule, scalars = UNARY[name], SCALARS.get(name, ())
    x = (OUTPUTS if takes(rule)[0] == "a" else POINTS).astype(dtype)
    is_factor = name == "one" or name.endswith(("derivative", "curvature"))
    build = elementwise.chain if is_factor else elementwise.apply_to_one
    factors = [np.ones_like(x)] if is_factor else []
    loop = loop_of(build, rule, np.dtype(dtype), len(scalars))
    check_same(loop, rule(np, x, *scalars), scalars, *factors, x)


@dtypes
@pytest.mark.parametrize("name", BINARY)
def test_compiled_rule_of_two_arrays_agrees(name, dtype):
    rule, scalars = BINARY[name], SCALARS.get(name, ())
    z = np.minimum(POINTS, 80).astype(dtype)
    t = np.where(np.arange(z.size) % 3, 1, -1).astype(dtype)[None, :]
    loop = loop_of(elementwise.apply_to_two, rule, np.dtype(dtype), len(scalars))
    check_same(loop, rule(np, z, t, *scalars), scalars, z, t)


def check_same(loop, expected, scalars, *arrays):
    out = np.empty_like(arrays[0])
    loop(*arrays, out, scalars)
    assert np.asarray(expected).dtype in (out.dtype, np.float64)
    tolerance = 1e-13 if out.dtype == np.float64 else 2e-5
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)
