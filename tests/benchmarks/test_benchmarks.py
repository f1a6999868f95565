"""The benchmarks: every peer computes the same, and the tables show what was measured."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cpu
from benchmarks.cases import CASES, accuracy, batches, initial_parameters
from benchmarks.peers import FLOOR, PEERS, XPNET, Peer
from benchmarks.picture import picture
from benchmarks.table import FIT, cell, duration, markdown, ratio, verdicts

SMALL = [
    replace(CASES["784-200-10, batch 64"], widths=(20, 16, 5), batch=8),
    replace(CASES["784-512-512-10, batch 256"], widths=(20, 16, 12, 5), batch=8),
    replace(CASES["784-512-512-10, batch norm"], widths=(20, 16, 12, 5), batch=8),
]
TRAINED = ["textbook NumPy", "PyTorch, fused Adam", "PyTorch, default Adam", "JAX, jit, donated"]


def parameters_after(peer, case, n_steps=3):
    it = peer.contestant(case, initial_parameters(case))
    it.steps([it.prepare(X, y) for X, y in batches(case, n_steps)])
    return it


def ready(label):
    missing = PEERS[label].missing()
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    return PEERS[label]


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
@pytest.mark.parametrize("label", TRAINED)
def test_three_steps_give_the_same_parameters(label, case):
    theirs = parameters_after(ready(label), case).parameters()
    ours = parameters_after(XPNET, case).parameters()
    first = initial_parameters(case)
    for mine, other, begin in zip(ours, theirs, first, strict=True):
        assert np.abs(mine - begin).max() > 5e-4
        np.testing.assert_allclose(other, mine, rtol=1e-4, atol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALL[:2], ids=lambda case: case.name)
def test_scikit_learn_gives_the_same_parameters(case):
    theirs = parameters_after(ready("scikit-learn"), case).parameters()
    for mine, other in zip(parameters_after(XPNET, case).parameters(), theirs, strict=True):
        np.testing.assert_allclose(other, mine, rtol=1e-4, atol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["xpnet", *TRAINED])
def test_reset_restores_initial_parameters(label):
    case, it = SMALL[2], parameters_after(ready(label), SMALL[2])
    once = it.parameters()
    it.reset()
    for array, begin in zip(it.parameters(), initial_parameters(case), strict=True):
        assert (array == begin).all()
    it.steps([it.prepare(X, y) for X, y in batches(case, 3)])
    for array, before in zip(it.parameters(), once, strict=True):
        np.testing.assert_allclose(array, before, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["PyTorch, fused Adam", "JAX, jit, donated", "ONNX Runtime"])
def test_predictions_agree(label):
    case, X = SMALL[0], np.random.default_rng(0).integers(0, 256, (50, 20)).astype(np.uint8)
    first = initial_parameters(case)
    theirs = ready(label).contestant(case, first).predictor(X)()
    ours = XPNET.contestant(case, first).predictor(X)()
    np.testing.assert_array_equal(np.asarray(theirs), ours)
    assert accuracy(case, first, X / 127.5 - 1, ours) == 1


def test_floor_computes_the_products_of_a_step():
    case = SMALL[1]
    it = FLOOR.contestant(case, initial_parameters(case))
    X = batches(case, 1)[0][0]
    it.steps([(X, None)])
    np.testing.assert_allclose(it.outputs[0], X @ it.weights[0], rtol=1e-6)
    np.testing.assert_allclose(it.grads[0], X.T @ it.deltas[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(it.deltas[1], it.deltas[2] @ it.weights[2].T, rtol=1e-4, atol=1e-5)


TIMES = {
    "784-200-10, batch 64": {
        "xpnet": [2e-4, 1e-4, 3e-4],
        FLOOR.label: [1e-4],
        "PyTorch, fused Adam": [4e-4],
        "JAX, jit, donated": [5e-4],
    },
    FIT: {"xpnet": [1.0], "scikit-learn": [4.0], "steps × step time": [0.8]},
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.6e-6, "8.60 µs"), (1.75e-4, "175 µs"), (0.0452, "45.2 ms"), (12.345, "12.3 s")],
)
def test_durations_have_units(seconds, text):
    assert duration(seconds) == text


def test_table_has_medians_spreads_and_ratios():
    assert cell(TIMES["784-200-10, batch 64"]["xpnet"]) == "200 µs (100–300)"
    table = markdown(TIMES, {"JAX": "jax not installed"})
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "| xpnet | 200 µs (100–300) | 1.00 s |" in lines
    assert (
        "| **xpnet / fastest peer** | 0.50 (PyTorch, fused Adam) | 0.25 (scikit-learn) |" in lines
    )
    assert "| JAX | absent: jax not installed |  |" in lines


def test_measured_targets_are_judged():
    assert ratio(TIMES[FIT], "steps × step time") == (1.25, "steps × step time")
    lines = verdicts(TIMES).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == [
        "met",
        "**not met**",
        "met",
        "**not met**",
    ]


def test_missing_peer_is_reported(monkeypatch):
    peer = Peer("Nobody's", "torch_peer", "", ("no_such_package",))
    monkeypatch.setitem(PEERS, "Nobody's", peer)
    assert cpu.absent()["Nobody's"] == "no_such_package not installed"


@pytest.mark.slow
def test_quick_case_runs_end_to_end(tmp_path):
    out = tmp_path / "results.json"
    words = ["--quick", "--only", "32-64", "--peers", "xpnet,matrix", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cpu", *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (results,) = json.loads(out.read_text(encoding="utf-8")).values()
    assert set(results["times"]["32-64-64-2, batch 32"]) == {"xpnet", "matrix products alone"}
    assert "| xpnet |" in out.with_suffix(".md").read_text(encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        picture(results).savefig(tmp_path / "speed.png")
