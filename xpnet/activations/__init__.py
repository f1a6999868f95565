"""Activation functions, as immutable values.

Each has its rules from `xpnet.ops.rules.activations`, and says of which array its derivative is a
function, the input or the output, so that a layer saves no more than that. `from_formula` makes
one of a formula, with its derivatives.
"""

from xpnet.activations.builtin import (
    ELU,
    GELU,
    SELU,
    ActivationFunction,
    Affine,
    Exponential,
    GELUTanh,
    HardSigmoid,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from xpnet.activations.formula import FormulaActivation
from xpnet.activations.formula import from_formula as from_formula

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "ActivationFunction",
    "Affine",
    "Exponential",
    "FormulaActivation",
    "GELUTanh",
    "HardSigmoid",
    "Identity",
    "LeakyReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
]
