"""The source of every CUDA kernel that the library asks for."""

from __future__ import annotations

import re

from helpers.rules import (
    CURVATURES,
    CURVATURES_OF_LOSSES,
    DERIVATIVES,
    LOSSES,
    UPDATES,
    VALUES,
    counts_of,
    targets_of,
)
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.composed import shifted, unless
from xpnet.ops.rules import activations, optimizers
from xpnet.ops.rules.layers import multiply, normalize

FILES = {
    "batch_norm": "batch_norm.cu",  # with all that is in the file
    "cross_entropy": "cross_entropy.cu",
    "total": "total.cu",
    "keep_mask": "masks.cu",
    "take_batch": "take_batch.cu",
    "advance": "advance.cu",
    "unscale": "scaling.cu",
    "to_16_bits": "rounding.cu",
}
DEFINED = ("cross_entropy.cu", "take_batch.cu", "rounding.cu")  # of many kinds


def kernels(dtype):
    """Every kernel that the library asks for where T is ``dtype``, in groups of one file each."""
    if dtype in ("float32", "float64"):
        yield from kernels_of_rules(dtype)
        for name, file in FILES.items():
            if file not in DEFINED:
                yield [sources.from_file(name, file, dtype)]
        targets = [(target, "1") for target in sources.TYPES.values()]  # classes of any type
        for target, is_index in [*targets, (sources.TYPES[dtype], "0")]:
            given = {"TARGET": target, "TARGET_IS_INDEX": is_index}
            yield [sources.from_file("cross_entropy", "cross_entropy.cu", dtype, **given)]
        for is_bfloat in "01":
            for index in ("unsigned", "long long"):
                given = {"BFLOAT": is_bfloat, "INDEX": index}
                yield [sources.from_file("to_16_bits", "rounding.cu", dtype, **given)]
        given = sources.TYPES  # of rows of any type a batch is made
    else:
        given = [dtype]  # labels stay as they are
    for source in given:
        for index in ("unsigned", "long long"):
            types = {"SOURCE": sources.TYPES[source], "INDEX": index}
            yield [sources.from_file("take_batch", "take_batch.cu", dtype, **types)]


def kernels_of_rules(dtype):
    def elementwise(rule, inputs, scalar):
        return sources.elementwise(rule, dtype, inputs, 1, scalar * counts_of(rule)[1])

    for scalar in "vp":
        yield [elementwise(rule, "x", scalar) for rule in VALUES]
        yield [elementwise(rule, "xx", scalar) for rule in LOSSES]
        yield [elementwise(rule, "dx", scalar) for rule in DERIVATIVES + CURVATURES]
        yield [elementwise(rule, "dxx", scalar) for rule in CURVATURES_OF_LOSSES]
        yield [
            sources.column_sums(rule, dtype, "dx", scalar * counts_of(rule)[1])
            for rule in DERIVATIVES + CURVATURES
        ]
        sums = [(shifted(rule), counts_of(rule)[1]) for rule in VALUES]
        yield [sources.elementwise(rule, dtype, "xb", 1, scalar * n) for rule, n in sums]
        for last in "xo":
            updates = [(r, *counts_of(r), targets_of(r)) for r in UPDATES]
            yield [
                sources.elementwise(made, dtype, "t" * t + "x" * (n - t - 1) + last, t, letters)
                for r, n, k, t in updates
                if n > t
                for made, letters in ((r, scalar * k), (unless(r, t), scalar * k + "p"))
            ]
        for rule in (optimizers.adamw, optimizers.lion):
            t, letters = targets_of(rule), scalar * (counts_of(rule)[1] - 1) + scalar.upper()
            for index in ("unsigned", "long long"):
                both = (rule, letters), (unless(rule, t), letters + "p")
                yield [
                    sources.elementwise(made, dtype, "t" * t + "x", t, given, index)
                    for made, given in both
                ]
    for index in ("unsigned", "long long"):
        yield [sources.elementwise(normalize, dtype, "xbbbb", 2, "", index)]
    yield [sources.elementwise(multiply, dtype, "xx", 1, "")]
    yield [sources.column_sums(activations.identity, dtype, "x", "")]


def as_one(dtypes_of_one):
    """The source of all kernels of some dtypes, each group in a namespace of its own."""
    parts = []
    for dtype in dtypes_of_one:
        head = sources._head(dtype)
        for group in kernels(dtype):
            # C's functions have one name in all namespaces.
            codes = [k.source.replace(head, "").replace('extern "C"', "") for k in group]
            text = "\n".join([head, *codes])
            defined = dict.fromkeys(re.findall(r"#define (\w+)", text))
            parts.append(f"namespace part_{dtype}_{len(parts)} {{\n{text}\n}}")
            parts += [f"#undef {name}" for name in defined]
    return "\n".join(parts)


INTEGERS = [dtype for dtype in sources.TYPES if not dtype.startswith("float")]
