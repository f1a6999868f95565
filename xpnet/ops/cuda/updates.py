"""Kernels that run a rule over arrays in their place, as an optimizer's step does over θ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.arrays import are_numbers, fit, in_type, is_one, shaped
from xpnet.ops.cuda.composed import unless
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
    """Run ``rule`` over the targets in one launch, where a kernel can; whether it was done.

    Args:
        launch: starts a kernel.
        flag: an array of one number, above 0 if nothing is to change; ``None``: it is.
        rule: the rule.
        targets: the arrays that it reads and writes.
        inputs: those that it reads, like the targets or one number for all.
        scalars: its scalars.
        n: the element from which on the last scalar is 1; ``None``: it is what it is.
    """
    first, ending = targets[0], None if n is None else len(scalars) - 1
    if flag is not None:
        rule, scalars = unless(rule, len(targets)), (*scalars, flag)
    ones = [is_one(array, first) for array in inputs]
    letters = "t" * len(targets) + "".join("o" if one else "x" for one in ones)
    whole = [*targets, *(array for array, one in zip(inputs, ones, strict=True) if not one)]
    if not (fit(*whole) and shaped(first.shape, *whole) and are_numbers(scalars, first.dtype)):
        return False
    kernel = sources.of_rule(rule, first, letters, len(targets), scalars, ending)
    if kernel is None:
        return False
    # Of an array that is one number spread over all, the kernel takes the first.
    read = [a[:1] if one and a.ndim else a for a, one in zip(inputs, ones, strict=True)]
    sizes = np.int64(first.size), np.int64(1 if n is None else n)
    arguments = (*targets, *read, *in_type(scalars, first.dtype), *sizes)
    launch_linear(launch, kernel, first.size, arguments)
    return True
