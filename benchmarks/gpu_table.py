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
    BESIDE,
    EXPERIMENT,
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
GRAPH, SCAN, FUSED, JIT, COMPILED = PEERS
INCLUDES = {
    OURS: "shuffled rows gathered, the losses logged, Adam; and the host's part of an epoch: the "
    "permutation, tables for the device, copies, reading the losses",
    REPLAYS: "the same without the host's part, once",
    LAUNCH: "the host's time to launch one graph, which may hold several steps",
    UNFUSED: "as the first; biases, ReLU and bias gradients by separate kernels",
    BESIDE: "copying θ to the host and looking for what is not finite, once an epoch of `fit`",
    PRODUCTS: "the matrix products, replayed; in 16 bits of factors that are rounded already",
    GRAPH: "rows in order, copied to where the graph reads; no loss logged; in bf16 activations of "
    "16 bits (autocast), where xpnet has 32",
    SCAN: "rows gathered in order; no loss logged; timed by the host",
    FUSED: "as the graph, without copies: each kernel launched by the host",
    JIT: "rows in order; each step launched and timed by the host",
    COMPILED: "as the graph; compiled kernels",
}
"""What the rows of steps include, which is not the same."""


class Target(NamedTuple):
    """A target: a name, a function that returns a number or the reason for none, and a limit."""

    what: str
    find: Callable[[Columns], float | str]
    limit: float
    at_least: bool = False
    seconds: bool = False


def value(found: Columns, column: str, who: str) -> float | str:
    """A median, or the reason why there is none."""
    numbers = found.get(column, {}).get(who, WAITING)
    return statistics.median(numbers) if isinstance(numbers, list) else str(numbers)


def quotient(
    a: float | str, b: float | str, names: tuple[str, str] = ("xpnet", "peers")
) -> float | str:
    """``a/b``, or the reason why it is unknown."""
    for number, name in zip((a, b), names, strict=True):
        if isinstance(number, str):
            return f"{name}: {number}"
    assert isinstance(a, float)
    assert isinstance(b, float)
    return a / b


def fastest_peer(found: Columns, column: str, precision: Precision) -> tuple[float | str, str]:
    """The smallest median of the other libraries at a precision, and the library."""
    names = [label(name, precision) for name in PEERS]
    medians = {name: value(found, column, name) for name in names}
    numbers = {name: m for name, m in medians.items() if not isinstance(m, str)}
    if not numbers:
        return f"no other library was measured in {precision}", ""
    best = min(numbers, key=lambda name: numbers[name])
    return numbers[best], best


def beside_peers(found: Columns, column: str, precision: Precision = "float32") -> float | str:
    """The time of a captured step over that of the fastest peer."""
    mine = value(found, column, label(OURS, precision))
    return quotient(mine, fastest_peer(found, column, precision)[0])


def products_share(found: Columns, column: str, precision: Precision) -> float | str:
    """The rate of the matrix products in a step as a share of their rate alone."""
    products = value(found, column, label(PRODUCTS, precision))
    mine = value(found, column, label(OURS, precision))
    return quotient(products, mine, ("the products", "xpnet"))


def memory_share(found: Columns, column: str) -> float | str:
    """The memory of training divided by the limit."""
    pair = found.get(MEMORY, {}).get(f"{MEMORY}, {column}", WAITING)
    return pair[0] / pair[1] if isinstance(pair, list) else str(pair)


SMALL, MIDDLE = CASES[0].name, CASES[1].name
TARGETS = (
    Target(f"step, {SMALL}", lambda f: value(f, SMALL, OURS), 25e-6, seconds=True),
    Target(f"{SMALL}, to the fastest peer", lambda f: beside_peers(f, SMALL), 0.5),
    Target(f"{MIDDLE}, to the fastest peer", lambda f: beside_peers(f, MIDDLE), 0.7),
    Target(
        f"{LARGE.name}, bf16, rate of the products to theirs alone",
        lambda f: products_share(f, LARGE.name, "bf16"),
        0.9,
        at_least=True,
    ),
    Target(
        f"{LARGE.name}, bf16, to the fastest peer",
        lambda f: beside_peers(f, LARGE.name, "bf16"),
        1.0,
    ),
    Target("reference experiment", lambda f: value(f, EXPERIMENT, "xpnet, fit"), 0.4, seconds=True),
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
    """A table of the targets: result, limit, met or not, or the reason for a missing result."""
    lines = [row(["target", "measured", "wanted", ""]), row(["---", "---:", "---:", "---"])]
    for target in TARGETS:
        number, limit = target.find(found), target.limit
        sign = "≥" if target.at_least else "≤"
        wanted = f"{sign} {duration(limit) if target.seconds else format(limit, '.2f')}"
        if isinstance(number, str):
            lines.append(row([target.what, "–", wanted, _word(number)]))
            continue
        met = number >= limit if target.at_least else number <= limit
        shown = duration(number) if target.seconds else f"{number:.2f}"
        lines.append(row([target.what, shown, wanted, "met" if met else "**not met**"]))
    return "\n".join(lines)


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
    names = [case.name for case in CASES]
    lines = [
        [who, *(_cell(found.get(name, {}).get(who, "–")) for name in names)]
        for who in (label(library, precision) for library in INCLUDES for precision in IN_BITS)
        if any(who in found.get(name, {}) for name in names)
    ]
    rest = [bytes_time(found, name) for name in names]
    lines.append(["the other bytes over bandwidth", *map(_time, rest)])
    for text, of in (
        ("**products + bytes**", _floor),
        ("**xpnet / fastest peer**", _ratio),
        ("**products / xpnet**", _share),
    ):
        lines += [[label(text, p), *(of(found, name, p) for name in names)] for p in IN_BITS]
    return table(["", *names], lines)


def bytes_time(found: Columns, name: str) -> float | str:
    """Seconds to read and write the bytes beside the products, at the bandwidth of a copy."""
    case = next(case for case in CASES if case.name == name)
    rate = value(found, BANDWIDTH, "copy")
    return rate if isinstance(rate, str) else bytes_beside_products(case) / rate


def _floor(found: Columns, column: str, precision: Precision) -> str:
    parts = value(found, column, label(PRODUCTS, precision)), bytes_time(found, column)
    numbers = [part for part in parts if not isinstance(part, str)]
    return duration(sum(numbers)) if len(numbers) == 2 else "–"


def _ratio(found: Columns, column: str, precision: Precision) -> str:
    number = beside_peers(found, column, precision)
    if isinstance(number, str):
        return "–"
    return f"{number:.2f} ({fastest_peer(found, column, precision)[1]})"


def _share(found: Columns, column: str, precision: Precision) -> str:
    share = products_share(found, column, precision)
    return "–" if isinstance(share, str) else f"{share:.2f}"


def _cell(numbers: Value) -> str:
    """Numbers, or the first words of a reason, which stands in full in `reasons`."""
    return cell(numbers) if isinstance(numbers, list) else _word(str(numbers))


def _time(number: float | str) -> str:
    return _word(number) if isinstance(number, str) else duration(number)


def _word(reason: str) -> str:
    return "no time left" if reason == NO_TIME else reason.partition(" (")[0]


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
    rate = value(found, BANDWIDTH, "copy")
    late = sum(str(x).endswith(NO_TIME) for column in found.values() for x in column.values())
    parts = [
        f"{machine['date']}, {machine['gpu']}, driver {machine['driver']}, CUDA {machine['cuda']}, "
        f"{packages}",
        *([f"**A dry run: {machine['dry run']}.**"] if "dry run" in machine else []),
        f"{late} results are missing for lack of time; `--resume` measures them." if late else "",
        verdicts(found),
        tests(found),
        STEPS.format(repeats=FULL.repeats),
        f"Bandwidth of a copy: {rate if isinstance(rate, str) else f'{rate / 1e9:.0f} GB/s'}.",
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
    "after it count as layers) and its gradient, and 5 %. cuBLAS's workspace of 32 MiB is in "
    "neither."
)
