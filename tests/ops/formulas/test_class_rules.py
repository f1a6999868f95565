"""Rules of classes that follow from the formula of another: once, lazily, or not at all."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from xpnet.activations import Sigmoid, SiLU
from xpnet.errors import ArgumentError
from xpnet.losses import HalfMSE, Loss
from xpnet.ops import operations_for
from xpnet.ops.formulas import FormulaRule, derivative_of, trace
from xpnet.ops.formulas.backward import backward_of
from xpnet.ops.formulas.class_rules import derive_rules, itself

Z = np.array([[-800.0, -1.0, 0.0], [0.5, 3.0, 800.0]])
T = np.array([[1.0, 1.0, 0.25], [0.0, 1.0, 0.0]])


def logistic(xp, z, t, c):
    return c * (t * xp.log1p(xp.exp(-z)) + (1 - t) * xp.softplus(z))


@dataclass(frozen=True)
class Scaled(Loss):
    """A loss that defines its rule alone."""

    c: float = 2.0

    rule = staticmethod(logistic)


class Written(Loss):
    """A loss with a derivative by hand."""

    rule = staticmethod(lambda xp, z, t: (z - t) ** 3)
    derivative = staticmethod(lambda xp, z, t: 3.0 * (z - t) ** 2)


def unknown(xp, z, t):
    return xp.cbrt(z - t)


class Unknown(Loss):
    """A loss of which the rule has no formula."""

    rule = staticmethod(unknown)


def test_rule_alone_gives_both_derivatives(place):
    sigma = 1 / (1 + np.exp(-np.maximum(Z, -700.0)))
    z, t, ones = (place.array(x) for x in (Z, T, np.ones_like(Z)))
    value, grad = Scaled(3.0).value_and_grad(z, t)
    product = Scaled(3.0).hessian_product(z, t, ones)
    rows = T * np.logaddexp(0.0, -Z) + (1 - T) * np.logaddexp(0.0, Z)
    assert float(value) == pytest.approx(3.0 * rows.sum() / 2, rel=1e-13)
    np.testing.assert_allclose(place.host(grad), 1.5 * (sigma - T), atol=1e-13)
    np.testing.assert_allclose(place.host(product), 1.5 * sigma * (1 - sigma), atol=1e-13)


def test_rules_are_formulas_with_names():
    rules = Scaled.rule, Scaled.derivative, Scaled.curvature
    names = ["logistic", "logistic_derivative", "logistic_curvature"]
    assert [rule.__name__ for rule in rules] == names
    assert all(isinstance(rule, FormulaRule) for rule in rules)
    assert rules[0].formula == trace(logistic, 3)


def test_rules_are_computed_once_on_first_access():
    calls = []

    class Counted(Loss):
        @staticmethod
        def rule(xp, z, t):
            calls.append(xp)
            return xp.square(z - t)

    assert not calls
    assert Counted.derivative is Counted().derivative
    assert Counted().rule is Counted.rule
    assert len(calls) == 2  # a formula is traced twice


def test_loss_with_derived_rules_is_a_value():
    loss = Scaled(4.0)
    loss.value_and_grad(Z, T)
    copy = pickle.loads(pickle.dumps(loss))
    assert (copy, hash(copy), vars(copy)) == (loss, hash(loss), {"c": 4.0})
    assert copy.derivative is loss.derivative


def test_linear_loss_has_no_curvature():
    class Linear(Loss):
        rule = staticmethod(lambda xp, z, t: xp.abs(z - t))

    assert Linear.curvature is None
    assert not Linear().hessian_product(Z, T, Z).any()


def test_curvature_follows_from_a_written_derivative():
    assert not isinstance(Written.derivative, FormulaRule)
    product = Written().hessian_product(Z, T, Z)
    np.testing.assert_allclose(product, 3.0 * (Z - T) * Z)


def test_new_rule_of_a_subclass_replaces_derivatives():
    class Double(HalfMSE):
        rule = staticmethod(lambda xp, z, t: (z - t) ** 2)

    class Same(HalfMSE):
        pass

    _, grad = Double().value_and_grad(Z, T)
    np.testing.assert_allclose(grad, Z - T)
    assert Same.derivative is HalfMSE.derivative


def test_rule_without_formula_has_a_value_alone():
    assert float(Unknown().value(Z, T)) == pytest.approx(np.cbrt(Z - T).sum() / 2)
    message = r"^derivative must be a rule of its own, because Unknown\.rule has no formula that"
    with pytest.raises(ArgumentError, match=message + ".*cbrt"):
        Unknown().value_and_grad(Z, T)


def test_activation_derives_its_backward_rules():
    class Plain:
        value = staticmethod(lambda xp, z: xp.sigmoid(z))

    derivations = {
        "value": itself,
        "derivative": lambda formula: backward_of(formula).derivative,
        "saves": lambda formula: backward_of(formula).saves,
    }
    derive_rules(Plain, "value", derivations)
    a = Plain.value(np, Z)
    np.testing.assert_allclose(a, Sigmoid().forward(operations_for(Z), Z), rtol=1e-15)
    saved = a if Plain.saves == "output" else Z
    np.testing.assert_allclose(Plain.derivative(np, saved), a * (1 - a), atol=1e-16)


def test_plain_function_is_a_source_too():
    class Plain:
        value = staticmethod(SiLU.value)

    derive_rules(Plain, "value", {"derivative": derivative_of})
    z = np.array([-3.0, 0.5, 2.0])  # not 0, where the plain sigmoid has a kink
    np.testing.assert_allclose(Plain.derivative(np, z), SiLU.derivative(np, z), rtol=1e-13)


def test_methods_are_no_rules():
    class Bound(Loss):
        c = 2.0

        def rule(self, xp, z, t):
            return self.c * (z - t)

    assert Bound().rule(np, 3.0, 1.0) == 4.0
    with pytest.raises(ArgumentError, match=r"it is a method\. Write rule = staticmethod\("):
        Bound().value_and_grad(Z, T)
