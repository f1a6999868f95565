"""Losses: means over a batch, with the gradient with respect to the output of the network."""

from xpnet.losses.base import Loss
from xpnet.losses.classification import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    PerceptronLoss,
    SoftMargin,
)
from xpnet.losses.distillation import Distillation
from xpnet.losses.focal import BinaryFocal, Focal
from xpnet.losses.formula import FormulaLoss
from xpnet.losses.formula import from_formula as from_formula
from xpnet.losses.heads import Heads
from xpnet.losses.likelihood import (
    GammaNLL,
    GaussianNLL,
    NegativeBinomialNLL,
    PoissonNLL,
    StudentTNLL,
    TweedieNLL,
)
from xpnet.losses.ordinal import Ordinal
from xpnet.losses.quantile import Expectile, QuantileLoss
from xpnet.losses.regression import MAE, MSE, HalfMSE, Huber, LogCosh

__all__ = [
    "MAE",
    "MSE",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "Distillation",
    "Expectile",
    "Focal",
    "FormulaLoss",
    "GammaNLL",
    "GaussianNLL",
    "HalfMSE",
    "Heads",
    "Hinge",
    "Huber",
    "LogCosh",
    "Loss",
    "NegativeBinomialNLL",
    "Ordinal",
    "PerceptronLoss",
    "PoissonNLL",
    "QuantileLoss",
    "SoftMargin",
    "StudentTNLL",
    "TweedieNLL",
]
