"""Elementwise loops, compiled from a rule: one pass over memory each.

Each function here makes the loop of one rule for one floating type. A loop takes C-contiguous
arrays of that type, then the rule's scalars as one tuple of floats, and refuses anything else with
a `TypeError` before it begins; so it does shapes that do not fit, since inside it looks at no
bounds. It does not hold the interpreter's lock, so that several threads may run parts of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numba
import numpy as np
from numba import types

from xpnet import random
from xpnet.ops import rules
from xpnet.ops.compiled import scalar_math
from xpnet.ops.compiled.typed_rule import typed_rule
from xpnet.ops.reference import Rule

Loop = Callable[..., Any]


class Given(NamedTuple):
    """An array of so many dimensions that a loop reads and does not write."""

    ndim: int


OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # else every division is a branch, and nothing vectorizes
}
FINGERPRINT = crc32(
    Path(random.__file__).read_bytes()
    + b"".join(
        path.read_bytes()
        for folder in (Path(__file__).parent, Path(rules.__file__).parent)
        for path in sorted(folder.glob("*.py"))
    )
)
"""Of all that goes into a loop: one compiled from other sources must not be read from the cache."""

LIKE_THE_RULE = {"contract", "nsz"}
"""Liberties of rounding that leave NaN, infinity and the order of a rule's sums as they are.

Not "arcp": the estimate of a reciprocal root that it allows makes NaN of infinity."""


def compiled(dtype: Any, *parameters: Any, reorder: bool = False) -> Callable[[Loop], Loop]:
    """A decorator that compiles a loop at once, or reads it from the cache on disk.

    Args:
        dtype: the floating type of its arrays.
        parameters: what it takes: a number of dimensions for an array that it writes to, `Given`
            for one that it only reads, or a type of Numba's.
        reorder: whether sums may be taken in another order, as those along a row must be to
            vectorize. A rule's may not: ``a - b + c`` is written so where ``a`` and ``b`` cancel.
    """
    number = numba.from_dtype(np.dtype(dtype))
    kinds = [_type_of(p, number) for p in parameters]
    fastmath = LIKE_THE_RULE | ({"reassoc"} if reorder else set())

    def make(loop: Any) -> Loop:
        # The files of the cache are called by it, and Numba looks only at this file for changes.
        loop.__qualname__ += f"-{FINGERPRINT:08x}"
        build = partial(numba.njit, [tuple(kinds)], fastmath=fastmath, **OPTIONS)
        try:
            done: Loop = build(cache=True)(loop)
        except RuntimeError:  # no folder that can be written: compile, and forget
            done = build()(loop)
        return done

    return make


def _type_of(parameter: Any, number: Any) -> Any:
    if isinstance(parameter, Given):
        return types.Array(number, parameter.ndim, "C", readonly=True)
    return types.Array(number, parameter, "C") if isinstance(parameter, int) else parameter


def numbers(dtype: Any, count: int) -> Any:
    """The type of a tuple of ``count`` numbers of ``dtype``; Python floats become them."""
    return types.UniTuple(numba.from_dtype(np.dtype(dtype)), count)


def apply_to_one(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Loop:
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


def apply_to_two(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Loop:
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


def shift_and_apply(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Loop:
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


def chain(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Loop:
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


def chain_and_sum(rule: Rule, dtype: Any, ndim: int, n_scalars: int) -> Loop:
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
) -> Loop:
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
