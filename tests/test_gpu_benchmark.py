"""The GPU benchmark says what is missing, and its parts run on a device of NumPy arrays."""

from __future__ import annotations

import sys

import pytest
from fake_device import DeviceArray, FakeCapture, fake_backend, fake_operations

from benchmarks import gpu, gpu_peers
from benchmarks.cases import Case
from xpnet import MLP
from xpnet.ops import select
from xpnet.training import graph

SMALL = Case("small", (6, 5, 3), "relu", 4)


def test_without_a_device_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(gpu, "unavailable", lambda name: f"there is no {name}")
    assert gpu.main() == 2
    assert capsys.readouterr().out.startswith("No CUDA device to measure on: backend 'cupy': there")


def test_failed_tests_end_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    monkeypatch.setattr(gpu, "unavailable", lambda name: None)
    monkeypatch.setattr(gpu, "tests_pass", lambda: False)
    assert gpu.main() == 1


def test_contestants_that_cannot_run_are_named(monkeypatch, capsys):
    def missing(case):
        raise ImportError("no such library")

    def broken(case):
        raise RuntimeError("no memory")

    contestants = {"a": missing, "b": broken, "c": lambda case: lambda steps: None}
    monkeypatch.setattr(gpu_peers, "CONTESTANTS", contestants)
    monkeypatch.setattr(gpu, "STEPS", {4: 2})
    text = gpu.table({"small": gpu.measure(SMALL)})
    assert text.splitlines()[:2] == ["| | small |", "|---|---|"]
    assert "| a | not installed (no such library) |" in text
    assert "| b | failed (RuntimeError: no memory) |" in text
    assert "| c | " in text
    assert " µs (" in text


def test_captured_steps_are_run_as_fit_runs_them(monkeypatch):
    backend = fake_backend("float32")
    monkeypatch.setitem(select._chosen, DeviceArray, fake_operations(kernels=False))
    monkeypatch.setattr(graph, "why_not_captured", lambda backend, rows: "")
    monkeypatch.setattr(graph, "CudaCapture", FakeCapture)
    monkeypatch.setattr(FakeCapture, "replayed", 0)
    monkeypatch.setattr(gpu_peers, "_model", lambda case: MLP(6, [5], 3, backend=backend))
    X, y = gpu_peers.batches(SMALL, 2)[0]
    monkeypatch.setattr(gpu_peers, "_on_device", lambda case: (backend.asarray(X), y))
    gpu_peers.xpnet_graph(SMALL)(16)
    assert FakeCapture.replayed == 16


@pytest.mark.gpu
@pytest.mark.parametrize("label", gpu_peers.CONTESTANTS)
def test_every_contestant_runs_on_a_device(label):
    if gpu.unavailable("cupy") is not None:
        pytest.skip("no CUDA device")
    try:
        gpu_peers.CONTESTANTS[label](SMALL)(8)
    except ImportError as error:
        pytest.skip(f"not installed: {error}")
