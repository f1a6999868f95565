"""Select the operations for an array, once for each array library."""

from __future__ import annotations

import importlib
import importlib.util
import os

import numpy as np

from xpnet.backend import Array, Namespace, library_of, namespace_of
from xpnet.errors import warn_fallback
from xpnet.ops.autograd import RecordedOperations, branching
from xpnet.ops.numpy import NumPyOperations
from xpnet.ops.operations import Operations

_chosen: dict[type | tuple[type, int], Operations] = {}
"""The operations for a type of array; for CuPy also by device, where other kernels may fail, and
for PyTorch by whether it records the array, to differentiate what is computed from it."""


def operations_for(array: Array, argument: str = "an array") -> Operations:
    """Return the fastest operations that work on the type of ``array``.

    NumPy arrays use compiled loops if Numba is installed (the extra ``cpu``), unless the
    environment variable ``NUMBA_DISABLE_JIT`` is 1 when the first array is passed. CuPy arrays use
    CUDA kernels that pass a self check. Other arrays use plain array code.

    Args:
        array: an array of a supported library, or one that is recorded.
        argument: its name in error messages.

    Returns:
        The operations, which are selected once for each array type and CUDA device.

    Raises:
        ArgumentError: if ``array`` is not on the current CUDA device.

    Warns:
        warn_fallback: if faster operations are installed but do not work.

    >>> import numpy as np
    >>> operations_for(np.zeros(2)).xp.__name__
    'numpy'
    """
    kind = type(array)
    chosen = _chosen.get(kind)
    if chosen is None:
        own: Operations | None = getattr(array, "operations", None)
        if own is not None:  # the operations of a recorded array record
            return own
        library = library_of(array)
        if library.is_cuda:
            return _on_current_device(array, argument)
        if library.differentiates:
            return _recorded_or_not(array, library.records(array))
        chosen = _chosen[kind] = _choose(array)
    return chosen


def _on_current_device(array: Array, argument: str) -> Operations:
    library = library_of(array)
    library.require_device(array, argument)
    key = type(array), library.device_of(array)
    if key not in _chosen:
        _chosen[key] = _cuda(library.namespace(), key[1])
    return _chosen[key]


def _recorded_or_not(array: Array, recorded: bool) -> Operations:
    key = type(array), int(recorded)
    if key not in _chosen:
        xp = namespace_of(array)
        _chosen[key] = RecordedOperations(branching(xp)) if recorded else Operations(xp)
    return _chosen[key]


def why_not_compiled() -> str:
    """The reason why operations on NumPy arrays are not compiled; empty if they are."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "NUMBA_DISABLE_JIT is set in the environment"
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed: pip install 'xpnet[cpu]'"
    return ""


def _choose(array: Array) -> Operations:
    if not isinstance(array, np.ndarray):
        return Operations(namespace_of(array))
    reason = why_not_compiled()
    if reason:
        return NumPyOperations(np, reason)
    try:
        # Imported at first use, because it needs Numba.
        compiled = importlib.import_module("xpnet.ops.cpu.operations")
        operations: Operations = compiled.compiled_operations()
    except ImportError as error:  # such as a Numba that is incompatible with this NumPy
        warn_fallback(
            f"Numba cannot be used ({error}); NumPy computes without it. Upgrade Numba, or set "
            "NUMBA_DISABLE_JIT=1 to disable this warning."
        )
        return NumPyOperations(np, f"Numba cannot be used: {error}")
    return operations


def _cuda(xp: Namespace, device: int) -> Operations:
    """CUDA kernels for CuPy arrays if they pass the self check, otherwise plain array code."""
    # Imported at first use, because no other backend needs it.
    cuda = importlib.import_module("xpnet.ops.cuda.operations")
    try:
        kernels: Operations = cuda.CudaOperations(xp, device=device).at_precision("float32")
        cuda.check_kernels(kernels)
    except Exception as error:  # a compiler, a driver or a device can raise any exception
        warn_fallback(
            f"xpnet's CUDA kernels do not work here ({error}); CuPy computes without them."
        )
        return Operations(xp)
    return kernels
