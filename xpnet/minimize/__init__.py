"""Minimize any function of a vector: Newton, quasi-Newton, conjugate gradients, first order."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xpnet.minimize.method import Method

if TYPE_CHECKING:
    from xpnet.minimize.bfgs import BFGS
    from xpnet.minimize.comparison import compare
    from xpnet.minimize.conjugate_gradient import NonlinearCG, hager_zhang, polak_ribiere
    from xpnet.minimize.coordinate_descent import CoordinateDescent
    from xpnet.minimize.dfp import DFP
    from xpnet.minimize.driver import minimize
    from xpnet.minimize.elastic_net import ElasticNet
    from xpnet.minimize.first_order import FirstOrder
    from xpnet.minimize.gradient_descent import GradientDescent
    from xpnet.minimize.lbfgs import LBFGS
    from xpnet.minimize.line_search import Armijo, Exact, LineSearch, StrongWolfe
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

_HOME = {
    "BFGS": "bfgs",
    "DFP": "dfp",
    "LBFGS": "lbfgs",
    "Armijo": "line_search",
    "CoordinateDescent": "coordinate_descent",
    "ElasticNet": "elastic_net",
    "Exact": "line_search",
    "FirstOrder": "first_order",
    "GradientDescent": "gradient_descent",
    "Iterate": "result",
    "LineSearch": "line_search",
    "Newton": "newton",
    "NewtonCG": "newton_cg",
    "NonlinearCG": "conjugate_gradient",
    "Objective": "objective",
    "Reason": "stopping",
    "Result": "result",
    "StrongWolfe": "line_search",
    "Tolerances": "stopping",
    "TrustRegion": "trust_region",
    "compare": "comparison",
    "hager_zhang": "conjugate_gradient",
    "minimize": "driver",
    "polak_ribiere": "conjugate_gradient",
    "table": "result",
}


def __getattr__(name: str) -> Any:
    """Load a method when it is first used: ``import xpnet`` does without them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
