"""Losses: means over a batch, with the gradient with respect to the output of the network."""

from xpnet.losses.base import Loss
from xpnet.losses.classification import BinaryCrossEntropy, CrossEntropy, Hinge, PerceptronLoss
from xpnet.losses.distillation import Distillation
from xpnet.losses.likelihood import GaussianNLL, PoissonNLL
from xpnet.losses.regression import MAE, MSE, HalfMSE, Huber

__all__ = [
    "MAE",
    "MSE",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Distillation",
    "GaussianNLL",
    "HalfMSE",
    "Hinge",
    "Huber",
    "Loss",
    "PerceptronLoss",
    "PoissonNLL",
]
