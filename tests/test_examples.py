"""Every example runs as a stranger runs it, with small settings, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
FASHION = ROOT.parent / "shared" / "data" / "fashion-mnist"
NOT_RUN = {"reference_report"}  # imported by reference_experiment

needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="Fashion-MNIST is not in ../shared/data: nothing to train on"
)

SMALL = ["--seeds", "2", "--rows", "300", "--epochs", "2", "--out", "here"]

# name: (arguments, what it prints, the pictures that it writes)
CASES = {
    "one_word": (["numpy", "--epochs", "3"], r"numpy, CPU, float32: 3 epochs .* 0\.9\d+$", []),
    "one_neuron": (["--epochs", "300"], r"difference = \d\.\de-(0[6-9]|1\d)$", ["one_neuron.png"]),
    "hand_written_loop": (["--epochs", "4"], r"0\.9\d+ with the last θ", ["hand_written_loop.png"]),
    "full_batch": (["--passes", "60"], r"^  L-BFGS +60 +0\.1.*\n\nTo .*\n(.*\n)+success +yes$", []),
    "optimizer_trajectories": ([], r"Wrote optimizer_traj", ["optimizer_trajectories.png"]),
    "reference_experiment": (
        ["--data-dir", str(FASHION), *SMALL],
        r"^\| Adam \+ BN \| \*\*0\.\d{4}\*\* \| 0\.\d{4} \| 0\.\d{4} \| \d+\.\d \|$",
        ["here/reference_experiment.png"],
    ),
}
MARKS = {"reference_experiment": [needs_fashion]}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    more = {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKS.get(name, ())) for name in sorted(CASES)]
)
def test_example(name: str, tmp_path: Path):
    arguments, printed, pictures = CASES[name]
    if pictures:
        pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no pictures")
    done = run(tmp_path, str(EXAMPLES / f"{name}.py"), *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(printed, done.stdout, re.MULTILINE), done.stdout
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_every_example_is_run_and_listed():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(CASES) | NOT_RUN
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {name for name in names if f"{name}.py" in listed} == names


def test_one_word_without_a_gpu_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("XPNET_FALLBACK", raising=False)
    done = run(tmp_path, str(EXAMPLES / "one_word.py"), "cupy")
    assert done.returncode == 1
    assert done.stderr.startswith("backend 'cupy' does not work here: ")
    assert "Traceback" not in done.stderr


@needs_fashion
def test_reference_experiment_refuses_the_other_data(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed: no pictures")
    script = str(EXAMPLES / "reference_experiment.py")
    done = run(tmp_path, script, "mnist", "--data-dir", str(FASHION))
    assert done.returncode == 1
    assert done.stderr == f"{FASHION} does not hold the files of mnist.\n"
