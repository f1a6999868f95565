"""The GPU benchmark: its tables, and what it measures on fake devices, the stand-in or a GPU."""

from __future__ import annotations

import doctest
import gc
import re
import weakref
from dataclasses import replace
from functools import partial
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
    gpu_cases,
    gpu_device,
    gpu_job,
    gpu_look,
    gpu_peers,
    gpu_process,
    gpu_table,
    gpu_whole,
    host_time,
)
from benchmarks.cases import Case
from benchmarks.gpu_cases import (
    CASES,
    DRY_RUN,
    FEW_STEPS,
    LARGE,
    MEMORY_CASES,
    Scale,
    allowed_memory,
    bytes_beside_products,
    n_parameters,
    n_steps,
)
from xpnet import MLP, Adam, CrossEntropy
from xpnet.data.prepare import prepare
from xpnet.engine import select as engines
from xpnet.engine.captured_epochs import STEPS_PER_GRAPH
from xpnet.engine.cuda_graph import CudaCapture
from xpnet.engine.select import steps_for
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.ops import select
from xpnet.ops.cuda import operations
from xpnet.ops.cuda.matmul import Product
from xpnet.ops.operations import Operations
from xpnet.training.settings import Settings

SMALL = Case("small", (6, 5, 3), "relu", 4)
NORMED = Case("normed", (6, 5, 3), "relu", 4, batch_norm=True)
MACHINE = {"date": "2026-01-01", "gpu": "a GPU", "driver": "1.2", "cuda": "13.0", "packages": {}}


def base(array):
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


MODULES = gpu_cases, gpu_look, gpu_process, gpu_table


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_are_true(module):
    failed, tried = doctest.testmod(module)
    assert not failed
    assert tried


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
        small: {"xpnet, graph": [25e-6], "PyTorch, CUDA graph": [5e-5], "JAX, scan, tf32": [1e-6]},
        middle: {"xpnet, graph": [69e-6], "PyTorch, fused Adam": [200e-6], "JAX, scan": [100e-6]},
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
    "peer": (CASES[0].name, "PyTorch, fused Adam", [49e-6], 1),
    "second peer": (CASES[1].name, "JAX, scan", [98e-6], 1),
    "products": (LARGE.name, "the products alone, bf16", [8.9e-3], 1),
    "bf16 peer": (LARGE.name, "JAX, scan, bf16", [9e-3], 1),
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


def test_unmeasured_targets_are_listed():
    found = numbers()
    del found[CASES[1].name]["PyTorch, fused Adam"], found[CASES[1].name]["JAX, scan"]
    found[gpu_job.EXPERIMENT]["xpnet, fit"] = "failed (no memory)"
    text = gpu_table.verdicts(found)
    assert "| – | ≤ 0.70 | not measured |" in text
    assert "| – | ≤ 400 ms | not measured |" in text


def test_document_has_every_section():
    found, case = numbers(), CASES[0]
    found |= {
        "bandwidth": {"copy": [4e12]},
        "tests": {"kernels": [2.0, 40.0, 1.0], "others": "took more than 9 s"},
        "failed: kernels": {"test_a": "1 != 2"},
        "first look": {"versions": {"numpy": "3"}, "operations": "failed (x)"},
        "warnings": {"FallbackWarning: no": "first look"},
        gpu_job.ACCURACY: {"xpnet, fit": [0.86, 0.87]},
    }
    found[gpu_job.EXPERIMENT]["xpnet, fit, tf32"] = "failed (no memory)"
    found[case.name] |= {"the products alone": [10e-6], "JAX, scan": gpu_table.NO_TIME}
    text = gpu_table.document(MACHINE | {"dry run": "tiny"}, found)
    other = 1e6 * bytes_beside_products(case) / 4e12
    for line in (
        "2026-01-01, a GPU, driver 1.2, CUDA 13.0, ",
        "**A dry run: tiny.**",
        "1 results are missing for lack of time; `--resume` measures them.",
        "Bandwidth of a copy: 4000 GB/s.",
        "| kernels | **2 failed**, 40 passed, 1 skipped |",
        "| others | took more than 9 s |",
        "| test_a | 1 != 2 |",
        "| JAX, scan | no time left | 100 µs | – | – |",
        f"| the other bytes over bandwidth | {other:.2f} µs |",
        f"| **products + bytes** | {other + 10:.1f} µs | – |",
        "| **xpnet / fastest peer** | 0.50 (PyTorch, CUDA graph) | 0.69 (JAX, scan) | – | – |",
        "| **products / xpnet** | 0.40 | – | – | – |",
        "| xpnet, fit | 400 ms (300–500) | 0.8600, 0.8700 |",
        "| xpnet, fit, tf32 | failed | not measured |",
        "| xpnet, fit, tf32 | failed (no memory) |",
        f"| JAX, scan | {gpu_table.INCLUDES['JAX, scan']} |",
        "| versions | numpy: 3 |",
        "| operations | failed (x) |",
        "| warning, first look | FallbackWarning: no |",
    ):
        assert line in text


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
    step(CrossEntropy(), X, y)
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
    rows = FEW_STEPS * case.batch
    X = backend.asarray(np.ones((rows, case.widths[0])), backend.dtype)
    y = backend.asarray(np.zeros(rows, "int64"))
    made.clear()
    monkeypatch.setattr(gpu_device, "BACKEND", backend)
    model = gpu_device.model_of(case)
    how = Settings(CrossEntropy(), Adam(), batch_size=case.batch)
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


def test_launches_of_an_epoch_are_timed(monkeypatch):
    """Three launches in 6 ms of the device, whose events count the launches before them."""
    launched = []

    class Stamp(Event):
        def record(self):
            self.launches = len(launched)

    class Stream:
        def end_capture(self):
            return SimpleNamespace(debug_dot_str=lambda flags: f'a[label="adam {flags}"]')

    def capture(device, step):
        Stream().end_capture()
        return partial(launched.append, step)

    seconds = lambda a, b: 2.0 * (b.launches - a.launches)  # noqa: E731
    cuda = SimpleNamespace(Event=Stamp, Stream=Stream, get_elapsed_time=seconds)
    monkeypatch.setattr(gpu_device, "cupy", lambda: SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(gpu_device, "CudaCapture", SimpleNamespace(capture=capture))
    launches = gpu_device.Launches()
    with launches.watched():
        replay = gpu_device.CudaCapture.capture(None, "step")
    replay()  # a warm-up
    it = gpu_device.Contestant(lambda steps: [replay() for _ in range(steps)], None, None)
    launches.of_epoch(it, 3)
    assert launched == ["step"] * 7
    assert (launches.count, launches.seconds) == (3, 6e-3)
    assert launches.host >= 0
    assert [gpu_look.nodes_of(text) for text in launches.graphs] == ["1: adam 1"]


def test_work_of_the_host_is_measured(monkeypatch):
    monkeypatch.setattr(host_time, "REPEATS", 1)
    found = host_time.host_seconds(SMALL, Adam())
    assert [*found] == ["epoch", "permutation", "tables"]
    assert min(found.values()) > 0


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
    "PyTorch, fused Adam": ("torch", "float32"),
    "PyTorch, fused Adam, bf16": ("torch", "bf16"),
    "JAX, scan": ("jax", "float32"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("case", [SMALL, NORMED], ids=lambda case: case.name)
def test_contestants_run_on_the_cpu(name, case, host):
    library, precision = HERE[name]
    pytest.importorskip(library, reason="not installed")
    make = gpu_peers.PEERS[name.removesuffix(", bf16")]
    times = gpu_device.timed(make(case, precision), 8, 2)
    assert len(times) == 2
    assert min(times) > 0


def test_jax_without_a_gpu_is_not_measured(host, monkeypatch):
    pytest.importorskip("jax", reason="not installed")
    monkeypatch.setattr(gpu_peers, "JAX_PLATFORM", "gpu")
    with pytest.raises(ImportError, match="JAX sees no GPU"):
        gpu_peers.jax_scan(SMALL, "float32")


@pytest.mark.parametrize("case", [SMALL, *CASES], ids=lambda case: case.name)
def test_epoch_has_the_timed_number_of_steps(case):
    assert len(gpu_device.labels(case)) == n_steps(case) * case.batch


@pytest.mark.parametrize("precision", gpu_peers.JAX_PRODUCTS)
def test_jax_accepts_the_precisions(precision):
    jax = pytest.importorskip("jax", reason="not installed")
    name = gpu_peers.JAX_PRODUCTS[precision]
    with jax.default_matmul_precision(name):
        text = str(jax.make_jaxpr(lambda a, b: a @ b)(np.ones((2, 2)), np.ones((2, 2))))
    assert name.upper() in text.upper()


def test_weights_of_large_networks_are_drawn_there(host, monkeypatch):
    jax = pytest.importorskip("jax", reason="not installed")
    for module in (gpu_device, gpu_peers):
        monkeypatch.setattr(module, "MANY", n_parameters(SMALL) - 1)
    theirs = gpu_peers._for_jax(jax, SMALL)
    model = gpu_device.model_of(SMALL)
    assert [a.shape for a in theirs] == [a.shape for a in gpu_peers.initial_parameters(SMALL)]
    ours = [model.theta[model.layout.weights], np.delete(model.theta, model.layout.weights)]
    for weights, biases in (ours, (np.ravel(theirs[0]), theirs[1])):
        assert 0.002 < np.std(weights) < 0.05
        assert not np.any(biases)


def test_steps_run_with_and_without_epilogues(fake, monkeypatch):
    found = []

    def of_precision(precision):
        return Product(precision)

    monkeypatch.setattr(gpu_device, "cublas_product", of_precision)
    monkeypatch.setattr(
        operations, "checked_product", lambda xp, precision, *_: of_precision(precision)
    )

    def at_precision(self, precision):
        found.append((precision, len(operations.checked_product(np, precision, 0).epilogues)))
        return self

    monkeypatch.setattr(Operations, "at_precision", at_precision)
    for epilogues in (True, False):
        gpu_device.xpnet_graph(SMALL, "tf32", epilogues)
    model = ("float32", 3)  # the gradient of value_and_grad
    assert found == [model, ("tf32", 3), model, ("tf32", 0)]
    assert operations.checked_product(np, "tf32", 0).epilogues


def test_epochs_run_as_in_fit(fake):
    """Batches of an epoch in several steps a launch, and the tables of the next one meanwhile."""
    it = gpu_device.xpnet_graph(SMALL, "float32")
    launched = FakeCapture.replayed
    it.queue(2 * n_steps(SMALL))
    steps, left = divmod(n_steps(SMALL), STEPS_PER_GRAPH)
    assert FakeCapture.replayed - launched == 2 * (steps + left)


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
    monkeypatch.setattr(gpu_device, "cublas_product", lambda precision: product)
    monkeypatch.setattr(gpu_device, "CudaCapture", FakeCapture)
    it = gpu_device.products_alone(SMALL, "float32")
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
    monkeypatch.setattr(gpu_device, "cublas_product", lambda precision: product)
    monkeypatch.setattr(gpu_device, "CudaCapture", FakeCapture)
    it = gpu_device.products_alone(SMALL, "float32")
    gc.collect()
    assert alive
    assert all(reference() is not None for reference in alive)
    gpu_device.timed(it, 8, 1)


def test_without_cublaslt_there_is_no_floor(host, monkeypatch):
    monkeypatch.setattr(gpu_device, "cublas_product", lambda precision: None)
    with pytest.raises(ImportError, match="cublasLt"):
        gpu_device.products_alone(SMALL, "float32")


def test_bandwidth_counts_bytes_read_and_written(host, monkeypatch):
    monkeypatch.setattr(gpu_device, "cupy_clock", lambda: lambda work: (work(), 0.5)[1])
    assert gpu_whole.bandwidth(Scale(copied=1000)) == [2 * 4 * 1000 / 0.5] * 3


@pytest.mark.parametrize("data_dir", [None, "folder"])
def test_reference_experiment_is_measured(data_dir, host, monkeypatch, rng):
    X, y = rng.integers(0, 256, (200, 784)).astype("uint8"), rng.integers(0, 10, 200)
    asked = []
    monkeypatch.setattr(
        gpu_whole, "images", lambda n, folder: (asked.append((n, folder)), X, y)[1:]
    )
    data = SimpleNamespace(X_test=X[:50], y_test=y[:50])
    monkeypatch.setattr(gpu_whole, "load_fashion_mnist", lambda folder: data)
    scale = replace(DRY_RUN, repeats=2)
    times, accuracies = gpu_whole.reference_experiment("float32", data_dir, scale)
    assert asked == [(scale.rows, data_dir)]
    assert len(times) == 2
    if data_dir is None:
        assert accuracies == gpu_whole.NO_IMAGES
    else:
        assert len(accuracies) == 2
        assert 0 <= min(accuracies) <= max(accuracies) <= 1


def test_memory_is_what_training_uses(host, monkeypatch):
    """The device has 100 bytes in use, and 700 and 800 at the ends of the two epochs."""
    taken = iter([100, 700, 800])
    monkeypatch.setattr(gpu_device, "taken_bytes", lambda: next(taken))
    assert gpu_whole.memory(SMALL) == [700.0, allowed_memory(SMALL) + (32 << 20)]


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


# --- on a device ----------------------------------------------------------------------------------

OURS = {
    part.cells[0][0]: part
    for job in gpu_job.all_jobs()
    if job.section in ("look", "whole", "steps")
    for part in job.parts
    if part.cells[0][1] not in (case.name for case in CASES[1:])
    if not re.search("tf32$|fp16$|fit, bf16$|8192.*batch (8192|norm)$", part.cells[0][0])
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", OURS)
def test_own_results_can_be_measured(name, cuda, tmp_path):
    """With tiny networks."""
    part = OURS[name]
    found = part.measure(gpu_job.Run(DRY_RUN, tmp_path))
    assert len(found) == len(part.cells)
    for cell, value in zip(part.cells, found, strict=True):
        if cell[1] in (*(case.name for case in CASES), "bandwidth", gpu_job.EXPERIMENT):
            assert min(value) > 0
        assert not str(value).startswith("failed")
