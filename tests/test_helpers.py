"""The helpers of the tests: looped cases, absent backends, workers and places of warnings."""

from __future__ import annotations

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import backends, emulated_cuda, workers
from helpers.cases import looped, warns_here

from xpnet.errors import FallbackWarning, warn_fallback

# --- looped cases ---------------------------------------------------------------------------------


def test_looped_test_runs_every_combination():
    seen = []

    @looped(x=[1, 2], y="ab")
    def test(x, y, fixture):
        seen.append((x, y, fixture))

    test(fixture="f")
    assert seen == [(1, "a", "f"), (1, "b", "f"), (2, "a", "f"), (2, "b", "f")]


def test_looped_failure_names_every_failed_case():
    seen = []

    @looped(x=range(5))
    def test(x):
        seen.append(x)
        assert x % 2 == 0

    with pytest.raises(AssertionError) as caught:
        test()
    assert caught.value.__notes__ == ["cases that failed: x=1; x=3"]
    assert seen == [0, 1, 2, 3, 4]


def test_looped_test_is_skipped_if_all_cases_are():
    @looped(x=[0, 1])
    def test(x, least):
        if x < least:
            pytest.skip("too small")

    test(least=1)
    with pytest.raises(pytest.skip.Exception, match="too small"):
        test(least=2)


def test_looped_argument_must_exist():
    with pytest.raises(AssertionError, match="does not have"):
        looped(z=[1])(lambda x: None)


# --- warnings -------------------------------------------------------------------------------------


def test_warning_of_another_file_is_an_error():
    with pytest.raises(AssertionError), warns_here("somewhere"):
        warnings.warn_explicit("somewhere", FallbackWarning, "other.py", 1)
    with warns_here("here"):
        warn_fallback("here")


# --- absent backends ------------------------------------------------------------------------------


class Item:
    """A collected test with marks and fixtures."""

    def __init__(self, *marks, fixtures=()):
        self.marks, self.fixturenames = marks, fixtures

    def iter_markers(self, name):
        return [mark for mark in self.marks if mark.name == name]

    def get_closest_marker(self, name):
        return next(iter(self.iter_markers(name)), None)


ITEMS = {
    "plain": Item(),
    "gpu": Item(pytest.mark.gpu.mark),
    "device": Item(pytest.mark.device.mark),
    "torch": Item(pytest.mark.backend("torch").mark),
    "torch fixture": Item(fixtures=("rng", "torch")),
    "cuda fixture": Item(fixtures=("cuda",)),
}


@pytest.fixture
def absent(monkeypatch):
    """A machine without PyTorch and without a CUDA device."""
    monkeypatch.delenv(backends.REQUIRE_GPU, raising=False)
    reasons = {"torch": "not installed", "cupy": "no device"}
    monkeypatch.setattr(backends, "why_not_collected", reasons.get)
    monkeypatch.setattr(backends, "why_no_device", lambda: "no device")


def test_tests_of_absent_backends_are_set_apart(absent):
    kept, rest = backends.divide(list(ITEMS.values()))
    assert kept == [ITEMS["plain"]]
    assert rest == {
        "backend 'cupy': no device": [ITEMS["gpu"], ITEMS["cuda fixture"]],
        "backend 'torch': not installed": [ITEMS["torch"], ITEMS["torch fixture"]],
        "needs a CUDA device: no device": [ITEMS["device"]],
    }


def test_required_gpu_keeps_its_tests(absent, monkeypatch):
    monkeypatch.setenv(backends.REQUIRE_GPU, "1")
    kept, rest = backends.divide(list(ITEMS.values()))
    assert kept == [ITEMS[name] for name in ("plain", "gpu", "device", "cuda fixture")]
    assert list(rest) == ["backend 'torch': not installed"]
    monkeypatch.setattr(backends, "why_absent", lambda name: "no device")
    with pytest.raises(pytest.fail.Exception, match="no device"):
        backends.require_backend("cupy")


def test_backend_that_fails_later_is_skipped(monkeypatch):
    monkeypatch.delenv(backends.REQUIRE_GPU, raising=False)
    monkeypatch.setattr(backends, "why_absent", lambda name: "broken")
    with pytest.raises(pytest.skip.Exception, match="backend 'torch': broken"):
        backends.open_place("torch", "float64")


def test_stand_in_runs_tests_of_an_absent_device(monkeypatch):
    monkeypatch.delenv(backends.REQUIRE_GPU, raising=False)
    monkeypatch.setattr(backends, "why_no_device", lambda: "no device")
    for missing, reason in (("", ""), ("no compiler", "no device, and no compiler")):
        monkeypatch.setattr(backends.strict_cupy, "why_not", lambda missing=missing: missing)
        assert backends.why_not_collected.__wrapped__("cupy") == reason
    assert backends.uses_stand_in()
    monkeypatch.setenv(backends.REQUIRE_GPU, "1")
    assert not backends.uses_stand_in()


# --- workers --------------------------------------------------------------------------------------


def config(tmp_path, *args, plugin=True, **options):
    """A configuration of pytest as its command line makes it."""
    settings = {"numprocesses": None, "dist": "no", "tx": [], "capture": "fd", "markexpr": ""}
    return SimpleNamespace(
        option=SimpleNamespace(**settings | options),
        args=[str(tmp_path / arg) for arg in args] or [str(tmp_path)],
        pluginmanager=SimpleNamespace(hasplugin=lambda name: plugin),
        hook=SimpleNamespace(pytest_xdist_auto_num_workers=lambda config: 5),
    )


@pytest.fixture
def environment(monkeypatch):
    """An environment without numbers of threads, on a machine without a CUDA device."""
    monkeypatch.setattr(workers, "uses_device", lambda: False)
    for name in workers.THREADS:
        monkeypatch.setenv(name, "7")
        monkeypatch.delenv(name)
    return os.environ


def test_folder_runs_on_workers_with_one_thread(tmp_path, environment):
    given = config(tmp_path)
    workers.use_workers(given)
    assert (given.option.numprocesses, given.option.dist) == (5, "worksteal")
    assert {environment[name] for name in workers.THREADS} == {"1"}


def test_number_of_workers_is_limited(tmp_path, environment):
    given = config(tmp_path)
    given.hook.pytest_xdist_auto_num_workers = lambda config: 64
    workers.use_workers(given)
    assert given.option.numprocesses == workers.MOST


def test_threads_of_the_environment_are_kept(tmp_path, environment, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    workers.use_workers(config(tmp_path))
    assert environment["OMP_NUM_THREADS"] == "3"


SERIAL = {
    "one file": {"args": ["test_x.py"]},
    "no plugin": {"plugin": False},
    "no workers": {"numprocesses": 0},
    "debugger": {"usepdb": True},
    "collection": {"collectonly": True},
    "output": {"capture": "no"},
}


@pytest.mark.parametrize("name", SERIAL)
def test_serial_run_has_no_workers(name, tmp_path, environment):
    (tmp_path / "test_x.py").touch()
    options = dict(SERIAL[name])
    given = config(tmp_path, *options.pop("args", ()), **options)
    workers.use_workers(given)
    assert not given.option.numprocesses
    assert not {*workers.THREADS} & {*environment}


def test_tests_of_a_device_run_in_one_process(tmp_path, environment, monkeypatch):
    monkeypatch.setattr(workers, "uses_device", lambda: True)
    for expression, count in (("", None), ("gpu", None), ("not gpu", 5), ("not gpu and slow", 5)):
        given = config(tmp_path, markexpr=expression)
        workers.use_workers(given)
        assert given.option.numprocesses == count


def test_options_of_the_command_line_are_kept(tmp_path, environment):
    given = config(tmp_path, numprocesses=3, dist="loadfile")
    workers.use_workers(given)
    assert (given.option.numprocesses, given.option.dist) == (3, "loadfile")
    assert environment["OMP_NUM_THREADS"] == "1"


def test_worker_starts_no_workers(tmp_path, environment):
    given = config(tmp_path)
    given.workerinput = {}
    workers.use_workers(given)
    assert given.option.numprocesses is None


# --- emulated CUDA --------------------------------------------------------------------------------

DOUBLED = """
extern "C" __global__ void doubled(const float* x, float* y, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 2 * x[i];
}
"""


@pytest.mark.slow
def test_emulated_kernels_are_compiled_once(tmp_path, monkeypatch):
    if emulated_cuda.compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(emulated_cuda.Cache, "path", tmp_path)
    code, compiled = emulated_cuda.together([DOUBLED]), []
    right = emulated_cuda.compile_as_cpp
    monkeypatch.setattr(
        emulated_cuda, "compile_as_cpp", lambda *given: compiled.append(right(*given))
    )
    for _ in range(2):
        library = emulated_cuda.library.__wrapped__(code)
        assert library.emulated_0_doubled
    assert len(compiled) == 1
    kernel = SimpleNamespace(name="doubled", source=DOUBLED)
    monkeypatch.setattr(emulated_cuda, "compiled", lambda _: library.emulated_0_doubled)
    x, y = np.arange(6, dtype="float32"), np.zeros(6, "float32")
    for backwards in (False, True):
        y[:] = 0
        emulated_cuda.launch(kernel, (2,), (4,), [x, y, np.int64(6)], backwards)
        np.testing.assert_array_equal(y, 2 * x)
