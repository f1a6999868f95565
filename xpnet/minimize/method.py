"""What every method of minimization is: a value that says how to start and how to step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from xpnet.backend import Backend
from xpnet.errors import Phrase, require

if TYPE_CHECKING:
    from xpnet.minimize.scalar_function import Point, Problem


class Method:
    """The base of all methods, which are frozen dataclasses of their hyperparameters.

    A method computes the next point and nothing else: `minimize` keeps the count, the clock, the
    trajectory and the tests for stopping.

    Attributes:
        bounded: whether the method keeps bounds.
        dense: whether it holds a matrix of shape ``(n, n)``.
    """

    bounded: ClassVar[bool] = False
    dense: ClassVar[bool] = False

    def start(self, problem: Problem, point: Point) -> Any:
        """What the method remembers between steps, made at the start ``point``."""
        raise NotImplementedError

    def step(self, problem: Problem, point: Point, state: Any) -> Point:
        """The point after ``point``; ``state`` is brought up to date.

        Raises:
            LineSearchError: if no acceptable step was found.
        """
        raise NotImplementedError


COPIES = 4
"""Matrices of shape (n, n) alive at once in a dense method: its own, a new one and temporaries."""


def require_dense_fits(
    n: int,
    method: object,
    backend: Backend,
    memory: int | None = None,
    argument: str = "method",
) -> None:
    """Refuse a dense method for ``n`` variables that need more memory than there is.

    Args:
        n: the number of variables.
        method: the method, for the message.
        backend: where it computes, and in which dtype.
        memory: bytes of it; default what the machine says, no refusal where it is silent.
        argument: what the caller calls the method.

    Raises:
        ArgumentError: saying how much memory is needed and what to use instead.

    >>> from xpnet.backend import get_backend
    >>> from xpnet.minimize import BFGS
    >>> require_dense_fits(100_000, BFGS(), get_backend("numpy"), memory=2**33)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: method must fit in 8.59 GB of memory; got BFGS, whose 4 matrices \
of 100000 × 100000 take 160 GB in float32. Use LBFGS() or NewtonCG(), which hold no matrix.
    """
    item = 4 if backend.dtype_name == "float32" else 8
    need = COPIES * n * n * item
    memory = memory_of(backend) if memory is None else memory
    size = f"{COPIES} matrices of {n} × {n} take {_gigabytes(need)} in {backend.dtype_name}"
    require(
        memory is None or need <= memory,
        argument,
        f"fit in {_gigabytes(memory or 0)} of memory",
        Phrase(f"{type(method).__name__}, whose {size}"),
        "Use LBFGS() or NewtonCG(), which hold no matrix.",
    )


def memory_of(backend: Backend) -> int | None:
    """Bytes of memory of the machine, free ones of a GPU; None where it cannot be asked."""
    if backend.name == "cupy":
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
