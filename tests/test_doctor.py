"""The report of xpnet doctor."""

import subprocess
import sys

import numpy as np

from xpnet import doctor
from xpnet.blas import OpenBlas


def test_versions_say_how_to_install_a_package(monkeypatch):
    known = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda n: None if n == "pooch" else known(n))
    rows = dict(doctor.versions())
    assert rows["numpy"] == np.__version__
    assert rows["pooch"] == "not installed (pip install 'xpnet[data]')"


def test_backends_say_why_they_fail(monkeypatch):
    def find(name):
        return "no device" if name == "cupy" else None if name == "numpy" else "not here"

    monkeypatch.setattr(doctor, "unavailable", find)
    rows = dict(doctor.backends())
    assert rows["numpy"] == "works: numpy, CPU, float32"
    assert rows["cupy"] == "no: no device"
    assert rows["auto"] == "takes numpy"


def test_blas_is_described_by_itself_or_by_numpy(monkeypatch):
    found = OpenBlas("OpenBLAS 0.3", "Haswell", 1)
    monkeypatch.setattr(doctor, "loaded_openblas", lambda: found)
    monkeypatch.setattr(doctor, "advice", lambda: "export it")
    rows = dict(doctor.computing())
    assert rows["BLAS"] == "OpenBLAS 0.3; kernel Haswell, 1 thread"
    assert rows["advice"] == "export it"
    monkeypatch.setattr(doctor, "loaded_openblas", lambda: None)
    assert "advice" not in dict(doctor.computing())
    assert dict(doctor.computing())["BLAS"]


def test_loops_say_why_they_are_not_compiled(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert "NUMBA_DISABLE_JIT" in dict(doctor.computing())["loops"]


def test_loops_say_whether_they_are_kept_on_disk(monkeypatch):
    monkeypatch.setattr(doctor, "why_not_compiled", lambda: "")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "folder")
    assert dict(doctor.computing())["loops"] == "compiled by Numba, and kept on disk"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert "not kept on disk, since platformdirs" in dict(doctor.computing())["loops"]


def test_import_time_is_the_difference_of_medians(monkeypatch):
    monkeypatch.setattr(
        doctor, "_seconds_to_import", lambda name: {"numpy": 0.1, "xpnet": 0.13}[name]
    )
    assert dict(doctor.import_time())["import xpnet"] == "130 ms, 30 ms more (median of 5)"


def test_clock_of_the_import_runs():
    done = subprocess.run(
        [sys.executable, "-c", doctor.CLOCK.format("json")], capture_output=True, check=True
    )
    assert float(done.stdout) > 0
