"""The GPU engine: tests on the device, then xpnet beside its peers and the floor, in one run.

Run: ``python -m benchmarks.gpu`` on a machine with a CUDA device. It needs no network. It runs the
GPU tests, measures every row in a process of its own, and writes Markdown tables, dated, to
``benchmarks/results/``, anew after every number: what fails later loses nothing. What could not be
measured says why. ``--data-dir`` names a folder with Fashion-MNIST for the accuracies. Exit status:
0 done, 1 a test failed, 2 no CUDA device.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import gpu_device
from benchmarks.gpu_cases import Columns, Line, add
from benchmarks.gpu_job import PREFIX, Job, all_jobs
from benchmarks.gpu_table import document
from xpnet.backend import unavailable

LIMIT = 900
"""Seconds that a row may take."""

RESULTS = Path(__file__).parent / "results"
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""JAX takes three quarters of the device's memory otherwise, also from what is measured after."""


def command(name: str, data_dir: str | None) -> list[str]:
    """The process that measures a row."""
    more = [] if data_dir is None else ["--data-dir", data_dir]
    return [sys.executable, "-m", "benchmarks.gpu_job", name, *more]


def measure(job: Job, words: list[str]) -> Iterator[Line]:
    """What a process tells, as it comes, and a sentence for what it leaves out."""
    late, told = threading.Event(), set()
    process = subprocess.Popen(
        words,
        cwd=Path(__file__).parents[1],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(LIMIT, end)
    timer.start()
    with process:
        try:
            assert process.stdout is not None
            for text in process.stdout:
                if text.startswith(PREFIX):
                    line: Line = json.loads(text)
                    told.add(line["column"])
                    yield line
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
    why = (
        f"took more than {LIMIT} s"
        if late.is_set()
        else f"failed (its process ended with {status})"
    )
    for column in job.columns:
        if column not in told:
            yield {"row": job.row, "column": column, "value": why}


def write(machine: dict[str, Any], found: Columns) -> Path:
    """Write what there is so far as Markdown and as JSON; return the first's path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"gpu-{date.today().isoformat()}.md"
    path.write_text(document(machine, found), encoding="utf-8")
    results = json.dumps({"machine": machine, "results": found}, indent=1)
    path.with_suffix(".json").write_text(results + "\n", encoding="utf-8")
    return path


def tests_pass() -> bool:
    """Run the tests that need a device; one that does not find it fails."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    environment, root = os.environ | {"XPNET_REQUIRE_GPU": "1"}, Path(__file__).parents[1]
    return subprocess.run(words, cwd=root, env=environment, check=False).returncode == 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--no-tests", action="store_true", help="measure alone")
    parser.add_argument("--only", help="measure the rows that hold this word")
    parser.add_argument("--data-dir", help="a folder with Fashion-MNIST")
    arguments = parser.parse_args(words)
    reason = unavailable("cupy")
    if reason is not None:
        print(f"No CUDA device to measure on: backend 'cupy': {reason}")
        return 2
    if not arguments.no_tests and not tests_pass():
        print("Tests on the device failed: nothing is measured. --no-tests measures all the same.")
        return 1
    jobs = {name: job for name, job in all_jobs().items() if (arguments.only or "") in name}
    machine, found = gpu_device.machine(), Columns()
    path = write(machine, found)
    for name, job in jobs.items():
        print(name, flush=True)
        for line in measure(job, command(name, arguments.data_dir)):
            add(found, line)
            path = write(machine, found)
            print(f"  {line['column']}: {line['value']}", flush=True)
    print(document(machine, found))
    print(f"Written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
