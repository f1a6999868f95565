"""Several methods on one function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xpnet.errors import ArgumentError
from xpnet.minimize.driver import minimize
from xpnet.minimize.method import Method
from xpnet.minimize.result import Result
from xpnet.optimizers.base import Optimizer


def compare(
    function: Any, methods: Iterable[Method | Optimizer], x0: Any = None, **settings: Any
) -> list[Result]:
    """Minimize ``function`` by each of ``methods`` from the same start.

    Args:
        function: what `minimize` takes as ``fun``.
        methods: methods and first-order optimizers.
        x0: the start, shape ``(n,)``; default the first of a test function's ``starts``.
        settings: keyword arguments of `minimize`; the trajectory is kept unless said otherwise.

    Returns:
        One result a method, in order; `table` prints them, `plots` draws them.

    Raises:
        ArgumentError: if there is no start, or what `minimize` raises.

    >>> from xpnet.minimize import BFGS, LBFGS
    >>> from xpnet.minimize.functions import Bowl
    >>> [result.success for result in compare(Bowl(), [BFGS(), LBFGS()])]
    [True, True]
    """
    if x0 is None:
        starts = getattr(function, "starts", ())
        if not starts:
            raise ArgumentError("x0 must be given for a function without starts of its own.")
        x0 = starts[0]
    settings = {"keep_trajectory": True, **settings}
    return [minimize(function, x0, method, **settings) for method in methods]
