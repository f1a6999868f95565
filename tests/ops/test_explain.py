"""Explanations of rules and operations."""

import pytest

from xpnet import ArgumentError, Tanh
from xpnet.activations import from_formula
from xpnet.backend import get_backend
from xpnet.losses import from_formula as loss_from_formula
from xpnet.ops import explain

MISH = from_formula(lambda xp, z: z * xp.tanh(xp.softplus(z)), name="mish")
SQUARE = loss_from_formula(lambda xp, z, t: (z - t) ** 2, name="squared")


@pytest.mark.parametrize(
    ("rule", "name"),
    [(MISH.value, "mish"), (MISH.derivative, "mish_derivative"), (SQUARE.rule, "squared")],
)
def test_formulas_run_as_hand_written_rules(rule, name, place):
    found = explain(rule, place.backend)
    assert found.startswith(f"the rule {name} on {place.backend.name} runs ")
    assert found.replace(name, "tanh") == explain(Tanh.value, place.backend)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (MISH, r"what must be a rule, such as .*mish\.value, .*; got mish\(\)"),
        (Tanh(), r"what must be a rule, .*; got Tanh\(\)"),
        ("matmull", "what must be one of .*Did you mean 'matmul'"),
    ],
)
def test_what_is_no_rule_is_refused(what, message):
    with pytest.raises(ArgumentError, match=message):
        explain(what, get_backend("numpy"))
