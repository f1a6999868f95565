"""The GPU benchmark: what it does in the time that is left, and what it survives."""

from __future__ import annotations

import io
import json
import queue
import re
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    gpu,
    gpu_job,
    gpu_look,
    gpu_process,
    gpu_table,
)
from benchmarks.cases import Case
from benchmarks.gpu_cases import (
    CASES,
)
from benchmarks.gpu_job import Job, Part, lines, one
from benchmarks.gpu_process import NO_TIME, results

SMALL = Case("small", (6, 5, 3), "relu", 4)
NORMED = Case("normed", (6, 5, 3), "relu", 4, batch_norm=True)
MACHINE = {"date": "2026-01-01", "gpu": "a GPU", "driver": "1.2", "cuda": "13.0", "packages": {}}
START = gpu_job.START


def base(array):
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


# --- the schedule ---------------------------------------------------------------------------------


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


def job(name, *parts, section="steps", column="c"):
    """A job with a part for each name and its seconds."""
    parts = tuple(one(row, column, lambda run: [1.0], seconds) for row, seconds in parts)
    return Job(name, section, parts)


class Processes:
    """Fake processes: each is a list of rows that have results, of seconds, and why it ends."""

    def __init__(self, *scripts, clock=None):
        self.scripts, self.clock, self.started = list(scripts), clock, []

    def __call__(self, job, parts):
        self.started.append([part.cells[0][0] for part in parts])
        *steps, why = self.scripts.pop(0) if self.scripts else [*self.started[-1], ""]
        for step in steps:
            if isinstance(step, float):
                self.clock.now += step
            else:
                line = {"row": step, "column": "c", "value": [1.0]}
                yield line | step if isinstance(step, dict) else line
        return why


@pytest.fixture
def book(tmp_path):
    return gpu.Book.opened(tmp_path, dict(MACHINE), resume=False)


OK = [1.0]
TESTED = {"row": "a", "value": [1, 7, 2], "more": True}
ENDINGS = {
    "all arrive": ([["a", "b", "c", ""]], {"a": OK, "b": OK, "c": OK}),
    "crash": ([["a", "died"], ["c", ""]], {"a": OK, "b": "died", "c": OK}),
    "crash at the end": ([["a", "b", "c", "died"]], {"a": OK, "b": OK, "c": OK}),
    "crash after crash": ([["died"], ["died"]], {"a": "died", "b": "died", "c": "died"}),
    "crash, result, crash": ([["died"], ["b", "died"]], {"a": "died", "b": OK, "c": "died"}),
    "no time": ([["a", NO_TIME]], {"a": OK, "b": NO_TIME, "c": NO_TIME}),
    "broken context": ([["a", ""], ["b", "c", ""]], {"a": OK, "b": OK, "c": OK}),
    "silent": ([[""], [""]], dict.fromkeys("abc", "ended without a result")),
    "counts, then a hang": (
        [[TESTED, "took more than 9 s"], ["b", "c", ""]],
        {"a": "**1 failed**, 7 passed, 2 skipped; then took more than 9 s", "b": OK, "c": OK},
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_parts_after_a_lost_one_are_measured(name):
    scripts, expected = ENDINGS[name]
    start = Processes(*scripts)
    measured = job("job", ("a", 1), ("b", 1), ("c", 1))
    found = list(gpu.measure(measured, measured.parts, start))
    assert {line["row"]: line["value"] for line in found} == expected
    assert len(found) == len(expected) + sum(TESTED in script for script in scripts)
    assert len(start.started) == len(scripts)


JOBS = [job("long", ("a", 10), ("b", 50), ("c", 10)), job("short", ("d", 5), ("e", 5))]
TIMES = {
    "all": (110, [["a", "b", "c"], ["d", "e"]]),
    "no second job": (80, [["a", "b", "c"]]),
    "what fits of each": (START + 20 + START + 5, [["a", "c"], ["d"]]),
    "only the short one": (START + 6, [["d"]]),
    "nothing": (START + 4, []),
}


@pytest.mark.parametrize("name", TIMES)
def test_only_what_fits_is_started(name, book):
    """Every result takes the seconds of its estimate."""
    minutes, expected = TIMES[name]
    clock, seconds = Clock(), {"a": 10.0, "b": 50.0, "c": 10.0, "d": 5.0, "e": 5.0}
    scripts = [
        [START, *(x for row in rows for x in (seconds[row], row)), "end"] for rows in expected
    ]
    start = Processes(*scripts, clock=clock)
    gpu.run(JOBS, book, start, minutes, clock)
    assert start.started == expected
    measured = {row for rows in expected for row in rows}
    assert book.columns["c"] == {row: OK if row in measured else NO_TIME for row in seconds}


def given(*words):
    return gpu.parser().parse_args(words)


def rows_of(jobs):
    return [part.cells[0][0] for job in jobs for part in job.parts]


def test_resume_does_what_is_missing(book, tmp_path):
    """Not what has failed, unless the command names it."""
    known = {"a": OK, "b": NO_TIME, "d": "failed (x)", "e": f"1 failed; then {NO_TIME}"}
    for row, value in known.items():
        book.add({"row": row, "column": "c", "value": value})
    again = gpu.Book.opened(tmp_path, MACHINE | {"date": "2026-01-02"}, resume=True)
    assert again.path == book.path
    assert again.columns == {"c": known}
    assert rows_of(gpu.selected(JOBS, again, given("--resume"))) == ["b", "c", "e"]
    assert rows_of(gpu.selected(JOBS, again, given("--resume", "--only", "long"))) == ["b", "c"]
    assert rows_of(gpu.selected(JOBS, again, given())) == ["a", "b", "c", "d", "e"]


SELECTED = {
    "all": ([], ["a", "b", "c", "d", "e", "p"]),
    "a section": (["peers"], ["p"]),
    "a job": (["shor"], ["d", "e"]),
    "a row": (["b"], ["b", "p"]),  # of p the column
    "a column": (["8192"], ["p"]),
    "all of several words": (["steps", "short", "d"], ["d"]),
}


@pytest.mark.parametrize("name", SELECTED)
def test_words_select_jobs_and_parts(name, book):
    only, expected = SELECTED[name]
    jobs = [*JOBS, job("other", ("p", 1), section="peers", column="8192, batch 1")]
    words = [text for word in only for text in ("--only", word)]
    assert rows_of(gpu.selected(jobs, book, given(*words))) == expected


def test_lack_of_time_keeps_a_number(book):
    for value in (OK, NO_TIME):
        book.add({"row": "a", "column": "c", "value": value})
    assert book.columns == {"c": {"a": OK}}


@pytest.mark.parametrize(
    ("changed", "resume"), [({"gpu": "another"}, True), ({"date": "2026-01-02"}, False)]
)
def test_other_machine_or_day_starts_anew(changed, resume, book, tmp_path):
    book.add({"row": "a", "column": "c", "value": OK})
    assert gpu.Book.opened(tmp_path, MACHINE | changed, resume).columns == {}


def test_results_are_written_at_once(book, tmp_path):
    """What is on disk at any time is whole, and holds everything that is known."""

    def interrupted(job, parts):
        for row in ("a", "b"):
            yield {"row": row, "column": CASES[0].name, "value": [2e-6]}
            text = (tmp_path / "gpu-2026-01-01.json").read_text()
            assert row in json.loads(text)["results"][CASES[0].name]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gpu.run(JOBS[:1], book, interrupted, 1e9, Clock())
    assert {path.suffix for path in tmp_path.iterdir()} == {".md", ".json"}


def test_failed_tests_are_those_of_the_last_run(book):
    column = gpu_job.failed_in("short")
    book.add({"row": "test_old", "column": column, "value": "why"})
    gpu.run(JOBS, book, Processes(), 1e9, Clock())
    assert column not in book.columns


# --- the command ----------------------------------------------------------------------------------


def test_benchmark_without_a_device_says_so(monkeypatch, capsys, tmp_path):
    """In a process that finds no CuPy."""
    (tmp_path / "cupy.py").write_text("raise ImportError('no driver')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().out
    assert told.startswith("No CUDA device to measure on: it cannot be imported (no driver).")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


STATUSES = {
    "passed": ([0, 5, 1], 0),
    "failed": ([2, 5, 1], 1),
    "ended early": ("0 failed, 9 passed, 0 skipped; then took more than 9 s", 1),
}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """`gpu.main` on a machine with a fake device, given jobs and what their processes say."""

    def main(jobs, *results_of, words=()):
        monkeypatch.setattr(gpu, "machine_or_reason", lambda log: dict(MACHINE))
        monkeypatch.setattr(gpu, "all_jobs", lambda: jobs)
        monkeypatch.setattr(gpu, "results", results_of[0])
        status = gpu.main(["--out", str(tmp_path), *words])
        return status, json.loads((tmp_path / "gpu-2026-01-01.json").read_text())["results"]

    return main


@pytest.mark.parametrize("name", STATUSES)
def test_status_says_whether_tests_failed(name, command):
    value, expected = STATUSES[name]

    def told(words, environment, **how):
        assert words[1:4] == ["-m", "pytest", "-p"]
        assert environment["XPNET_REQUIRE_GPU"] == "1"
        yield {"row": "t", "column": "tests", "value": value}
        return ""

    status, found = command([gpu_job.pytest_job("t", 1, ["tests"])], told)
    assert (status, found) == (expected, {"tests": {"t": value}})


def test_interrupted_run_keeps_results(command, capsys):
    def told(words, environment, **how):
        yield {"row": "a", "column": "c", "value": OK}
        raise KeyboardInterrupt

    assert command(JOBS, told) == (130, {"c": {"a": OK}})
    assert "Written to" in capsys.readouterr().out


def test_job_is_measured_in_a_process(monkeypatch, capsys, tmp_path):
    jobs = [Job("JAX, jit", "peers", (one("a", "c", str, 1), one("b", "c", lambda run: [2.0], 1)))]
    for module in (gpu, gpu_job):
        monkeypatch.setattr(module, "all_jobs", lambda: jobs)
    monkeypatch.setattr(gpu_job, "give_back", lambda: None)
    words = gpu.command(jobs[0], jobs[0].parts[1:], given("--out", str(tmp_path), "--dry-run"))
    assert words[1:3] == ["-m", gpu_job.__name__]
    monkeypatch.setattr(sys, "argv", words[2:])
    gpu_job.main()
    assert gpu_process.parsed(capsys.readouterr().out) == {
        "row": "b",
        "column": "c",
        "value": [2.0],
    }


def missing(run):
    raise ImportError("no such library")


def broken(run):
    raise MemoryError("a | b\nand more")


def test_job_continues_after_a_failure(monkeypatch):
    monkeypatch.setattr(gpu_job, "give_back", lambda: None)
    cells = ("a", "c"), ("b", "c")
    parts = Part(cells, missing, 1), one("d", "c", broken, 1), Part(cells, lambda run: (OK, run), 1)
    assert [(line["row"], line["value"]) for line in lines(parts, "run")] == [
        ("a", "not available (no such library)"),
        ("d", "failed (MemoryError: a / b)"),
        ("a", OK),
        ("b", "run"),
    ]


def test_broken_context_ends_the_process(monkeypatch):
    """After the results that it has."""
    monkeypatch.setattr(gpu_job, "give_back", lambda: 1 / 0)
    parts = one("a", "c", broken, 1), one("b", "c", lambda run: OK, 1)
    assert [line["row"] for line in lines(parts, "run")] == ["a"]


# --- processes ------------------------------------------------------------------------------------

SAY = "print({!r}, flush=True);"
WAIT = "import threading; threading.Event().wait()"
HANG = "print('hangs', flush=True);" + WAIT
WORKER = f"import subprocess as s, sys; s.Popen([sys.executable, '-c', {WAIT!r}]);"
LINE = {"row": "a", "column": "c", "value": OK}
SCRIPTS = {
    "ends": ("print('noise');" + SAY, ""),
    "crash": (SAY + "import os; os._exit(7)", "failed (its process ended with 7)"),
    "hang": (SAY + HANG, "took more than 60 s"),
    "hang of a process that it started": (SAY + WORKER + HANG, "took more than 60 s"),
    "leaves a process": (SAY + WORKER, ""),
    "no time": (SAY + HANG, NO_TIME),
    "results every 50 s": (f"print('50 s');{SAY}" * 3, ""),
    "no result for 100 s": (SAY + "print('50 s');" * 2 + HANG, "took more than 60 s"),
}


class Output(queue.Queue):
    """The output of a process, in which time passes when it says so."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def get(self, timeout):
        text = super().get() if timeout > 0 else "hangs\n"
        if text == "hangs\n":
            raise queue.Empty
        self.clock.now += 50 * (text == "50 s\n")
        return text


@pytest.mark.parametrize("name", SCRIPTS)
def test_process_gives_results_and_how_it_ended(name):
    script, expected = SCRIPTS[name]
    log, clock, end, why = io.StringIO(), Clock(), 59 if name == "no time" else 999, []
    words = [sys.executable, "-c", script.replace("{!r}", repr(json.dumps(LINE)))]
    process = results(words, {}, 60, end, log, clock, partial(Output, clock))

    def relayed():
        why.append((yield from process))

    assert list(relayed()) == [LINE] * script.count("{!r}")
    assert why == [expected]
    assert json.dumps(LINE) in log.getvalue()


def test_closed_results_end_their_process():
    log = io.StringIO()
    words = [sys.executable, "-c", (SAY + WORKER + HANG).format(json.dumps(LINE))]
    process = results(words, {}, 60, 60, log, Clock(), partial(Output, Clock()))
    next(process)
    leader = process.gi_frame.f_locals["process"]
    process.close()
    assert leader.returncode == -9


TESTS = """
import pytest
def test_a(): pass
def test_b(): assert 1 == 2, "b | why"
def test_c(): pytest.skip("no")
@pytest.fixture
def broken(): raise ValueError("broken")
def test_d(broken): pass
"""
FAILURES = {"test_b": "AssertionError: b / why", "test_d": "ValueError: broken"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"), [(TESTS, [2, 1, 1]), ("", "failed (pytest ended with 5)")]
)
def test_tests_are_counted_while_they_run(text, expected, tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text(text)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.gpu_pytest", "--row", "r"]
    words += ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null", str(path)]
    words += ["-n", "1"] * (find_spec("xdist") is not None)
    root = Path(gpu.__file__).parents[1]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    found = [line for text in done.stdout.splitlines() if (line := gpu_process.parsed(text))]
    assert found[-1] == {"row": "r", "column": "tests", "value": expected}
    failed = {x["row"].split("::")[1]: x["value"] for x in found if "failed" in x["column"]}
    assert failed == (FAILURES if text else {})
    assert all(x.get("more") for x in found[:-1] if x["column"] == "tests")


# --- the list -------------------------------------------------------------------------------------


def test_every_part_has_one_place():
    jobs = gpu_job.all_jobs()
    cells = [cell for job in jobs for part in job.parts for cell in part.cells]
    assert len(cells) == len(set(cells))
    assert len({job.name for job in jobs}) == len(jobs)
    assert {job.section for job in jobs} == set(gpu_job.SECTIONS)
    rows = {row for row, column in cells if column == CASES[0].name}
    assert {re.sub(", (tf32|bf16)$", "", row) for row in rows} == set(gpu_table.INCLUDES)


def test_eight_minutes_are_enough_for_the_targets(book):
    """And for the tests of the kernels, if the estimates hold; two more calls do the rest."""
    clock = Clock()

    def start(job, parts):
        clock.now += START
        for part in parts:
            clock.now += part.seconds
            for row, column in part.cells:
                yield {"row": row, "column": column, "value": [1.0, 1.0, 1.0]}
        return ""

    for call in range(3):
        jobs = gpu.selected(gpu_job.all_jobs(), book, given("--resume"))
        gpu.run(jobs, book, start, 480 * (call + 1), clock)
        assert clock.now <= 480 * (call + 1)
        assert all(isinstance(x.find(book.columns), float) for x in gpu_table.TARGETS)
        assert book.columns["tests"]["tests of the kernels"] == [1.0, 1.0, 1.0]
    assert not any(value == NO_TIME for found in book.columns.values() for value in found.values())


# --- tools ----------------------------------------------------------------------------------------

NCU = """"ID","Kernel Name","gpu__time_duration.sum"
"","","nsecond"
"0","adam","2500"
"1","take","1000"
"""
TOOLS = {
    "memcheck": ("memcheck", "x\n= ERROR SUMMARY: 0 errors", 0, "ERROR SUMMARY: 0 errors"),
    "errors": (
        "memcheck",
        "ERROR SUMMARY: 3 errors",
        9,
        "ERROR SUMMARY: 3 errors; it failed (9), see the log",
    ),
    "memcheck fails": ("memcheck", "no", 1, "it said nothing; it failed (1), see the log"),
    "no memcheck": ("memcheck", None, 0, "compute-sanitizer is not on the PATH"),
    "ncu": ("kernel_times", "=PROF=\n" + NCU, 0, {"0 adam": "2.5 µs", "1 take": "1.0 µs"}),
    "ncu fails": ("kernel_times", "=ERROR= no", 1, "it printed no kernels, see the log"),
    "no ncu": ("kernel_times", None, 0, "ncu is not on the PATH"),
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools_are_read_where_they_are(name, monkeypatch, tmp_path):
    function, text, status, expected = TOOLS[name]
    which = {"memcheck": "compute-sanitizer", "kernel_times": "ncu"}[function]
    tool = tmp_path / which
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if text is not None:
        tool.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        tool.chmod(0o755)
    assert getattr(gpu_look, function)() == expected
