"""Loops over flat vectors with a norm.

As in `xpnet.ops.cpu.elementwise`, each function is a loop builder for one floating type.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from xpnet.ops.cpu.jit import SCALAR, CompilerApi, LoopDefinition, NotCompiled, ReadOnly


def ascend(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out ← θ + ρ g/‖g‖``, with the squares of ``g/max|g|`` summed in double precision."""
    kind = np.dtype(dtype).type

    @api.loop(dtype, ReadOnly(1), ReadOnly(1), 1, SCALAR, reorder=True)
    def loop(theta: Any, grad: Any, out: Any, rho: Any) -> None:
        if not theta.size == grad.size == out.size:
            raise NotCompiled
        largest, total = kind(0), 0.0
        for i in range(grad.size):
            largest = max(largest, abs(grad[i]))
        unit = kind(1) if largest == 0 else largest
        for i in range(grad.size):
            share = grad[i] / unit
            total += share * share
        factor = kind(0) if total == 0 else kind(rho / sqrt(total))
        for i in range(grad.size):
            out[i] = theta[i] + grad[i] / unit * factor

    return loop
