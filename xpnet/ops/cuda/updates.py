"""Kernels that run a rule in place, such as an optimizer's update of θ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.ops.cuda.arrays import are_scalars, have_shape, is_constant, kernel_scalars, supported
from xpnet.ops.cuda.elementwise import kernel_for, unless
from xpnet.ops.cuda.launch import Launch, launch_linear
from xpnet.ops.operations import Rule


def update(
    launch: Launch,
    flag: Array | None,
    rule: Rule,
    targets: Sequence[Array],
    inputs: Sequence[Array],
    scalars: tuple[Any, ...],
    n: int | None = None,
) -> bool:
    """Update the targets by ``rule`` in one launch; return False if no kernel supports it.

    Args:
        launch: launches a kernel.
        flag: an array of one number; if it is above 0 nothing changes. ``None``: always update.
        rule: the rule.
        targets: the arrays to update in place.
        inputs: arrays in the shape of the targets, or single numbers.
        scalars: the scalars of the rule.
        n: the last scalar is 1 from this element on; ``None``: it is the same for all elements.
    """
    first, ending = targets[0], None if n is None else len(scalars) - 1
    if flag is not None:
        rule, scalars = unless(rule, len(targets)), (*scalars, flag)
    constant = [is_constant(array, first) for array in inputs]
    letters = "t" * len(targets) + "".join("o" if one else "x" for one in constant)
    whole = [*targets, *(array for array, one in zip(inputs, constant, strict=True) if not one)]
    shapes = have_shape(first.shape, *whole)
    if not (shapes and supported(*whole) and are_scalars(scalars, first.dtype)):
        return False
    kernel = kernel_for(rule, first, letters, len(targets), scalars, ending)
    if kernel is None:
        return False
    # The kernel reads the first element of an array that broadcasts one number.
    read = [a[:1] if one and a.ndim else a for a, one in zip(inputs, constant, strict=True)]
    sizes = np.int64(first.size), np.int64(1 if n is None else n)
    arguments = (*targets, *read, *kernel_scalars(scalars, first.dtype), *sizes)
    launch_linear(launch, kernel, first.size, arguments)
    return True
