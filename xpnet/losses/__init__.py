"""Losses: means over a batch, with the gradient with respect to the output of the network."""

from xpnet.losses.base import Loss
from xpnet.losses.classification import BinaryCrossEntropy, CrossEntropy, Hinge, PerceptronLoss
from xpnet.losses.distillation import Distillation
from xpnet.losses.formula import FormulaLoss
from xpnet.losses.formula import from_formula as from_formula
from xpnet.losses.heads import Heads
from xpnet.losses.likelihood import GaussianNLL, PoissonNLL
from xpnet.losses.regression import MAE, MSE, HalfMSE, Huber

__all__ = [
    "MAE",
    "MSE",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Distillation",
    "FormulaLoss",
    "GaussianNLL",
    "HalfMSE",
    "Heads",
    "Hinge",
    "Huber",
    "Loss",
    "PerceptronLoss",
    "PoissonNLL",
]
