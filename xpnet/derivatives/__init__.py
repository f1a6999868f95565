"""Derivatives of networks and of functions, by forward, reverse and numerical mode.

The modes compute the same quantities, so that each can be checked against the others.

>>> import numpy as np
>>> from xpnet import MLP, HalfMSE, Tanh
>>> model = MLP(2, [3], 1, activation=Tanh(), dtype="float64")
>>> X, y, v = np.eye(2), np.ones(2), np.ones(model.layout.size)
>>> H = hessian(model, X, y, HalfMSE())
>>> bool(np.allclose(H @ v, hvp(model, X, y, HalfMSE(), v)))
True
"""

from xpnet.derivatives.check import check_gradients
from xpnet.derivatives.first_order import gradient, jvp, vjp
from xpnet.derivatives.gauss_newton import empirical_fisher_vp, fisher_vp, gauss_newton_vp
from xpnet.derivatives.jacobians import input_jacobian, parameter_jacobian
from xpnet.derivatives.numerical import complex_step_gradient, numerical_gradient
from xpnet.derivatives.report import GradientReport, ParameterCheck
from xpnet.derivatives.second_order import hessian, hvp

__all__ = [
    "GradientReport",
    "ParameterCheck",
    "check_gradients",
    "complex_step_gradient",
    "empirical_fisher_vp",
    "fisher_vp",
    "gauss_newton_vp",
    "gradient",
    "hessian",
    "hvp",
    "input_jacobian",
    "jvp",
    "numerical_gradient",
    "parameter_jacobian",
    "vjp",
]
