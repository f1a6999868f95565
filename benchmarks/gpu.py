"""Test the GPU engine on a device, then compare xpnet with its peers and the lower bound.

Run ``python -m benchmarks.gpu`` on a machine with a CUDA device; no network is needed. It runs the
GPU tests, measures every row in a process of its own, also if a test fails, and writes dated
Markdown tables to a folder (``--out``) after every result, so that a later failure loses nothing.
A cell that could not be measured has the reason. ``--section`` runs one part: ``tests``, ``steps``
of xpnet and the lower bound, ``whole`` trainings and memory, or ``peers``; ``--only`` runs the rows
that contain a word. Results of the same machine and day are kept; ``--missing`` measures only the
other rows, to continue an interrupted run (``peers`` compile, and may take long). ``--data-dir`` is
a folder with Fashion-MNIST for the accuracies. Exit status: 0 done, 1 a test failed, 2 no device.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks import gpu_device
from benchmarks.gpu_cases import Columns, Line, add
from benchmarks.gpu_job import PREFIX, SECTIONS, TESTS, Job, all_jobs
from benchmarks.gpu_table import document
from xpnet.backend import unavailable

LIMIT = 300
"""Time limit of a row, in seconds."""

TESTS_LIMIT = 1800
"""Time limit of the tests, in seconds; a device that hangs must not prevent the measurements."""

RESULTS = Path(__file__).parent / "results"
COUNTED = "tests", "failures", "errors", "skipped"
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""By default JAX reserves three quarters of the device's memory."""

REQUIRED = {"XPNET_REQUIRE_GPU": "1"}


def command(name: str, data_dir: str | None) -> list[str]:
    """The command of the process that measures a row."""
    more = [] if data_dir is None else ["--data-dir", data_dir]
    return [sys.executable, "-m", "benchmarks.gpu_job", name, *more]


def measure(job: Job, words: list[str]) -> Iterator[Line]:
    """Yield the results of a process as they arrive, and a reason for each missing one."""
    late, received = threading.Event(), set()
    process = subprocess.Popen(
        words,
        cwd=Path(__file__).parents[1],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )

    def kill() -> None:
        """Kill the process and those that it started, which hold its standard output too."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def end() -> None:
        late.set()
        kill()

    timer = threading.Timer(LIMIT, end)
    timer.start()
    with process:
        try:
            assert process.stdout is not None
            for text in process.stdout:
                if text.startswith(PREFIX):
                    line: Line = json.loads(text)
                    received.add(line["column"])
                    yield line
            status = process.wait()
        finally:
            timer.cancel()
            kill()
    why = (
        f"took more than {LIMIT} s"
        if late.is_set()
        else f"failed (its process ended with {status})"
    )
    for column in job.columns:
        if column not in received:
            yield {"row": job.row, "column": column, "value": why}


def earlier(machine: dict[str, Any], folder: Path) -> Columns:
    """The results of the same machine and day."""
    try:
        known = json.loads(results_in(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    found: Columns = known["results"] if known["machine"] == machine else {}
    return found


def results_in(folder: Path) -> Path:
    """The path of today's results."""
    return folder / f"gpu-{date.today().isoformat()}.json"


def write(machine: dict[str, Any], found: Columns, folder: Path) -> Path:
    """Write the results so far as Markdown and JSON; return the path of the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    results = results_in(folder)
    path = results.with_suffix(".md")
    path.write_text(document(machine, found), encoding="utf-8")
    text = json.dumps({"machine": machine, "results": found}, indent=1)
    results.write_text(text + "\n", encoding="utf-8")
    return path


def tested() -> tuple[bool, str]:
    """Run the tests that need a device; return whether all passed, and a summary.

    A test that does not find the device fails. The counts are read from a file, not from the
    output. Tests of other libraries run in the environment of the measurements and are skipped if
    the library fails.
    """
    environment, root = os.environ | ENVIRONMENT | REQUIRED, Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
        words += ["-p", "no:xdist", f"--junitxml={report}"]  # one process on the device
        how: dict[str, Any] = {"cwd": root, "env": environment, "timeout": TESTS_LIMIT}
        try:
            status = subprocess.run(words, **how, check=False).returncode
        except subprocess.TimeoutExpired:
            return False, f"**took more than {TESTS_LIMIT} s**"
        if not report.exists():
            return False, f"**did not run to their end (pytest ended with {status})**"
        suites = ElementTree.parse(report).getroot().iter("testsuite")
        counts = [{name: int(suite.get(name, 0)) for name in COUNTED} for suite in suites]
    n = {name: sum(each[name] for each in counts) for name in COUNTED}
    bad = n["failures"] + n["errors"]
    if status and not bad:
        return False, f"**pytest ended with {status}**"
    many = f"**{bad} of {n['tests']} failed**" if bad else f"{n['tests'] - n['skipped']} passed"
    return not bad, f"{many}, {n['skipped']} skipped"


def main(words: list[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    reason = unavailable("cupy")
    if reason is not None:
        print(f"No CUDA device to measure on: backend 'cupy': {reason}")
        return 2
    section, passed = arguments.section, True
    machine = gpu_device.machine()
    found = earlier(machine, arguments.out)
    if section in (None, "tests") and not arguments.no_tests:
        passed, summary = tested()
        print(f"Tests on the device: {summary}", flush=True)
        add(found, {"row": "pytest -m gpu", "column": TESTS, "value": summary})
    path = write(machine, found, arguments.out)
    for name, job in all_jobs().items():
        if section not in (None, job.section) or (arguments.only or "") not in name:
            continue
        if arguments.missing and all(name in found.get(column, {}) for column in job.columns):
            continue
        print(name, flush=True)
        for line in measure(job, command(name, arguments.data_dir)):
            add(found, line)
            path = write(machine, found, arguments.out)
            print(f"  {line['column']}: {line['value']}", flush=True)
    print(document(machine, found))
    print(f"Written to {path}")
    return 0 if passed else 1


def parser() -> argparse.ArgumentParser:
    """Parse the arguments of the command."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--section", choices=("tests", *SECTIONS), help="do this alone")
    made.add_argument("--no-tests", action="store_true", help="measure alone")
    made.add_argument("--only", help="measure the rows that hold this word")
    made.add_argument("--missing", action="store_true", help="measure what today has not yet")
    made.add_argument("--out", type=Path, default=RESULTS, help="the folder of the results")
    made.add_argument("--data-dir", help="a folder with Fashion-MNIST")
    return made


if __name__ == "__main__":
    sys.exit(main())
