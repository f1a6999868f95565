"""Minimize any function of a vector: Newton, quasi-Newton, conjugate gradients, first order."""

from xpnet.minimize.bfgs import BFGS
from xpnet.minimize.compare import compare
from xpnet.minimize.conjugate_gradient import NonlinearCG, hager_zhang, polak_ribiere
from xpnet.minimize.coordinate_descent import CoordinateDescent
from xpnet.minimize.dfp import DFP
from xpnet.minimize.driver import minimize
from xpnet.minimize.elastic_net import ElasticNet
from xpnet.minimize.first_order import FirstOrder
from xpnet.minimize.gradient_descent import GradientDescent
from xpnet.minimize.lbfgs import LBFGS
from xpnet.minimize.line_search import Armijo, Exact, LineSearch, StrongWolfe
from xpnet.minimize.method import Method
from xpnet.minimize.newton import Newton
from xpnet.minimize.newton_cg import NewtonCG
from xpnet.minimize.objective import Objective
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
