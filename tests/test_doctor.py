"""What xpnet doctor says."""

import subprocess
import sys

import numpy as np
import pytest

from xpnet import doctor


def test_versions_name_what_is_here_and_how_to_get_what_is_not(monkeypatch):
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda n: None if n == "pooch" else known(n))
    rows = dict(doctor.versions())
    assert rows["numpy"] == np.__version__
    assert rows["pooch"] == "not installed (pip install 'xpnet[data]')"


def test_backends_say_that_they_work_or_why_not(monkeypatch):
    def find(name):
        return "no device" if name == "cupy" else None if name == "numpy" else "not here"

    monkeypatch.setattr(doctor, "unavailable", find)
    rows = dict(doctor.backends())
    assert rows["numpy"] == "works: numpy, CPU, float32"
    assert rows["cupy"] == "no: no device"
    assert rows["auto"] == "takes numpy"


def test_blas_is_described_with_and_without_threadpoolctl(monkeypatch):
    assert "BLAS" in dict(doctor.computing())
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    rows = dict(doctor.computing())
    assert "built as" in rows["BLAS"]
    assert "threadpoolctl" in rows[""]


@pytest.mark.parametrize(
    ("kernel", "has_avx512", "says"),
    [("Haswell", True, True), ("Haswell", False, False), ("SkylakeX", True, False)],
)
def test_advice_where_the_kernel_lags_behind_the_cpu(kernel, has_avx512, says):
    assert bool(doctor.advice(kernel, has_avx512)) is says


def test_the_import_time_is_the_difference_of_medians(monkeypatch):
    monkeypatch.setattr(
        doctor, "_seconds_to_import", lambda name: {"numpy": 0.1, "xpnet": 0.13}[name]
    )
    assert dict(doctor.import_time())["import xpnet"] == "130 ms, 30 ms more (median of 5)"


def test_the_clock_runs():
    done = subprocess.run(
        [sys.executable, "-c", doctor.CLOCK.format("json")], capture_output=True, check=True
    )
    assert float(done.stdout) > 0
