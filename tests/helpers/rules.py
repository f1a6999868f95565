"""The elementwise rules, sorted by what they take, and arguments to try them on."""

from __future__ import annotations

import inspect

import numpy as np

from xpnet.ops.rules import activations, losses, minimizers, optimizers

M, N = 37, 23

SCALARS = (0.7, 0.2, 0.5, 0.4, 0.9, 0.3, 0.6, 0.8)
"""Values for the scalars of a rule, in their order."""


def rules_of(module):
    """The functions that a module itself defines."""
    own = [f for _, f in inspect.getmembers(module, inspect.isfunction)]
    return [f for f in own if f.__module__ == module.__name__]


def counts_of(rule):
    """How many arrays and how many scalars a rule takes."""
    kinds = [p.annotation for p in list(inspect.signature(rule).parameters.values())[1:]]
    return kinds.count("Array"), kinds.count("float")


def scalars_of(rule):
    """Values for the scalars of a rule."""
    return SCALARS[: counts_of(rule)[1]]


def targets_of(rule):
    """How many arrays an update writes to: as many as it returns."""
    return inspect.signature(rule).return_annotation.count("Array")


DERIVATIVES = [f for f in rules_of(activations) if f.__name__.endswith(("derivative", "one"))]
CURVATURES = [f for f in rules_of(activations) if f.__name__.endswith("curvature")]
VALUES = [f for f in rules_of(activations) if f not in DERIVATIVES + CURVATURES]
CURVATURES_OF_LOSSES = [f for f in rules_of(losses) if f.__name__.endswith("curvature")]
LOSSES = [f for f in rules_of(losses) if f not in CURVATURES_OF_LOSSES]
OF_POSITIVE = activations.softplus_derivative, activations.softplus_curvature
UPDATES = rules_of(optimizers) + rules_of(minimizers)


def matrix(dtype, seed=0, low=-4.0, high=4.0, shape=(M, N)):
    """Random numbers of a seed in a range."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)
