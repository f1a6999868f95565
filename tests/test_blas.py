"""What is known of the BLAS, and the restart with a better kernel."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from xpnet import blas

HASWELL = blas.OpenBlas("OpenBLAS 0.3", "Haswell", 2)
SKYLAKE = blas.OpenBlas("OpenBLAS 0.3", "SkylakeX", 2)
AVX512 = " ".join(sorted(blas.NEEDED))


@pytest.fixture
def executed(monkeypatch):
    """The calls of ``os.execve``, on a CPU with AVX-512 whose user has set nothing."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(blas, "cpu_info", lambda key: AVX512)
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.delenv(blas.REPLACED, raising=False)
    return calls


def test_a_kernel_below_the_cpu_is_replaced_in_the_same_process(executed, monkeypatch):
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
    ids=["it is good already", "the CPU has no more", "the user chose it", "another BLAS"],
)
def test_nothing_is_restarted_where(found, flags, chosen, executed, monkeypatch):
    monkeypatch.setattr(blas, "loaded_openblas", lambda: found)
    monkeypatch.setattr(blas, "cpu_info", lambda key: flags)
    if chosen:
        monkeypatch.setenv(blas.VARIABLE, chosen)
    blas.restart_with_better_kernel()
    assert executed == []


@pytest.mark.parametrize(
    ("found", "environment", "says"),
    [
        (HASWELL, {}, "OPENBLAS_CORETYPE is not set): export OPENBLAS_CORETYPE=SkylakeX"),
        (HASWELL, {blas.VARIABLE: "Haswell"}, "is set to that): export"),
        (SKYLAKE, {blas.VARIABLE: "SkylakeX"}, ""),
        (SKYLAKE, {blas.REPLACED: "Zen"}, "would take Zen here"),
        (None, {}, ""),
    ],
)
def test_advice(found, environment, says, monkeypatch):
    monkeypatch.setattr(blas, "loaded_openblas", lambda: found)
    monkeypatch.setattr(blas, "cpu_info", lambda key: AVX512)
    told = blas.advice(environment)
    assert says in told
    assert bool(told) == bool(says)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lists libraries")
def test_openblas_tells_of_itself_what_the_environment_asked_for():
    if blas.loaded_openblas() is None:
        pytest.skip("this NumPy has another BLAS than OpenBLAS")
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


def test_importing_the_library_changes_no_environment():
    code = "import os; old = dict(os.environ); import xpnet; print(old == dict(os.environ))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
