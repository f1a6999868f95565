"""Softmax cross-entropy with its gradient, its sum over the rows and its record in one kernel."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.errors import dtype_name
from xpnet.ops.cuda.arrays import have_shape, on_device, supported
from xpnet.ops.cuda.elementwise import C_TYPES, ROWS, file_kernel
from xpnet.ops.cuda.graph_operations import fits_log
from xpnet.ops.cuda.launch import Launch
from xpnet.ops.graph_operations import LossLog

ONE_BLOCK_ROWS = 32 * ROWS
ONE_BLOCK_SIZE = 1 << 14
"""At most so many rows and logits are computed by one block, which can also sum the losses.

A second launch takes about as long as one multiprocessor needs for these logits; an estimate.
"""


def cross_entropy(
    launch: Launch,
    xp: Namespace,
    z: Array,
    target: Array,
    scale: Any,
    grad: Array,
    log: LossLog | None,
) -> Array | None:
    """Fill ``grad`` and return the loss; ``None`` if no kernel supports these arguments.

    The arguments are those of `Operations.softmax_cross_entropy`, whose ``out`` is ``grad``; a log
    of another dtype is not supported.
    """
    (m, n), number, by_row = z.shape, z.dtype.type, on_device(scale)
    type_name = C_TYPES.get(dtype_name(target.dtype))
    scales, rows = (scale,) if by_row else (), (target,) if target.ndim == 2 else ()
    if not (supported(z, *rows, *scales) and have_shape((m, 1), *scales)) or type_name is None:
        return None
    if not target.flags.c_contiguous or target.shape not in ((m,), (m, n)):
        return None
    loss = xp.empty((), dtype=z.dtype)
    if log is not None and not fits_log(log, loss):
        return None
    logged = (None, None, np.int64(0)) if log is None else (*log, np.int64(log.losses.size))
    defines = {"TARGET": type_name, "TARGET_IS_INDEX": str(2 - target.ndim)}
    kernel, total = (
        file_kernel(name, "cross_entropy.cu", dtype_name(z.dtype), **defines)
        for name in ("cross_entropy", "total")
    )
    one_block = m <= ONE_BLOCK_ROWS and m * n <= ONE_BLOCK_SIZE
    losses = None if one_block else xp.empty(m, dtype=z.dtype)
    factors = (scale, number(0)) if by_row else (None, number(scale))
    arguments = (z, target, *factors, losses, grad, np.int64(m), np.int64(n), loss, *logged)
    launch(kernel, (1 if one_block else ceil(m / ROWS),), (32, ROWS), arguments)
    if losses is not None:
        launch(total, (1,), (32, ROWS), (losses, np.int64(m), loss, *logged))
    return loss
