"""erf, erfc and the normal distribution beside mpmath, in units in the last place (ulp)."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest

from xpnet.ops.rules import activations, erf
from xpnet.ops.select import why_not_compiled

mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed: nothing exact to check by")

JIT = "xpnet.ops.cpu.jit"  # needs Numba
EDGES = [0.0, 5e-324, 1e-310, 1e-45, 1e-40, 1e-30, 1e-8, 0.999999, 1.0, 1.000001, 3.9, 5.9, 10.0]
SAMPLE = [*np.linspace(0.01, 6.0, 150), *np.logspace(-20, 0.5, 50), *EDGES]
X = np.array([*SAMPLE, *np.negative(SAMPLE)])
TAIL = -np.linspace(6.0, 37.0, 50)


def cdf(z):
    return mpmath.erfc(-z / mpmath.sqrt(2)) / 2


def density(z):
    return mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi)


# A function of (xp, x), the same in mpmath, and the bound of its error in ulp: NumPy's exponential
# alone has an error of up to 2.5.
FUNCTIONS = {
    "erf": (erf.erf, mpmath.erf, 2.0),
    "erfc": (erf.erfc, mpmath.erfc, 7.0),
    "cdf": (lambda xp, z: erf.normal(xp, z)[0], cdf, 7.0),
    "density": (lambda xp, z: erf.normal(xp, z)[1], density, 7.0),
    "gelu": (activations.gelu, lambda z: z * cdf(z), 7.0),
}
functions = pytest.mark.parametrize("name", FUNCTIONS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def ulps(got: np.ndarray, x: np.ndarray, exact) -> np.ndarray:
    """The errors in units in the last place of the exact values."""
    with mpmath.workdps(40):
        values = [exact(mpmath.mpf(float(number))) for number in x]
        errors = [abs(float(mpmath.mpf(float(a)) - b)) for a, b in zip(got, values, strict=True)]
    rounded = np.array([float(value) for value in values]).astype(got.dtype)
    return np.array(errors) / np.spacing(np.abs(rounded)).astype(float)


def check(name, got, x):
    _, exact, bound = FUNCTIONS[name]
    errors = ulps(got, x, exact)
    worst = errors.argmax()
    assert errors[worst] <= bound, f"{name}({x[worst]!r}) is off by {errors[worst]:.2f} ulp"


@functions
def test_float64_is_within_a_few_ulp(name, place):
    check(name, place.host(FUNCTIONS[name][0](place.xp, place.array(X))), X)


@functions
def test_float32_is_within_a_few_ulp(name, place32):
    x = X.astype(np.float32)
    check(name, place32.host(FUNCTIONS[name][0](place32.xp, place32.array(x))), x)


@pytest.mark.parametrize("name", ["cdf", "density", "gelu"])
def test_left_tail_keeps_its_digits(name, place):
    check(name, place.host(FUNCTIONS[name][0](place.xp, place.array(TAIL))), TAIL)


def test_gelu_derivative_in_tail_keeps_its_digits(place):
    # Not near -0.75, where its two terms cancel.
    z = np.concatenate([TAIL, np.linspace(-6.0, -2.0, 50), np.linspace(0.0, 6.0, 50)])
    got = place.host(activations.gelu_derivative(place.xp, place.array(z)))
    assert ulps(got, z, lambda z: cdf(z) + z * density(z)).max() <= 8.0


def test_erf_of_float32_bit_patterns_is_within_2_ulp():
    patterns = np.arange(0, 0x7F800000, 200_003, dtype=np.uint32)
    x = np.concatenate([patterns, patterns | np.uint32(1 << 31)]).view(np.float32)
    check("erf", erf.erf(np, x), x)


def test_special_values(place32):
    x = place32.array(np.array([-math.inf, -1e30, -0.0, 0.0, 1e30, math.inf, math.nan]))
    got = place32.host(erf.erf(place32.xp, x))
    np.testing.assert_array_equal(got, [-1, -1, 0, 0, 1, 1, math.nan])
    np.testing.assert_array_equal(np.signbit(got[2:4]), [True, False])
    got = place32.host(erf.erfc(place32.xp, x))
    np.testing.assert_array_equal(got, [2, 2, 1, 1, 0, 0, math.nan])


def test_coefficients_are_those_derived():
    derive = import_module("benchmarks.erf_coefficients")
    for name, (coefficients, error) in derive.polynomials().items():
        assert getattr(erf, name) == coefficients
        assert error < 4e-17


@dtypes
@pytest.mark.parametrize("rule", [erf.erf, erf.erfc, activations.gelu])
@pytest.mark.skipif(bool(why_not_compiled()), reason=why_not_compiled() or "compiled")
def test_compiled_rule_is_within_a_few_ulp(rule, dtype):
    apply, jit = import_module("xpnet.ops.cpu.elementwise").apply_to_one, import_module(JIT)
    x = X.astype(dtype)
    out = np.empty_like(x)
    jit.loop_of(apply, rule, x.dtype, 0)(x, out, ())
    check(rule.__name__, out, x)


@pytest.mark.slow
@dtypes
@pytest.mark.parametrize("rule", [activations.gelu, activations.gelu_derivative])
@pytest.mark.skipif(bool(why_not_compiled()), reason=why_not_compiled() or "compiled")
def test_compiled_gelu_is_vectorized(rule, dtype):
    apply = import_module("xpnet.ops.cpu.elementwise").apply_to_one
    compiler = import_module(f"{JIT}.compile")
    code, _, _ = compiler.compile_loop((apply, rule, np.dtype(dtype), 0))
    (result,) = code.owner.overloads.values()
    number = {"float32": "float", "float64": "double"}[dtype]
    assert f" x {number}> @llvm.floor" in result.library.get_llvm_str()
