"""Line searches: Armijo backtracking, the strong Wolfe conditions, and exact minimization."""

from xpnet.minimize.line_search.armijo import Armijo
from xpnet.minimize.line_search.base import LineSearch, LineSearchError, Ray, Trial
from xpnet.minimize.line_search.exact import Exact
from xpnet.minimize.line_search.strong_wolfe import StrongWolfe

__all__ = ["Armijo", "Exact", "LineSearch", "LineSearchError", "Ray", "StrongWolfe", "Trial"]
