"""Prefetching of rows in host memory: order, overlap, errors, and training as on the device."""

from __future__ import annotations

import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_device import FakeBackend, FakeCapture, fake_backend, use_fake_device
from helpers.simulated_copies import POLICIES, ComputingHost, SimulatedCopies

import xpnet
from xpnet import MLP, CrossEntropy
from xpnet.backend import get_backend
from xpnet.data import batching, streaming
from xpnet.data.mapped import RowReader
from xpnet.data.streaming import N_SLOTS, Prefetcher, is_streamed, stays_on_host
from xpnet.engine import select as engines


def threads():
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threads()
    yield
    assert threads() == before


def prefetcher_of(X, device):
    return Prefetcher(lambda part, out: out.__setitem__(..., X[part]), X.shape[1], X.dtype, device)


def read_by_steps(prefetcher, device, parts):
    """Return what the steps read, in the order of their execution."""
    found = []
    for batch in prefetcher.batches(parts):
        device.compute(lambda batch=batch: found.append(np.array(batch)))
    device.drain("computing")
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_every_step_reads_its_batch(policy, rng):
    """Epochs in different orders and batch sizes, with smaller last batches."""
    X, device = rng.integers(0, 99, (50, 3)).astype("uint8"), SimulatedCopies(POLICIES[policy])
    prefetcher = prefetcher_of(X, device)
    for size in (7, 4, 16):
        order = rng.permutation(50)
        parts = [order[start : start + size] for start in range(0, 50, size)]
        for batch, part in zip(read_by_steps(prefetcher, device, parts), parts, strict=True):
            np.testing.assert_array_equal(batch, X[part])
    slices = [slice(start, min(start + 8, 50)) for start in range(0, 50, 8)]
    np.testing.assert_array_equal(np.concatenate(read_by_steps(prefetcher, device, slices)), X)
    assert set(device.sources) == {"uint8"}
    assert device.n_allocated == 2 * N_SLOTS  # for 7 rows and for 16


def test_copies_are_enqueued_before_steps_complete(rng):
    """No step is executed here, because nothing waits for one."""
    X, device, done, enqueued = rng.normal(size=(60, 2)), SimulatedCopies(), [], 0
    batches = prefetcher_of(X, device).batches([slice(i, i + 1) for i in range(60)])
    for step in range(60):
        next(batches)
        device.compute(lambda step=step: done.append(step))
        while enqueued < min(step + N_SLOTS, 60):
            enqueued += device.enqueued.get(timeout=60)
        assert len(done) <= max(step - N_SLOTS + 1, 0)
    batches.close()
    assert set(device.waited) == {"copies"}


@pytest.mark.parametrize("n_taken", [0, 1, 5])
def test_iteration_may_end_early(n_taken, rng):
    X, device = rng.normal(size=(60, 2)), SimulatedCopies()
    prefetcher = prefetcher_of(X, device)
    batches = prefetcher.batches([slice(i, i + 1) for i in range(60)])
    found = []
    for _ in range(n_taken):
        batch = next(batches)
        device.compute(lambda batch=batch: found.append(np.array(batch)))
    batches.close()
    assert not device.queues["copies"]  # no copy writes to memory that is freed
    assert len(device.sources) <= n_taken + N_SLOTS
    # The enqueued steps still read their own batches after the copies of another epoch.
    again = read_by_steps(prefetcher, device, [slice(i, i + 1) for i in range(59, -1, -1)])
    np.testing.assert_array_equal(np.concatenate(again), X[::-1])
    np.testing.assert_array_equal(np.reshape(found, (-1, 2)), X[:n_taken])


def test_concurrent_iterations_have_their_own_memory(rng):
    X, device = rng.normal(size=(9, 2)), ComputingHost()
    prefetcher, parts = prefetcher_of(X, device), [slice(i, i + 1) for i in range(9)]
    for i, (a, b) in enumerate(
        zip(prefetcher.batches(parts), prefetcher.batches(parts[::-1]), strict=True)
    ):
        np.testing.assert_array_equal(np.concatenate([a, b]), X[[i, 8 - i]])


def test_error_in_the_thread_is_raised(rng):
    device, X = SimulatedCopies(), rng.normal(size=(9, 2))

    def fill(part, out):
        if part.start == 5:
            raise OSError("the disk is gone")
        out[...] = X[part]

    batches = Prefetcher(fill, 2, X.dtype, device).batches([slice(i, i + 1) for i in range(9)])
    for _ in range(5):
        next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_control_c_ends_the_thread(rng):
    X, main = rng.normal(size=(9, 2)), threading.main_thread()

    def fill(part, out):
        if part.start == 5:
            signal.pthread_kill(main.ident, signal.SIGINT)
        out[...] = X[part]

    prefetcher = Prefetcher(fill, 2, X.dtype, ComputingHost())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            list(prefetcher.batches([slice(i, i + 1) for i in range(9)]))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not threads()


def test_no_rows_give_no_batches():
    assert list(prefetcher_of(np.zeros((3, 2)), SimulatedCopies()).batches([])) == []


# Training


@pytest.fixture
def device(monkeypatch):
    """The fake device with simulated copies, instead of CUDA."""
    use_fake_device(monkeypatch)
    created = []

    def copies():
        created.append(ComputingHost())
        return created[-1]

    monkeypatch.setattr(batching, "CudaCopies", copies)
    return created


def mapped(X, path):
    X.tofile(path)
    return np.memmap(path, X.dtype, "r", shape=X.shape)


SOURCES = {
    "mapped floats": lambda X, path: mapped(X.astype("float32"), path),
    "mapped bytes": lambda X, path: mapped(X.astype("uint8"), path),
    "mapped float64": mapped,
    "mapped with swapped byte order": lambda X, path: mapped(X.astype(">f4"), path),
    "mapped and reversed": lambda X, path: mapped(X.astype("float32"), path)[::-1],
    "too large": lambda X, path: X.astype("float32"),
    "too large, Fortran order": lambda X, path: np.asfortranarray(X.astype("float32")),
    "too large, bytes": lambda X, path: X.astype("uint8"),
}
SETTINGS = {
    "plain": {},
    "in order": {"shuffle": False},
    "no smaller batch": {"drop_last": True},
    "one batch": {"batch_size": 200},
    "weights": {"sample_weight": np.linspace(0.1, 2, 70), "class_weight": [1.0, 2.0, 3.0]},
    "metrics": {"metrics": [xpnet.metrics.accuracy]},
    "schedule, clip and penalty": {
        "schedule": xpnet.schedules.Cosine(),
        "clip": xpnet.ClipByNorm(0.1),
        "l2": 0.1,
    },
    "in parts": {"accumulate": 3},
    "average": {
        "optimizer": xpnet.Averaged(xpnet.SGD(0.1)),
        "callbacks": [xpnet.UseAverage()],
    },
}


def trained(X, y, **settings):
    """Return θ, the statistics, the history and the engine of a training on the fake device."""
    arguments = {"loss": CrossEntropy(), "optimizer": xpnet.Adam(0.01), "epochs": 2}
    arguments |= {"batch_size": 16, "progress": False} | settings
    scaling = xpnet.MinMax.fit(np.asarray(X, "float64"), to=(-1, 1))
    whole = settings.get("accumulate", 1) == 1
    network = {"batch_norm": whole, "dropout": 0.2, "preprocessing": scaling}
    model = MLP(4, [6, 5], 3, backend=fake_backend("float32"), **network)
    history = model.fit(X, y, **arguments)
    columns = {name: column for name, column in history.columns.items() if name != "seconds"}
    return np.array(model.theta), np.array(model.statistics), columns, history.engine


def assert_streams_the_same(device, source, engine, path, monkeypatch, rng, **settings):
    """Compare training on rows in host memory with training on the same rows on the device."""
    values, y = rng.integers(0, 250, (70, 4)).astype("float64"), rng.integers(0, 3, 70)
    X = SOURCES[source](values, path)
    expected = trained(np.array(X, X.dtype.newbyteorder("=")), y, engine=engine, **settings)
    assert device == []
    monkeypatch.setattr(FakeBackend, "free_bytes", 0.0, raising=False)
    actual = trained(X, y, engine=engine, **settings)
    assert {name for each in device for name in each.sources} == {X.dtype.name}
    for found, wanted in zip(actual[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert actual[2:] == expected[2:]


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize("source", SOURCES)
def test_streamed_training_equals_training_on_device(
    source, engine, device, tmp_path, monkeypatch, rng
):
    assert_streams_the_same(device, source, engine, tmp_path / "X", monkeypatch, rng)


@pytest.mark.parametrize("engine", ["eager", "replay"])
@pytest.mark.parametrize("name", SETTINGS)
def test_streamed_training_with_settings(name, engine, device, tmp_path, monkeypatch, rng):
    settings = SETTINGS[name]
    assert_streams_the_same(
        device, "mapped bytes", engine, tmp_path / "X", monkeypatch, rng, **settings
    )


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_streamed_training_with_held_out_rows(engine, device, tmp_path, monkeypatch, rng):
    settings = {"validation": 0.2, "metrics": [xpnet.metrics.accuracy]}
    assert_streams_the_same(
        device, "too large", engine, tmp_path / "X", monkeypatch, rng, **settings
    )


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_streamed_training_with_streamed_validation(engine, device, tmp_path, monkeypatch, rng):
    X = mapped(rng.normal(size=(20, 4)).astype("float32"), tmp_path / "V")
    settings = {"validation": (X, rng.integers(0, 3, 20))}
    assert_streams_the_same(
        device, "mapped floats", engine, tmp_path / "X", monkeypatch, rng, **settings
    )


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_interrupted_training_ends_its_thread(engine, device, tmp_path, monkeypatch, rng):
    steps = []

    def interrupt(*_):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    class Interrupted(FakeCapture):
        def capture(self, step):
            return interrupt

    monkeypatch.setattr(engines, "CudaCapture", Interrupted)
    X = SOURCES["mapped floats"](rng.normal(size=(70, 4)), tmp_path / "X")
    settings = {"clip": SimpleNamespace(apply=interrupt)} if engine == "eager" else {}
    with pytest.raises(KeyboardInterrupt):
        trained(X, np.zeros(70, "int64"), engine=engine, **settings)
    assert not threads()
    assert len(device[0].sources) <= 3 + N_SLOTS


@pytest.mark.parametrize("engine", ["eager", "replay"])
def test_truncated_file_raises_os_error(engine, device, tmp_path, monkeypatch, rng):
    path = tmp_path / "X"
    X = SOURCES["mapped floats"](rng.normal(size=(70, 4)), path)
    take, calls = RowReader.take_into, []

    def shorter(reader, part, out):
        calls.append(part)
        if len(calls) == 8:  # a batch: RowReader makes the first calls itself
            path.write_bytes(b"")
        take(reader, part, out)

    monkeypatch.setattr(RowReader, "take_into", shorter)
    with pytest.raises(OSError, match="became shorter while it was read"):
        trained(X, np.zeros(70, "int64"), engine=engine)
    assert not threads()


# Which arrays remain in host memory


@pytest.mark.parametrize(
    ("free", "dtype", "kept", "stays"),
    [
        (1600, "float64", "float64", False),  # X has 800 bytes, half of the free ones
        (1599, "float64", "float64", True),
        (800, "float64", "float32", False),  # 400 bytes as float32
        (799, "float64", "float32", True),
        (200, "uint8", "uint8", False),
        (199, "uint8", "uint8", True),
    ],
)
def test_x_may_take_half_of_the_free_memory(free, dtype, kept, stays, monkeypatch):
    monkeypatch.setattr(FakeBackend, "free_bytes", free, raising=False)
    assert stays_on_host(fake_backend("float32"), np.zeros((20, 5), dtype), kept) is stays


def test_arrays_of_the_backend_are_not_streamed(monkeypatch, tmp_path):
    monkeypatch.setattr(FakeBackend, "free_bytes", 0, raising=False)
    backend, X = fake_backend("float32"), np.zeros((20, 5), "float32")
    assert is_streamed(backend, X)
    assert not stays_on_host(backend, backend.asarray(X), "float32")
    for name in ("numpy", "array_api_strict"):
        host = get_backend(name)
        assert not stays_on_host(host, X, "float32")
        assert not is_streamed(host, mapped(X, tmp_path / "X"))
        assert stays_on_host(host, mapped(X, tmp_path / "X"), "float32")
        assert host.free_bytes == np.inf


# CuPy


class Recorder:
    """A substitute for CuPy that records the calls of its functions."""

    def __init__(self):
        self.calls, recorder = [], self

        class Stream:
            def __init__(self, name="copies", non_blocking=None):
                self.name = name

            def __getattr__(self, method):
                return lambda *arguments: recorder.add(self.name, method, *arguments)

        class Event:
            def __init__(self, block, disable_timing):
                assert block
                assert disable_timing
                assert recorder.calls[-1] == ("device", "enter")

            def synchronize(self):
                recorder.add("event", "synchronize")

        class Device:
            mem_info = (1000, 5000)

            def __init__(self, device=None):
                pass

            def __enter__(self):
                recorder.add("device", "enter")

            def __exit__(self, *error):
                recorder.add("device", "exit")

        class Array:
            def __init__(self, shape, dtype):
                self.nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize

            def set(self, source, stream):
                recorder.add("array", "set", source.shape, stream.name)

        self.empty = Array
        self.cuda = SimpleNamespace(
            Stream=Stream,
            Event=Event,
            Device=Device,
            alloc_pinned_memory=bytearray,
            get_current_stream=lambda: Stream("computing"),
        )
        self.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 234)

    def add(self, name, method, *arguments):
        self.calls.append((name, method, *(a for a in arguments if isinstance(a, str | tuple))))
        return arguments[0] if arguments else None


def test_cuda_copies_call_cupy(monkeypatch):
    cupy = Recorder()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    copies = streaming.CudaCopies()
    host, target = copies.allocate((3, 2), np.dtype("uint8"))
    assert (host.shape, host.dtype, target.nbytes) == ((3, 2), np.dtype("uint8"), 6)
    copied = copies.copy(host, target, copies.computed())
    copies.compute_after(copied)
    copies.wait(copied)
    copies.finish()
    record = [("device", "enter"), ("copies", "record"), ("device", "exit")]
    assert cupy.calls == [
        *(("device", "enter"), ("computing", "record"), ("device", "exit")),
        ("copies", "wait_event"),
        ("array", "set", (3, 2), "copies"),
        *record,
        ("computing", "wait_event"),
        ("event", "synchronize"),
        ("copies", "synchronize"),
    ]


def test_free_bytes_include_those_of_the_pool(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", Recorder())
    backend = xpnet.backend.Backend("cupy", np, None, np.float32, "float32")
    assert backend.free_bytes == 1234
