"""The GPU benchmark: missing parts, failures, tables, and its parts on fake devices."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import warnings
import weakref
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_device import (
    CREATES,
    DeviceArray,
    FakeCapture,
    FakeNamespace,
    fake_backend,
    fake_operations,
)

from benchmarks import (
    gpu,
    gpu_cases,
    gpu_device,
    gpu_floor,
    gpu_job,
    gpu_peers,
    gpu_table,
    gpu_whole,
)
from benchmarks.cases import Case
from benchmarks.gpu_cases import (
    CASES,
    LARGE,
    MEMORY_CASES,
    allowed_memory,
    bytes_beside_products,
    n_parameters,
)
from benchmarks.gpu_job import Job, lines
from xpnet import MLP
from xpnet.data.prepare import prepare
from xpnet.engine import select as engines
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.engine.select import steps_for
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.ops import select
from xpnet.ops.cuda import operations
from xpnet.ops.cuda.matmul import Product
from xpnet.ops.operations import Operations
from xpnet.training.settings import Settings


def base(array):
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


SMALL = Case("small", (6, 5, 3), "relu", 4)
NORMED = Case("normed", (6, 5, 3), "relu", 4, batch_norm=True)
MACHINE = {"date": "2026-01-01", "gpu": "a GPU", "driver": "1.2", "cuda": "13.0", "packages": {}}


# --- the run --------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`gpu.main` on a machine with a fake device and given jobs; its status and results."""
    monkeypatch.setattr(gpu, "unavailable", lambda name: None)
    monkeypatch.setattr(gpu_device, "machine", lambda: MACHINE)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")

    def main(jobs, scripts, *words, tests=False):
        monkeypatch.setattr(gpu, "all_jobs", lambda: {job.row: job for job in jobs})
        monkeypatch.setattr(
            gpu, "command", lambda name, data_dir: [sys.executable, "-c", scripts[name]]
        )
        status = gpu.main([*([] if tests else ["--no-tests"]), *words])
        (path,) = (tmp_path / "results").glob("*.json")
        return status, json.loads(path.read_text())["results"], path.with_suffix(".md").read_text()

    return main


def job(row, *columns, section="steps"):
    return Job(row, tuple(((column,), None) for column in columns), section)


def say(row, column, value):
    return f"print('''{json.dumps({'row': row, 'column': column, 'value': value})}''', flush=True);"


def test_benchmark_without_a_device_says_so(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "unavailable", lambda name: f"there is no {name}")
    assert gpu.main([]) == 2
    assert capsys.readouterr().out == (
        "No CUDA device to measure on: backend 'cupy': there is no cupy\n"
    )


@pytest.mark.parametrize("passed", [False, True])
def test_failed_tests_are_reported_before_results(passed, monkeypatch, run):
    monkeypatch.setattr(gpu, "tested", lambda: (passed, "**3 of 9 failed**"))
    name = CASES[0].name
    status, found, text = run([job("a", name)], {"a": say("a", name, [1.0])}, tests=True)
    assert status == (0 if passed else 1)
    assert found == {"tests": {"pytest -m gpu": "**3 of 9 failed**"}, name: {"a": [1.0]}}
    assert text.index("The tests that need a device: **3 of 9 failed**.") < text.index("| target |")


REPORTS = {
    "all": (0, 'tests="7" failures="0" errors="0" skipped="2"', (True, "5 passed, 2 skipped")),
    "some": (1, 'tests="7" failures="2" errors="1"', (False, "**3 of 7 failed**, 0 skipped")),
    "none": (5, 'tests="0"', (False, "**pytest ended with 5**")),
    "no report": (3, "", (False, "**did not run to their end (pytest ended with 3)**")),
}


@pytest.mark.parametrize("name", REPORTS)
def test_failed_tests_are_counted(name, monkeypatch):
    status, counts, expected = REPORTS[name]

    def pytest_run(words, **how):
        assert how["env"]["XPNET_REQUIRE_GPU"] == "1"
        assert how["env"].items() >= gpu.ENVIRONMENT.items()
        assert how["timeout"] == gpu.TESTS_LIMIT
        path = words[-1].removeprefix("--junitxml=")
        if counts:
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"<testsuites><testsuite {counts}></testsuite></testsuites>")
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(gpu.subprocess, "run", pytest_run)
    assert gpu.tested() == expected


def test_hanging_tests_are_a_failure(monkeypatch):
    run, hanging = subprocess.run, [sys.executable, "-c", "import threading as t; t.Event().wait()"]
    monkeypatch.setattr(gpu, "TESTS_LIMIT", 1)
    monkeypatch.setattr(gpu.subprocess, "run", lambda words, **how: run(hanging, **how))
    assert gpu.tested() == (False, "**took more than 1 s**")


def test_section_keeps_earlier_results(run, tmp_path):
    """If they are of the same machine and the same day."""
    name = CASES[0].name
    jobs = [job("JAX, jit", name, section="peers"), job("ours", name, section="steps")]
    scripts = {"JAX, jit": say("JAX, jit", name, [1.0]), "ours": say("ours", name, [2.0])}
    folder = ["--out", str(tmp_path / "results" / "..")]
    assert run(jobs, scripts, "--section", "tests")[1] == {}
    assert run(jobs, scripts, "--section", "peers")[1] == {name: {"JAX, jit": [1.0]}}
    found = {name: {"JAX, jit": [1.0], "ours": [2.0]}}
    assert run(jobs, scripts, "--section", "steps")[1] == found
    assert run(jobs, {"ours": say("ours", name, [3.0])}, "--only", "ours")[1] == {
        name: {"JAX, jit": [1.0], "ours": [3.0]}
    }
    jobs, scripts["late"] = [*jobs, job("late", name)], say("late", name, [4.0])
    assert run(jobs, scripts, "--missing")[1] == {
        name: {"JAX, jit": [1.0], "ours": [3.0], "late": [4.0]}
    }
    run(jobs[:2], scripts, "--section", "steps", *folder)
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["results"] == {name: {"ours": [2.0]}}
    path.write_text(path.read_text().replace("a GPU", "another GPU"))
    run(jobs, scripts, "--section", "peers", *folder)
    assert json.loads(path.read_text())["results"] == {name: {"JAX, jit": [1.0]}}


def test_every_job_belongs_to_a_section():
    sections = {name: job.section for name, job in gpu_job.all_jobs().items()}
    assert set(sections.values()) == set(gpu_job.SECTIONS)
    assert sections["xpnet, eager"] == sections["copy"] == "steps"
    assert {name for name in sections if name.startswith(("PyTorch", "JAX", "CuPy"))} == {
        name for name, section in sections.items() if section == "peers"
    }


@pytest.mark.slow
def test_device_missed_by_the_tests_is_a_failure(monkeypatch, tmp_path):
    """Skipped tests would pass as tests on a device."""
    (tmp_path / "cupy.py").write_text("raise ImportError('no driver')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    run, told = subprocess.run, []

    def one_test(words, **how):
        told.append(run([*words, "tests/test_gpu.py", "-k", "default"], **how, capture_output=True))
        return told[-1]

    monkeypatch.setattr(gpu.subprocess, "run", one_test)
    passed, text = gpu.tested()
    assert not passed
    assert text.endswith("failed**, 0 skipped")
    assert b"XPNET_REQUIRE_GPU is set, and backend 'cupy': it cannot be imported (no driver)" in (
        told[0].stdout
    )


def test_late_job_ends_with_the_processes_it_started(run, monkeypatch):
    """A compiler's worker holds the pipe of the results."""
    name, waits = CASES[0].name, "import threading; threading.Event().wait()"
    monkeypatch.setattr(gpu, "LIMIT", 2)
    worker = f"import subprocess as s, sys; s.Popen([sys.executable, '-c', {waits!r}]);"
    scripts = {"ours": say("ours", name, [1.0]) + worker + waits}
    assert run([job("ours", name, CASES[1].name)], scripts)[1] == {
        name: {"ours": [1.0]},
        CASES[1].name: {"ours": "took more than 2 s"},
    }


def test_failed_job_keeps_other_results(run, monkeypatch, capsys):
    small, middle, *_ = (case.name for case in CASES)
    monkeypatch.setattr(gpu, "LIMIT", 2)
    jobs = [job(row, small, middle) for row in ("good", "dead", "silent", "endless")]
    scripts = {
        "good": "print('noise');" + say("good", small, [2e-6, 1e-6]) + say("good", middle, "no"),
        "dead": say("dead", small, [3e-6]) + "import os; os._exit(7)",
        "silent": "pass",
        "endless": say("endless", small, [4e-6]) + "import threading; threading.Event().wait()",
    }
    status, found, text = run(jobs, scripts)
    assert status == 0
    assert found[small] == {
        "good": [2e-6, 1e-6],
        "dead": [3e-6],
        "silent": "failed (its process ended with 0)",
        "endless": [4e-6],
    }
    assert found[middle] == {
        "good": "no",
        "dead": "failed (its process ended with 7)",
        "silent": "failed (its process ended with 0)",
        "endless": "took more than 2 s",
    }
    assert "| dead | 3.00 µs | failed (its process ended with 7) | – | – |" in text
    assert text in capsys.readouterr().out


def test_results_are_written_at_once(run, monkeypatch):
    """An interruption keeps the results before it, and leaves no process."""
    small, middle, *_ = (case.name for case in CASES)
    script = say("a", small, [1.0]) + say("a", middle, [2.0])
    script += "import threading; threading.Event().wait()"
    write, seen = gpu.write, []

    def interrupted(machine, found, folder):
        seen.append(json.dumps(found))
        path = write(machine, found, folder)
        if middle in found:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(gpu, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run([job("a", small, middle), job("b", small)], {"a": script, "b": ""})
    assert [json.loads(text) for text in seen] == [
        {},
        {small: {"a": [1.0]}},
        {small: {"a": [1.0]}, middle: {"a": [2.0]}},
    ]


def test_rows_can_be_selected(run):
    name = CASES[0].name
    jobs = [job("JAX, jit", name), job("PyTorch", name)]
    _, found, _ = run(jobs, {"JAX, jit": say("JAX, jit", name, [1.0])}, "--only", "JAX")
    assert found == {name: {"JAX, jit": [1.0]}}


def test_job_continues_after_a_failure(monkeypatch):
    monkeypatch.setattr(gpu_job, "give_back", lambda: 1 / 0)

    def missing(data_dir):
        raise ImportError("no such library")

    def broken(data_dir):
        raise MemoryError("a | b\nand more")

    parts = (("a", "b"), missing), (("c",), broken), (("d",), lambda data_dir: {"d": [data_dir]})
    assert list(lines(Job("row", parts), "folder")) == [
        {"row": "row", "column": "a", "value": "not installed (no such library)"},
        {"row": "row", "column": "b", "value": "not installed (no such library)"},
        {"row": "row", "column": "c", "value": "failed (MemoryError: a / b)"},
        {"row": "row", "column": "d", "value": ["folder"]},
    ]


def test_job_is_measured_in_a_process(monkeypatch, capsys):
    made = Job("JAX, jit", ((("a",), lambda data_dir: {"a": [1.0]}),))
    monkeypatch.setattr(gpu_job, "all_jobs", lambda: {"JAX, jit": made})
    monkeypatch.setattr(gpu_job, "give_back", lambda: None)
    words = gpu.command("JAX, jit", "folder")
    assert words[1:3] == ["-m", gpu_job.__name__]
    monkeypatch.setattr(sys, "argv", words[2:])
    gpu_job.main()
    text = capsys.readouterr().out
    assert text.startswith(gpu_job.PREFIX)
    assert json.loads(text) == {"row": "JAX, jit", "column": "a", "value": [1.0]}


def test_machine_is_described(monkeypatch):
    runtime = SimpleNamespace(runtimeGetVersion=lambda: 13020)
    stand_in = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(gpu_device, "cupy", lambda: stand_in)

    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(gpu_device.subprocess, "run", absent)
    told = gpu_device.machine()
    assert (told["gpu"], told["driver"], told["cuda"]) == ("unknown GPU", "unknown", "13.2")
    assert told["packages"]["numpy"] == np.__version__
    answer = SimpleNamespace(stdout="NVIDIA X, 580.1\n")
    monkeypatch.setattr(gpu_device.subprocess, "run", lambda *_, **__: answer)
    assert (gpu_device.machine()["gpu"], gpu_device.machine()["driver"]) == ("NVIDIA X", "580.1")


# --- the tables -----------------------------------------------------------------------------------


def numbers():
    """Results with which every target is just met."""
    small, middle, large = CASES[0].name, CASES[1].name, LARGE.name
    rows = {
        small: {"xpnet, graph": [25e-6], "JAX, jit": [50e-6], "JAX, jit, tf32": [1e-6]},
        middle: {"xpnet, graph": [69e-6], "PyTorch, eager": [200e-6], "JAX, scan": [100e-6]},
        large: {
            "xpnet, graph, bf16": [10e-3],
            "PyTorch, fused Adam, bf16": [10e-3],
            "the products alone, bf16": [9.1e-3],
        },
        gpu_job.EXPERIMENT: {"xpnet, fit": [0.3, 0.4, 0.5]},
        gpu_job.MEMORY: {f"memory, {case.name}": [9.9, 10] for case in MEMORY_CASES},
    }
    return {column: dict(values) for column, values in rows.items()}


def test_met_targets_are_reported():
    text = gpu_table.verdicts(numbers())
    assert len(text.splitlines()) == 2 + len(gpu_table.TARGETS)
    assert text.count("| met |") == len(gpu_table.TARGETS)


WORSE = {
    "time": (CASES[0].name, "xpnet, graph", [26e-6], 2),  # and the ratio
    "peer": (CASES[0].name, "PyTorch, eager", [49e-6], 1),
    "second peer": (CASES[1].name, "JAX, scan", [98e-6], 1),
    "products": (LARGE.name, "the products alone, bf16", [8.9e-3], 1),
    "bf16 peer": (LARGE.name, "JAX, jit, bf16", [9e-3], 1),
    "bf16 of ours": (LARGE.name, "xpnet, graph, bf16", [10.2e-3], 2),
    "experiment": (gpu_job.EXPERIMENT, "xpnet, fit", [0.41], 1),
    "memory": (gpu_job.MEMORY, f"memory, {LARGE.name}", [10.1, 10], 1),
}


@pytest.mark.parametrize("name", WORSE)
def test_missed_targets_are_reported(name):
    column, who, value, failing = WORSE[name]
    found = numbers()
    found[column][who] = value
    assert gpu_table.verdicts(found).count("**not met**") == failing


def test_unmeasured_targets_say_why():
    found = numbers()
    del found[CASES[1].name]["PyTorch, eager"], found[CASES[1].name]["JAX, scan"]
    found[gpu_job.EXPERIMENT]["xpnet, fit"] = "failed (no memory)"
    text = gpu_table.verdicts(found)
    assert "| – | ≤ 0.70 | peers: no other library was measured in float32 |" in text
    assert "| – | ≤ 400 ms | failed (no memory) |" in text


def test_document_has_every_section():
    found = numbers()
    case = CASES[0]
    found[gpu_job.BANDWIDTH] = {"copy": [4e12]}
    found[case.name]["the products alone"] = [10e-6]
    found[gpu_job.ACCURACY] = {"xpnet, fit": [0.86, 0.87], "xpnet, fit, tf32": "no files"}
    text = gpu_table.document(MACHINE, found)
    other = bytes_beside_products(case) / 4e12
    assert text.startswith("2026-01-01, a GPU, driver 1.2, CUDA 13.0")
    assert "Bandwidth of a copy: 4000 GB/s." in text
    assert f"| the other bytes over bandwidth | {other * 1e6:.2f} µs |" in text
    assert f"| **products + bytes** | {other * 1e6 + 10:.1f} µs | – |" in text
    assert "| **xpnet / fastest peer** | 0.50 (JAX, jit) | 0.69 (JAX, scan) | – | – |" in text
    assert "| **products / xpnet** | 0.40 | – | – | – |" in text
    assert "| xpnet, fit | 400 ms (300–500) | 0.8600, 0.8700 |" in text
    assert "| xpnet, fit, tf32 | not measured | no files |" in text


def test_document_without_results_is_valid():
    assert gpu_table.document(MACHINE, {}).count("not measured") > len(gpu_table.TARGETS)


@pytest.mark.parametrize("case", [SMALL, NORMED, *CASES], ids=lambda case: case.name)
def test_parameters_are_counted(case):
    n_in, *hidden, n_out = case.widths
    if case is LARGE:
        assert n_parameters(case) == 8193 * 8192 * 2 + 8193 * 1000
        return
    model = MLP(n_in, hidden, n_out, batch_norm=case.batch_norm)
    assert n_parameters(case) == model.layout.size


def test_allowed_memory_is_a_formula():
    numbers = 4 * n_parameters(SMALL) + 4 * (6 + 2 * (5 + 3))
    assert allowed_memory(SMALL) == pytest.approx(1.05 * 4 * numbers)
    more = 4 * (n_parameters(NORMED) - n_parameters(SMALL)) + 4 * 2 * (5 + 5)
    assert allowed_memory(NORMED) == pytest.approx(1.05 * 4 * (numbers + more))


def wide(batch_norm):
    return Case("", (256, 256, 192, 16), "relu", 256, batch_norm=batch_norm)


@pytest.mark.parametrize("batch_norm", [False, True], ids=["", "batch norm"])
def test_step_uses_at_most_the_allowed_memory(batch_norm, host):
    case = wide(batch_norm)
    model = gpu_device.model_of(case)
    X, y = np.ones((case.batch, case.widths[0]), "f"), np.zeros(case.batch, "int64")
    step = ValueAndGrad(model.state)
    step(gpu_peers.CrossEntropy(), X, y)
    vectors = 4 * 4 * n_parameters(case)  # with the states of Adam
    buffers = sum(block.nbytes for block in step.blocks)
    assert buffers > 4 * case.batch * sum(case.widths[1:])
    assert vectors + X.nbytes + buffers <= allowed_memory(case)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True], ids=["", "batch norm"])
def test_captured_step_uses_at_most_the_allowed(batch_norm, fake, monkeypatch):
    """Counting everything that stays on the device: θ, g, states, buffers, the batch."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=True))
    case, made = wide(batch_norm), []

    class Counting(FakeNamespace):
        def __getattr__(self, name):
            function = super().__getattr__(name)
            if name not in CREATES:
                return function

            def create(*arguments, **keywords):
                array = function(*arguments, **keywords)
                made.append(weakref.ref(base(array)))
                return array

            return create

    backend = replace(fake_backend("float32"), xp=Counting())
    rows = gpu_cases.FEW_STEPS * case.batch
    X = backend.asarray(np.ones((rows, case.widths[0])), backend.dtype)
    y = backend.asarray(np.zeros(rows, "int64"))
    made.clear()
    monkeypatch.setattr(gpu_device, "BACKEND", backend)
    model = gpu_device.model_of(case)
    how = Settings(gpu_peers.CrossEntropy(), gpu_peers.Adam(), batch_size=case.batch)
    state = how.optimizer.init(model.theta, model.layout)
    rows = prepare(model.input_spec, X, y, how.loss).data
    steps = steps_for(model.state, rows, how, state, batch_size=case.batch, drop_last=False)
    assert steps.engine == "replay: a CUDA graph"
    gc.collect()
    alive = [array for array in (reference() for reference in made) if array is not None]
    whole = {id(array): array for array in (*alive, *map(base, state.slots))}
    taken = sum(array.nbytes for array in whole.values())
    least = 4 * (4 * n_parameters(case) + sum(case.widths[:-1]) * case.batch)
    assert least < taken <= allowed_memory(case)


def test_row_names_are_unique():
    jobs = gpu_job.all_jobs()
    wanted = {"float32": "", "tf32": ", tf32", "bf16": ", bf16"}
    for name in (
        "xpnet, graph",
        "xpnet, graph, no epilogues",
        "the products alone",
        "PyTorch, CUDA graph",
        "JAX, scan",
    ):
        assert {name + ending for ending in wanted.values()} <= set(jobs)
    assert {"xpnet, fit, fp16", "xpnet, graph, fp16", "copy", "CuPy, plain"} <= set(jobs)
    assert all(job.columns for job in jobs.values())
    steps = [job for job in jobs.values() if CASES[0].name in job.columns]
    assert all(job.columns == [case.name for case in CASES] for job in steps)
    assert len(jobs) == len(set(jobs)) == 37


# --- the parts ------------------------------------------------------------------------------------


class Event:
    """An event of a fake device, which records its calls."""

    log: list[str] = []  # noqa: RUF012  a test empties it

    def record(self):
        self.log.append("record")

    def synchronize(self):
        self.log.append("synchronize")


def test_events_enclose_the_work():
    Event.log.clear()
    clock = gpu_device.clock_of_events(Event, lambda a, b: float(a is not b) * 3.0)
    assert clock(partial(Event.log.append, "work")) == 3.0
    assert Event.log == ["record", "work", "record", "synchronize"]


def test_host_waits_before_and_after():
    log = []
    clock = gpu_device.clock_of_host(partial(log.append, "wait"))
    assert clock(partial(log.append, "work")) >= 0
    assert log == ["wait", "work", "wait"]


def test_clocks_use_events_of_the_libraries(monkeypatch):
    cuda = SimpleNamespace(Event=Event, get_elapsed_time=lambda a, b: 5.0)
    monkeypatch.setattr(gpu_device, "cupy", lambda: SimpleNamespace(cuda=cuda))
    assert gpu_device.cupy_clock()(lambda: None) == 5e-3

    class Timing(Event):
        def __init__(self, enable_timing):
            assert enable_timing

        def elapsed_time(self, other):
            return 7.0

    pt = SimpleNamespace(cuda=SimpleNamespace(Event=Timing))
    assert gpu_device.torch_clock(pt)(lambda: None) == 7e-3


def test_times_use_fresh_data_after_warm_up():
    log = []

    def clock(work):
        work()
        return float(len(log))

    it = gpu_device.Contestant(log.append, lambda seed: log.append(-seed), clock)
    assert gpu_device.timed(it, 2, 2) == [2.0, 3.0]
    assert log == [0, 2, -1, 2, -2, 2]


@pytest.fixture
def host(monkeypatch):
    """NumPy instead of CuPy, the CPU instead of the GPU; the features that were filled."""
    filled, fill = [], gpu_device.fill_normal

    def remember(array, seed):
        fill(array, seed)
        filled.append(np.array(array))

    monkeypatch.setattr(gpu_device, "cupy", lambda: np)
    monkeypatch.setattr(gpu_device, "BACKEND", "numpy")
    monkeypatch.setattr(gpu_device, "fill_normal", remember)
    monkeypatch.setattr(gpu_device, "cupy_clock", lambda: gpu_device.clock_of_host(lambda: None))
    monkeypatch.setattr(
        gpu_device, "torch_clock", lambda pt: gpu_device.clock_of_host(lambda: None)
    )
    monkeypatch.setattr(gpu_device, "give_back", lambda: None)
    monkeypatch.setattr(gpu_peers, "TORCH_DEVICE", "cpu")
    monkeypatch.setattr(gpu_peers, "JAX_PLATFORM", "cpu")
    return filled


@pytest.fixture
def fake(host, monkeypatch):
    """The fake device, on which steps are captured."""
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=False))
    monkeypatch.setattr(engines, "why_not_captured", lambda backend: "")
    monkeypatch.setattr(engines, "CudaCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "replayed", 0)
    monkeypatch.setattr(gpu_device, "BACKEND", fake_backend("float32"))
    monkeypatch.setattr(gpu_device, "cupy", FakeNamespace)
    return host


HERE = {
    "PyTorch, eager": ("torch", "float32"),
    "PyTorch, fused Adam": ("torch", "float32"),
    "PyTorch, fused Adam, bf16": ("torch", "bf16"),
    "JAX, jit": ("jax", "float32"),
    "JAX, scan": ("jax", "float32"),
    "CuPy, plain": ("numpy", "float32"),
    "xpnet, eager": ("numpy", "float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("case", [SMALL, NORMED], ids=lambda case: case.name)
def test_contestants_run_on_the_cpu(name, case, host):
    library, precision = HERE[name]
    pytest.importorskip(library, reason="not installed")
    make, _ = (gpu_peers.PEERS | gpu_peers.OURS)[name.removesuffix(", bf16")]
    if name == "CuPy, plain" and case.batch_norm:
        with pytest.raises(NotImplementedError, match="no batch norm"):
            make(case, precision)
        return
    times = gpu_device.timed(make(case, precision), 8, 2)
    assert len(times) == 2
    assert min(times) > 0


@pytest.mark.parametrize("case", [SMALL, NORMED], ids=lambda case: case.name)
def test_overhead_of_fit_is_measured_separately(case, host, monkeypatch):
    copies, looked, take = [], [], gpu_peers.Snapshot.take
    monkeypatch.setattr(gpu_peers.Snapshot, "take", lambda self: copies.append(take(self)))
    monkeypatch.setattr(gpu_peers, "first_not_finite", looked.append)
    it = gpu_peers.OURS["xpnet, what an epoch of fit adds"][0](case, "float32")
    copies.clear()
    assert gpu_device.timed(it, 8, 2)[0] > 0
    assert len(copies) == len(looked) == 3 * 8


def test_textbook_steps_equal_xpnet(host, monkeypatch):
    kept = []
    rotate = gpu_peers._rotate
    monkeypatch.setattr(gpu_peers, "_rotate", lambda *a: (kept.append(a[0]), rotate(*a)))
    it = gpu_peers.cupy_plain(SMALL, "float32")
    it.refresh(0)
    it.queue(3)
    cells = dict(zip(kept[0].__code__.co_freevars, kept[0].__closure__, strict=True))
    theta = cells["theta"].cell_contents
    model, X = MLP(6, [5], 3), host[0]
    start = gpu_peers.initial_parameters(SMALL)
    views = model.layout.views(model.theta)
    paths = [f"layers.{i}.{part}" for i in range(2) for part in ("weight", "bias")]
    for path, array in zip(paths, start, strict=True):
        views[path][...] = array
    y = gpu_peers.labels(SMALL)
    state = gpu_peers.Adam().init(model.theta)
    for i in range(3):
        rows = slice(4 * i, 4 * i + 4)
        _, grad = model.value_and_grad(X[rows], y[rows], gpu_peers.CrossEntropy())
        gpu_peers.Adam().step(model.theta, grad, state)
    for path, array in zip(paths, theta, strict=True):
        np.testing.assert_allclose(array, views[path], rtol=2e-4, atol=2e-6)


def test_jax_without_a_gpu_is_not_measured(host, monkeypatch):
    pytest.importorskip("jax", reason="not installed")
    monkeypatch.setattr(gpu_peers, "JAX_PLATFORM", "gpu")
    with pytest.raises(ImportError, match="JAX sees no GPU"):
        gpu_peers.by_jax(SMALL, "float32", by_scan=False)


@pytest.mark.parametrize(("variant", "fused"), [("eager", None), ("fused", True)])
def test_pytorch_keeps_its_default_precision(variant, fused, host, monkeypatch, torch):
    asked, adam = [], torch.optim.Adam
    monkeypatch.setattr(
        torch.optim, "Adam", lambda *given, **how: (asked.append(how), adam(*given, **how))[1]
    )
    gpu_peers.by_torch(SMALL, "float32", variant=variant)
    assert [how["fused"] for how in asked] == [fused]


@pytest.mark.parametrize("case", [SMALL, *CASES], ids=lambda case: case.name)
def test_epoch_has_the_timed_number_of_steps(case):
    assert len(gpu_peers.labels(case)) == gpu_cases.n_steps(case) * case.batch


@pytest.mark.parametrize("precision", gpu_peers.JAX_PRODUCTS)
def test_jax_accepts_the_precisions(precision):
    jax = pytest.importorskip("jax", reason="not installed")
    name = gpu_peers.JAX_PRODUCTS[precision]
    with jax.default_matmul_precision(name):
        text = str(jax.make_jaxpr(lambda a, b: a @ b)(np.ones((2, 2)), np.ones((2, 2))))
    assert name.upper() in text.upper()


def test_captured_steps_run_as_in_fit(fake):
    it = gpu_peers.xpnet_graph(SMALL, "float32")
    gpu_device.timed(it, 16, 2)
    assert FakeCapture.replayed == 3 * 16
    assert len(fake) == 4  # for the capture, the warm-up and each repeat
    assert not any((a == b).all() for a, b in pairwise(fake[1:]))


def test_steps_run_with_and_without_epilogues(fake, monkeypatch):
    found = []
    monkeypatch.setattr(operations, "checked_product", lambda xp, precision: Product(precision))
    monkeypatch.setattr(gpu_peers, "cublas_product", Product)

    def at_precision(self, precision):
        product = operations.checked_product(np, precision)
        found.append((product.precision, len(product.epilogues)))
        return self

    monkeypatch.setattr(Operations, "at_precision", at_precision)
    for name in ("xpnet, graph", "xpnet, graph, no epilogues"):
        gpu_peers.OURS[name][0](SMALL, "tf32")
    model = ("float32", 3)  # the gradient of value_and_grad
    assert found == [model, ("tf32", 3), model, ("tf32", 0)]
    assert operations.checked_product(np, "tf32").epilogues


def test_floor_is_the_products_of_a_step(fake, monkeypatch):
    done, log, rounded = [], [], []

    def multiply(a, b, out):
        log.append((out.shape, a.shape[1]))
        done.append((a, b, out))
        out[...] = a @ b

    def factor(x):
        rounded.append(x)
        return x

    product = SimpleNamespace(factor=factor, multiply=multiply)
    monkeypatch.setattr(gpu_floor, "cublas_product", lambda precision: product)
    monkeypatch.setattr(gpu_floor, "CudaCapture", FakeCapture)
    it = gpu_floor.floor(SMALL, "float32")
    gpu_device.timed(it, 8, 1)
    step = [((4, 5), 6), ((6, 5), 4), ((4, 3), 5), ((5, 3), 4), ((4, 5), 3)]
    assert log == step * 2  # once to warm up, once captured
    assert len(rounded) == 2 * len(step)  # before the products, because rounding is no part of them
    assert FakeCapture.replayed == 16
    for a, b, out in done[:5]:
        assert np.abs(np.array(a)).min() > 0  # not timed on zeros
        np.testing.assert_allclose(np.array(out), np.array(a @ b), rtol=1e-5, atol=1e-6)


def test_floor_keeps_the_arrays_of_its_graph(fake, monkeypatch):
    """A graph holds addresses only."""
    alive = []

    def multiply(a, b, out):
        alive.extend(weakref.ref(x if x.base is None else x.base) for x in (a, b, out))

    product = SimpleNamespace(factor=lambda x: x, multiply=multiply)
    monkeypatch.setattr(gpu_floor, "cublas_product", lambda precision: product)
    monkeypatch.setattr(gpu_floor, "CudaCapture", FakeCapture)
    it = gpu_floor.floor(SMALL, "float32")
    gc.collect()
    assert alive
    assert all(reference() is not None for reference in alive)
    gpu_device.timed(it, 8, 1)


def test_without_cublaslt_there_is_no_floor(host, monkeypatch):
    monkeypatch.setattr(gpu_floor, "cublas_product", lambda precision: None)
    with pytest.raises(ImportError, match="cublasLt"):
        gpu_floor.floor(SMALL, "float32")


def test_bandwidth_counts_bytes_read_and_written(host, monkeypatch):
    monkeypatch.setattr(gpu_floor, "COPIED", 1000)
    monkeypatch.setattr(gpu_device, "cupy_clock", lambda: lambda work: (work(), 0.5)[1])
    assert gpu_floor.bandwidth(3) == [2 * 4 * 1000 / 0.5] * 3


@pytest.mark.parametrize("data_dir", [None, "folder"])
def test_reference_experiment_is_measured(data_dir, host, monkeypatch, rng):
    X, y = rng.integers(0, 256, (200, 784)).astype("uint8"), rng.integers(0, 10, 200)
    asked = []
    monkeypatch.setattr(
        gpu_whole, "images", lambda n, folder: (asked.append((n, folder)), X, y)[1:]
    )
    data = SimpleNamespace(X_test=X[:50], y_test=y[:50])
    monkeypatch.setattr(gpu_whole, "load_fashion_mnist", lambda folder: data)
    monkeypatch.setattr(gpu_whole, "EPOCHS", 2)
    times, accuracies = gpu_whole.reference_experiment("float32", data_dir, 2)
    assert asked == [(20_000, data_dir)]
    assert len(times) == 2
    if data_dir is None:
        assert accuracies == "not measured: --data-dir names no folder with Fashion-MNIST"
    else:
        assert len(accuracies) == 2
        assert 0 <= min(accuracies) <= max(accuracies) <= 1


def test_memory_is_what_training_uses(host, monkeypatch):
    """The device has 100 bytes in use, and 700 and 800 at the ends of the two epochs."""
    taken = iter([100, 700, 800])
    monkeypatch.setattr(gpu_device, "taken_bytes", lambda: next(taken))
    assert gpu_whole.memory(SMALL) == (700.0, allowed_memory(SMALL))


@pytest.mark.slow
def test_memory_of_graphs_is_counted(monkeypatch):
    pool = SimpleNamespace(total_bytes=lambda: 100)
    monkeypatch.setattr(
        gpu_device, "cupy", lambda: SimpleNamespace(get_default_memory_pool=lambda: pool)
    )
    assert gpu_device.taken_bytes() == 100
    captures = [CudaCapture.__new__(CudaCapture) for _ in range(2)]
    for capture, n_bytes in zip(captures, (20, 3), strict=True):
        capture.pool = SimpleNamespace(total_bytes=lambda n_bytes=n_bytes: n_bytes)
    assert gpu_device.taken_bytes() == 123


def makers(contestants):
    return {
        gpu_job.label(name, precision): (make, precision)
        for name, (make, precisions) in contestants.items()
        for precision in precisions
    }


OURS, PEERS = makers(gpu_peers.OURS), makers(gpu_peers.PEERS)


def run_peer(make, precision):
    """Steps of another library; its warnings and failures are not those of xpnet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            times = gpu_device.timed(make(SMALL, precision), 8, 1)
        except ImportError as error:
            pytest.skip(f"not installed: {error}")
        except Exception as error:  # each library fails in its own way
            pytest.xfail(f"the other library failed: {type(error).__name__}: {error}")
    assert times[0] > 0


@pytest.mark.gpu
@pytest.mark.parametrize("name", OURS)
def test_every_own_contestant_runs_on_a_device(name, cuda):
    make, precision = OURS[name]
    assert gpu_device.timed(make(SMALL, precision), 8, 1)[0] > 0


@pytest.mark.gpu
@pytest.mark.device  # the peers do not run on the stand-in
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_runs_on_a_device(name, cuda):
    run_peer(*PEERS[name])


def stand_in(seconds):
    return gpu_device.Contestant(lambda steps: None, lambda seed: None, lambda work: seconds)


def test_warnings_of_peers_are_allowed(host):
    def make(case, precision):
        warnings.warn("TensorFloat32 tensor cores available but not enabled", stacklevel=1)
        return stand_in(1.0)

    run_peer(make, "float32")
    with pytest.raises(AssertionError):
        run_peer(lambda *given: stand_in(0.0), "float32")


def test_failing_peer_is_reported(host):
    def make(case, precision):
        raise RuntimeError("no compiler")

    with pytest.raises(pytest.xfail.Exception, match="library failed: RuntimeError: no compiler"):
        run_peer(make, "float32")

    def missing(case, precision):
        raise ImportError("torch")

    with pytest.raises(pytest.skip.Exception, match="not installed: torch"):
        run_peer(missing, "float32")
