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
from xpnet.ops.cuda import elementwise
from xpnet.ops.cuda.elementwise import column_sum_kernel, file_kernel, rule_kernel, shifted, unless
from xpnet.ops.cuda.launch import THREADS
from xpnet.ops.rules import activations, optimizers, scaling
from xpnet.ops.rules.layers import (
    add,
    multiply,
    multiply_derivatives,
    normalize,
    prelu,
    prelu_derivatives,
)

FILES = {
    "batch_norm": "batch_norm.cu",  # with the other kernels of the file
    "row_norm": "row_norm.cu",  # with the other kernels of the file
    "largest_piece": "pieces.cu",
    "ordered_thresholds": "thresholds.cu",
    "cross_entropy": "cross_entropy.cu",
    "clip_by_norm": "norms.cu",
    "row_weights": "row_weights.cu",
    "keep_mask": "masks.cu",
    "take_rows": "take_rows.cu",
    "begin_step": "begin_step.cu",
    "record": "record.cu",
    "unscale": "scaling.cu",
    "to_16_bits": "rounding.cu",
}
DEFINED = ("cross_entropy.cu", "take_rows.cu", "begin_step.cu", "rounding.cu", "pieces.cu")
"""The files that are compiled for several types."""

CONSTANTS = {"norms.cu": {"THREADS": str(THREADS)}}


def kernels(dtype):
    """Every kernel that the library asks for where T is ``dtype``, in groups of one file each."""
    if dtype in ("float32", "float64"):
        yield from kernels_of_rules(dtype)
        for name, file in FILES.items():
            if file not in DEFINED:
                yield [file_kernel(name, file, dtype, **CONSTANTS.get(file, {}))]
        targets = [(target, "1") for target in elementwise.C_TYPES.values()]  # classes of any type
        for target, is_index in [*targets, (elementwise.C_TYPES[dtype], "0")]:
            given = {"TARGET": target, "TARGET_IS_INDEX": is_index}
            yield [file_kernel("cross_entropy", "cross_entropy.cu", dtype, **given)]
        for is_bfloat in "01":
            for index in ("unsigned", "long long"):
                given = {"BFLOAT": is_bfloat, "INDEX": index}
                yield [file_kernel("to_16_bits", "rounding.cu", dtype, **given)]
        for source, target in batches_of(dtype):
            for index in ("unsigned", "long long"):
                types = {"TARGET": target, "SOURCE": source, "INDEX": index}
                yield [file_kernel("begin_step", "begin_step.cu", dtype, **types)]
    for index in ("unsigned", "long long") if dtype in ("float32", "float64") else ():
        yield [file_kernel("largest_piece", "pieces.cu", dtype, INDEX=index)]
    for index in ("unsigned", "long long"):
        yield [file_kernel("take_rows", "take_rows.cu", dtype, INDEX=index)]


def batches_of(dtype):
    """The C types of features and targets: of any type with int64 classes, and classes of any."""
    own, every = elementwise.C_TYPES[dtype], elementwise.C_TYPES.values()
    pairs = [(source, target) for source in every for target in ("long long", own)]
    return dict.fromkeys([*pairs, *((own, target) for target in every)])


def kernels_of_rules(dtype):
    def single(rule, inputs, scalar):
        return rule_kernel(rule, dtype, inputs, 1, scalar * counts_of(rule)[1])

    for scalar in "vp":
        yield [single(rule, "x", scalar) for rule in VALUES]
        yield [single(rule, "xx", scalar) for rule in LOSSES]
        yield [single(rule, "dx", scalar) for rule in DERIVATIVES + CURVATURES]
        yield [single(rule, "dxx", scalar) for rule in CURVATURES_OF_LOSSES]
        yield [
            column_sum_kernel(rule, dtype, "dx", scalar * counts_of(rule)[1])
            for rule in DERIVATIVES + CURVATURES
        ]
        sums = [(shifted(rule), counts_of(rule)[1]) for rule in VALUES]
        yield [rule_kernel(rule, dtype, "xb", 1, scalar * n) for rule, n in sums]
        for last in "xo":
            updates = [(r, *counts_of(r), targets_of(r)) for r in UPDATES]
            yield [
                rule_kernel(made, dtype, "t" * t + "x" * (n - t - 1) + last, t, letters)
                for r, n, k, t in updates
                if n > t
                for made, letters in ((r, scalar * k), (unless(r, t), scalar * k + "p"))
            ]
        in_place = [r for r in UPDATES if counts_of(r)[0] == targets_of(r)]
        in_place += [activations.affine, scaling.next_scale]
        yield [
            rule_kernel(made, dtype, "t" * t, t, letters)
            for r, k, t in ((r, counts_of(r)[1], targets_of(r)) for r in in_place)
            for made, letters in ((r, scalar * k), (unless(r, t), scalar * k + "p"))
        ]
        yield [single(optimizers.times, "x", scalar)]
        for rule in (optimizers.adamw, optimizers.lion):
            t, letters = targets_of(rule), scalar * (counts_of(rule)[1] - 1) + scalar.upper()
            for index in ("unsigned", "long long"):
                both = (rule, letters), (unless(rule, t), letters + "p")
                yield [
                    rule_kernel(made, dtype, "t" * t + "x", t, given, index) for made, given in both
                ]
    for index in ("unsigned", "long long"):
        yield [rule_kernel(normalize, dtype, "xbbbbb", 2, "", index)]
    yield [rule_kernel(rule, dtype, "xx", 1, "") for rule in (multiply, add)]
    yield [rule_kernel(rule, dtype, "xb", 1, "") for rule in (multiply, prelu)]
    derivatives = multiply_derivatives, prelu_derivatives
    yield [column_sum_kernel(rule, dtype, "dxc", "") for rule in derivatives]
    yield from ([rule_kernel(add, dtype, letters, 1, "")] for letters in ("tx", "to"))
    yield [column_sum_kernel(activations.identity, dtype, "x", "")]


def as_one(dtypes_of_one):
    """The code of all kernels of some dtypes, each group in a namespace of its own."""
    parts, seen = [], set()
    for dtype in dtypes_of_one:
        head = elementwise._head(dtype)
        for group in kernels(dtype):
            new = dict.fromkeys(kernel.source for kernel in group if kernel.source not in seen)
            seen.update(new)
            if not new:
                continue
            # C functions have one name in all namespaces.
            codes = [source.replace(head, "").replace('extern "C"', "") for source in new]
            text = "\n".join([head, *codes])
            defined = dict.fromkeys(re.findall(r"#define (\w+)", text))
            parts.append(f"namespace part_{dtype}_{len(parts)} {{\n{text}\n}}")
            parts += [f"#undef {name}" for name in defined]
    return "\n".join(parts)


DTYPES = list(elementwise.C_TYPES)
INTEGERS = [dtype for dtype in DTYPES if not dtype.startswith("float")]
