"""A first look at a device: what works, what was captured, and what NVIDIA's tools say."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import gpu_device as device
from benchmarks.cases import Case
from benchmarks.gpu_cases import CASES, SMALL_CASES, n_steps
from benchmarks.gpu_whole import train
from xpnet.ops.operations import Precision

SANITIZER = "compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9"
PROFILER = (
    *("ncu", "--profile-from-start", "off", "--clock-control", "none", "--csv", "--page", "raw"),
    *("--print-units", "base", "--metrics", "gpu__time_duration.sum"),
)
DURATION = "gpu__time_duration.sum"


def seconds_of(call: Callable[[], Any]) -> dict[str, Any]:
    """The seconds that a call takes, and its result as text."""
    start = perf_counter()
    found = call()
    return {"seconds": round(perf_counter() - start, 2), "is": str(found)}


def import_cupy() -> dict[str, Any]:
    """The seconds to import CuPy, unless something has imported it."""
    return seconds_of(lambda: device.cupy().__version__)


def first_array() -> dict[str, Any]:
    """The seconds until the first array has operations, whose kernels are compiled and checked."""
    return seconds_of(lambda: type(device.first_array()).__name__)


def precisions() -> dict[str, Any]:
    """The fused products of each precision that are usable."""
    names: tuple[Precision, ...] = ("tf32", "bf16", "fp16")
    return {name: device.operations_report(name)["epilogues"] for name in names}


PROBES: tuple[tuple[str, Callable[[], dict[str, Any]], float], ...] = (
    ("versions", partial(device.versions, device.PACKAGES), 1),
    ("import CuPy", import_cupy, 3),
    ("first array", first_array, 12),
    ("operations", device.operations_report, 1),
    ("other precisions", precisions, 3),
)
"""Name, function and estimated seconds."""


def our_step(case: Case, precision: Precision, repeats: int, out: Path) -> Sequence[Any]:
    """Seconds of a step by epochs, by its replays alone, and of a launch by the host; the nodes.

    The text of the graphs is added to ``graphs.dot`` in the folder ``out``.
    """
    launches, steps = device.Launches(), n_steps(case)
    with launches.watched():
        it = device.xpnet_graph(case, precision)
    times = device.timed(it, steps, repeats)
    launches.of_epoch(it, steps)
    with (out / "graphs.dot").open("a", encoding="utf-8") as file:
        file.writelines(f"// {case.name}, {precision}\n{text}\n" for text in launches.graphs)
    nodes = {f"graph {i}": nodes_of(text) for i, text in enumerate(launches.graphs)}
    alone = [launches.seconds / steps]
    return times, alone, [launches.host / launches.count], nodes or "this CuPy shows no graphs"


def nodes_of(text: str) -> str:
    """Count the labels in the text of a graph: its nodes by the names of their kernels.

    >>> nodes_of('a[label="{KERNEL|adam<<<1, 2>>>}"]; b[label="copy"]; c[label="copy"]')
    '3: KERNEL adam 1, 2; 2 × copy'
    """
    labels = re.findall(r'label="([^"]*)"', text)
    counts = Counter(" ".join(re.sub(r"[^\w ,:]", " ", each).split())[:60] for each in labels)
    shown = (name if n == 1 else f"{n} × {name}" for name, n in counts.items())
    return f"{len(labels)}: {'; '.join(shown)}"


def run_tool(words: Sequence[str], workload: str) -> tuple[str, int] | None:
    """The output of a tool that watches `main`, and its status; ``None`` if it is not installed."""
    if shutil.which(words[0]) is None:
        return None
    command = [*words, sys.executable, "-m", "benchmarks.gpu_look", workload]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    print(done.stdout, done.stderr)  # into the log
    return done.stdout + done.stderr, done.returncode


def memcheck() -> str:
    """What compute-sanitizer says of one captured epoch of each small network."""
    found = run_tool(SANITIZER, "captured")
    if found is None:
        return "compute-sanitizer is not on the PATH"
    summary = re.search(r"ERROR SUMMARY: .*", found[0])
    said = summary[0] if summary else "it said nothing"
    return f"{said}; it failed ({found[1]}), see the log" if found[1] else said


def kernel_times() -> dict[str, str] | str:
    """The time of each kernel of one eager step of the first network, by Nsight Compute."""
    found = run_tool(PROFILER, "eager")
    if found is None:
        return "ncu is not on the PATH"
    table = [line for line in found[0].splitlines() if line.startswith('"')]
    rows = [row for row in csv.DictReader(table) if row.get("ID")]  # without the row of units
    return {
        f"{row['ID']} {row['Kernel Name'][:60]}": f"{float(row[DURATION]) / 1e3:.1f} µs"
        for row in rows
    } or "it printed no kernels, see the log"


def main(workload: str) -> None:
    """Run what a tool watches."""
    if workload == "captured":
        for case in SMALL_CASES:
            train(case, "replay", 3, 1)
    else:
        train(CASES[0], "eager", 1, 2)


if __name__ == "__main__":
    main(sys.argv[1])
