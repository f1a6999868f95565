"""The formula of a rule: what is shared, simplified and refused."""

import math
import time

import numpy as np
import pytest

from xpnet.activations import FormulaActivation, from_formula
from xpnet.errors import ArgumentError
from xpnet.losses import FormulaLoss
from xpnet.losses import from_formula as loss_from_formula
from xpnet.ops.formulas import Formula, FormulaRule, Node, derivative_of, trace
from xpnet.ops.formulas.backward import backward_of

RNG = np.random.default_rng(0)


def counted(rule):
    """A rule that changes with every call."""
    calls = []

    def count(xp, z):
        calls.append(1)
        return rule(xp, z, len(calls))

    return count


def chained(n):
    def rule(xp, z):
        for _ in range(n):
            z = xp.sin(z)
        return z

    return rule


def wide(xp, z):
    terms = [xp.sin(z * k) for k in range(2, 300)]
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
        terms += [] if len(terms) % 2 == 0 or len(terms) == 1 else [z]
    return terms[0]


REFUSED = {
    "a branch": (lambda xp, z: z if z > 0 else -z, r"branches on a value: use xp\.where"),
    "and": (lambda xp, z: z if z > 0 and z < 1 else 0.0, r"branches on a value"),
    "min": (lambda xp, z: min(z, 1.0), "branches on a value"),
    "a number of a value": (lambda xp, z: math.exp(z), r"needs a value as a number, as float\(\)"),
    "an integer of a value": (lambda xp, z: range(z), "needs a value as a number"),
    "NumPy's function": (
        lambda xp, z: np.arctan(z),
        "one that calls atan of NumPy.*: write xp.atan",
    ),
    "NumPy's selection": (
        lambda xp, z: np.where(z > 0, z, 0.0),
        "gives a value to NumPy: use",
    ),
    "NumPy's sum": (lambda xp, z: np.sum(z), r"calls add\.reduce of NumPy.*: use the"),
    "an output of NumPy": (lambda xp, z: np.add(z, 1.0, out=np.ones(1)), "calls add of NumPy"),
    "an operator of NumPy alone": (lambda xp, z: np.float64(2.0) % z, "calls remainder of NumPy"),
    "a sequence": (lambda xp, z: sum(z), "uses a value as a sequence"),
    "an unknown function": (
        lambda xp, z: xp.cumsum(z),
        "a function of xp in a formula must be one",
    ),
    "an internal function": (lambda xp, z: xp.gaussian(z), "a function of xp in a formula must be"),
    "a method": (lambda xp, z: z.sum(), r"one that uses \.sum of a value: a formula is element"),
    "another method": (lambda xp, z: z * np.ones(1).total(), "one that raises AttributeError: "),
    "an element": (lambda xp, z: z[0], "one that indexes a value: a formula is elementwise"),
    "a remainder": (lambda xp, z: z % 2, "one that raises TypeError: unsupported operand"),
    "operands": (lambda xp, z: xp.maximum(z), r"xp\.maximum must be given 2 operands.*got 1"),
    "an array": (lambda xp, z: z * np.ones(3), "operands of a formula must be its arguments and"),
    "a text": (lambda xp, z: z + "1", "operands of a formula must be its arguments and numbers"),
    "nothing": (lambda xp, z: None, "formula must return one value; got None"),
    "two values": (
        lambda xp, z: (z, z),
        r"must return one value; got \(a value, a value\)",
    ),
    "NaN": (lambda xp, z: z + math.nan, "the numbers of a formula must not be NaN"),
    "random numbers": (
        lambda xp, z: z * RNG.normal(),
        "gives another formula when it is run again",
    ),
    "a counter": (counted(lambda xp, z, n: z * n), "gives another formula when it is run again"),
    "the time": (lambda xp, z: z * time.perf_counter_ns(), "gives another formula"),
    "an error": (lambda xp, z: z * {}["a"], "one that raises KeyError: 'a'"),
    "depth": (chained(200), "at most 128 operations one after another; got 200"),
    "size": (wide, "at most 512 operations; got "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rules_without_a_formula_are_refused(name):
    rule, message = REFUSED[name]
    with pytest.raises(ArgumentError, match=message) as caught:
        from_formula(rule, name="odd")
    assert str(caught.value).count("\n") == 0
    with pytest.raises(ArgumentError, match=message):
        loss_from_formula(lambda xp, z, t: rule(xp, z), name="odd")


@pytest.mark.parametrize("make", [from_formula, loss_from_formula])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a b"}, "letters, digits and underscores; got 'a b'"),
        ({"name": ""}, "name must be a name of at most 80 letters"),
        ({"name": 3}, "name must be"),
        ({"q": "1"}, "q must be a finite number; got '1'"),
        ({"q": math.inf}, "q must be a finite number"),
        ({"rule": 3}, "formula must be a function of xp"),
        ({"r": 1.0}, r"of xp, z,.* r; got one of .*: got an unexpected keyword argument 'r'\."),
        ({"rule": lambda xp: 1.0}, "got one of xp: too many positional arguments"),
        (
            {"rule": lambda xp, z, t, b: b * z} | {"name": "odd"},
            r"missing a required argument: '\w'\. Give each .* such as [tb]=1\.0",
        ),
    ],
)
def test_wrong_arguments_are_refused(make, arguments, message):
    rule = lambda xp, z, t=0.0, q=1.0: q * z + t  # noqa: E731
    with pytest.raises(ArgumentError, match=message):
        make(**({"rule": rule, "name": "odd"} | arguments))


def test_parameters_that_are_arguments_are_refused():
    with pytest.raises(ArgumentError, match=r"mean must be .* must have another name"):
        loss_from_formula(lambda xp, z, t, mean: mean * z, name="odd", mean=2.0)


@pytest.mark.parametrize(
    "phi",
    [
        from_formula(lambda xp, z, q: q * z, name="scaled", q=2.0),
        loss_from_formula(lambda xp, z, t, q: q * (z - t) ** 2, name="scaled", q=2.0),
    ],
)
def test_parameters_are_changed_by_name(phi):
    assert isinstance(phi, (FormulaActivation, FormulaLoss))
    other = phi.with_parameters(q=3.0)
    assert (repr(phi), repr(other)) == ("scaled(q=2)", "scaled(q=3)")
    assert other.formula == phi.formula
    assert other != phi
    assert other.with_parameters(q=2) == phi
    with pytest.raises(ArgumentError, match="a parameter of the formula must be one of q; got 'b'"):
        phi.with_parameters(b=1.0)
    with pytest.raises(ArgumentError, match="q must be a finite number"):
        phi.with_parameters(q=math.nan)


@pytest.mark.parametrize("q", [0.1 + 0.2, 0.1234567890123, 1e-300, 123456789.5, 1e22, -0.0])
def test_texts_of_two_numbers_differ(q):
    phi = from_formula(lambda xp, z, q: q * z, name="scaled", q=q)
    text = repr(phi).removeprefix("scaled(q=").removesuffix(")")
    assert float(text) == q
    assert repr(phi.with_parameters(q=np.nextafter(q, 1.0))) != repr(phi)


@pytest.mark.parametrize(
    ("rule", "operations"),
    [
        (lambda xp, z: z * 1.0 + 0.0, []),
        (lambda xp, z: z.__neg__().__neg__() / 1, []),
        (lambda xp, z: xp.exp(z) - (-xp.sin(z)), ["exp", "sin", "add"]),
        (lambda xp, z: z**2 + z**1 + z**0, ["square", "add", "add"]),
        (lambda xp, z: 2.0 * (3.0 * z), ["multiply"]),
        (lambda xp, z: xp.where(z > 0, z, z), []),
        (lambda xp, z: z * xp.exp(2.0), ["multiply"]),
        (lambda xp, z: np.float64(2.0) * z, ["multiply"]),
        (lambda xp, z: np.float32(2.0) ** z - np.int64(1), ["pow", "subtract"]),
        (lambda xp, z: np.array(2.0) * z * np.array(3), ["multiply"]),
        (lambda xp, z: xp.where(np.float64(1.0) < z, np.pi, z), ["less", "where"]),
        (lambda xp, z: xp.clip(z, -1.0, 1.0), ["maximum", "minimum"]),
        (lambda xp, z: (z > 0) * z, ["greater", "where", "multiply"]),
        (
            lambda xp, z: xp.where((z > 0) & ~(z > 1), z, 0.0),
            ["greater", "greater", "logical_not", "logical_and", "where"],
        ),
    ],
)
def test_formulas_are_simplified(rule, operations):
    formula = trace(rule, 1)
    found = [node.operation for node in formula.nodes if node.operands]
    assert sorted(found) == sorted(operations)


def test_derivatives_at_kinks_are_of_one_side():
    z = np.array([-1.0, 0.0, 1.0])
    for rule, expected in (
        (lambda xp, z: xp.maximum(z, 0.0), [0.0, 0.0, 1.0]),
        (lambda xp, z: xp.minimum(z, 0.0), [1.0, 0.0, 0.0]),
        (lambda xp, z: xp.abs(z), [-1.0, 0.0, 1.0]),
        (lambda xp, z: xp.where(z > 0, z, 0.5 * z), [0.5, 0.5, 1.0]),
    ):
        assert FormulaRule(derivative_of(trace(rule, 1)))(np, z).tolist() == expected


def test_where_differentiates_the_chosen_side():
    root = trace(lambda xp, z: xp.where(z > 0, xp.sqrt(z), 0.0), 1)
    found = FormulaRule(derivative_of(root))(np, np.array([-1.0, 0.0, 4.0]))
    assert found.tolist() == [0.0, 0.0, 0.25]


@pytest.mark.parametrize(
    ("rule", "saves"),
    [
        (lambda xp, z: xp.exp(z), "output"),
        (lambda xp, z: xp.sqrt(z), "output"),
        (lambda xp, z: xp.tan(z), "output"),
        (lambda xp, z: xp.tanh(z), "input"),  # 1 − a² would cancel
        (lambda xp, z: z * z, "input"),
        (lambda xp, z: 2.0 * (3.0 * z) ** 2, "input"),  # a product is not worth it
        (lambda xp, z: xp.exp(-xp.exp(-z)), "intermediate"),
        (lambda xp, z: xp.sin(xp.exp(z)), "intermediate"),
        (lambda xp, z: xp.sin(xp.exp(z)) + z, "input"),  # the value takes z as well
        (lambda xp, z: z * xp.sin(xp.exp(z)), "input"),  # φ' takes z as well
    ],
)
def test_backward_keeps_the_cheaper_array(rule, saves):
    formula = trace(rule, 1)
    found = backward_of(formula)
    assert found.saves == saves
    z = np.array([0.3, 0.7])
    a = FormulaRule(formula)(np, z)
    slope = FormulaRule(derivative_of(formula))(np, z)
    saved = {"output": a, "input": z}.get(saves)
    if found.inner is not None:
        saved = FormulaRule(found.inner)(np, z)
        np.testing.assert_array_equal(FormulaRule(found.outer)(np, saved), a)
    by_saved = FormulaRule(found.derivative)(np, saved)
    np.testing.assert_allclose(by_saved, slope, rtol=1e-14)


@pytest.mark.parametrize(
    "nodes",
    [
        (Node("argument", (), 0), Node("exp", (1,))),
        (Node("argument", (), 0), Node("exp", (2,))),
        (Node("argument", (), 0), Node("add", (0,))),
        (Node("argument", (), 1), Node("exp", (0,))),
        (Node("argument", (0,), 0), Node("exp", (0,))),
    ],
)
def test_formulas_of_wrong_nodes_are_refused(nodes):
    with pytest.raises(ArgumentError, match="nodes must follow their"):
        Formula(1, nodes, 1)


def test_formulas_of_unknown_operations_are_refused():
    with pytest.raises(ArgumentError, match=r"operation must be one of .*; got 'eval'"):
        Formula(1, (Node("argument", (), 0), Node("eval", (0,))), 1)
