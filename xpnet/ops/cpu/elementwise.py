"""Elementwise loops, made of a rule: one pass over memory each.

Each function here makes the source of one rule's loop for one floating type; see
`xpnet.ops.cpu.jit.compile`. A loop refuses shapes that do not fit, since inside it looks at no
bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.ops.cpu.jit.definition import FLAT, Given, Kit, Numbers, Source, loop_on
from xpnet.ops.operations import Rule


def apply_to_one(kit: Kit, rule: Rule, dtype: Any, n_scalars: int) -> Source:
    """``out ← rule(x)``."""
    f, math = kit.typed(rule, np.dtype(dtype).type), kit.math

    @loop_on(dtype, Given(FLAT), FLAT, Numbers(n_scalars))
    def loop(x: Any, out: Any, scalars: Any) -> None:
        for i in range(x.size):
            out[i] = f(math, x[i], *scalars)

    return loop


def apply_to_two(kit: Kit, rule: Rule, dtype: Any, n_scalars: int) -> Source:
    """``out ← rule(x, y)``."""
    f, math = kit.typed(rule, np.dtype(dtype).type), kit.math

    @loop_on(dtype, Given(FLAT), Given(FLAT), FLAT, Numbers(n_scalars))
    def loop(x: Any, y: Any, out: Any, scalars: Any) -> None:
        for i in range(x.size):
            out[i] = f(math, x[i], y[i], *scalars)

    return loop


def shift_and_apply(kit: Kit, rule: Rule, dtype: Any, n_scalars: int) -> Source:
    """``z ← rule(z + b)``."""
    f, math = kit.typed(rule, np.dtype(dtype).type), kit.math

    @loop_on(dtype, 2, Given(1), Numbers(n_scalars))
    def loop(z: Any, bias: Any, scalars: Any) -> None:
        if bias.size != z.shape[1]:
            raise TypeError
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = f(math, z[i, j] + bias[j], *scalars)

    return loop


def chain(kit: Kit, rule: Rule, dtype: Any, n_scalars: int) -> Source:
    """``out ← dy · rule(x)``."""
    f, math = kit.typed(rule, np.dtype(dtype).type), kit.math

    @loop_on(dtype, Given(FLAT), Given(FLAT), FLAT, Numbers(n_scalars))
    def loop(dy: Any, x: Any, out: Any, scalars: Any) -> None:
        for i in range(x.size):
            out[i] = dy[i] * f(math, x[i], *scalars)

    return loop


def chain_and_sum(kit: Kit, rule: Rule, dtype: Any, n_scalars: int) -> Source:
    """``out ← dy · rule(x)``, ``sums ← Σ_rows out``."""
    f, math = kit.typed(rule, np.dtype(dtype).type), kit.math

    @loop_on(dtype, Given(2), Given(2), 2, 1, Numbers(n_scalars))
    def loop(dy: Any, x: Any, out: Any, sums: Any, scalars: Any) -> None:
        if dy.shape != out.shape or x.shape != out.shape or sums.size != x.shape[1]:
            raise TypeError
        sums[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                value = dy[i, j] * f(math, x[i, j], *scalars)
                out[i, j] = value
                sums[j] += value

    return loop


def update(  # long: a loop for each number of arrays
    kit: Kit, rule: Rule, dtype: Any, n_targets: int, n_inputs: int, n_scalars: int
) -> Source:
    """``targets ← rule(*targets, *inputs)``, for flat arrays and the counts that rules have.

    Raises:
        KeyError: for other counts of targets and inputs.
    """
    f, math = kit.typed(rule, np.dtype(dtype).type), kit.math

    def one(a: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i] = f(math, a[i], *scalars)

    def one_by_one(a: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i] = f(math, a[i], g[i], *scalars)

    def two(a: Any, b: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i] = f(math, a[i], b[i], g[i], *scalars)

    def three(a: Any, b: Any, c: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i], c[i] = f(math, a[i], b[i], c[i], g[i], *scalars)

    def three_by_two(a: Any, b: Any, c: Any, d: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i], c[i] = f(math, a[i], b[i], c[i], d[i], g[i], *scalars)

    def four(a: Any, b: Any, c: Any, d: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i], c[i], d[i] = f(math, a[i], b[i], c[i], d[i], g[i], *scalars)

    loops: dict[tuple[int, int], Callable[..., None]] = {
        (1, 0): one,
        (1, 1): one_by_one,
        (2, 1): two,
        (3, 1): three,
        (3, 2): three_by_two,
        (4, 1): four,
    }
    loop = loops[n_targets, n_inputs]
    arrays: list[int | Given] = [*[FLAT] * n_targets, *[Given(FLAT)] * n_inputs]
    return loop_on(dtype, *arrays, Numbers(n_scalars))(loop)
