"""Formulas that overflow, though their true value does not, are refused with the interval."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.ops.formulas import probe, trace
from xpnet.ops.formulas.backward import Backward, backward_of
from xpnet.ops.formulas.probe import Targets, require_finite


def refusal(rule, n_arrays=1, parameters=()):
    """The message of the error, ``None`` if there is none."""
    try:
        formula = trace(rule, n_arrays + len(parameters))
        require_finite(formula, parameters, "mine", None if n_arrays == 1 else Targets())
    except ArgumentError as error:
        return str(error)
    return None


REFUSED = [
    (
        lambda xp, z: xp.sqrt(1.0 + xp.exp(z)),
        r"formula 'mine' must be finite where its true value is; got a value that is not for z of "
        r"709\.8 and above in float64, where xp\.exp overflows\. Write it with xp\.softplus, ",
    ),
    (lambda xp, z: xp.sqrt(1.0 + xp.exp(-z)), "value that is not for z of -709.8 and below"),
    (lambda xp, z: xp.log(xp.sinh(z)), r"for z of 710\.5 and above .* xp\.sinh overflows"),
    (lambda xp, z: xp.exp(z) * xp.exp(-z), r"xp\.exp overflows"),
    (
        lambda xp, z: z**3 / (1.0 + z**2),
        r"below in float64, where a product overflows\. Write",
    ),
    (lambda xp, z: (z * z + z) / z, "a square overflows"),
    (lambda xp, z: xp.log(xp.sigmoid(z) ** 3 + 0.0 * z), r"xp\.log is given 0\. .*xp\.log_sigmoid"),
    (lambda xp, z: xp.where(z > 800.0, xp.exp(z) / xp.exp(z - 1.0), z), "xp.exp overflows"),
]
LOSSES_REFUSED = [
    (lambda xp, z, t: z * z - 2.0 * z * t + t * t, "and t = "),
    (lambda xp, z, t: xp.sqrt(1.0 + xp.exp(z)) * t, r"709\.8 and above and t = 1 in float64"),
    (
        lambda xp, z, t: t * xp.log(t / z),
        r"for z from 0 to 5\.5\d\de-309 and t = 1 in float64, where a quotient overflows\. Write "
        "the logarithm of a quotient as the difference of two",
    ),
]
ALLOWED = [
    lambda xp, z: 1.0 / z,
    lambda xp, z: xp.log(z),
    lambda xp, z: xp.sqrt(z),
    lambda xp, z: xp.exp(z),
    lambda xp, z: xp.exp(xp.exp(z)),
    lambda xp, z: 1.0 / xp.cosh(z),
    lambda xp, z: z * xp.exp(100.0 - z) * 1e30,
    lambda xp, z: 2.0 * z * xp.exp(-z * z),
    lambda xp, z: z**5,
    lambda xp, z: z**1.5,
    lambda xp, z: xp.tan(z),
    lambda xp, z: xp.acos(z),
    lambda xp, z: xp.log(z / (1.0 - z)),
    lambda xp, z: 0.001 * z**2,
    lambda xp, z: xp.sin(1e4 * z),
    lambda xp, z: xp.where(z > 0, xp.sqrt(z), 0.0),
    lambda xp, z: xp.where(z < 700.0, xp.exp(z), z),
    lambda xp, z: 1.0 - xp.exp(-xp.exp(z)),
    lambda xp, z: z * xp.tanh(xp.log1p(xp.exp(z))),
    lambda xp, z: z * xp.log(z),
    lambda xp, z: 3.0 + 0.0 * z,
]


@pytest.mark.parametrize(("rule", "message"), REFUSED)
def test_avoidable_overflows_are_refused(rule, message):
    found = refusal(rule)
    assert found is not None
    assert re.search(message, found), found
    assert found.count(". ") <= 2
    assert "\n" not in found


@pytest.mark.parametrize(("rule", "message"), LOSSES_REFUSED)
def test_losses_are_refused_with_their_target(rule, message):
    found = refusal(rule, 2)
    assert found is not None
    assert re.search(message, found), found


def test_difference_of_logarithms_is_accepted():
    assert refusal(lambda xp, z, t: xp.xlogy(t, t) - t * xp.log(z), 2) is None


@pytest.mark.parametrize("rule", ALLOWED)
def test_poles_and_true_overflows_are_allowed(rule):
    assert refusal(rule) is None


def test_intervals_are_given_to_three_digits():
    found = refusal(lambda xp, z: xp.sqrt(1.0 + xp.exp(2.0 * z)))
    assert found is not None
    (number,) = re.findall(r"for z of ([\d.]+) and above", found)
    assert float(number) == pytest.approx(0.5 * np.log(np.finfo(np.float64).max), rel=1e-3)


def test_float32_alone_can_be_the_reason():
    """``e¹⁰⁰`` is a number in float64 only."""
    found = refusal(lambda xp, z: xp.sqrt(1.0 + xp.exp(xp.clip(z, -100.0, 100.0))))
    assert found is not None
    assert "for z of 88.72 and above in float32, where xp.exp overflows" in found


def test_small_factors_are_not_refused():
    """``a z²`` overflows too early, but only near the largest number."""
    assert refusal(lambda xp, z, a: a * z**2, 1, (1e-6,)) is None


def test_parameters_are_used():
    def rule(xp, z, a):
        return xp.sqrt(1.0 + xp.exp(a * z))

    assert "709.8 and above" in refusal(rule, 1, (1.0,))
    assert "-709.8 and below" in refusal(rule, 1, (-1.0,))
    assert refusal(rule, 1, (0.0,)) is None


BY_OUTPUT = {
    "exp": lambda xp, z: xp.exp(z),
    "scaled exp": lambda xp, z, b: xp.exp(b * z),
    "sqrt": lambda xp, z: xp.sqrt(z),
    "tan": lambda xp, z: xp.tan(z),
}


@pytest.mark.parametrize("name", BY_OUTPUT)
def test_derivatives_by_the_output_are_finite(name):
    parameters = (2.0,) * (name == "scaled exp")
    formula = trace(BY_OUTPUT[name], 1 + len(parameters))
    assert backward_of(formula).saves == "output"
    require_finite(formula, parameters, "mine")


def by_output(derivative, curvature):
    """Derivatives that are not those of any formula."""
    return lambda formula: Backward("output", trace(derivative, 1), trace(curvature, 1))


UNSTABLE = lambda xp, a: a**3 / (1.0 + a**2)  # noqa: E731
STABLE = lambda xp, a: a  # noqa: E731


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            by_output(UNSTABLE, STABLE),
            r"a first derivative as a function of the output a that is not for a of -?[\d.e+]+ and",
        ),
        (
            by_output(STABLE, UNSTABLE),
            r"a second derivative as a function of the output a that is not for a of",
        ),
    ],
)
def test_derivatives_by_the_output_are_probed(monkeypatch, found, message):
    monkeypatch.setattr(probe, "backward_of", found)
    assert re.search(message, refusal(lambda xp, z: z))
    # The output is never so large.
    assert refusal(lambda xp, z: xp.tanh(z)) is None
