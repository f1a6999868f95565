"""Formulas in compiled loops: every operation, both dtypes, and the loops on disk."""

import numpy as np
import pytest
from helpers.formula_cases import OPERATION_NAMES, every_operation

import xpnet
from xpnet.activations import from_formula
from xpnet.backend import get_backend
from xpnet.ops.cpu.elementwise import apply_to_one, apply_to_two
from xpnet.ops.cpu.jit import NotCompiled, definition, loop_of
from xpnet.ops.cpu.jit.fingerprint import fingerprint_of
from xpnet.ops.explain import explain
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


def longest(xp, z):
    """A formula of few hundred operations, each of which is some forty."""
    return sum((xp.erf(z + 0.01 * k) for k in range(1, 120)), 0.0)


def test_long_formulas_are_not_compiled():
    rule = FormulaRule(trace(longest, 1), "longest")
    n = len(rule.operations)
    assert n > definition.MAX_OPERATIONS
    reason = f"its {n} operations are more than the 4000 that are compiled"
    with pytest.raises(NotCompiled, match=f"^{reason}$"):
        loop_of(apply_to_one, rule, np.dtype("float64"), 0)
    found = explain(rule, get_backend("numpy"))
    assert found == f"the rule longest on numpy runs as NumPy code, in blocks ({reason})."


def test_engine_names_a_rule_that_is_not_compiled(monkeypatch):
    monkeypatch.setattr(definition, "MAX_OPERATIONS", 8)
    X = np.random.default_rng(0).normal(size=(8, 3))
    silu = from_formula(lambda xp, z: z * xp.sigmoid(z), name="mine")
    models, engines = [], []
    for phi in (silu, xpnet.SiLU()):
        models.append(xpnet.Sequential([xpnet.Dense(4, phi), xpnet.Dense(1)], 3, rng=1))
        models[-1].theta[...] = np.linspace(-1.0, 1.0, 21)
        given = {"loss": xpnet.HalfMSE(), "optimizer": xpnet.SGD(0.01), "epochs": 3}
        history = models[-1].fit(X, X[:, 0], batch_size=4, progress=False, **given)
        engines.append(history.engine)
    assert engines[1] == "replay: a list of compiled calls"
    assert engines[0] == (
        f"{engines[1]}; the rule mine is Python code, because its "
        f"{len(silu.value.operations)} operations are more than the 8 that are compiled"
    )
    np.testing.assert_allclose(models[0].theta, models[1].theta, rtol=1e-5)
