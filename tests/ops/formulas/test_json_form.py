"""Formulas as JSON: they are read as they were written, and others are refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from xpnet import FileFormatError
from xpnet.ops.formulas import Formula, FormulaRule, Node, derivative_of, trace
from xpnet.ops.formulas.formula import MAX_ARGUMENTS, MAX_DEPTH, MAX_OPERATIONS
from xpnet.ops.formulas.json_form import MAX_NODES, formula_from_json, formula_json
from xpnet.ops.formulas.table import CONDITIONS, OPERATIONS


def chain(n):
    """A rule of ``n`` operations one after another."""

    def rule(xp, z):
        for _ in range(n):
            z = xp.sin(z)
        return z

    return rule


def wide(n):
    """A rule of ``n`` operations, few of which are one after another."""

    def rule(xp, z):
        terms = [xp.sin(z * (0.1 + i)) for i in range(n // 3)]
        while len(terms) > 1:
            terms = [sum(terms[i : i + 2]) for i in range(0, len(terms), 2)]
        return terms[0]

    return rule


RULES = {
    "an argument": (lambda xp, z: z, 1),
    "an unused argument": (lambda xp, z, t, q: t, 3),
    "a number": (lambda xp, z: 3.0, 1),
    "mish": (lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))), 1),
    "an operation of derivatives": (lambda xp, z: 1 - xp.tanh(z) ** 2, 1),
    "conditions": (lambda xp, z, a: xp.where((z > a) & ~(z <= 0) | (a == 1), z, -a), 2),
    "infinities": (lambda xp, z: xp.where(z < xp.inf, xp.minimum(z, xp.inf), -xp.inf), 1),
    "numbers of all digits": (lambda xp, z: z * (0.1 + 0.2) + 1e-320 * xp.sin(z - 1.7e308), 1),
    "pinball": (lambda xp, z, t, q: xp.maximum(q * (t - z), (q - 1) * (t - z)), 3),
    "the deepest": (chain(MAX_DEPTH), 1),
    "the largest": (wide(MAX_OPERATIONS), 1),
}


def read(config):
    return formula_from_json(json.loads(json.dumps(config, allow_nan=False)))


def bits(formula):
    return [np.float64(node.number).tobytes() for node in formula.nodes]


@pytest.mark.parametrize("name", RULES)
def test_formulas_are_read_as_they_were_written(name):
    formula = trace(*RULES[name])
    again = read(formula_json(formula))
    assert again == formula
    assert bits(again) == bits(formula)


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - CONDITIONS.keys() - {"where"}))
def test_every_operation_is_read_and_computes_the_same(name):
    n = OPERATIONS[name].arity
    arguments = tuple(Node("argument", (), i) for i in range(n))
    formula = Formula(n, (*arguments, Node(name, tuple(range(n)))), n)
    for each in (formula, derivative_of(formula)):
        x = [np.linspace(0.1, 0.9, 9) + i for i in range(n)]
        with np.errstate(all="ignore"):
            found, expected = (FormulaRule(f)(np, *x) for f in (read(formula_json(each)), each))
        np.testing.assert_array_equal(found, expected)


def test_arguments_of_any_order_are_written_first():
    nodes = Node("constant", (), 2.0), Node("argument", (), 0), Node("multiply", (0, 1))
    formula = Formula(1, nodes, 2)
    config = formula_json(formula)
    assert config == {
        "type": "Formula",
        "arguments": 1,
        "nodes": [2.0, ["multiply", 1, 0]],
        "result": 2,
    }
    assert FormulaRule(read(config))(np, 3.0) == 6.0


def test_equal_and_unused_nodes_of_files_are_left_out():
    nodes = [["sin", 0], ["sin", 0], ["exp", 0], ["add", 1, 2]]
    formula = formula_from_json({"type": "Formula", "arguments": 1, "nodes": nodes, "result": 4})
    assert formula.nodes[1:] == (Node("sin", (0,)), Node("add", (1, 1)))


def of_nodes(*nodes, result=None, arguments=1):
    result = arguments + len(nodes) - 1 if result is None else result
    return {"type": "Formula", "arguments": arguments, "nodes": [*nodes], "result": result}


def with_more(n):
    """More than ``n`` operations."""
    config = formula_json(trace(wide(n), 1))
    return of_nodes(*config["nodes"], *[["sin", config["result"] + i] for i in range(9)])


NAMES = "may only have xpnet's own operations"
OPERANDS = "operands, the indices of earlier nodes"
KINDS = "must be numbers or conditions as it takes them"
NUMBERS = "must be floats, not NaN and not −0"
RESULT = "the result of a formula must be the index of a node that is a number"
HOSTILE = {
    "no nodes": ({"type": "Formula", "arguments": 1, "result": 0}, "must have arguments, nodes"),
    "a field more": (of_nodes(["exp", 0]) | {"code": "x"}, "must have arguments, nodes"),
    "no arguments": (of_nodes(["exp", 0], arguments=0), "must have 1 to 64 arguments; got 0"),
    "many arguments": (of_nodes(arguments=MAX_ARGUMENTS + 1, result=0), "1 to 64 arguments"),
    "huge arguments": (of_nodes(arguments=10**9, result=0), "1 to 64 arguments"),
    "true arguments": (of_nodes(["exp", 0]) | {"arguments": True}, "1 to 64 arguments; got True"),
    "arguments of text": (of_nodes(["exp", 0]) | {"arguments": "1"}, "1 to 64 arguments; got '1'"),
    "nodes of text": (of_nodes() | {"nodes": "exp"}, "at most 2048 nodes; got 'exp'"),
    "many nodes": (of_nodes(*[["exp", 0]] * (MAX_NODES + 1)), "at most 2048 nodes; got 2049"),
    "a node of nothing": (of_nodes([]), f"{NAMES}; got None"),
    "an unknown operation": (of_nodes(["__import__", 0]), f"{NAMES}; got '__import__'. A newer"),
    "an argument as node": (of_nodes(["argument", 0]), NAMES),
    "a constant as node": (of_nodes(["constant"]), NAMES),
    "a nested operation": (of_nodes([["exp", 0], 0]), NAMES),
    "an operand less": (of_nodes(["add", 0]), f"add must have 2 {OPERANDS}; got [0]"),
    "an operand more": (of_nodes(["exp", 0, 0]), f"exp must have 1 {OPERANDS}"),
    "its own operand": (of_nodes(["exp", 1]), OPERANDS),
    "a later operand": (of_nodes(["exp", 2], ["exp", 0]), OPERANDS),
    "a negative operand": (of_nodes(["exp", -1]), OPERANDS),
    "a true operand": (of_nodes(["exp", 0], ["exp", True]), OPERANDS),
    "an operand of text": (of_nodes(["exp", "0"]), OPERANDS),
    "a fractional operand": (of_nodes(["exp", 0.0]), OPERANDS),
    "a huge operand": (of_nodes(["exp", 10**400]), OPERANDS),
    "a condition as number": (of_nodes(["less", 0, 0], ["exp", 1]), f"operands of exp {KINDS}"),
    "a number as condition": (of_nodes(["where", 0, 0, 0]), KINDS),
    "a negated number": (of_nodes(["logical_not", 0], ["where", 1, 0, 0]), KINDS),
    "a chosen condition": (of_nodes(["less", 0, 0], ["where", 1, 1, 0]), KINDS),
    "NaN": (of_nodes(math.nan, ["add", 0, 1]), f"{NUMBERS}; got nan"),
    "NaN as text": (of_nodes("nan", ["add", 0, 1]), NUMBERS),
    "a negative zero": (of_nodes(-0.0, ["add", 0, 1]), NUMBERS),
    "an integer": (of_nodes(1, ["add", 0, 1]), NUMBERS),
    "a huge integer": (of_nodes(10**400, ["add", 0, 1]), NUMBERS),
    "a truth value": (of_nodes(True, ["add", 0, 1]), NUMBERS),
    "a number of text": (of_nodes("1.5", ["add", 0, 1]), NUMBERS),
    "a number of none": (of_nodes(None, ["add", 0, 1]), NUMBERS),
    "a result of a condition": (of_nodes(["less", 0, 0]), RESULT),
    "a result that is none": (of_nodes(["exp", 0], result=2), RESULT),
    "a negative result": (of_nodes(["exp", 0], result=-1), RESULT),
    "a true result": (of_nodes(["exp", 0], result=True), RESULT),
    "a result of text": (of_nodes(["exp", 0], result="1"), RESULT),
    "an operation too many": (with_more(MAX_OPERATIONS), "must have at most 512 operations; got 5"),
    "too deep": (of_nodes(*[["sin", i] for i in range(129)]), "at most 128 operations one after"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_other_json_is_refused_in_one_sentence(case):
    config, message = HOSTILE[case]
    with pytest.raises(FileFormatError) as caught:
        formula_from_json(json.loads(json.dumps(config)))
    assert message in str(caught.value)
    assert str(caught.value).endswith((".", "the file."))
