"""The results of the GPU benchmark as Markdown: times, ratios, targets, accuracy and memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from benchmarks.gpu_cases import CASES, LARGE, MEMORY_CASES, Columns, bytes_beside_products
from benchmarks.gpu_job import (
    ACCURACY,
    BANDWIDTH,
    EXPERIMENT,
    MEMORY,
    PRODUCTS,
    REPEATS,
    TESTS,
    WHOLE_REPEATS,
    label,
)
from benchmarks.gpu_peers import IN_BITS, PEERS
from benchmarks.table import cell, duration, row
from xpnet.ops.operations import Precision

WAITING = "not measured"
OURS = "xpnet, graph"


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
    return numbers if isinstance(numbers, str) else statistics.median(numbers)


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
    return pair if isinstance(pair, str) else pair[0] / pair[1]


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
            lines.append(row([target.what, "–", wanted, number]))
            continue
        met = number >= limit if target.at_least else number <= limit
        shown = duration(number) if target.seconds else f"{number:.2f}"
        lines.append(row([target.what, shown, wanted, "met" if met else "**not met**"]))
    return "\n".join(lines)


def steps(found: Columns) -> str:
    """A row for each library, a column for each case, then lower bounds and ratios."""
    names = [case.name for case in CASES]
    rows = [who for name in names for who in found.get(name, {})]
    lines = [row(["", *names]), row(["---", *["---:"] * len(names)])]
    for who in dict.fromkeys(rows):
        lines.append(row([who, *(_cell(found.get(name, {}).get(who, "–")) for name in names)]))
    rest = [bytes_time(found, name) for name in names]
    lines.append(row(["the other bytes over bandwidth", *map(_time, rest)]))
    for precision in IN_BITS:
        lines.append(row([label("**products + bytes**", precision), *_floors(found, precision)]))
    for precision in IN_BITS:
        ratios = (_ratio(found, name, precision) for name in names)
        lines.append(row([label("**xpnet / fastest peer**", precision), *ratios]))
    for precision in IN_BITS:
        shares = (products_share(found, name, precision) for name in names)
        texts = ("–" if isinstance(share, str) else f"{share:.2f}" for share in shares)
        lines.append(row([label("**products / xpnet**", precision), *texts]))
    return "\n".join(lines)


def bytes_time(found: Columns, name: str) -> float | str:
    """Seconds to read and write the bytes beside the products, at the bandwidth of a copy."""
    case = next(case for case in CASES if case.name == name)
    rate = value(found, BANDWIDTH, "copy")
    return rate if isinstance(rate, str) else bytes_beside_products(case) / rate


def _floors(found: Columns, precision: Precision) -> list[str]:
    texts = []
    for case in CASES:
        parts = value(found, case.name, label(PRODUCTS, precision)), bytes_time(found, case.name)
        numbers = [part for part in parts if not isinstance(part, str)]
        texts.append(duration(sum(numbers)) if len(numbers) == 2 else "–")
    return texts


def _ratio(found: Columns, column: str, precision: Precision) -> str:
    number = beside_peers(found, column, precision)
    if isinstance(number, str):
        return "–"
    return f"{number:.2f} ({fastest_peer(found, column, precision)[1]})"


def _cell(numbers: list[float] | str) -> str:
    return numbers if isinstance(numbers, str) else cell(numbers)


def _time(number: float | str) -> str:
    return number if isinstance(number, str) else duration(number)


def trainings(found: Columns) -> str:
    """The reference experiment by precision: seconds and accuracies."""
    lines = [row(["", EXPERIMENT, ACCURACY]), row(["---", "---:", "---:"])]
    for who in dict.fromkeys([*found.get(EXPERIMENT, {}), *found.get(ACCURACY, {})]):
        accuracies = found.get(ACCURACY, {}).get(who, WAITING)
        if not isinstance(accuracies, str):
            accuracies = ", ".join(f"{number:.4f}" for number in accuracies)
        lines.append(row([who, _cell(found.get(EXPERIMENT, {}).get(who, WAITING)), accuracies]))
    return "\n".join(lines)


def memories(found: Columns) -> str:
    """The memory of training and its limit."""
    lines = [row(["", "taken", "allowed"]), row(["---", "---:", "---:"])]
    for who, pair in found.get(MEMORY, {}).items():
        texts = [pair, "–"] if isinstance(pair, str) else [f"{n / 2**20:.1f} MiB" for n in pair]
        lines.append(row([who, *texts]))
    return "\n".join(lines)


def document(machine: Mapping[str, Any], found: Columns) -> str:
    """The page of results, with the machine and the method."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    tests = ", ".join(map(str, found.get(TESTS, {}).values())) or "not run"
    rate = value(found, BANDWIDTH, "copy")
    copy = f"Bandwidth of a copy: {rate if isinstance(rate, str) else f'{rate / 1e9:.0f} GB/s'}."
    return "\n\n".join(
        [
            f"{machine['date']}, {machine['gpu']}, driver {machine['driver']}, CUDA "
            f"{machine['cuda']}, {packages}",
            f"The tests that need a device: {tests}.",
            verdicts(found),
            f"A training step with Adam, in float32 unless said: the median of {REPEATS} runs "
            "after a warm-up, each on new random data on the device, one batch for each step; in "
            "brackets the minimum and the maximum. Steps are timed by events on the device, those "
            "of JAX by the host, which waits before and after. Each row is a process of its own. "
            "An epoch of `fit` also copies θ to the host and checks that it is finite; this is "
            "done once an epoch and has a row of its own. Without epilogues, separate kernels add "
            "the biases, apply ReLU and sum the bias gradients of linear layers. The lower bound "
            "is a step's products through cuBLAS and its other bytes at the speed of a copy. "
            f"{copy}",
            steps(found),
            f"784-200-10 by `fit`, batches of 64, from bytes in host memory: the median of "
            f"{WHOLE_REPEATS} after a warm-up, and one accuracy for each seed.",
            trainings(found),
            "Memory that training uses beside its data: the size of CuPy's pools at the end of an "
            "epoch, which is the maximum since the capture, because they free nothing in between. "
            "The limit is θ, g, the optimizer's states, the batch, the output of each layer (batch "
            "norm and the activation after it count as layers) and its gradient, and 5 %. cuBLAS's "
            "workspace of 32 MiB is in neither.",
            memories(found),
            "",
        ]
    )
