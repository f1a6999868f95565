"""Elementwise loops, made of a rule: one pass over memory each.

Each function here makes the source of one rule's loop for one floating type; see
`xpnet.ops.compiled.compile`. A loop refuses shapes that do not fit, since inside it looks at no
bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.ops.compiled import scalar_math
from xpnet.ops.compiled.compile import Given, Loop, Source, compiled, numbers
from xpnet.ops.compiled.typed_rule import typed_rule
from xpnet.ops.reference import Rule


def apply_to_one(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Source:
    """``out ← rule(x)``."""
    f = typed_rule(rule, np.dtype(dtype).type)

    @compiled(dtype, Given(ndim), ndim, numbers(dtype, n_scalars))
    def loop(x: Any, out: Any, scalars: Any) -> None:
        if x.shape != out.shape:
            raise TypeError
        x, out = x.ravel(), out.ravel()
        for i in range(x.size):
            out[i] = f(scalar_math, x[i], *scalars)

    return loop


def apply_to_two(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Source:
    """``out ← rule(x, y)``."""
    f = typed_rule(rule, np.dtype(dtype).type)

    @compiled(dtype, Given(ndim), Given(ndim), ndim, numbers(dtype, n_scalars))
    def loop(x: Any, y: Any, out: Any, scalars: Any) -> None:
        if x.shape != out.shape or y.shape != out.shape:
            raise TypeError
        x, y, out = x.ravel(), y.ravel(), out.ravel()
        for i in range(x.size):
            out[i] = f(scalar_math, x[i], y[i], *scalars)

    return loop


def shift_and_apply(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Source:
    """``z ← rule(z + b)``."""
    f = typed_rule(rule, np.dtype(dtype).type)

    @compiled(dtype, ndim, Given(1), numbers(dtype, n_scalars))
    def loop(z: Any, bias: Any, scalars: Any) -> None:
        if bias.size != z.shape[1]:
            raise TypeError
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = f(scalar_math, z[i, j] + bias[j], *scalars)

    return loop


def chain(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Source:
    """``out ← dy · rule(x)``."""
    f = typed_rule(rule, np.dtype(dtype).type)

    @compiled(dtype, Given(ndim), Given(ndim), ndim, numbers(dtype, n_scalars))
    def loop(dy: Any, x: Any, out: Any, scalars: Any) -> None:
        if dy.shape != out.shape or x.shape != out.shape:
            raise TypeError
        dy, x, out = dy.ravel(), x.ravel(), out.ravel()
        for i in range(x.size):
            out[i] = dy[i] * f(scalar_math, x[i], *scalars)

    return loop


def chain_and_sum(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Source:
    """``out ← dy · rule(x)``, ``sums ← Σ_rows out``."""
    f = typed_rule(rule, np.dtype(dtype).type)

    @compiled(dtype, Given(ndim), Given(ndim), ndim, 1, numbers(dtype, n_scalars))
    def loop(dy: Any, x: Any, out: Any, sums: Any, scalars: Any) -> None:
        if dy.shape != out.shape or x.shape != out.shape or sums.size != x.shape[1]:
            raise TypeError
        sums[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                value = dy[i, j] * f(scalar_math, x[i, j], *scalars)
                out[i, j] = value
                sums[j] += value

    return loop


def update(  # long: a loop for each number of arrays
    rule: Rule, dtype: Any, n_targets: int, n_inputs: int, n_scalars: int
) -> Source:
    """``targets ← rule(*targets, *inputs)``, for flat arrays and the counts that rules have.

    Raises:
        KeyError: for other counts of targets and inputs.
    """
    f = typed_rule(rule, np.dtype(dtype).type)

    def one(a: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i] = f(scalar_math, a[i], *scalars)

    def one_by_one(a: Any, g: Any, scalars: Any) -> None:
        if g.size != a.size:
            raise TypeError
        for i in range(a.size):
            a[i] = f(scalar_math, a[i], g[i], *scalars)

    def two(a: Any, b: Any, g: Any, scalars: Any) -> None:
        if b.size != a.size or g.size != a.size:
            raise TypeError
        for i in range(a.size):
            a[i], b[i] = f(scalar_math, a[i], b[i], g[i], *scalars)

    def three(a: Any, b: Any, c: Any, g: Any, scalars: Any) -> None:
        if b.size != a.size or c.size != a.size or g.size != a.size:
            raise TypeError
        for i in range(a.size):
            a[i], b[i], c[i] = f(scalar_math, a[i], b[i], c[i], g[i], *scalars)

    def three_by_two(a: Any, b: Any, c: Any, d: Any, g: Any, scalars: Any) -> None:
        if b.size != a.size or c.size != a.size or d.size != a.size or g.size != a.size:
            raise TypeError
        for i in range(a.size):
            a[i], b[i], c[i] = f(scalar_math, a[i], b[i], c[i], d[i], g[i], *scalars)

    def four(a: Any, b: Any, c: Any, d: Any, g: Any, scalars: Any) -> None:
        if b.size != a.size or c.size != a.size or d.size != a.size or g.size != a.size:
            raise TypeError
        for i in range(a.size):
            a[i], b[i], c[i], d[i] = f(scalar_math, a[i], b[i], c[i], d[i], g[i], *scalars)

    loops: dict[tuple[int, int], Loop] = {
        (1, 0): one,
        (1, 1): one_by_one,
        (2, 1): two,
        (3, 1): three,
        (3, 2): three_by_two,
        (4, 1): four,
    }
    loop = loops[n_targets, n_inputs]
    arrays = [1] * n_targets + [Given(1)] * n_inputs
    return compiled(dtype, *arrays, numbers(dtype, n_scalars))(loop)
