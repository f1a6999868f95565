"""What the GPU benchmark does, in order, and the process that measures parts of one job.

``python -m benchmarks.gpu_job NAME INDEX ... --out FOLDER`` prints a line of JSON for each result
as soon as it is known. What cannot be measured is replaced by the reason.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from benchmarks import gpu_look as look
from benchmarks.cases import Case
from benchmarks.gpu_cases import (
    CASES,
    DRY_RUN,
    FULL,
    LARGE,
    MEMORY_CASES,
    SMALL_CASES,
    Scale,
    n_steps,
)
from benchmarks.gpu_device import give_back, products_alone, timed, xpnet_graph
from benchmarks.gpu_peers import PEERS, Maker
from benchmarks.gpu_whole import bandwidth, kernel_rates, memory, reference_experiment
from xpnet.ops.operations import Precision

START = 5.0
"""The seconds until a process has imported its libraries and has a context on the device."""

SECTIONS = "look", "tests", "whole", "steps", "peers"
LOOK, TESTS, WARNINGS = "first look", "tests", "warnings"
EXPERIMENT, ACCURACY = "20 epochs of 20 000 images", "test accuracy on Fashion-MNIST"
MEMORY, BANDWIDTH = "memory", "bandwidth"
OURS, REPLAYS, LAUNCH = "xpnet, graph", "xpnet, graph, replays alone", "xpnet, a launch by the host"
PRODUCTS, UNFUSED = "the products alone", "xpnet, graph, no epilogues"
FIT = "xpnet, fit"
IN_BITS: tuple[Precision, ...] = ("float32", "bf16", "tf32")
DEVICE_TESTS = "tests/test_gpu.py", "tests/test_gpu_agreement.py"

Value: TypeAlias = list[float] | dict[str, Any] | str
Line: TypeAlias = dict[str, Any]
"""A result: its row, column and value; with ``more`` if a later line replaces it."""


class Run(NamedTuple):
    """The settings of a run: how much is measured, the folder of results, and of Fashion-MNIST."""

    scale: Scale
    out: Path
    data_dir: str | None = None


Cell: TypeAlias = tuple[str, str]
"""The row and the column of a result."""


@dataclass(frozen=True)
class Part:
    """Results that are measured together.

    Attributes:
        cells: where the results stand; the first is always given, if only as a reason.
        measure: returns a value for each of them.
        seconds: an estimate of the time, on a GPU of the class of an H200.
    """

    cells: tuple[Cell, ...]
    measure: Callable[[Run], Sequence[Value]]
    seconds: float

    def without(self, why: str) -> Line:
        """A line with the reason why there are no results, in the first cell."""
        return line(self.cells[0], why)


@dataclass(frozen=True)
class Job:
    """Parts that are measured one after another in one process.

    Attributes:
        name: its name.
        section: one of `SECTIONS`.
        parts: what is measured; tests have a single part.
        limit: the seconds without a result after which the process is ended.
        words: the arguments of pytest, for tests.
        environment: environment variables of the process.
    """

    name: str
    section: str
    parts: tuple[Part, ...]
    limit: float = 60
    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def line(cell: Cell, value: Value) -> Line:
    """A result."""
    return {"row": cell[0], "column": cell[1], "value": value}


def failed_in(name: str) -> str:
    """The column of the tests that failed in a job."""
    return f"failed: {name}"


def label(name: str, precision: Precision) -> str:
    """The name of a row, without the precision if it is float32."""
    return name if precision == "float32" else f"{name}, {precision}"


def one(row: str, column: str, measure: Callable[[Run], Value], seconds: float) -> Part:
    """A part with a single result."""
    return Part(((row, column),), lambda run: [measure(run)], seconds)


def step(name: str, make: Maker, precision: Precision, case: Case, seconds: float) -> Part:
    """The seconds of a step."""

    def measure(run: Run) -> Value:
        case_now, repeats = run.scale.case(case), run.scale.repeats_of(case)
        return timed(make(case_now, precision), n_steps(case_now), repeats)

    return one(label(name, precision), case.name, measure, seconds)


def our_step(precision: Precision, case: Case, seconds: float) -> Part:
    """The seconds of our step, with and without the host's part, and its graphs."""
    rows = [label(name, precision) for name in (OURS, REPLAYS, LAUNCH)]
    graphs = (f"nodes of {label(case.name, precision)}", LOOK)

    def measure(run: Run) -> Sequence[Value]:
        case_now, repeats = run.scale.case(case), run.scale.repeats_of(case)
        return look.our_step(case_now, precision, repeats, run.out)

    return Part((*((row, case.name) for row in rows), graphs), measure, seconds)


def training(precision: Precision, seconds: float) -> Part:
    """Seconds and accuracies of the reference experiment."""
    row = label(FIT, precision)
    cells = (row, EXPERIMENT), (row, ACCURACY)
    return Part(
        cells, lambda run: reference_experiment(precision, run.data_dir, run.scale), seconds
    )


def memory_of(case: Case, seconds: float) -> Job:
    """Bytes that training uses, and the limit, in a process without other memory."""
    row = f"{MEMORY}, {case.name}"
    part = one(row, MEMORY, lambda run: memory(run.scale.case(case)), seconds)
    return Job(row, "whole", (part,))


def pytest_job(row: str, seconds: float, words: Sequence[str], **environment: str) -> Job:
    """Tests on the device, in parallel: a context that one of them breaks fails few others."""
    options = ["-q", "-m", "gpu", "-W", "default", "-o", "faulthandler_timeout=45"]
    if importlib.util.find_spec("xdist") is not None:
        options += ["-n", str(min(os.cpu_count() or 1, 8)), "--dist", "worksteal"]
    if importlib.util.find_spec("pytest_timeout") is not None:
        options += ["--timeout", "60"]
    part = one(row, TESTS, lambda run: "", seconds)
    environment = {"XPNET_REQUIRE_GPU": "1", **environment}
    return Job(row, "tests", (part,), 120, (*options, *words), environment)


def _probe(function: Callable[[], Value], run: Run) -> Value:
    return function()


def first_look() -> Job:
    """Which libraries and kernels work, and what the steps of every case take."""
    probes = [one(name, LOOK, partial(_probe, f), seconds) for name, f, seconds in look.PROBES]
    steps = [our_step(p, case, 2.0) for case in SMALL_CASES for p in IN_BITS]
    large: list[Part] = []
    seconds_of: dict[Precision, float] = {"bf16": 4, "float32": 7}
    for precision, seconds in seconds_of.items():
        large.append(our_step(precision, LARGE, seconds))
        large.append(step(PRODUCTS, products_alone, precision, LARGE, seconds))
    rates = one("bytes per second", LOOK, lambda run: kernel_rates(run.scale), 3)
    return Job("first look", "look", (*probes, *steps, *large, rates))


def peer(
    name: str, library: str, *parts: tuple[Precision, Sequence[Case], float], limit: float = 60
) -> Job:
    """Steps of another library: cases of a precision, with seconds for each."""
    steps = (step(library, PEERS[library], p, case, s) for p, cases, s in parts for case in cases)
    return Job(name, "peers", tuple(steps), limit)


def all_jobs() -> list[Job]:
    """All jobs in the order in which they run: the most informative ones first."""
    graph, scan, fused, compiled = PEERS
    small, large = SMALL_CASES, (LARGE,)
    quiet = {"NUMBA_DISABLE_JIT": "1"}  # Numba compiles for minutes where its cache is empty
    others = [word for path in DEVICE_TESTS for word in ("--ignore", path)]
    bits = [(precision, small, 3) for precision in IN_BITS]
    return [
        first_look(),
        pytest_job("tests of the kernels", 70, DEVICE_TESTS, **quiet),
        Job("tools", "look", tools(), 120),
        Job(FIT, "whole", (training("float32", 5),)),
        *map(memory_of, MEMORY_CASES, (3, 12, 12)),
        Job(PRODUCTS, "steps", products_and_copy()),
        peer(graph, graph, bits[0], ("bf16", (*large, *small), 4)),
        peer(scan, scan, ("float32", small, 10), ("bf16", large, 45), limit=120),
        peer(f"{graph}, rest", graph, bits[2], ("float32", large, 10)),
        peer(f"{scan}, bf16", scan, ("bf16", small, 10), limit=120),
        Job("other precisions", "steps", other_precisions()),
        Job("details", "steps", details()),
        peer(fused, fused, *bits),
        peer(f"{scan}, rest", scan, ("tf32", small, 10), ("float32", large, 45), limit=120),
        peer(compiled, compiled, ("float32", small, 60), limit=180),
        pytest_job("the other tests", 200, ["tests", *others], **quiet),
    ]


def tools() -> tuple[Part, ...]:
    """NVIDIA's tools, where they are installed."""
    return (
        one("compute-sanitizer, memcheck", LOOK, lambda run: look.memcheck(), 30),
        one("kernels of an eager step", LOOK, lambda run: look.kernel_times(), 25),
    )


def products_and_copy() -> tuple[Part, ...]:
    """The lower bound of the small cases."""
    return (
        *(step(PRODUCTS, products_alone, p, case, 1) for p in IN_BITS for case in SMALL_CASES),
        one("copy", BANDWIDTH, lambda run: bandwidth(run.scale), 2),
    )


def other_precisions() -> tuple[Part, ...]:
    """What no target needs: the large case in tf32, and what fewer bits do to a training."""
    return (
        *(training(precision, 5) for precision in ("tf32", "bf16", "fp16")),
        our_step("tf32", LARGE, 5),
        step(PRODUCTS, products_alone, "tf32", LARGE, 5),
    )


def details() -> tuple[Part, ...]:
    """What fused products save."""
    unfused = partial(xpnet_graph, epilogues=False)
    return (
        *(step(UNFUSED, unfused, "float32", case, 2) for case in CASES),
        step(UNFUSED, unfused, "bf16", LARGE, 4),
    )


def lines(parts: Sequence[Part], run: Run) -> Iterator[Line]:
    """Yield the results of parts as they arrive, or the reason for a missing one."""
    for part in parts:
        found: Sequence[Value]
        try:
            found = part.measure(run)
        except ImportError as error:
            found = [f"not available ({short(error)})"]
        except Exception as error:  # any failure is reported, and the others are measured
            found = [f"failed ({type(error).__name__}: {short(error)})"]
            traceback.print_exc()
        for cell, value in zip(part.cells, found, strict=False):  # a reason stands in the first
            yield line(cell, value)
        try:
            give_back()
        except Exception:  # a context that is broken stays so: a new process measures the others
            traceback.print_exc()
            return


def short(error: Exception | str) -> str:
    """The first line of a text, to fit into a table cell."""
    text = (str(error).splitlines() or [""])[0].replace("|", "/")
    return text if len(text) <= 300 else text[:299] + "…"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name")
    parser.add_argument("indices", type=int, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    job = next(job for job in all_jobs() if job.name == given.name)

    def say(result: Line) -> None:
        print(json.dumps(result), flush=True)

    def warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        say(line((f"{category.__name__}: {short(str(message))}", WARNINGS), job.name))

    if job.section != "peers":  # the warnings of other libraries are theirs
        warnings.simplefilter("always")
        warnings.showwarning = warn
    run = Run(DRY_RUN if given.dry_run else FULL, given.out, given.data_dir)
    for each in lines([job.parts[i] for i in given.indices], run):
        say(each)


if __name__ == "__main__":
    main()
