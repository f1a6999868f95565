"""The page of the GPU benchmark: targets, tests, the first look, steps, trainings and memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from benchmarks.gpu_cases import CASES, FULL, LARGE, MEMORY_CASES, bytes_beside_products
from benchmarks.gpu_job import (
    ACCURACY,
    BANDWIDTH,
    EXPERIMENT,
    FIT,
    IN_BITS,
    LAUNCH,
    LOOK,
    MEMORY,
    OURS,
    PRODUCTS,
    REPLAYS,
    TESTS,
    UNFUSED,
    WARNINGS,
    Value,
    failed_in,
    label,
)
from benchmarks.gpu_peers import PEERS
from benchmarks.gpu_process import NO_TIME
from benchmarks.table import cell, duration, row
from xpnet.ops.operations import Precision

Columns: TypeAlias = dict[str, dict[str, Value]]
"""What was measured → library → numbers, or the reason why there are none."""

WAITING = "not measured"
GRAPH, SCAN, FUSED, COMPILED = PEERS
INCLUDES = {
    OURS: "shuffled rows gathered, the losses logged, Adam; and the host's part of an epoch: the "
    "permutation, tables for the device, copies, reading the losses",
    REPLAYS: "the same without the host's part, once",
    LAUNCH: "the host's time to launch one graph, which may hold several steps",
    UNFUSED: "as the first; biases, ReLU and bias gradients by separate kernels",
    PRODUCTS: "the matrix products, replayed; in 16 bits of factors that are rounded already",
    GRAPH: "rows in order, copied to where the graph reads; no loss logged; in bf16 activations of "
    "16 bits (autocast), where xpnet has 32",
    SCAN: "rows gathered in order; no loss logged; timed by the host",
    FUSED: "as the graph, without copies: each kernel launched by the host",
    COMPILED: "as the graph; compiled kernels",
}
"""What the rows of steps include, which is not the same."""


class Target(NamedTuple):
    """A target: a name, a function that returns a number if it is known, and a limit."""

    what: str
    find: Callable[[Columns], float | None]
    limit: float
    at_least: bool = False
    seconds: bool = False


def median(found: Columns, column: str, row: str) -> float | None:
    """The median of a row, if it has numbers."""
    numbers = found.get(column, {}).get(row)
    return statistics.median(numbers) if isinstance(numbers, list) else None


def ratio(a: float | None, b: float | None) -> float | None:
    """``a/b``, if both are known."""
    return None if a is None or b is None else a / b


def fastest_peer(found: Columns, column: str, precision: Precision) -> tuple[float | None, str]:
    """The smallest median of the other libraries at a precision, and the library."""
    medians = [(median(found, column, label(name, precision)), name) for name in PEERS]
    known = [(number, name) for number, name in medians if number is not None]
    return min(known, default=(None, ""))


def beside_peers(found: Columns, column: str, precision: Precision = "float32") -> float | None:
    """The time of a captured step over that of the fastest peer."""
    mine = median(found, column, label(OURS, precision))
    return ratio(mine, fastest_peer(found, column, precision)[0])


def products_share(found: Columns, column: str, precision: Precision) -> float | None:
    """The rate of the matrix products in a step as a share of their rate alone."""
    products = median(found, column, label(PRODUCTS, precision))
    return ratio(products, median(found, column, label(OURS, precision)))


def memory_share(found: Columns, column: str) -> float | None:
    """The memory of training divided by the limit."""
    pair = found.get(MEMORY, {}).get(f"{MEMORY}, {column}")
    return pair[0] / pair[1] if isinstance(pair, list) else None


SMALL, MIDDLE = CASES[0].name, CASES[1].name
SHARE = f"{LARGE.name}, bf16, rate of the products to theirs alone"
TARGETS = (
    Target(f"step, {SMALL}", lambda f: median(f, SMALL, OURS), 25e-6, seconds=True),
    Target(f"{SMALL}, to the fastest peer", lambda f: beside_peers(f, SMALL), 0.5),
    Target(f"{MIDDLE}, to the fastest peer", lambda f: beside_peers(f, MIDDLE), 0.7),
    Target(SHARE, lambda f: products_share(f, LARGE.name, "bf16"), 0.9, at_least=True),
    Target(
        f"{LARGE.name}, bf16, to the fastest peer",
        lambda f: beside_peers(f, LARGE.name, "bf16"),
        1.0,
    ),
    Target("reference experiment", lambda f: median(f, EXPERIMENT, FIT), 0.4, seconds=True),
    *(
        Target(
            f"memory, {case.name}, to θ, g, states, activations and 5 %",
            partial(memory_share, column=case.name),
            1.0,
        )
        for case in MEMORY_CASES
    ),
)


def verdicts(found: Columns) -> str:
    """A table of the targets: result, limit, met or not."""
    lines = []
    for target in TARGETS:
        number, shown = target.find(found), duration if target.seconds else "{:.2f}".format
        wanted = f"{'≥' if target.at_least else '≤'} {shown(target.limit)}"
        if number is None:
            lines.append([target.what, "–", wanted, WAITING])
            continue
        met = number >= target.limit if target.at_least else number <= target.limit
        lines.append([target.what, shown(number), wanted, "met" if met else "**not met**"])
    return table(["target", "measured", "wanted", ""], lines)


def counts(numbers: list[float]) -> str:
    """The counts of tests in words.

    >>> counts([2, 300, 1])
    '**2 failed**, 300 passed, 1 skipped'
    """
    failed, passed, skipped = map(int, numbers)
    return f"{f'**{failed} failed**' if failed else '0 failed'}, {passed} passed, {skipped} skipped"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, whose first column is text; nothing without rows."""
    if not rows:
        return ""
    return "\n".join(row(each) for each in [head, ["---"] * len(head), *rows])


def tests(found: Columns) -> str:
    """The counts of tests, and the tests that failed."""
    lines, failed = [], []
    for name, numbers in found.get(TESTS, {}).items():
        lines.append([name, counts(numbers) if isinstance(numbers, list) else str(numbers)])
        failed += [[test, str(why)] for test, why in found.get(failed_in(name), {}).items()]
    more = [[f"and {len(failed) - MOST_FAILED} more, see the log", ""]] * (
        len(failed) > MOST_FAILED
    )
    return "\n\n".join(
        [
            table(["tests", "on the device"], lines) or "The tests have not run.",
            table(["failed test", "why"], failed[:MOST_FAILED] + more),
        ]
    ).strip()


def first_look(found: Columns) -> str:
    """What was found out first, and the warnings."""
    lines = []
    for name, what in found.get(LOOK, {}).items():
        pairs = what.items() if isinstance(what, dict) else [("", what)]
        lines.append([name, "; ".join(f"{key}: {text}".lstrip(": ") for key, text in pairs)])
    lines += [[f"warning, {job}", text] for text, job in found.get(WARNINGS, {}).items()]
    return table(["first look", ""], [[text.replace("|", "/") for text in each] for each in lines])


def steps(found: Columns) -> str:
    """A row for each library, a column for each case, then lower bounds and ratios."""
    lines = [
        [who, *(_cell(found.get(case.name, {}).get(who, "–")) for case in CASES)]
        for who in (label(library, precision) for library in INCLUDES for precision in IN_BITS)
        if any(who in found.get(case.name, {}) for case in CASES)
    ]
    rest = [ratio(bytes_beside_products(case), median(found, BANDWIDTH, "copy")) for case in CASES]
    lines.append(
        ["the other bytes over bandwidth", *("–" if t is None else duration(t) for t in rest)]
    )
    for p in IN_BITS:
        alone = [median(found, case.name, label(PRODUCTS, p)) for case in CASES]
        pairs = zip(alone, rest, strict=True)
        cells = ("–" if a is None or b is None else duration(a + b) for a, b in pairs)
        lines.append([label("**products + bytes**", p), *cells])
    for p in IN_BITS:
        of = [(beside_peers(found, c.name, p), fastest_peer(found, c.name, p)[1]) for c in CASES]
        cells = ("–" if number is None else f"{number:.2f} ({who})" for number, who in of)
        lines.append([label("**xpnet / fastest peer**", p), *cells])
    for p in IN_BITS:
        shares = (products_share(found, case.name, p) for case in CASES)
        cells = ("–" if share is None else f"{share:.2f}" for share in shares)
        lines.append([label("**products / xpnet**", p), *cells])
    return table(["", *(case.name for case in CASES)], lines)


def _cell(numbers: Value) -> str:
    """Numbers, or the first words of a reason, which stands in full in `reasons`."""
    if isinstance(numbers, list):
        return cell(numbers)
    return "no time left" if numbers == NO_TIME else str(numbers).partition(" (")[0]


def reasons(found: Columns) -> str:
    """Why rows have no numbers: each reason once, with the rows."""
    rows: dict[str, list[str]] = {}
    for column in (*(case.name for case in CASES), BANDWIDTH, EXPERIMENT, MEMORY):
        for who, why in found.get(column, {}).items():
            if isinstance(why, str) and why != NO_TIME:
                rows.setdefault(why, []).append(who)
    lines = [["; ".join(dict.fromkeys(names)), why] for why, names in rows.items()]
    return table(["without numbers", "why"], lines)


def includes(found: Columns) -> str:
    """What the measured rows include."""
    measured = [who for case in CASES for who in found.get(case.name, {})]
    rows = [[name, text] for name, text in INCLUDES.items() if name in " ".join(measured)]
    return table(["a step of", "includes"], rows)


def trainings(found: Columns) -> str:
    """The reference experiment by precision: seconds and accuracies."""
    lines = []
    for who, seconds in found.get(EXPERIMENT, {}).items():
        accuracies = found.get(ACCURACY, {}).get(who, WAITING)
        if isinstance(accuracies, list):
            accuracies = ", ".join(f"{number:.4f}" for number in accuracies)
        lines.append([who, _cell(seconds), str(accuracies)])
    return table(["", EXPERIMENT, ACCURACY], lines)


def memories(found: Columns) -> str:
    """The memory of training and its limit."""
    lines = []
    for who, pair in found.get(MEMORY, {}).items():
        both = (
            [f"{n / 2**20:.1f} MiB" for n in pair] if isinstance(pair, list) else [str(pair), "–"]
        )
        lines.append([who, *both])
    return table(["", "taken", "allowed"], lines)


def document(machine: Mapping[str, Any], found: Columns) -> str:
    """The page of results, with the machine and the method; parts without results are left out."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    rate = median(found, BANDWIDTH, "copy")
    late = sum(str(x).endswith(NO_TIME) for column in found.values() for x in column.values())
    parts = [
        f"{machine['date']}, {machine['gpu']}, driver {machine['driver']}, CUDA {machine['cuda']}, "
        f"{packages}",
        *([f"**A dry run: {machine['dry run']}.**"] if "dry run" in machine else []),
        f"{late} results are missing for lack of time; `--resume` measures them." if late else "",
        verdicts(found),
        tests(found),
        STEPS.format(repeats=FULL.repeats),
        f"Bandwidth of a copy: {WAITING if rate is None else f'{rate / 1e9:.0f} GB/s'}.",
        steps(found),
        reasons(found),
        includes(found),
        *([WHOLE.format(repeats=FULL.repeats), trainings(found)] if EXPERIMENT in found else []),
        *([MEMORY_NOTE, memories(found)] if MEMORY in found else []),
        first_look(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


MOST_FAILED = 20
"""The failed tests that a page shows."""

STEPS = (
    "A training step with Adam, in float32 unless said: the median of {repeats} runs (one less in "
    "batches of 8192) after a warm-up, each on new random data on the device, one batch for each "
    "step; in brackets the minimum and the maximum. Steps are timed by events on the device "
    "unless said. The lower bound is a step's products through cuBLAS and its other bytes at the "
    "speed of a copy."
)
WHOLE = (
    "784-200-10 by `fit`, batches of 64, from bytes in host memory: the median of {repeats} after "
    "a warm-up, and one accuracy for each seed."
)
MEMORY_NOTE = (
    "Memory that training uses beside its data: the size of CuPy's pools at the end of an epoch, "
    "which is the maximum since the capture, because they free nothing in between. The limit is θ, "
    "g, the optimizer's states, the batch, the output of each layer (batch norm and the activation "
    "after it count as layers) and its gradient, and 5 %, and 32 MiB for the workspace of products."
)
