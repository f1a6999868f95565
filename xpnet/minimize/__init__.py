"""Minimization of functions of a vector: Newton, quasi-Newton, conjugate gradients, first order.

`minimize` runs one method on one function, `compare` several. Methods are loaded on first access.

>>> from xpnet.minimize import BFGS, minimize
>>> minimize(lambda x: ((x - 1) ** 2).sum(), [0.0, 3.0], BFGS()).x.round(6)
array([1., 1.])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpnet.lazy import attributes
from xpnet.minimize.method import Method

if TYPE_CHECKING:
    from xpnet.minimize.checkpoint import MinimizationCheckpoint
    from xpnet.minimize.conjugate_gradient import NonlinearCG, hager_zhang, polak_ribiere
    from xpnet.minimize.coordinate_descent import CoordinateDescent, ElasticNet
    from xpnet.minimize.driver import compare, minimize
    from xpnet.minimize.driver import minimization_loop as minimization_loop
    from xpnet.minimize.first_order import FirstOrder, GradientDescent
    from xpnet.minimize.lbfgs import LBFGS
    from xpnet.minimize.line_search import Armijo, Exact, LineSearch, StrongWolfe
    from xpnet.minimize.newton import Newton, NewtonCG
    from xpnet.minimize.objective import Objective
    from xpnet.minimize.quasi_newton import BFGS, DFP
    from xpnet.minimize.result import Iterate, Result, table
    from xpnet.minimize.stopping import Reason, Tolerances
    from xpnet.minimize.trust_region import TrustRegion

__all__ = [
    "BFGS",
    "DFP",
    "LBFGS",
    "Armijo",
    "CoordinateDescent",
    "ElasticNet",
    "Exact",
    "FirstOrder",
    "GradientDescent",
    "Iterate",
    "LineSearch",
    "Method",
    "MinimizationCheckpoint",
    "Newton",
    "NewtonCG",
    "NonlinearCG",
    "Objective",
    "Reason",
    "Result",
    "StrongWolfe",
    "Tolerances",
    "TrustRegion",
    "compare",
    "hager_zhang",
    "minimize",
    "polak_ribiere",
    "table",
]

_MODULES = {
    "BFGS": "quasi_newton",
    "DFP": "quasi_newton",
    "LBFGS": "lbfgs",
    "Armijo": "line_search",
    "CoordinateDescent": "coordinate_descent",
    "ElasticNet": "coordinate_descent",
    "Exact": "line_search",
    "FirstOrder": "first_order",
    "GradientDescent": "first_order",
    "Iterate": "result",
    "LineSearch": "line_search",
    "MinimizationCheckpoint": "checkpoint",
    "Newton": "newton",
    "NewtonCG": "newton",
    "NonlinearCG": "conjugate_gradient",
    "Objective": "objective",
    "Reason": "stopping",
    "Result": "result",
    "StrongWolfe": "line_search",
    "Tolerances": "stopping",
    "TrustRegion": "trust_region",
    "compare": "driver",
    "hager_zhang": "conjugate_gradient",
    "minimization_loop": "driver",  # internal, hence not in __all__
    "minimize": "driver",
    "polak_ribiere": "conjugate_gradient",
    "table": "result",
}


__getattr__ = attributes(__name__, _MODULES)


def __dir__() -> list[str]:
    return __all__
