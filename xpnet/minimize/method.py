"""The base of all minimization methods, and the memory check of those that hold a matrix."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from xpnet.backend import Backend
from xpnet.errors import Phrase, require

if TYPE_CHECKING:
    from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction

DENSE_MATRICES = 4
"""Matrices of shape (n, n) that a dense method holds at once: H, its update and temporaries."""


class Method:
    """The base of all methods, which are frozen dataclasses of their hyperparameters.

    A method computes the next point. `minimize` counts iterations, measures time, records the
    trajectory and tests for convergence.

    Attributes:
        bounded: whether the method supports bounds.
        dense: whether it holds a matrix of shape ``(n, n)``.
    """

    bounded: ClassVar[bool] = False
    dense: ClassVar[bool] = False

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> Any:
        """Return the state that the method keeps between steps, initialized at ``point``."""
        raise NotImplementedError

    def step(self, function: ScalarFunction, point: EvaluatedPoint, state: Any) -> EvaluatedPoint:
        """Return the point after ``point``, and update ``state`` in place.

        Raises:
            LineSearchError: if no acceptable step was found.
        """
        raise NotImplementedError


def require_dense_fits(
    n: int,
    method: object,
    backend: Backend,
    memory: int | None = None,
    argument: str = "method",
) -> None:
    """Raise an error if a dense method for ``n`` variables needs more memory than there is.

    Args:
        n: the number of variables.
        method: the method, named in the message.
        backend: the backend, which determines the memory and the dtype.
        memory: the available bytes; default what the machine reports. Nothing is raised if it
            reports none.
        argument: the name of the argument that holds the method.

    Raises:
        ArgumentError: if the matrices do not fit; the message names the size and alternatives.

    >>> from xpnet.backend import get_backend
    >>> from xpnet.minimize import BFGS
    >>> require_dense_fits(100_000, BFGS(), get_backend("numpy"), memory=2**33)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: method must fit in 8.59 GB of memory; got BFGS, which needs \
4 matrices of 100000 × 100000, 160 GB in float32. Use LBFGS() or NewtonCG(), which hold no matrix.
    """
    item = 4 if backend.dtype_name == "float32" else 8
    need = DENSE_MATRICES * n * n * item
    memory = memory_of(backend) if memory is None else memory
    size = f"{DENSE_MATRICES} matrices of {n} × {n}, {_gigabytes(need)} in {backend.dtype_name}"
    require(
        memory is None or need <= memory,
        argument,
        f"fit in {_gigabytes(memory or 0)} of memory",
        Phrase(f"{type(method).__name__}, which needs {size}"),
        "Use LBFGS() or NewtonCG(), which hold no matrix.",
    )


def memory_of(backend: Backend) -> int | None:
    """Return the machine's memory or a GPU's free memory, in bytes; None if it is unknown."""
    if not backend.is_host:
        return int(backend.free_bytes)
    if "cuda" in str(backend.device):
        return int(backend.xp.cuda.mem_get_info()[0])
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gigabytes(count: int) -> str:
    size = count / 1e9
    return f"{size:.3g} GB" if size < 1000 else f"{size:,.0f} GB"
