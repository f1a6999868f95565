"""How a rule becomes a CUDA kernel: the source of every kernel, generated or read from a file.

Kernels are compiled for one dtype each, so that a source starts with the definition of ``T``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.errors import ArgumentError, dtype_name
from xpnet.ops.cuda.arrays import FLOATS, on_device
from xpnet.ops.cuda.launch import Kernel
from xpnet.ops.cuda.translate import translate
from xpnet.ops.operations import Rule

ROWS = 32
"""Rows of threads in a block of a column kernel; each row has 32 threads."""

C_TYPES = {
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned",
    "int64": "long long",
    "uint64": "unsigned long long",
}
"""The C type of each supported dtype."""

LIMIT_32_BIT = 2**31
"""Smaller arrays are indexed in 32 bits, which divides faster and takes fewer registers."""

MAX_RULES = 512
"""The cache size for objects made from a rule: a program may create rules as long as it runs."""


@cache
def file_kernel(name: str, file: str, dtype: str, **defines: str) -> Kernel:
    """The kernel ``name`` from a file in ``kernels/``, for one dtype."""
    lines = [f"#define {key} {value}" for key, value in defines.items()]
    return Kernel(name, "\n".join([*lines, _head(dtype), _file(file)]))


@lru_cache(MAX_RULES)
def rule_kernel(
    rule: Rule, dtype: str, inputs: str, n_outputs: int, scalars: str, index: str = "unsigned"
) -> Kernel:
    """A kernel that computes ``outputs ← rule(inputs, scalars)``, one element per iteration.

    Parameters of the kernel: outputs, inputs, scalars, number of elements, row width.

    Args:
        rule: the rule.
        dtype: the dtype of all arrays.
        inputs: one letter for each array argument of the rule. ``x``: an array of the output's
            shape. ``b``: one value per column. ``o``: one value for all elements. ``t``: an array
            updated in place, which is also the output of the same index. The additional letter
            ``d`` marks an array that is not passed to the rule but multiplies its value.
        n_outputs: the number of values that the rule returns.
        scalars: one letter for each scalar. ``v``: passed by value. ``p``: a pointer to device
            memory. An uppercase letter replaces the scalar by 1 for elements whose index is at
            least the row width.
        index: the C type of element indices, see `index_type`.
    """
    once, body, values = _body(rule, inputs, scalars)
    stores = [f"y{i}[i] = {value};" for i, value in enumerate(values[:n_outputs])]
    name = _name(rule)
    lines = [
        f'extern "C" __global__ void {name}({_parameters(inputs, n_outputs, scalars)}) {{',
        *(f"    {line}" for line in once),
        "    for (INDEX i = first_index(); i < n; i += stride()) {",
        *(f"        {line}" for line in (*body, *stores)),
        "    }",
        "}",
    ]
    return Kernel(name, "\n".join([f"#define INDEX {index}", _head(dtype), *lines]))


def kernel_for(
    rule: Rule,
    like: Array,
    letters: str,
    n_outputs: int,
    scalars: tuple[Any, ...],
    ending: int | None = None,
) -> Kernel | None:
    """The `rule_kernel` for arrays like ``like``; ``None`` if the rule cannot be translated.

    The scalar of index ``ending`` is 1 for elements whose index is at least the row width.
    """
    of_scalars = [k.upper() if i == ending else k for i, k in enumerate(scalar_letters(scalars))]
    dtype, index = dtype_name(like.dtype), index_type(like.size)
    try:
        return rule_kernel(rule, dtype, letters, n_outputs, "".join(of_scalars), index)
    except (ArgumentError, AttributeError, TypeError):
        return None


@lru_cache(MAX_RULES)
def column_sum_kernel(rule: Rule, dtype: str, inputs: str, scalars: str) -> Kernel:
    """A kernel that computes ``y ← rule(inputs, scalars)``, ``(m, n)``, and the column sums of y.

    If the rule returns two values, the sums are those of the second. The letter ``c`` in ``inputs``
    is one value per column.
    Blocks have 32 columns and `ROWS` rows of threads. The rows of the arrays are divided equally
    along the second axis of the grid, and each block writes one row of ``sums: (grid_y, n)``.
    Parameters: those of `rule_kernel`, with the sums before the numbers of rows and columns.
    """
    once, body, values = _body(rule, inputs, scalars)
    parameters = _parameters(inputs, 1, scalars).replace(
        "long long n, long long width", "T* sums, long long m, long long width"
    )
    name = _name(rule)
    lines = [
        f'extern "C" __global__ void __launch_bounds__(32 * ROWS) {name}({parameters}) {{',
        "    const long long j = blockIdx.x * 32LL + threadIdx.x;",
        "    const long long first = rows_before(blockIdx.y, m);",
        "    const long long last = rows_before(blockIdx.y + 1, m);",
        *(f"    {line}" for line in once),
        "    T total = 0;",
        "    for (long long row = first + threadIdx.y; j < width && row < last; row += ROWS) {",
        "        const long long i = row * width + j;",
        *(f"        {line}" for line in body),
        f"        const T value = {values[0]}, term = {values[-1]};",  # y may be an input
        "        if (y0) y0[i] = value;",
        "        total += term;",
        "    }",
        "    total = sum_over_rows(total);",
        "    if (j < width && threadIdx.y == 0) sums[blockIdx.y * width + j] = total;",
        "}",
    ]
    return Kernel(name, "\n".join([_head(dtype), *lines]))


@lru_cache(MAX_RULES)
def shifted(rule: Rule) -> Rule:
    """``rule(xp, z + b, *scalars)`` as a rule of ``z`` and ``b``."""

    def of_sum(xp: Namespace, z: Array, bias: Array, *scalars: Any) -> Array:
        return rule(xp, z + bias, *scalars)

    of_sum.__name__ = f"{rule.__name__}_of_sum"
    return of_sum


@lru_cache(MAX_RULES)
def shifted_and_kept(rule: Rule, inner: Rule | None) -> Rule:
    """``u = inner(z + b)`` and ``rule(u)`` as a rule of ``z`` and ``b``; else ``u = z + b``."""

    def kept_and_value(xp: Namespace, z: Array, bias: Array, *scalars: Any) -> tuple[Array, Array]:
        u = z + bias if inner is None else inner(xp, z + bias, *scalars)
        return u, rule(xp, u, *scalars)

    kept_and_value.__name__ = f"{rule.__name__}_and_sum"
    return kept_and_value


@lru_cache(MAX_RULES)
def unless(rule: Rule, n_targets: int) -> Rule:
    """``rule`` with an additional scalar, a flag: where it is above 0 the targets are unchanged."""

    def kept(xp: Namespace, *given: Any) -> Any:
        *arguments, flag = given
        new = rule(xp, *arguments)
        values = new if n_targets > 1 else (new,)
        pairs = zip(arguments[:n_targets], values, strict=True)
        chosen = tuple(xp.where(flag > 0.0, old, value) for old, value in pairs)
        return chosen if n_targets > 1 else chosen[0]

    kept.__name__ = f"{rule.__name__}_unless"
    return kept


def _parameters(inputs: str, n_outputs: int, scalars: str) -> str:
    """The parameter list; arrays read element by element may alias the output."""
    number, numbers = "const T* __restrict__", "const T*"
    parameters = [f"T* y{i}" for i in range(n_outputs)]
    parameters += [
        f"{number if kind in 'boc' else numbers} x{i}"
        for i, kind in enumerate(inputs)
        if kind != "t"
    ]
    parameters += [f"{number if k in 'pP' else 'T'} s{i}" for i, k in enumerate(scalars)]
    return ", ".join([*parameters, "long long n", "long long width"])


def _body(rule: Rule, inputs: str, scalars: str) -> tuple[list[str], list[str], list[str]]:
    """The loads outside the loop, the lines for each element, and the names of the results."""
    loads_of = {"x": "x{}[i]", "b": "x{}[i % (INDEX)width]", "o": "*x{}", "t": "y{}[i]"}
    loads_of["c"] = "x{}[j]"
    taken = [(i, kind) for i, kind in enumerate(inputs) if kind != "d"]
    loads = [loads_of[kind].format(i) for i, kind in taken]
    values_of = {"v": "s{}", "p": "*s{}"}
    values_of |= {k.upper(): f"i < (INDEX)width ? {s} : (T)1" for k, s in values_of.items()}
    loads += [values_of[kind].format(i) for i, kind in enumerate(scalars)]
    lines, values = translate(rule, len(loads))
    if "d" in inputs:
        values = [f"x{inputs.index('d')}[i] * ({value})" for value in values]
    names = [f"const T a{i} = {load};" for i, load in enumerate(loads)]
    is_constant = [kind == "o" for _, kind in taken] + [kind.islower() for kind in scalars]
    once = list(compress(names, is_constant))
    return once, [*(name for name in names if name not in once), *lines], values


def _name(rule: Rule) -> str:
    """A function name that does not collide with the C library, as ``tanh`` would."""
    return f"rule_{rule.__name__}" if rule.__name__.isidentifier() else "rule"


@cache
def _file(name: str) -> str:
    return (Path(__file__).parent / "kernels" / name).read_text(encoding="utf-8")


def _head(dtype: str) -> str:
    lines, files = [f"typedef {C_TYPES[dtype]} T;", f"#define ROWS {ROWS}"], ["common.cuh"]
    if dtype in FLOATS:
        lines.append(f"#define LOWEST T({float(np.finfo(dtype).min)!r})")
        files.append("numbers.cuh")
    return "\n".join([*lines, *map(_file, files)])


def index_type(size: int) -> str:
    """The C type of indices into ``size`` elements."""
    return "unsigned" if size < LIMIT_32_BIT else "long long"


def scalar_letters(scalars: Sequence[object]) -> str:
    """The letters of scalars: ``v`` for Python numbers, ``p`` for arrays in device memory."""
    return "".join("p" if on_device(scalar) else "v" for scalar in scalars)
