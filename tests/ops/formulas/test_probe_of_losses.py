"""Losses as researchers write them are accepted for their targets, or lead to what is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.losses import from_formula
from xpnet.ops.formulas.probe import Targets

COUNTS = {"target_min": 0}
BINARY = {"target_kind": "binary"}
SIGNS = {"target_kind": "signs"}


def focal(xp, z, t, g):
    p = xp.sigmoid(z)
    return -t * (1 - p) ** g * xp.log(p) - (1 - t) * p**g * xp.log(1 - p)


def focal_by_cross_entropy(xp, z, t, g, a):
    p = xp.sigmoid(z)
    correct = p * t + (1 - p) * (1 - t)
    return (a * t + (1 - a) * (1 - t)) * (xp.softplus(z) - t * z) * (1 - correct) ** g


def quantile_huber(xp, z, t, q, d):
    size = xp.abs(t - z)
    near = xp.where(size <= d, 0.5 * (t - z) ** 2 / d, size - 0.5 * d)
    return xp.where(z > t, 1 - q, q) * near


ACCEPTED = {
    "poisson": (lambda xp, z, t: xp.exp(z) - t * z, {}),
    "poisson of counts": (lambda xp, z, t: xp.exp(z) - t * z, COUNTS),
    "deviance": (lambda xp, z, t: 2 * (xp.xlogy(t, t) - t * z - t + xp.exp(z)), COUNTS),
    "gamma": (lambda xp, z, t: z + t * xp.exp(-z), {}),
    "gamma of a quotient": (lambda xp, z, t: z + t / xp.exp(z), COUNTS),
    "weighted gamma": (lambda xp, z, t, a: a * (z + t * xp.exp(-z)), {"a": 0.3}),
    "tweedie": (
        lambda xp, z, t, p: -t * xp.exp((1 - p) * z) / (1 - p) + xp.exp((2 - p) * z) / (2 - p),
        {"p": 1.5},
    ),
    "negative binomial": (
        lambda xp, z, t, r: (t + r) * xp.softplus(z) - t * z,
        COUNTS | {"r": 3.0},
    ),
    "negative binomial, minus first": (
        lambda xp, z, t, r: -t * z + (r + t) * xp.log(1 + xp.exp(z)),
        {"r": 3.0},
    ),
    "negative binomial of rates": (
        lambda xp, z, t, r: (t + r) * xp.logaddexp(xp.log(r), z) - t * z,
        {"r": 3.0},
    ),
    "negative log likelihood": (
        lambda xp, z, t, r: -(t * z - (t + r) * xp.softplus(z)),
        {"r": 3.0},
    ),
    "cauchy": (lambda xp, z, t, c: xp.log(1 + ((z - t) / c) ** 2), {"c": 1.0}),
    "student": (
        lambda xp, z, t, n, s: 0.5 * (n + 1) * xp.log(1 + ((z - t) / s) ** 2 / n),
        {"n": 4.0, "s": 2.0},
    ),
    "student, one quotient": (
        lambda xp, z, t, n, s: 0.5 * (n + 1) * xp.log1p((z - t) ** 2 / (n * s**2)),
        {"n": 4.0, "s": 2.0},
    ),
    "log cosh": (lambda xp, z, t: xp.log(xp.cosh(z - t)), {}),
    "quantile huber": (quantile_huber, {"q": 0.9, "d": 1.0}),
    "expectile": (lambda xp, z, t, q: xp.where(z > t, 1 - q, q) * (z - t) ** 2, {"q": 0.9}),
    "normal": (lambda xp, z, t, s: (z - t) ** 2 / (2 * s**2) + xp.log(s), {"s": 3.0}),
    "barron": (
        lambda xp, z, t, a, c: 2 * ((((z - t) / c) ** 2 + 1) ** (a / 2) - 1),
        {"a": 1.0, "c": 0.5},
    ),
    "weibull": (lambda xp, z, t, k: k * z + xp.exp(k * (xp.log(t) - z)), COUNTS | {"k": 1.5}),
    "weibull with a largest target": (
        lambda xp, z, t, k: k * z + t**k * xp.exp(-k * z),
        {"target_min": 0, "target_max": 1e6, "k": 1.5},
    ),
    "focal": (focal, BINARY | {"g": 2.0}),
    "focal by the cross entropy": (focal_by_cross_entropy, BINARY | {"g": 2.0, "a": 0.25}),
    "cross entropy": (lambda xp, z, t: xp.softplus(z) - t * z, BINARY),
    "exponential of logits": (lambda xp, z, t: t * xp.exp(-z) + (1 - t) * xp.exp(z), BINARY),
    "exponential": (lambda xp, z, t: xp.exp(-t * z), SIGNS),
    "tangent": (lambda xp, z, t: (2 * xp.atan(t * z) - 1) ** 2, SIGNS),
    "savage": (lambda xp, z, t: 1 / (1 + xp.exp(t * z)) ** 2, SIGNS),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_losses_are_accepted_for_their_targets(name):
    rule, given = ACCEPTED[name]
    from_formula(rule, name="mine", **given)


LED = {
    "focal as values": (
        (focal_by_cross_entropy, {"g": 2.0, "a": 0.25}),
        r"If no target is .*, say so by target_kind, target_min or target_max\.",
        (focal_by_cross_entropy, BINARY | {"g": 2.0, "a": 0.25}),
    ),
    "negative binomial": (
        (lambda xp, z, t, r: -t * z + (t + r) * xp.log(r + xp.exp(z)), COUNTS | {"r": 3.0}),
        r"Write xp\.log\(a \+ b \* xp\.exp\(c\)\) as xp\.logaddexp\(xp\.log\(a\), xp\.log\(b\)",
        ACCEPTED["negative binomial of rates"],
    ),
    "overdispersed counts": (
        (lambda xp, z, t, a: (t + 1 / a) * xp.log(1 + a * xp.exp(z)) - t * z, {"a": 0.5}),
        r"Write xp\.log\(a \+ b \* xp\.exp\(c\)\) as xp\.logaddexp\(xp\.log\(a\), xp\.log\(b\)",
        (
            lambda xp, z, t, a: (t + 1 / a) * xp.logaddexp(0, xp.log(a) + z) - t * (xp.log(a) + z),
            {"a": 0.5},
        ),
    ),
    "weibull": (
        (lambda xp, z, t, k: k * z + t**k * xp.exp(-k * z), COUNTS | {"k": 1.5}),
        r"Write a\*\*b \* xp\.exp\(c\) as xp\.exp\(b \* xp\.log\(a\) \+ c\)\.",
        ACCEPTED["weibull"],
    ),
    "inverse gaussian": (
        (lambda xp, z, t: (t - xp.exp(z)) ** 2 / (2 * t * xp.exp(2 * z)), COUNTS),
        r"Write it as a product of quotients, such as \(a / b\)\*\*2 or a / b \* a, or keep",
        (
            lambda xp, z, t: (t / xp.exp(z) - 1) / (2 * t) * (t / xp.exp(z) - 1),
            {"target_min": 1e-6},
        ),
    ),
    "relative difference": (
        (lambda xp, z, t: xp.abs(z - t) / (xp.abs(z) + xp.abs(t)), {}),
        r"Add a small number to the divisor, such as 1e-8\.",
        (lambda xp, z, t: xp.abs(z - t) / (xp.abs(z) + xp.abs(t) + 1e-8), {}),
    ),
    "product of powers": (
        (lambda xp, z, t: -xp.log(xp.sigmoid(z) ** t * (1 - xp.sigmoid(z)) ** (1 - t)), BINARY),
        r"xp\.log is given 0\. Write it with .*xp\.log_sigmoid",
        (lambda xp, z, t: -t * xp.log_sigmoid(z) - (1 - t) * xp.log_sigmoid(-z), BINARY),
    ),
}


@pytest.mark.parametrize("name", LED)
def test_refusals_lead_to_what_is_accepted(name):
    (rule, given), message, (other, accepted) = LED[name]
    with pytest.raises(ArgumentError) as caught:
        from_formula(rule, name="mine", **given)
    assert re.search(message, str(caught.value)), caught.value
    from_formula(other, name="mine", **accepted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_are_targets_of_the_kind(dtype):
    assert set(Targets("signs").points(dtype)) == {-1.0, 1.0}
    soft = Targets("binary").points(dtype)
    assert soft.min() == 0.0
    assert soft.max() == 1.0
    assert ((soft > 0.0) & (soft < 1.0)).any()
    bounded = Targets("values", 0.5, 20.5).points(dtype)
    assert bounded.min() == 0.5
    assert bounded.max() == 20.5
    assert Targets().points(dtype).min() < 0.0


def test_targets_out_of_bounds_are_not_probed():
    def rule(xp, z, t):
        return xp.where((t < 2.0) | (t > 5.0), xp.sqrt(1.0 + xp.exp(z)), (z - t) ** 2)

    from_formula(rule, name="mine", target_min=2, target_max=5)
    for given in ({"target_min": 2}, {"target_max": 5}, {}):
        with pytest.raises(ArgumentError, match=r"for z of 709\.8 and above and t = "):
            from_formula(rule, name="mine", **given)
