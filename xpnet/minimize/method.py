"""The base of all minimization methods, and the memory check of those that hold a matrix."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, ClassVar

from xpnet.backend import Backend
from xpnet.errors import FileFormatError, Phrase, describe, require

if TYPE_CHECKING:
    from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
    from xpnet.state_dict import StateDict

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""An address in the ``repr`` of an object, which differs between processes."""

DENSE_MATRICES = 4
"""Matrices of shape (n, n) that a dense method holds at once: H, its update and temporaries."""


class Method:
    """The base of all methods, which are frozen dataclasses of their hyperparameters.

    A method computes the next point. `minimize` counts iterations, measures time, records the
    trajectory and tests for convergence.

    A run with a checkpoint needs a state that has ``state_dict()`` and ``load_state_dict(state)``,
    or is None. Its ``state_dict()`` holds all that the following steps depend on; it is written at
    once, so its arrays need no copies. The second copies it into a state that `start` returned.

    Attributes:
        bounded: whether the method supports bounds.
        dense: whether it holds a matrix of shape ``(n, n)``.
    """

    bounded: ClassVar[bool] = False
    dense: ClassVar[bool] = False

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> Any:
        """Return the state that the method keeps between steps, initialized at ``point``."""
        raise NotImplementedError

    def resume(
        self, function: ScalarFunction, point: EvaluatedPoint, saved: StateDict | None
    ) -> Any:
        """Return the state that ``saved``, its state dictionary at ``point``, describes.

        Raises:
            FileFormatError: if ``saved`` does not fit; the message names the entry.
        """
        state = self.start(function, point)
        if state is not None:
            state.load_state_dict(saved)
        elif saved is not None:
            raise FileFormatError(f"the state of the method must be None; got {describe(saved)}.")
        return state

    def step(self, function: ScalarFunction, point: EvaluatedPoint, state: Any) -> EvaluatedPoint:
        """Return the point after ``point``, and update ``state`` in place.

        Raises:
            LineSearchError: if no acceptable step was found.
        """
        raise NotImplementedError


def method_text(method: Method) -> str:
    """Return the ``repr`` of a method, which names its hyperparameters, without addresses.

    >>> from xpnet.minimize import TrustRegion
    >>> method_text(TrustRegion())
    'TrustRegion(radius=1.0, max_radius=1000000.0, accept=0.1)'
    """
    return ADDRESS.sub("", repr(method))


def method_state_dict(state: Any, method: Method) -> StateDict | None:
    """Return the state dictionary of the state of a method.

    Raises:
        ArgumentError: if the state has no state dictionary.
    """
    if state is None:
        return None
    ok = hasattr(state, "state_dict") and hasattr(state, "load_state_dict")
    rule = "keep a state with state_dict() and load_state_dict(state) for a checkpoint"
    require(ok, "method", rule, Phrase(f"{type(state).__name__} of {type(method).__name__}"))
    saved: StateDict = state.state_dict()
    return saved


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
