"""Runs that signals end at any moment leave what ``xpnet resume`` continues to the same bits."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import xpnet

pytest.importorskip("typer", reason="the extra 'cli' is not installed")
testing = pytest.importorskip("typer.testing")

from xpnet.cli import execution, termination  # noqa: E402
from xpnet.cli.app import app  # noqa: E402
from xpnet.cli.claim import locked  # noqa: E402
from xpnet.cli.termination import handled_termination  # noqa: E402
from xpnet.training.loggers import CSVLogger  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the signals are those of POSIX")

TRAIN = "train t.csv --target c --hidden 6 --dropout 0.2 --epochs 12 --batch-size 8 --seed 3"
WORDS = TRAIN.split()

STOPPED = """
import importlib, os, signal, sys

name, at, number, *words = sys.argv[1:]
module, _, path = name.partition(":")
*parts, attribute = path.split(".")
owner = importlib.import_module(module)
for part in parts:
    owner = getattr(owner, part)
original, calls = getattr(owner, attribute), 0

def stop(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(at):
        os.kill(os.getpid(), int(number))
    return original(*args, **kwargs)

setattr(owner, attribute, stop)
from xpnet.cli import execution
from xpnet.cli.app import app

execution.write_figures = lambda *given: []  # which takes a second
execution.SECONDS = 1e-9  # a checkpoint whenever the clock is read
sys.argv = ["xpnet", *words]
app(prog_name="xpnet")
"""
"""Send a signal to this process before the n-th call of a function of the command."""

EPOCH = "xpnet.training.loggers:CSVLogger.epoch"
STEP = "xpnet.optimizers.base:Optimizer.check_some_steps"
RESULTS = "xpnet.cli.execution:write_results"
CONFIG = "xpnet.cli.execution:write_config"
RENAME = "os:replace"

STOPS = {
    "kill, step": (STEP, 20, "KILL", -9, ""),
    "kill, torn history": (EPOCH, 6, "KILL", -9, ""),
    "kill, writing a checkpoint": (RENAME, 7, "KILL", -9, ""),
    "kill, results": (RESULTS, 1, "KILL", -9, ""),
    "kill, end": (CONFIG, 1, "KILL", -9, ""),
    "Ctrl-C, step": (STEP, 7, "INT", 130, "interrupted in epoch 2, step 3"),
    "Ctrl-C, epoch": (EPOCH, 5, "INT", 130, "interrupted after epoch 5"),
    "Ctrl-C, results": (RESULTS, 1, "INT", 130, "interrupted"),
    "SIGTERM, step": (STEP, 7, "TERM", 143, "interrupted in epoch 2, step 3"),
    "SIGTERM, results": (RESULTS, 1, "TERM", 0, ""),
}


def write_table(folder):
    x = np.random.default_rng(0).normal(size=(40, 2)).round(3)
    rows = [f"{a},{b},{'uv'[int(a > b)]}" for a, b in x]
    (folder / "t.csv").write_text("\n".join(["a,b,c", *rows, ""]))


def xpnet_(*words):
    return testing.CliRunner().invoke(app, [str(word) for word in words])


def done(*words):
    result = xpnet_(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words):
    result = xpnet_(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("Error: ").strip()


def start(folder, function, at, name, *words):
    """Start a process that gets the signal ``name`` before a call of a function."""
    number = str(int(getattr(signal, f"SIG{name}")))
    place = [str(Path(xpnet.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", STOPPED, function, str(at), number, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, place)), "MPLBACKEND": "Agg"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def config(run):
    return json.loads((Path(run) / "config.json").read_text())


def rows(run):
    """The history, without the seconds of the epochs."""
    with (Path(run) / "history.csv").open() as stream:
        return [row[:-1] for row in csv.reader(stream)]


def tensors(run, name="model"):
    return load_file(Path(run) / f"{name}.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(execution, "write_figures", lambda *given: [])
    write_table(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    write_table(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(execution, "write_figures", lambda *given: [])
        done(*WORDS, "--out", "run")
    return folder / "run"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder, the exit code and the output of every stopped training, two at once."""

    def run(case):
        folder = tmp_path_factory.mktemp("stopped")
        write_table(folder)
        process = start(folder, *STOPS[case][:3], *WORDS, "--out", "run")
        out, err = process.communicate()
        return folder, process.returncode, out, err

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(STOPS, pool.map(run, STOPS), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", STOPS)
def test_stopped_run_ends_with_the_same_bits(monkeypatch, whole, stopped, case):
    folder, code, out, err = stopped[case]
    says = STOPS[case][4]
    assert (code, err) == (STOPS[case][3], "")
    monkeypatch.chdir(folder)
    if says:
        assert out.splitlines()[-1] == f"{says}; to continue: xpnet resume run"
        assert config("run")["status"] == "interrupted"
    if "torn" in case:
        assert rows("run") == rows(whole)[:6]  # a line in every epoch
        os.truncate("run/history.csv", os.stat("run/history.csv").st_size - 9)
    if code != 0:
        evaluated = done("evaluate", "run", "t.csv")
        assert "(40 rows)" in evaluated.stdout
        assert "run has not finished its training; xpnet resume" in evaluated.stderr
        assert len(done("predict", "run", "t.csv").stdout.splitlines()) == 41
        resumed = done("resume", "run").stdout
        assert "epoch  1/12" not in resumed
        assert "\ncontinues after epoch " in resumed
    assert same(tensors("run"), tensors(whole))
    assert rows("run") == rows(whole)
    assert config("run") == config(whole) | {
        key: config("run")[key] for key in ("options", "seconds")
    }
    assert {path.name for path in Path("run").iterdir()} == {
        *("checkpoint.safetensors", "config.json", "history.csv", "model.safetensors")
    }
    assert refused("resume", "run").endswith("Write --epochs 24 to train it further.")


@pytest.mark.slow
def test_kill_before_the_claim_leaves_nothing(here):
    start(here, "os:link", 1, "KILL", *WORDS).communicate()
    (left,) = (here / "runs").iterdir()
    assert [path.name[:7] for path in left.iterdir()] == [".xpnet-"]
    assert "with config.json" in refused("resume", left)
    done(*WORDS, "--epochs", 1)
    (run,) = (here / "runs").iterdir()
    assert (run / "model.safetensors").exists()
    assert [path.name for path in here.rglob(".xpnet-*")] == []


@pytest.mark.slow
def test_parallel_starts_get_a_folder_each(here):
    words = [*WORDS, "--quiet", "--epochs", "2"]
    started = [start(here, EPOCH, 99, "KILL", *words) for _ in range(4)]
    ends = [(process.communicate()[1], process.returncode) for process in started]
    assert ends == [("", 0)] * 4
    runs = list((here / "runs").iterdir())
    assert len(runs) == 4
    assert all(config(run)["status"] == "finished" for run in runs)
    assert all(same(tensors(run), tensors(runs[0])) for run in runs)


# --- resume ---------------------------------------------------------------------------------------


def test_finished_run_is_continued(here):
    done(*WORDS, "--schedule", "constant", "--out", "run", "--quiet")
    done("resume", "run", "--epochs", 20, "--quiet")
    done(*WORDS, "--schedule", "constant", "--epochs", 20, "--out", "whole", "--quiet")
    assert same(tensors("run"), tensors("whole"))
    assert rows("run") == rows("whole")
    assert (config("run")["options"]["epochs"], config("run")["continued_from"]) == (20, 12)
    with pytest.warns(UserWarning, match="a run that was continued after 12 epochs"):
        done("train", "--config", "run/config.json", "--out", "again", "--quiet")
    assert same(tensors("again"), tensors("whole"))


def test_changed_data_are_refused(here):
    words = ["run", "--epochs", 20, "--quiet"]
    done(*WORDS, "--out", "run", "--quiet")
    before, text = config("run"), (here / "t.csv").read_text()
    lines = text.splitlines()
    (here / "t.csv").write_text("\n".join([*lines[:20], *lines[:19:-1], ""]))
    assert refused("resume", *words) == (
        f"DATA must be as it was when the run began; got {here / 't.csv'}, which differs. Restore "
        "the file, or start a new run by xpnet train --config."
    )
    assert config("run") == before
    with pytest.warns(UserWarning, match=r"t\.csv has changed since the run of run/config\.json"):
        done("train", "--config", "run/config.json", "--out", "again", "--quiet")
    (here / "t.csv").unlink()
    assert "DATA must be a file" in refused("resume", *words)
    (here / "moved.csv").write_text(text)
    done("resume", *words, "--data", "moved.csv")
    assert config("run")["options"]["data"] == str(here / "moved.csv")


def test_error_in_a_later_epoch_keeps_the_run(whole):
    original = CSVLogger.epoch

    def fail(self, run):
        if run.epoch == 4:
            raise OSError(28, "No space left on device")
        original(self, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CSVLogger, "epoch", fail)
        result = xpnet_(*WORDS, "--out", "run")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "run folder     run (checkpoint.safetensors, history.csv, config.json)",
        "Error: No space left on device.",
    ]
    assert config("run")["status"] == "interrupted"
    done("resume", "run", "--quiet")
    assert same(tensors("run"), tensors(whole))
    assert rows("run") == rows(whole)


def test_run_in_training_is_refused(here):
    done(*WORDS, "--out", "run", "--quiet")
    with locked(here / "run"):
        assert refused("resume", "run", "--epochs", 20) == (
            "RUN must be a folder that no training is writing to; got run, which is still in "
            "training."
        )


REFUSED = {
    "no folder": (["resume", "nowhere"], "RUN must be a folder that xpnet train made"),
    "a file": (["resume", "t.csv"], "got t.csv, which is no folder."),
    "no run": (
        ["resume", "."],
        "RUN must be a folder that xpnet train made, with config.json; got",
    ),
    "no epochs": (["resume", "run", "--epochs", "0"], "--epochs must be an integer of at least 1"),
    "fewer epochs": (
        ["resume", "run", "--epochs", "12"],
        "which has trained its 12 epochs.",
    ),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_run_that_cannot_be_resumed_is_refused(words, message):
    done(*WORDS, "--out", "run", "--quiet")
    before = config("run")
    assert message in refused(*words)
    assert config("run") == before


# --- SIGTERM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_handler_of_sigterm_is_put_back(error):
    def mine(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        try:
            with handled_termination() as termination:
                signal.raise_signal(signal.SIGTERM)
                if error:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
        assert termination.received
        assert signal.getsignal(signal.SIGTERM) is mine
        done(*WORDS, "--out", "run", "--quiet")
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with handled_termination() as termination:
            signal.raise_signal(signal.SIGTERM)
        assert not termination.received
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_handle_no_signal(monkeypatch):
    monkeypatch.setattr(termination.threading, "main_thread", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    with handled_termination():
        assert signal.getsignal(signal.SIGTERM) is before
