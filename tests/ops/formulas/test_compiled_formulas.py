"""Formulas in compiled loops: every operation, both dtypes, and the loops on disk."""

import numpy as np
import pytest
from helpers.formula_cases import OPERATION_NAMES, every_operation

from xpnet.activations import from_formula
from xpnet.ops.cpu.elementwise import apply_to_two
from xpnet.ops.cpu.jit import loop_of
from xpnet.ops.cpu.jit.fingerprint import fingerprint_of
from xpnet.ops.formulas import FormulaRule, trace
from xpnet.ops.formulas.table import OPERATIONS

numba = pytest.importorskip("numba", reason="the extra 'cpu' is not installed")


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 2e-15), ("float32", 2e-6)])
def test_every_operation_is_compiled(dtype, rtol):
    rng, rule = np.random.default_rng(0), FormulaRule(every_operation())
    a, b = rng.uniform(0.1, 0.9, (2, 8)).astype(dtype)
    loop, found = loop_of(apply_to_two, rule, np.dtype(dtype), 1), np.empty_like(a)
    for index, name in enumerate(OPERATION_NAMES):
        loop(a, b, found, (float(index),))
        with np.errstate(all="ignore"):
            given = (a, b)[: OPERATIONS[name].arity]
            expected = np.asarray(OPERATIONS[name].function(np, *given), dtype)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol, err_msg=name)


def test_loops_on_disk_are_found_by_the_formula():
    def rule(name, factor):
        return from_formula(lambda xp, z: factor * xp.sigmoid(z), name=name).value

    same = fingerprint_of(rule("one", 2.0))
    assert fingerprint_of(rule("other", 2.0)) == same
    assert fingerprint_of(rule("one", 3.0)) != same


def test_shared_operations_are_compiled_once():
    """Also those inside of functions: both need e^(−|z|)."""
    formula = trace(lambda xp, z: xp.sigmoid(z) + xp.softplus(z) * xp.sigmoid(z), 1)
    names = [name for name, *_ in FormulaRule(formula).operations]
    assert names.count("exp") == 1
