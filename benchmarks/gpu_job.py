"""Measure one row of the GPU benchmark in a process of its own, which frees its memory.

``python -m benchmarks.gpu_job NAME`` prints a line of JSON for each number as soon as it is known.
A number that cannot be measured is replaced by the reason, and the next one is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeAlias

from benchmarks.cases import Case
from benchmarks.gpu_cases import CASES, MEMORY_CASES, Line, n_steps
from benchmarks.gpu_device import give_back, timed
from benchmarks.gpu_floor import bandwidth, floor
from benchmarks.gpu_peers import IN_BITS, OURS, PEERS, Maker
from benchmarks.gpu_whole import memory, reference_experiment
from xpnet.ops.operations import Precision

REPEATS = 7
WHOLE_REPEATS = 3
PREFIX = '{"row"'
"""Prefix of a line with a result; libraries print other lines."""

EXPERIMENT, ACCURACY = "20 epochs of 20 000 images", "test accuracy on Fashion-MNIST"
MEMORY, BANDWIDTH = "memory", "bandwidth"
PRODUCTS = "the products alone"
TESTS = "tests"
SECTIONS = "steps", "whole", "peers"

Value: TypeAlias = list[float] | str
Numbers: TypeAlias = Callable[[str | None], dict[str, Value]]
"""A function of ``--data-dir`` that returns results by column."""


class Job(NamedTuple):
    """A row: the functions that measure its columns, and one of `SECTIONS`."""

    row: str
    parts: tuple[tuple[tuple[str, ...], Numbers], ...]
    section: str = "steps"

    @property
    def columns(self) -> list[str]:
        """All of its columns."""
        return [column for columns, _ in self.parts for column in columns]


def label(name: str, precision: Precision) -> str:
    """The name of a row, without the precision if it is float32."""
    return name if precision == "float32" else f"{name}, {precision}"


def of_steps(name: str, make: Maker, precision: Precision, section: str = "steps") -> Job:
    """Seconds per step for every case."""

    def steps(case: Case, data_dir: str | None) -> dict[str, Value]:
        return {case.name: timed(make(case, precision), n_steps(case), REPEATS)}

    parts = tuple(((case.name,), partial(steps, case)) for case in CASES)
    return Job(label(name, precision), parts, section)


def of_trainings(precision: Precision) -> Job:
    """Seconds and accuracies of the reference experiment."""

    def whole(data_dir: str | None) -> dict[str, Value]:
        times, found = reference_experiment(precision, data_dir, WHOLE_REPEATS)
        return {EXPERIMENT: times, ACCURACY: found}

    return Job(label("xpnet, fit", precision), (((EXPERIMENT, ACCURACY), whole),), "whole")


def of_memory(case: Case) -> Job:
    """Bytes that training uses, and the limit."""
    parts = (((MEMORY,), lambda data_dir: {MEMORY: list(memory(case))}),)
    return Job(f"{MEMORY}, {case.name}", parts, "whole")


def all_jobs() -> dict[str, Job]:
    """All jobs in the order of measurement: those that the targets need come first."""
    copy = Job("copy", (((BANDWIDTH,), lambda data_dir: {BANDWIDTH: bandwidth(REPEATS)}),))
    jobs = [of_steps("xpnet, graph", *each) for each in _each(OURS["xpnet, graph"])]
    jobs += [of_steps(PRODUCTS, *each) for each in _each((floor, IN_BITS))]
    jobs += [copy, *(of_trainings(p) for p in (*IN_BITS, "fp16"))]
    jobs += [of_memory(case) for case in MEMORY_CASES]
    for name, entry in (PEERS | OURS).items():
        if name == "xpnet, graph":
            continue
        section = "peers" if name in PEERS else "steps"
        jobs += [of_steps(name, *each, section) for each in _each(entry)]
    return {job.row: job for job in jobs}


def _each(entry: tuple[Maker, tuple[Precision, ...]]) -> Iterator[tuple[Maker, Precision]]:
    make, precisions = entry
    yield from ((make, precision) for precision in precisions)


def lines(job: Job, data_dir: str | None) -> Iterator[Line]:
    """Yield the results of a job as they arrive, or the reason for a missing one."""
    for columns, measure in job.parts:
        found: dict[str, Value]
        try:
            found = measure(data_dir)
        except ImportError as error:
            found = dict.fromkeys(columns, f"not installed ({error})")
        except Exception as error:  # any failure is reported, and the others are measured
            found = dict.fromkeys(columns, f"failed ({type(error).__name__}: {first_line(error)})")
        for column, value in found.items():
            yield {"row": job.row, "column": column, "value": value}
        give_back_if_possible()


def first_line(error: Exception) -> str:
    """Shorten a text to fit into a table cell."""
    text = (str(error).splitlines() or [""])[0].replace("|", "/")
    return text if len(text) <= 120 else text[:119] + "…"


def give_back_if_possible() -> None:
    """Free the memory of the previous part; this may fail on a device that has failed."""
    try:
        give_back()
    except Exception as error:  # the next part reports the failure
        print(f"memory was not given back: {error}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--data-dir")
    arguments = parser.parse_args()
    for line in lines(all_jobs()[arguments.name], arguments.data_dir):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
