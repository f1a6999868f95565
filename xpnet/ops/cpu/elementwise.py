"""Elementwise loops: each applies a rule in one pass over memory.

Each function here is a loop builder: it defines the loop of one rule for one floating type; see
`xpnet.ops.cpu.jit`. A loop raises `NotCompiled` for shapes that do not fit, since it does not check
bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.ops.cpu.jit import (
    FLAT,
    CompilerApi,
    LazyModule,
    LoopDefinition,
    NotCompiled,
    ReadOnly,
    Scalars,
)
from xpnet.ops.operations import Rule

VECTOR_MATH = LazyModule("xpnet.ops.cpu.vector_math")
"""The namespace on which rules run inside a loop."""


def apply_to_one(api: CompilerApi, rule: Rule, dtype: Any, n_scalars: int) -> LoopDefinition:
    """``out ← rule(x)``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(FLAT), FLAT, Scalars(n_scalars))
    def loop(x: Any, out: Any, scalars: Any) -> None:
        for i in range(x.size):
            out[i] = f(xp, x[i], *scalars)

    return loop


def apply_to_two(api: CompilerApi, rule: Rule, dtype: Any, n_scalars: int) -> LoopDefinition:
    """``out ← rule(x, y)``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(FLAT), ReadOnly(FLAT), FLAT, Scalars(n_scalars))
    def loop(x: Any, y: Any, out: Any, scalars: Any) -> None:
        for i in range(x.size):
            out[i] = f(xp, x[i], y[i], *scalars)

    return loop


def shift_and_apply(api: CompilerApi, rule: Rule, dtype: Any, n_scalars: int) -> LoopDefinition:
    """``z ← rule(z + b)``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, 2, ReadOnly(1), Scalars(n_scalars))
    def loop(z: Any, bias: Any, scalars: Any) -> None:
        if bias.size != z.shape[1]:
            raise NotCompiled
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = f(xp, z[i, j] + bias[j], *scalars)

    return loop


def shift_and_keep(
    api: CompilerApi, rule: Rule, inner: Rule | None, dtype: Any, n_scalars: int
) -> LoopDefinition:
    """``z ← inner(z + b)``, ``out ← rule(z)``; without ``inner``, ``z ← z + b``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()
    h = f if inner is None else api.typed_rule(inner, dtype)

    def keep_sum(z: Any, out: Any, bias: Any, scalars: Any) -> None:
        if bias.size != z.shape[1] or out.shape != z.shape:
            raise NotCompiled
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                value = z[i, j] + bias[j]
                z[i, j] = value
                out[i, j] = f(xp, value, *scalars)

    def keep_inner(z: Any, out: Any, bias: Any, scalars: Any) -> None:
        if bias.size != z.shape[1] or out.shape != z.shape:
            raise NotCompiled
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                value = h(xp, z[i, j] + bias[j], *scalars)
                z[i, j] = value
                out[i, j] = f(xp, value, *scalars)

    loop = api.loop(dtype, 2, 2, ReadOnly(1), Scalars(n_scalars))
    return loop(keep_sum if inner is None else keep_inner)


def chain(api: CompilerApi, rule: Rule, dtype: Any, n_scalars: int) -> LoopDefinition:
    """``out ← dy · rule(x)``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(FLAT), ReadOnly(FLAT), FLAT, Scalars(n_scalars))
    def loop(dy: Any, x: Any, out: Any, scalars: Any) -> None:
        for i in range(x.size):
            out[i] = dy[i] * f(xp, x[i], *scalars)

    return loop


def chain_and_sum(api: CompilerApi, rule: Rule, dtype: Any, n_scalars: int) -> LoopDefinition:
    """``out ← dy · rule(x)``, ``sums ← Σ_rows out``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(2), ReadOnly(2), 2, 1, Scalars(n_scalars))
    def loop(dy: Any, x: Any, out: Any, sums: Any, scalars: Any) -> None:
        if dy.shape != out.shape or x.shape != out.shape or sums.size != x.shape[1]:
            raise NotCompiled
        sums[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                value = dy[i, j] * f(xp, x[i, j], *scalars)
                out[i, j] = value
                sums[j] += value

    return loop


def apply_by_column(api: CompilerApi, rule: Rule, dtype: Any) -> LoopDefinition:
    """``out ← rule(x, c)``, with one ``c`` for each column."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(2), 2, ReadOnly(1))
    def loop(x: Any, out: Any, column: Any) -> None:
        if out.shape != x.shape or column.size != x.shape[1]:
            raise NotCompiled
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, j] = f(xp, x[i, j], column[j])

    return loop


def chain_by_column(api: CompilerApi, rule: Rule, dtype: Any) -> LoopDefinition:
    """``out ← dy · p``, ``sums ← Σ_rows dy · q`` with ``p, q = rule(x, c)``."""
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(2), ReadOnly(2), 2, 1, ReadOnly(1))
    def loop(dy: Any, x: Any, out: Any, sums: Any, column: Any) -> None:
        if dy.shape != out.shape or x.shape != out.shape:
            raise NotCompiled
        if not x.shape[1] == sums.size == column.size:
            raise NotCompiled
        sums[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                by_x, by_column = f(xp, x[i, j], column[j])
                out[i, j] = dy[i, j] * by_x
                sums[j] += dy[i, j] * by_column

    return loop


def update(  # long: one loop for each number of arrays
    api: CompilerApi, rule: Rule, dtype: Any, n_targets: int, n_inputs: int, n_scalars: int
) -> LoopDefinition:
    """``targets ← rule(*targets, *inputs)``, for the numbers of arrays that the rules have.

    Raises:
        NotCompiled: for other numbers of targets and inputs.
    """
    f, xp = api.typed_rule(rule, dtype), VECTOR_MATH.load()

    def one(a: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i] = f(xp, a[i], *scalars)

    def both(a: Any, b: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i] = f(xp, a[i], b[i], *scalars)

    def one_by_one(a: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i] = f(xp, a[i], g[i], *scalars)

    def two(a: Any, b: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i] = f(xp, a[i], b[i], g[i], *scalars)

    def two_by_two(a: Any, b: Any, c: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i] = f(xp, a[i], b[i], c[i], g[i], *scalars)

    def three(a: Any, b: Any, c: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i], c[i] = f(xp, a[i], b[i], c[i], g[i], *scalars)

    def three_by_two(a: Any, b: Any, c: Any, d: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i], c[i] = f(xp, a[i], b[i], c[i], d[i], g[i], *scalars)

    def four(a: Any, b: Any, c: Any, d: Any, g: Any, scalars: Any) -> None:
        for i in range(a.size):
            a[i], b[i], c[i], d[i] = f(xp, a[i], b[i], c[i], d[i], g[i], *scalars)

    loops: dict[tuple[int, int], Callable[..., None]] = {
        (1, 0): one,
        (1, 1): one_by_one,
        (2, 0): both,
        (2, 1): two,
        (2, 2): two_by_two,
        (3, 1): three,
        (3, 2): three_by_two,
        (4, 1): four,
    }
    loop = loops.get((n_targets, n_inputs))
    if loop is None:
        raise NotCompiled(f"no loop updates {n_targets} arrays from {n_inputs}")
    arrays: list[int | ReadOnly] = [*[FLAT] * n_targets, *[ReadOnly(FLAT)] * n_inputs]
    return api.loop(dtype, *arrays, Scalars(n_scalars))(loop)
