"""Which operations run on an array: chosen once per array library."""

from __future__ import annotations

from xpnet.backend import Array, namespace_of
from xpnet.ops.reference import Operations

_chosen: dict[type, Operations] = {}


def operations_for(array: Array) -> Operations:
    """The operations for the library of ``array``.

    >>> import numpy as np
    >>> operations_for(np.zeros(2)).xp.__name__
    'numpy'
    """
    kind = type(array)
    if kind not in _chosen:
        _chosen[kind] = Operations(namespace_of(array))
    return _chosen[kind]
