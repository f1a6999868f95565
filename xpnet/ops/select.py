"""Which operations run on an array: chosen once per array library."""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from dataclasses import replace

import numpy as np

from xpnet.backend import Array, Namespace, library_of, namespace_of
from xpnet.errors import FallbackWarning
from xpnet.ops.numpy import HostOperations
from xpnet.ops.operations import Operations

_chosen: dict[type, Operations] = {}


def operations_for(array: Array) -> Operations:
    """The operations for the library of ``array``.

    On NumPy they are compiled where Numba is installed (the extra ``cpu``), unless its own switch
    ``NUMBA_DISABLE_JIT=1`` is in the environment when the first array is seen.

    >>> import numpy as np
    >>> operations_for(np.zeros(2)).xp.__name__
    'numpy'
    """
    kind = type(array)
    chosen = _chosen.get(kind)
    if chosen is None:
        own: Operations | None = getattr(array, "operations", None)
        if own is not None:  # an array whose use is recorded brings its own
            return own
        chosen = _chosen[kind] = _choose(array)
    return chosen


def why_not_compiled() -> str:
    """Why loops on NumPy arrays are not compiled; empty if they are."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "NUMBA_DISABLE_JIT is set in the environment"
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed: pip install 'xpnet[cpu]'"
    return ""


def _choose(array: Array) -> Operations:
    if not isinstance(array, np.ndarray):
        xp = namespace_of(array)
        if library_of(array).is_cuda:
            return _cuda(xp)
        return Operations(xp)
    reason = why_not_compiled()
    if reason:
        return HostOperations(np, reason)
    try:
        # By name, for it is imported only where Numba is, and only when the first array comes.
        compiled = importlib.import_module("xpnet.ops.cpu.operations")
        operations: Operations = compiled.compiled_operations()
    except ImportError as error:  # a Numba that does not go with this NumPy says so here
        warnings.warn(
            f"Numba cannot be used ({error}); NumPy computes without it. Upgrade Numba, or set "
            "NUMBA_DISABLE_JIT=1 to be asked no more.",
            FallbackWarning,
            stacklevel=3,
        )
        return HostOperations(np, f"Numba cannot be used: {error}")
    return operations


def _cuda(xp: Namespace) -> Operations:
    """Kernels for CuPy arrays, if they work on this device; else CuPy's own operations."""
    # By name: nobody else needs to load them.
    cuda = importlib.import_module("xpnet.ops.cuda.operations")
    try:
        product = cuda.product_of_own()
        on_device = cuda.CudaOperations(xp, product=product)
        cuda.prove(on_device, xp)
    except Exception as error:  # a compiler, a driver or a device may fail in its own way
        warnings.warn(
            f"xpnet's CUDA kernels do not work here ({error}); CuPy computes without them.",
            FallbackWarning,
            stacklevel=4,
        )
        return Operations(xp)
    proven: Operations = replace(on_device, epilogues=cuda.proven_epilogues(product, xp))
    return proven
