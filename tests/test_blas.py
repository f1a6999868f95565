"""The BLAS that is loaded, and the restart with a faster kernel."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from xpnet import blas

HASWELL = blas.OpenBlas("OpenBLAS 0.3", "Haswell", 2)
SKYLAKE = blas.OpenBlas("OpenBLAS 0.3", "SkylakeX", 2)
AVX512 = " ".join(sorted(blas.NEEDED))


@pytest.fixture
def executed(monkeypatch):
    """The calls of ``os.execve``, on a CPU with AVX-512 and in an environment without variables."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(blas, "cpu_info", lambda key: AVX512)
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.delenv(blas.REPLACED, raising=False)
    return calls


def test_slow_kernel_is_replaced_in_the_same_process(executed, monkeypatch):
    monkeypatch.setattr(blas, "loaded_openblas", lambda: HASWELL)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "xpnet", "train", "digits"])
    blas.restart_with_better_kernel()
    [(program, words, environment)] = executed
    assert program == sys.executable
    assert words == [sys.executable, "-m", "xpnet", "train", "digits"]
    assert environment[blas.VARIABLE] == "SkylakeX"
    assert environment[blas.REPLACED] == "Haswell"


@pytest.mark.parametrize(
    ("found", "flags", "chosen"),
    [
        (SKYLAKE, AVX512, None),
        (HASWELL, "avx2 fma", None),
        (HASWELL, AVX512, "Haswell"),
        (None, AVX512, None),
    ],
    ids=["fastest already", "CPU without AVX-512", "selected by the user", "another BLAS"],
)
def test_process_is_not_restarted(found, flags, chosen, executed, monkeypatch):
    monkeypatch.setattr(blas, "loaded_openblas", lambda: found)
    monkeypatch.setattr(blas, "cpu_info", lambda key: flags)
    if chosen:
        monkeypatch.setenv(blas.VARIABLE, chosen)
    blas.restart_with_better_kernel()
    assert executed == []


@pytest.mark.parametrize(
    ("found", "environment", "text"),
    [
        (HASWELL, {}, "OPENBLAS_CORETYPE is not set): export OPENBLAS_CORETYPE=SkylakeX"),
        (HASWELL, {blas.VARIABLE: "Haswell"}, "is set to that): export"),
        (SKYLAKE, {blas.VARIABLE: "SkylakeX"}, ""),
        (SKYLAKE, {blas.REPLACED: "Zen"}, "selects Zen on this CPU"),
        (None, {}, ""),
    ],
)
def test_advice_names_the_variable_and_the_kernel(found, environment, text, monkeypatch):
    monkeypatch.setattr(blas, "loaded_openblas", lambda: found)
    monkeypatch.setattr(blas, "cpu_info", lambda key: AVX512)
    advice = blas.advice(environment)
    assert text in advice
    assert bool(advice) == bool(text)


def library(folder, api="openblas", kernel="Zen"):
    """What threadpoolctl reports of a library."""
    return {
        "internal_api": api,
        "filepath": f"/site-packages/{folder}/lib{api}.so",
        "version": "0.3.30",
        "threading_layer": "pthreads",
        "architecture": kernel,
        "num_threads": 3,
    }


@pytest.mark.parametrize(
    ("libraries", "kernel"),
    [
        ([], None),
        ([library("numpy.libs", "mkl")], None),
        ([library("torch", "openmp"), library("numpy.libs")], "Zen"),
        ([library("scipy.libs"), library("numpy.libs", kernel="Haswell")], "Haswell"),
    ],
)
def test_openblas_of_numpy_is_found_among_libraries(libraries, kernel, monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: libraries)
    expected = None if kernel is None else blas.OpenBlas("OpenBLAS 0.3.30 (pthreads)", kernel, 3)
    assert blas.loaded_openblas() == expected


def test_openblas_is_unknown_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert blas.loaded_openblas() is None


def test_loaded_kernel_follows_the_environment():
    if blas.loaded_openblas() is None:
        pytest.skip("this NumPy has another BLAS than OpenBLAS, or threadpoolctl is not installed")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("the kernel Haswell is for x86 processors")
    code = (
        "from xpnet import blas; found = blas.loaded_openblas(); print(found.kernel, found.threads)"
    )
    wanted = {blas.VARIABLE: "Haswell", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | wanted,
    )
    assert done.stdout.split() == ["Haswell", "1"]


def test_import_does_not_change_the_environment():
    code = "import os; old = dict(os.environ); import xpnet; print(old == dict(os.environ))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
