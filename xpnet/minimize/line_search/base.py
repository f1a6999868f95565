"""What every line search is: a value that finds an acceptable step along a ray."""

from __future__ import annotations

from xpnet.minimize.line_search.ray import Ray
from xpnet.minimize.point import Point


class LineSearch:
    """The base of the line searches, which are frozen dataclasses of their hyperparameters."""

    def search(self, ray: Ray, first: float) -> Point:
        """An acceptable point of ``ray``.

        Args:
            ray: the function along a direction of descent.
            first: the step length to try first, above 0.

        Raises:
            LineSearchError: if none was found, with what was tried.
        """
        raise NotImplementedError
