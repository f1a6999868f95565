"""Unstable forms, in any order and sign, become the stable functions that they equal."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from xpnet.ops.formulas import trace
from xpnet.ops.formulas.builder import FormulaBuilder
from xpnet.ops.formulas.decimal_functions import evaluate
from xpnet.ops.formulas.symbols import Symbol, SymbolNamespace

R2 = math.sqrt(2.0)

PRECISION = Decimal("1e-13")
"""The numbers of formulas have 53 bits, 1/√2 among them."""

SMALL = Decimal("1e-3")

FORMS = [
    ("softplus(u)", lambda xp, u, v: xp.log1p(xp.exp(u))),
    ("softplus(negative(u))", lambda xp, u, v: xp.log(1 + xp.exp(-u))),
    ("negative(softplus(negative(u)))", lambda xp, u, v: -xp.log(1 + xp.exp(-u))),
    ("softplus(u)", lambda xp, u, v: xp.log(xp.exp(u) + 1)),
    ("sigmoid(u)", lambda xp, u, v: xp.exp(u) / (xp.exp(u) + 1)),
    ("sigmoid(negative(u))", lambda xp, u, v: xp.exp(-u) / (1 + xp.exp(-u))),
    ("sigmoid(u)", lambda xp, u, v: 1 / (xp.exp(-u) + 1)),
    ("sigmoid(u)", lambda xp, u, v: 0.5 * (1 + xp.tanh(u / 2))),
    ("sigmoid(u)", lambda xp, u, v: (1 + xp.tanh(u / 2)) / 2),
    ("sigmoid(u)", lambda xp, u, v: 0.5 + 0.5 * xp.tanh(0.5 * u)),
    ("sigmoid(negative(u))", lambda xp, u, v: 0.5 - 0.5 * xp.tanh(0.5 * u)),
    ("multiply(u,sigmoid(multiply(2,v)))", lambda xp, u, v: 0.5 * u * (1 + xp.tanh(v))),
    ("tanh(u)", lambda xp, u, v: 2 * xp.sigmoid(2 * u) - 1),
    ("tanh(u)", lambda xp, u, v: 2 / (1 + xp.exp(-2 * u)) - 1),
    ("tanh(u)", lambda xp, u, v: 1 - 2 / (1 + xp.exp(2 * u))),
    ("tanh(u)", lambda xp, u, v: (1 - xp.exp(-2 * u)) / (1 + xp.exp(-2 * u))),
    ("tanh(u)", lambda xp, u, v: (xp.exp(2 * u) - 1) / (xp.exp(2 * u) + 1)),
    ("tanh(u)", lambda xp, u, v: xp.sinh(u) / xp.cosh(u)),
    ("tanh(u)", lambda xp, u, v: (xp.exp(u) - xp.exp(-u)) / (xp.exp(-u) + xp.exp(u))),
    ("negative(tanh(u))", lambda xp, u, v: (xp.exp(-u) - xp.exp(u)) / (xp.exp(-u) + xp.exp(u))),
    ("log_cosh(u)", lambda xp, u, v: xp.log(xp.cosh(u))),
    ("log_cosh(u)", lambda xp, u, v: xp.log(0.5 * (xp.exp(u) + xp.exp(-u)))),
    ("log_cosh(u)", lambda xp, u, v: xp.log((xp.exp(u) + xp.exp(-u)) / 2)),
    ("sigmoid(negative(u))", lambda xp, u, v: 1 - xp.sigmoid(u)),
    ("sigmoid(u)", lambda xp, u, v: 1 - xp.sigmoid(-u)),
    ("erfc(negative(u))", lambda xp, u, v: 1 + xp.erf(u)),
    ("multiply(0.5,erfc(negative(u)))", lambda xp, u, v: 0.5 * (xp.erf(u) + 1)),
    ("multiply(0.5,erfc(negative(u)))", lambda xp, u, v: 0.5 + 0.5 * xp.erf(u)),
    ("erf(u)", lambda xp, u, v: 1 - xp.erfc(u)),
    ("erfc(negative(u))", lambda xp, u, v: 2 - xp.erfc(u)),
    (
        "multiply(multiply(0.5,u),erfc(negative(divide(u,1.41421))))",
        lambda xp, u, v: 0.5 * u * (1 + xp.erf(u / R2)),
    ),
    (
        "multiply(multiply(0.5,u),erfc(negative(divide(u,1.41421))))",
        lambda xp, u, v: u * 0.5 * (1 + xp.erf(u / R2)),
    ),
    (
        "multiply(u,multiply(0.5,erfc(negative(divide(u,1.41421)))))",
        lambda xp, u, v: u * (0.5 * (1 + xp.erf(u / R2))),
    ),
    (
        "multiply(0.5,multiply(u,erfc(negative(divide(u,1.41421)))))",
        lambda xp, u, v: u * xp.erfc(-u / R2) / 2,
    ),
    (
        "multiply(multiply(0.5,u),erfc(multiply(-0.707107,u)))",
        lambda xp, u, v: u / 2 * (1 + xp.erf(u * math.sqrt(0.5))),
    ),
    ("log_sigmoid(negative(u))", lambda xp, u, v: xp.log1p(-xp.sigmoid(u))),
    ("log_sigmoid(negative(u))", lambda xp, u, v: xp.log(1 - xp.sigmoid(u))),
    ("log_sigmoid(u)", lambda xp, u, v: xp.log(xp.sigmoid(u))),
    ("log_sigmoid(u)", lambda xp, u, v: xp.log(1 / (1 + xp.exp(-u)))),
    ("hypot(1,u)", lambda xp, u, v: xp.sqrt(1 + u**2)),
    ("hypot(u,v)", lambda xp, u, v: xp.sqrt(u * u + v**2)),
    ("hypot(0.01,u)", lambda xp, u, v: xp.sqrt(u**2 + 0.0001)),
    ("hypot(3,hypot(v,multiply(2,u)))", lambda xp, u, v: xp.sqrt(4 * u**2 + v * v + 9)),
    ("pseudo_huber(multiply(0.5,u))", lambda xp, u, v: xp.sqrt(1 + (u / 2) ** 2) - 1),
    ("multiply(2,pseudo_huber(multiply(0.5,u)))", lambda xp, u, v: xp.sqrt(4 + u**2) - 2),
    ("u", lambda xp, u, v: xp.exp(xp.log(u))),
    ("sigmoid(negative(u))", lambda xp, u, v: xp.exp(-xp.softplus(u))),
    ("sigmoid(u)", lambda xp, u, v: 1 - xp.exp(-xp.softplus(u))),
    ("sigmoid(u)", lambda xp, u, v: xp.exp(xp.log_sigmoid(u))),
    ("multiply(u,gaussian(multiply(0.707107,u)))", lambda xp, u, v: u * xp.exp(-(u**2) / 2)),
    ("gaussian(multiply(0.707107,u))", lambda xp, u, v: xp.exp(-0.5 * u**2)),
    ("gaussian(u)", lambda xp, u, v: xp.exp(-u * u)),
    ("gaussian(multiply(0.353553,subtract(u,v)))", lambda xp, u, v: xp.exp(-((u - v) ** 2) / 8)),
    (
        "divide(gaussian(multiply(0.707107,u)),2.50663)",
        lambda xp, u, v: xp.exp(-u * u / 2) / math.sqrt(2 * math.pi),
    ),
    (
        "where(greater(v,0),log1p_square(divide(u,sqrt(v))),log1p(multiply(u,divide(u,v))))",
        lambda xp, u, v: xp.log1p(u**2 / v),
    ),
    ("log1p_square(multiply(0.5,u))", lambda xp, u, v: xp.log1p(u**2 / 4)),
    ("log1p_square(u)", lambda xp, u, v: xp.log(1 + u * u)),
    ("log1p_square(divide(u,v))", lambda xp, u, v: xp.log(1 + (u / v) ** 2)),
    ("multiply(2,log(abs(u)))", lambda xp, u, v: xp.log(u**2)),
    ("multiply(2,log(hypot(1.41421,u)))", lambda xp, u, v: xp.log(2 + u**2)),
    ("logaddexp(u,v)", lambda xp, u, v: xp.log(xp.exp(u) + xp.exp(v))),
    ("logaddexp(v,softplus(u))", lambda xp, u, v: xp.log(1 + xp.exp(u) + xp.exp(v))),
    (
        "logaddexp(add(u,v),logaddexp(u,v))",
        lambda xp, u, v: xp.log(xp.exp(u) + xp.exp(v) + xp.exp(u + v)),
    ),
    ("logaddexp(1.09861,u)", lambda xp, u, v: xp.log(3 + xp.exp(u))),
    ("add(u,log(negative(expm1(negative(u)))))", lambda xp, u, v: xp.log(xp.exp(u) - 1)),
    ("sigmoid(subtract(u,v))", lambda xp, u, v: xp.exp(u) / (xp.exp(u) + xp.exp(v))),
    ("sigmoid(subtract(u,0.693147))", lambda xp, u, v: xp.exp(u) / (2 + xp.exp(u))),
    ("multiply(1.5,sigmoid(subtract(0.693147,u)))", lambda xp, u, v: 3 / (2 + xp.exp(u))),
    ("sigmoid_slope(u)", lambda xp, u, v: xp.exp(-u) / (1 + xp.exp(-u)) ** 2),
    ("square(sigmoid(u))", lambda xp, u, v: 1 / (1 + xp.exp(-u)) ** 2),
    ("multiply(4,sigmoid_slope(multiply(2,u)))", lambda xp, u, v: 1 - xp.tanh(u) ** 2),
    ("multiply(4,sigmoid_slope(multiply(2,u)))", lambda xp, u, v: 1 - xp.tanh(u) * xp.tanh(u)),
    ("softplus(negative(u))", lambda xp, u, v: xp.log(1 + xp.exp(u)) - u),
    ("log_sigmoid(u)", lambda xp, u, v: u - xp.log1p(xp.exp(u))),
    ("softplus(u)", lambda xp, u, v: u + xp.softplus(-u)),
    ("xlogy(v,u)", lambda xp, u, v: v * xp.log(u)),
    (
        "where(equal(0,subtract(1,v)),0,multiply(subtract(1,v),log1p(negative(u))))",
        lambda xp, u, v: (1 - v) * xp.log(1 - u),
    ),
    (
        "negative(add(xlogy(v,u),where(equal(0,subtract(1,v)),0,multiply(subtract(1,v),log1p(negative(u))))))",
        lambda xp, u, v: -(v * xp.log(u) + (1 - v) * xp.log(1 - u)),
    ),
    ("xlogy(u,u)", lambda xp, u, v: u * xp.log(u)),
    ("square(divide(u,hypot(1,u)))", lambda xp, u, v: u**2 / (1 + u**2)),
    ("square(divide(u,hypot(u,v)))", lambda xp, u, v: u**2 / (u**2 + v**2)),
    ("where(equal(0,v),0,times_exp(v,negative(u)))", lambda xp, u, v: v / xp.exp(u)),
    ("exp(multiply(v,log_sigmoid(u)))", lambda xp, u, v: xp.sigmoid(u) ** v),
    ("exp(multiply(v,log_sigmoid(negative(u))))", lambda xp, u, v: (1 - xp.sigmoid(u)) ** v),
    ("exp(multiply(u,v))", lambda xp, u, v: xp.exp(u) ** v),
    ("exp(multiply(0.5,u))", lambda xp, u, v: xp.sqrt(xp.exp(u))),
    ("multiply(u,sigmoid(u))", lambda xp, u, v: u * xp.exp(u) / (1 + xp.exp(u))),
    ("multiply(u,tanh(softplus(u)))", lambda xp, u, v: u * xp.tanh(xp.log(1 + xp.exp(u)))),
    ("multiply(u,multiply(0.1,u))", lambda xp, u, v: 0.1 * u**2),
    ("multiply(6,multiply(u,v))", lambda xp, u, v: 2 * u * v * 3),
    ("divide(1,square(u))", lambda xp, u, v: u ** (-2)),
    ("multiply(0.25,u)", lambda xp, u, v: u / 4),
    ("divide(u,3)", lambda xp, u, v: u / 3),
    ("u", lambda xp, u, v: xp.log(xp.exp(u))),
    ("exp(u)", lambda xp, u, v: 1 + xp.expm1(u)),
    ("multiply(-3,expm1(u))", lambda xp, u, v: 3 * (1 - xp.exp(u))),
    ("multiply(-3,expm1(u))", lambda xp, u, v: 3 - 3 * xp.exp(u)),
    ("negative(expm1(negative(square(u))))", lambda xp, u, v: 1 - xp.exp(-u * u)),
    ("multiply(2,square(sin(multiply(0.5,u))))", lambda xp, u, v: 1 - xp.cos(u)),
    ("square(sin(u))", lambda xp, u, v: (1 - xp.cos(2 * u)) / 2),
    ("sinh(u)", lambda xp, u, v: (xp.exp(u) - xp.exp(-u)) / 2),
    (
        "where(equal(0,add(1,v)),0,times_exp(add(1,v),u))",
        lambda xp, u, v: (1 + v) * xp.exp(u),
    ),
    ("where(equal(0,square(v)),0,times_exp(square(v),u))", lambda xp, u, v: xp.exp(u) * v**2),
    ("multiply(v,sigmoid(u))", lambda xp, u, v: v * xp.exp(u) / (1 + xp.exp(u))),
    (
        "where(equal(0,divide(1,v)),0,times_exp(divide(1,v),u))",
        lambda xp, u, v: xp.exp(u) / v,
    ),
    (
        "add(softplus(u),multiply(v,softplus(negative(u))))",
        lambda xp, u, v: (v + 1) * xp.softplus(u) - v * u,
    ),
    (
        "negative(add(softplus(u),multiply(v,softplus(negative(u)))))",
        lambda xp, u, v: u * v - (1 + v) * xp.softplus(u),
    ),
    (
        "add(logaddexp(2,u),multiply(v,softplus(subtract(2,u))))",
        lambda xp, u, v: (v + 1) * xp.logaddexp(2.0, u) - v * u,
    ),
    ("multiply(u,multiply(u,v))", lambda xp, u, v: u**2 * v),
    ("multiply(u,divide(u,v))", lambda xp, u, v: u**2 / v),
    ("multiply(u,divide(multiply(0.5,u),v))", lambda xp, u, v: 0.5 * u**2 / v),
    ("pow(hypot(1,u),multiply(2,v))", lambda xp, u, v: (1 + u**2) ** v),
    ("divide(1,hypot(1,u))", lambda xp, u, v: (1 + u**2) ** (-0.5)),
    ("add(multiply(0.5,v),multiply(0.5,exp(u)))", lambda xp, u, v: 0.5 * (xp.exp(u) + v)),
    (
        "where(greater(u,0),add(multiply(0.5,u),multiply(0.5,hypot(2,u))),"
        "divide(2,subtract(hypot(2,u),u)))",
        lambda xp, u, v: 0.5 * (u + xp.sqrt(u**2 + 4)),
    ),
    ("logaddexp(-0.693147,add(-0.693147,u))", lambda xp, u, v: xp.log(0.5 * xp.exp(u) + 0.5)),
    ("multiply(0.5,tanh(multiply(0.5,u)))", lambda xp, u, v: xp.sigmoid(u) - 0.5),
    ("square(tanh(u))", lambda xp, u, v: 1 - 4 * xp.sigmoid(2 * u) * (1 - xp.sigmoid(2 * u))),
    (
        "where(greater(u,0),add(u,hypot(2,u)),divide(4,subtract(hypot(2,u),u)))",
        lambda xp, u, v: u + xp.sqrt(u**2 + 4),
    ),
]


def spelled(formula):
    """The formula as a text: ``u`` and ``v`` are its arguments."""
    texts = []
    for node in formula.nodes:
        if node.operation == "argument":
            texts.append("uv"[int(node.number)])
        elif node.operation == "constant":
            texts.append(f"{node.number:g}")
        else:
            texts.append(f"{node.operation}({','.join(texts[i] for i in node.operands)})")
    return texts[formula.result]


def as_written(rule):
    """The formula of a rule without any simplification."""
    builder = FormulaBuilder(2, simplifies=False)
    result = rule(SymbolNamespace(builder), Symbol(builder, 0), Symbol(builder, 1))
    return builder.formula(result.index)


@pytest.mark.parametrize(("expected", "rule"), FORMS, ids=lambda x: x if isinstance(x, str) else "")
def test_forms_are_recognized(expected, rule):
    assert spelled(trace(rule, 2)) == expected


@pytest.mark.parametrize("rule", [rule for _, rule in FORMS], ids=[name for name, _ in FORMS])
def test_stable_forms_equal_what_was_written(rule):
    """In decimal arithmetic, wherever what was written has a value."""
    written, found = as_written(rule), trace(rule, 2)
    n_defined = 0
    for u in (-4.0, -0.75, -1e-3, 0.0, 0.5, 3.0):
        for v in (-2.5, -0.125, 0.0, 0.25, 1.0, 6.0):
            want = evaluate(written, [u, v])[written.result]
            got = evaluate(found, [u, v])[found.result]
            if want.is_finite():
                n_defined += 1
                assert abs(got - want) <= max(abs(want), SMALL) * PRECISION, (u, v)
    assert n_defined >= 6
