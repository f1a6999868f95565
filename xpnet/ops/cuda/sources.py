"""The text of every kernel: those in ``kernels/``, and those written around a rule.

A kernel is compiled for one type of numbers, so a source begins with what that type is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.cuda.arrays import FLOATS, on_device
from xpnet.ops.cuda.composed import MOST_RULES
from xpnet.ops.cuda.translate import translate
from xpnet.ops.operations import Rule

ROWS = 32
"""How many rows of threads the blocks of the kernels over columns have; 32 threads a row."""

TYPES = {
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
"""The types of arrays by the names of their dtypes."""

NARROW = 2**31
"""Fewer elements are counted in 32 bits: that divides faster, and takes fewer registers."""


class Kernel(NamedTuple):
    """A kernel as it is compiled.

    Attributes:
        name: of its function.
        source: the code of the function and what it needs.
    """

    name: str
    source: str


@cache
def from_file(name: str, file: str, dtype: str, **defines: str) -> Kernel:
    """The kernel ``name`` in a file of ``kernels/``, for one dtype."""
    lines = [f"#define {key} {value}" for key, value in defines.items()]
    return Kernel(name, "\n".join([*lines, _head(dtype), _file(file)]))


@lru_cache(MOST_RULES)
def elementwise(
    rule: Rule, dtype: str, inputs: str, n_outputs: int, scalars: str, index: str = "unsigned"
) -> Kernel:
    """A kernel ``outputs ← rule(inputs, scalars)``, each element by one thread.

    Its parameters: the outputs, the inputs, the scalars, the number of elements, the width of rows.

    Args:
        rule: the rule.
        dtype: of all arrays.
        inputs: for each array that the rule takes a letter: ``x`` is read element by element, ``b``
            has a number for each column, ``o`` one for all, ``t`` is also the output in its place;
            and ``d`` is no argument of the rule but what its value is multiplied by.
        n_outputs: how many values the rule has.
        scalars: for each scalar ``v``, a value, or ``p``, a number in device memory; as a capital,
            it is 1 from the element on whose number is the width.
        index: the type that counts the elements: `index_type`.
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


def of_rule(
    rule: Rule,
    like: Array,
    letters: str,
    n_outputs: int,
    scalars: tuple[Any, ...],
    ending: int | None = None,
) -> Kernel | None:
    """`elementwise` over arrays like one; ``None`` for a rule that symbols cannot follow.

    From the element on whose number is the width, the scalar of the index ``ending`` is 1.
    """
    of_scalars = [k.upper() if i == ending else k for i, k in enumerate(kinds(scalars))]
    dtype, index = dtype_name(like.dtype), index_type(like.size)
    try:
        return elementwise(rule, dtype, letters, n_outputs, "".join(of_scalars), index)
    except (AttributeError, TypeError):
        return None


@lru_cache(MOST_RULES)
def column_sums(rule: Rule, dtype: str, inputs: str, scalars: str) -> Kernel:
    """A kernel ``y ← rule(inputs, scalars)`` for ``(m, n)`` that also sums the columns of ``y``.

    Blocks of 32 columns by `ROWS` rows of threads; each block of the grid's second axis takes an
    equal share of the rows and fills one row of ``sums: (shares, n)``. The parameters: those of
    `elementwise` but for the sums before the numbers ``m`` and ``n`` of rows and columns.
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
        f"        if (y0) y0[i] = {values[0]};",
        f"        total += {values[0]};",
        "    }",
        "    total = sum_over_rows(total);",
        "    if (j < width && threadIdx.y == 0) sums[blockIdx.y * width + j] = total;",
        "}",
    ]
    return Kernel(name, "\n".join([_head(dtype), *lines]))


def _parameters(inputs: str, n_outputs: int, scalars: str) -> str:
    """The parameters of a kernel; what is read element by element may also be written."""
    number, numbers = "const T* __restrict__", "const T*"
    parameters = [f"T* y{i}" for i in range(n_outputs)]
    parameters += [
        f"{number if kind in 'bo' else numbers} x{i}"
        for i, kind in enumerate(inputs)
        if kind != "t"
    ]
    parameters += [f"{number if k in 'pP' else 'T'} s{i}" for i, k in enumerate(scalars)]
    return ", ".join([*parameters, "long long n", "long long width"])


def _body(rule: Rule, inputs: str, scalars: str) -> tuple[list[str], list[str], list[str]]:
    """The lines that load what is one for all, those of an element, and the names of its values."""
    places = {"x": "x{}[i]", "b": "x{}[i % (INDEX)width]", "o": "*x{}", "t": "y{}[i]"}
    taken = [(i, kind) for i, kind in enumerate(inputs) if kind != "d"]
    loads = [places[kind].format(i) for i, kind in taken]
    values_of = {"v": "s{}", "p": "*s{}"}
    values_of |= {k.upper(): f"i < (INDEX)width ? {s} : (T)1" for k, s in values_of.items()}
    loads += [values_of[kind].format(i) for i, kind in enumerate(scalars)]
    lines, values = translate(rule, len(loads))
    if "d" in inputs:
        values = [f"x{inputs.index('d')}[i] * ({values[0]})"]
    names = [f"const T a{i} = {load};" for i, load in enumerate(loads)]
    is_one = [kind == "o" for _, kind in taken] + [kind.islower() for kind in scalars]
    once = list(compress(names, is_one))
    return once, [*(name for name in names if name not in once), *lines], values


def _name(rule: Rule) -> str:
    """A name that is no function of C's, as ``tanh`` would be."""
    return f"rule_{rule.__name__}" if rule.__name__.isidentifier() else "rule"


@cache
def _file(name: str) -> str:
    return (Path(__file__).parent / "kernels" / name).read_text(encoding="utf-8")


def _head(dtype: str) -> str:
    files = ("common.cuh", "numbers.cuh") if dtype in FLOATS else ("common.cuh",)
    return "\n".join([f"typedef {TYPES[dtype]} T;\n#define ROWS {ROWS}", *map(_file, files)])


def index_type(size: int) -> str:
    """The type in which a kernel counts ``size`` elements."""
    return "unsigned" if size < NARROW else "long long"


def kinds(scalars: Sequence[object]) -> str:
    """The letters for scalars: ``v`` of Python numbers, ``p`` of arrays in device memory."""
    return "".join("p" if on_device(scalar) else "v" for scalar in scalars)
