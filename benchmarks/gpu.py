"""Measure xpnet on a CUDA device within a limit of time, what says most first.

``python -m benchmarks.gpu --minutes 8 --out FOLDER`` looks at the device, runs the tests that need
one, and compares xpnet with its peers and the lower bound; `gpu_job.all_jobs` is the list. Each
job is a process, which cannot harm the others; each result is written to FOLDER as soon as it is
known: ``gpu-DATE.md``, a page of tables, ``gpu-DATE.json``, and ``gpu-DATE.log``, the output of all
processes. What does not fit into the time is listed, and ``--resume`` measures only that.

``--only WORD`` selects a section (`gpu_job.SECTIONS`), a job, a row or a column; results of the
same machine and day are kept. ``--data-dir`` is a folder with Fashion-MNIST for the accuracies.
``--dry-run`` measures tiny networks. Exit status: 0 done, 1 a test failed, 2 no device, 130
interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import IO, Any, TypeAlias

from benchmarks.gpu_job import START, TESTS, Job, Line, Part, all_jobs, failed_in
from benchmarks.gpu_process import LAST_WORDS, NO_TIME, Clock, results
from benchmarks.gpu_table import Columns, counts, document

RESULTS = Path(__file__).parent / "results"
FEW = "default"
"""The tests of a dry run."""

DEVICE_LIMIT = 60
"""The seconds to find a device."""

MOST_FUTILE = 2
"""Processes in a row without a result after which a job is given up."""

Start: TypeAlias = Callable[[Job, Sequence[Part]], Any]
"""Start a process for parts of a job: a generator of lines, which returns why others are missing"""


@dataclass
class Book:
    """The results, in files of a folder that hold everything that is known at any time.

    Attributes:
        path: the path of the page.
        machine: the machine that was measured.
        columns: the results.
        ours: the cells that this run has written.
    """

    path: Path
    machine: dict[str, Any]
    columns: Columns = field(default_factory=dict)
    ours: list[Line] = field(default_factory=list)

    @classmethod
    def opened(cls, folder: Path, machine: dict[str, Any], resume: bool) -> Book:
        """The book of this machine and day; to resume, the last one of this machine."""
        folder.mkdir(parents=True, exist_ok=True)
        today = folder / f"gpu-{machine['date']}.json"
        written = sorted(folder.glob("gpu-*.json"))
        last = written[-1] if resume and written else today
        if last.exists():
            known = json.loads(last.read_text(encoding="utf-8"))
            if known["machine"] | {"date": machine["date"]} == machine:
                return cls(last.with_suffix(".md"), known["machine"], known["results"])
            print(f"{last} is of another machine or of other versions: nothing of it is kept.")
        return cls(today.with_suffix(".md"), machine)

    def lacks(self, part: Part) -> bool:
        """Whether a part has not been measured."""
        row, column = part.cells[0]
        value = self.columns.get(column, {}).get(row)
        return value is None or str(value).endswith(NO_TIME)

    def add(self, line: Line) -> None:
        """Write a result; the lack of one replaces none that was there."""
        column = self.columns.setdefault(line["column"], {})
        if line["value"] == NO_TIME:
            column.setdefault(line["row"], NO_TIME)
        else:
            column[line["row"]] = line["value"]
        self.ours.append(line)
        self.write()

    def write(self) -> None:
        """Replace the files, each at once."""
        known = {"machine": self.machine, "results": self.columns}
        for suffix, text in (
            (".md", document(self.machine, self.columns)),
            (".json", json.dumps(known, indent=1) + "\n"),
        ):
            new = self.path.with_suffix(".new")
            new.write_text(text, encoding="utf-8")
            os.replace(new, self.path.with_suffix(suffix))


def run(jobs: Iterable[Job], book: Book, start: Start, end: float, clock: Clock) -> None:
    """Do jobs in turn; parts that would take longer than until ``end`` are postponed."""
    for job in jobs:
        fits, total = [], clock() + START
        for part in job.parts:
            if total + part.seconds <= end:
                fits.append(part)
                total += part.seconds
            else:
                book.add(part.without(NO_TIME))
        if fits:
            print(f"{job.name}, about {total - clock():.0f} s", flush=True)
            book.columns.pop(failed_in(job.name), None)
        for line in measure(job, fits, start):
            book.add(line)
            print(f"  {line['row']} | {line['column']} | {shown(line['value'])}", flush=True)


def measure(job: Job, parts: Sequence[Part], start: Start) -> Iterator[Line]:
    """Yield the results of parts; those after one that ends its process run in a new process."""
    missing, futile, so_far = list(parts), 0, ""
    while missing:
        before, process = len(missing), start(job, tuple(missing))
        while True:
            try:
                line = next(process)
            except StopIteration as stopped:
                why = stopped.value
                break
            if line.pop("more", False):
                so_far = f"{counts(line['value'])}; then "
            elif missing and (line["row"], line["column"]) == missing[0].cells[0]:
                missing.pop(0)
            yield line
        progress = len(missing) < before
        futile = 0 if progress else futile + 1
        lost = missing if why == NO_TIME or futile == MOST_FUTILE else missing[:1]
        if progress and not why:
            lost = []  # the process has ended itself, so that another has a new context
        missing = missing[len(lost) :]
        yield from (part.without(so_far + (why or "ended without a result")) for part in lost)


def shown(value: Any) -> str:
    """A value in a line of the terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:159] + "…"


def selected(jobs: Iterable[Job], book: Book, given: argparse.Namespace) -> Iterator[Job]:
    """The jobs, and of each the parts, that the command asks for."""
    for job in jobs:
        parts = []
        for part in job.parts:
            words = " | ".join((job.section, job.name, *part.cells[0]))
            if all(word in words for word in given.only):
                parts += [part] if book.lacks(part) or not given.resume else []
        if parts:
            yield replace(job, parts=tuple(parts))


def command(job: Job, parts: Sequence[Part], given: argparse.Namespace) -> list[str]:
    """The command of the process for parts of a job."""
    python, out = [sys.executable, "-m"], given.out.resolve()
    if job.words:
        report = out / f"{job.name.replace(' ', '-')}.xml"
        words = ["-p", "benchmarks.gpu_pytest", "--row", job.name, f"--junitxml={report}"]
        few = ["-k", FEW] if given.dry_run else []
        return [*python, "pytest", *words, *job.words, *few]
    whole = next(each for each in all_jobs() if each.name == job.name)
    rows = [part.cells for part in whole.parts]
    words = [job.name, *(str(rows.index(part.cells)) for part in parts), "--out", str(out)]
    words += ["--dry-run"] if given.dry_run else []
    return [
        *python,
        "benchmarks.gpu_job",
        *words,
        *(["--data-dir", given.data_dir] if given.data_dir else []),
    ]


def machine_or_reason(log: IO[str]) -> Any:
    """The description of the machine, or why there is no device, by a process that may hang."""
    words = [sys.executable, "-m", "benchmarks.gpu_device"]
    process = results(words, {}, DEVICE_LIMIT, math.inf, log)
    try:
        return next(process)["value"]
    except StopIteration as stopped:
        return f"the process that looks for it {stopped.value}"
    finally:
        process.close()


def main(words: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    begin, given = monotonic(), parser().parse_args(words)
    found = io.StringIO()
    machine = machine_or_reason(found)
    if isinstance(machine, str):
        print(f"No CUDA device to measure on: {machine}")
        return 2
    if given.dry_run:
        machine["dry run"] = "tiny networks; the numbers mean nothing"
    book, status = Book.opened(given.out, machine, given.resume), 0
    with book.path.with_suffix(".log").open("a", encoding="utf-8") as log:
        log.write(found.getvalue())

        def start(job: Job, parts: Sequence[Part]) -> Any:
            log.write(f"--- {job.name}\n")
            how = {"limit": job.limit, "end": end, "log": log}
            return results(command(job, parts, given), job.environment, **how)

        end = begin + 60 * given.minutes - LAST_WORDS
        book.write()
        try:
            run(list(selected(all_jobs(), book, given)), book, start, end, monotonic)
        except KeyboardInterrupt:
            status = 130
    print(f"{document(book.machine, book.columns)}\nWritten to {book.path}")
    bad = [
        x
        for x in book.ours
        if x["column"] == TESTS and (isinstance(x["value"], str) or x["value"][0])
    ]
    return status or int(bool(bad))


def parser() -> argparse.ArgumentParser:
    """Parse the arguments of the command."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--minutes", type=float, default=8, help="end within this time (default 8)")
    made.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    made.add_argument("--resume", action="store_true", help="measure what is missing")
    words = "measure what has this in its section, job, row or column; several times: has all"
    made.add_argument("--only", metavar="WORD", action="append", default=[], help=words)
    made.add_argument("--data-dir", type=os.path.abspath, help="a folder with Fashion-MNIST")
    made.add_argument("--dry-run", action="store_true", help="measure tiny networks, to try it")
    return made


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # then no process outlives this one
    sys.exit(main())
