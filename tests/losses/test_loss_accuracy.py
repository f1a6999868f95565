"""Losses of formulas: within 1e-12 of mpmath, finite wherever the true value is, on any engine."""

from __future__ import annotations

from functools import cache

import mpmath as mp
import numpy as np
import pytest
from helpers.formula_truth import truths

from xpnet.losses import (
    BinaryFocal,
    Expectile,
    Focal,
    GammaNLL,
    LogCosh,
    NegativeBinomialNLL,
    Ordinal,
    QuantileLoss,
    SoftMargin,
    StudentTNLL,
    TweedieNLL,
)
from xpnet.ops import operations_for
from xpnet.ops.formulas import FormulaRule
from xpnet.ops.formulas.probe import Targets, require_finite
from xpnet.ops.operations import Operations

SIZES = (1e-8, 1e-3, 0.1, 0.3, 0.7, 1.1, 1.9, 3.3, 8.1, 20.3, 37.2, 90.1, 1e4)
NUMBERS = [-x for x in reversed(SIZES)] + list(SIZES)
HUGE, TINY = 1e308, mp.mpf(10) ** -280


def softplus(u):
    return mp.log1p(mp.exp(u))


def focal(u, t, gamma):
    return t * mp.exp(-gamma * softplus(u)) * softplus(-u)


# The loss, targets, and the rule in mpmath, of z, t and the fields of the loss.
CASES = {
    "pinball": (
        QuantileLoss((0.9,)),
        (0.0, 0.35),
        lambda z, t, q: q * (t - z) if t > z else (1 - mp.mpf(q)) * (z - t),
    ),
    "expectile": (
        Expectile(0.9),
        (0.0, 0.35),
        lambda z, t, q: (1 - mp.mpf(q) if z > t else mp.mpf(q)) * (z - t) ** 2,
    ),
    "log_cosh": (LogCosh(), (0.0, 0.35), lambda z, t: mp.log(mp.cosh(z - t))),
    "student_t": (
        StudentTNLL(4.0, 0.25),  # a root without rounding
        (0.0, 0.35),
        lambda z, t, df, s: (df + 1) / mp.mpf(2) * mp.log1p(((z - t) / s) ** 2 / df),
    ),
    "gamma": (GammaNLL(), (1.0, 0.35), lambda z, t: z + t * mp.exp(-z)),
    "tweedie": (
        TweedieNLL(1.25),
        (0.0, 0.35),
        lambda z, t, p: t * mp.exp((1 - p) * z) / (p - 1) + mp.exp((2 - p) * z) / (2 - p),
    ),
    "negative_binomial": (
        NegativeBinomialNLL(1.0),
        (0.0, 3.0),
        lambda z, t, a: t * softplus(-z) + softplus(z),
    ),
    "soft_margin": (SoftMargin(), (-1.0, 1.0), lambda z, t: softplus(-t * z)),
    "binary_focal": (
        BinaryFocal(2.0, 0.25),
        (0.0, 1.0, 0.5),
        lambda z, t, g, a: a * focal(z, t, g) + (1 - a) * focal(-z, 1 - t, g),
    ),
    "binary_focal-half": (
        BinaryFocal(0.5, None),
        (0.0, 1.0),
        lambda z, t, g, a: focal(z, t, g) + focal(-z, 1 - t, g),
    ),
}


def rules_of(loss):
    return [type(loss).rule, type(loss).derivative, type(loss).curvature]


@cache
def true_values(name):
    loss, targets, reference = CASES[name]
    fields = tuple(vars(loss).values())
    fields = fields[0] if isinstance(loss, QuantileLoss) else fields
    return [
        truths(lambda z, t: reference(z, t, *fields), (z, t), ()) for z in NUMBERS for t in targets
    ]


def points_of(name):
    grid = [(z, t) for z in NUMBERS for t in CASES[name][1]]
    return [np.array(column) for column in zip(*grid, strict=True)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("order", [0, 1, 2], ids=["rule", "derivative", "curvature"])
def test_rules_agree_with_mpmath(name, order):
    loss, points = CASES[name][0], points_of(name)
    rule = rules_of(loss)[order]
    found = 0.0 if rule is None else rule(np, *points, *loss._scalars())
    found = np.broadcast_to(np.asarray(found, float), points[0].shape)
    for x, true, z, t in zip(found.tolist(), true_values(name), *points, strict=True):
        want, scale = true[order]
        if abs(want) < HUGE:
            assert abs(mp.mpf(x) - want) <= 1e-12 * scale + TINY, (z, t, x, float(want))


@pytest.mark.parametrize("name", CASES)
def test_rules_are_finite_where_the_truth_is(name):
    loss = CASES[name][0]
    low = 0.0 if name in ("gamma", "tweedie", "negative_binomial") else None
    targets = Targets(loss.target_kind, low)
    require_finite(type(loss).rule.formula, loss._scalars(), name, targets)


def test_losses_are_formulas():
    for loss, *_ in CASES.values():
        assert all(isinstance(rule, (FormulaRule, type(None))) for rule in rules_of(loss))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_compiled_rules_equal_plain_ones(name, dtype):
    loss, (z, t) = CASES[name][0], [x.astype(dtype) for x in points_of(name)]
    kept, scalars = np.abs(z) < 50, loss._scalars()
    z, t = (np.ascontiguousarray(x[kept])[None] for x in (z, t))
    for rule in rules_of(loss):
        if rule is not None:
            found = operations_for(z).apply(rule, z, t, scalars=scalars)
            plain = Operations(np).apply(rule, z, t, scalars=scalars)
            tolerance = 1e-13 if dtype == "float64" else 2e-5
            np.testing.assert_allclose(found, plain + 0.0 * z, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("power", [1.0001, 1.5, 1.9999])
def test_tweedie_in_float32_keeps_its_power(power):
    """``p - 1`` of a float32 power has an error of 1e-3 at 1.0001."""
    z, t = np.linspace(-2, 2, 9)[:, None], np.linspace(0, 4, 9)[:, None]
    value, grad = TweedieNLL(power).value_and_grad(z.astype("f"), t.astype("f"))
    exact, exact_grad = TweedieNLL(power).value_and_grad(z, t)
    assert float(value) == pytest.approx(float(exact), rel=1e-6)
    np.testing.assert_allclose(grad, exact_grad, rtol=1e-5, atol=1e-6)


# --- losses of several outputs --------------------------------------------------------------------


def focal_of_row(gamma, label):
    def value(*z):
        p = [mp.exp(x - z[label]) for x in z]
        rest = sum(p) - 1
        return (rest / (1 + rest)) ** gamma * mp.log1p(rest)

    return value


def ordinal_of_row(label):
    def value(*z):
        above = [mp.mpf(1), *(1 / (1 + mp.exp(-x)) for x in z), mp.mpf(0)]
        return -mp.log(above[label] - above[label + 1])

    return value


ROWS = {
    "focal": (Focal(), focal_of_row, (2.0,), [0.5, -1.0, 2.0]),
    "focal, certain": (Focal(), focal_of_row, (2.0,), [90.0, -20.0, 3.0]),
    "focal, alike": (Focal(0.5), focal_of_row, (0.5,), [4.0, 4.0, 3.999999]),
    "focal, no power": (Focal(0.0), focal_of_row, (0.0,), [700.0, -700.0, 1.0]),
    "ordinal": (Ordinal(), ordinal_of_row, (), [2.0, 0.5]),
    "ordinal, near": (Ordinal(), ordinal_of_row, (), [0.5, 0.5 - 1e-9]),
    "ordinal, one tail": (Ordinal(), ordinal_of_row, (), [60.0, 59.5]),
    "ordinal, far": (Ordinal(), ordinal_of_row, (), [18.0, -18.0]),
}


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("name", ROWS)
def test_rows_agree_with_mpmath(name, label):
    """Value and gradient to 1e-12 of their condition, ``|q| + Σ |z_j ∂q/∂z_j|``."""
    loss, reference, fields, z = ROWS[name]
    function, n = reference(*fields, label), len(z)
    value, grad = loss.value_and_grad(np.array([z]), np.array([label]))
    identity = np.eye(n)
    products = [loss.hessian_product(np.array([z]), np.array([label]), v[None]) for v in identity]
    with mp.workdps(700):
        given = [mp.mpf(x) for x in z]
        true, slopes, bends = derivatives(function, given)
        third = [derivatives(along(function, j), given)[2] for j in range(n)]
    close(float(value), true, true, slopes, z)
    for i in range(n):
        close(grad[0, i], slopes[i], slopes[i], bends[i], z)
        for j in range(n):
            # As those of softmax, p − p² cancels in it where p is 1.
            size = abs(bends[i][j]) + abs(slopes[i])
            close(products[j][0, i], bends[i][j], size, [t[i][j] for t in third], z)


STEP = mp.mpf(10) ** -60


def moved(z, *places):
    return [x + STEP * places.count(i) for i, x in enumerate(z)]


def along(function, j):
    """The derivative of a function by its number ``j``."""
    return lambda *z: (function(*moved(z, j)) - function(*z)) / STEP


def derivatives(function, z):
    """The value, the gradient and the Hessian, by forward differences."""
    n = range(len(z))
    here, ahead = function(*z), [function(*moved(z, i)) for i in n]
    bends = [
        [(function(*moved(z, i, j)) - ahead[i] - ahead[j] + here) / STEP**2 for j in n] for i in n
    ]
    return here, [(x - here) / STEP for x in ahead], bends


def close(found, true, size, slopes, z):
    scale = abs(size) + sum(abs(x * slope) for x, slope in zip(z, slopes, strict=True))
    assert abs(mp.mpf(float(found)) - true) <= 1e-12 * scale + TINY, (found, float(true))
