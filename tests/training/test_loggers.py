"""Files that grow by a line in every epoch: as CSV, that of `History.to_csv`, and as JSON."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

import xpnet
from xpnet import MLP, SGD, ArgumentError, CrossEntropy, TrainingCheckpoint
from xpnet.minimize import LBFGS
from xpnet.training import CSVLogger, History, JSONLinesLogger
from xpnet.training.callbacks import Run

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2
HOW = {"loss": CrossEntropy(), "optimizer": SGD(lr=0.1), "epochs": 6, "rng": 0, "progress": False}
KINDS = {"csv": CSVLogger, "json": JSONLinesLogger}

ROWS = {
    "numbers": [{"loss": 0.1 + i / 3, "lr": 1e-3} for i in range(4)],
    "a number that is not finite": [{"loss": value} for value in (1.0, float("nan"), 0.5)],
    "a late column": [{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.4, "auc": 0.9}, {"loss": 0.3}],
    "a name with a comma": [{"a,b": 1.0}, {"a,b": 2.0}],
}


@pytest.mark.parametrize("name", ROWS)
def test_file_grows_by_a_line_in_every_epoch(tmp_path, name):
    path, whole, history = tmp_path / "history.csv", tmp_path / "whole.csv", History()
    path.write_text("of an earlier process, torn")
    writer, columns, file = CSVLogger(path), set(), None
    for epoch, numbers in enumerate(ROWS[name], start=1):
        row = {"epoch": float(epoch)} | numbers
        history.append(row)
        writer.epoch(Run(None, epoch, 9, row, history))
        history.to_csv(whole)
        assert path.read_bytes() == whole.read_bytes()
        if columns == history.columns.keys():
            assert path.stat().st_ino == file  # it is appended to, not replaced
        columns, file = set(history.columns), path.stat().st_ino


def test_column_that_is_added_by_a_callback_is_written(tmp_path):
    path, whole, history = tmp_path / "history.csv", tmp_path / "whole.csv", History()
    writer = CSVLogger(path)
    for epoch in range(1, 8):
        row = {"epoch": float(epoch)}
        history.append(row)
        if epoch % 3 == 0:
            history.columns.setdefault("auc", []).append(epoch / 10)
        writer.epoch(Run(None, epoch, 9, row, history))
        history.to_csv(whole)
        assert path.read_bytes() == whole.read_bytes()


def fit(*callbacks, **settings):
    return MLP(3, [4], 2, rng=0).fit(X, Y, callbacks=list(callbacks), **HOW | settings)


def contents(path):
    """The text of a file without the durations, which differ from run to run."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [line.rpartition(",")[0] for line in text.splitlines()]
    return [
        {k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()
    ]


@pytest.mark.parametrize("name", ROWS)
def test_json_lines_are_rows(tmp_path, name):
    path, history = tmp_path / "log.jsonl", History()
    path.write_text('{"epoch": 1, "torn')
    logger, seen = JSONLinesLogger(path), []
    for epoch, numbers in enumerate(ROWS[name], start=1):
        row = {"epoch": float(epoch)} | numbers
        history.append(row)
        logger.epoch(Run(None, epoch, 9, row, history))
        seen.append({n: v if math.isfinite(v) else None for n, v in row.items()})
        assert [json.loads(line) for line in path.read_text().splitlines()] == seen
    assert path.read_text().endswith("}\n")


def test_json_refuses_what_is_no_number(tmp_path):
    def add(run):
        run.history.columns.setdefault("x", []).append("text")

    with pytest.raises(ArgumentError, match="the column 'x' must hold real numbers"):
        fit(JSONLinesLogger(tmp_path / "log.jsonl"), add)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [{}, {"optimizer": LBFGS()}])
def test_file_has_what_later_callbacks_add(tmp_path, kind, method):
    def add(run):
        if run.epoch % 2 == 0:
            run.history.columns.setdefault("norm", []).append(float(run.epoch))

    add.monitor = "loss"  # such callbacks are called after the others
    path, whole = tmp_path / f"log.{kind}", tmp_path / "whole.csv"
    history = fit(KINDS[kind](path), add, **method)
    if kind == "csv":
        history.to_csv(whole)
        assert path.read_bytes() == whole.read_bytes()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row.get("norm") for row in rows] == [None, 2.0, None, 4.0, None, 6.0]
        assert rows == [json.loads(json.dumps(row)) for row in history.rows()]


class Killed(BaseException):
    """The end of a process, of which no callback learns."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rebuilt", [False, True])
@pytest.mark.parametrize("full_batch", [False, True])
def test_resumed_training_repairs_and_continues(tmp_path, kind, rebuilt, full_batch):
    path, whole, run = tmp_path / f"log.{kind}", tmp_path / f"whole.{kind}", tmp_path / "run.st"
    method = {"optimizer": LBFGS()} if full_batch else {}
    fit(KINDS[kind](whole), **method)

    def callbacks():
        return [KINDS[kind](path), TrainingCheckpoint(run, epochs=2)]

    original = KINDS[kind].epoch

    def kill(self, run):
        if run.epoch == 6:
            raise Killed
        original(self, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KINDS[kind], "epoch", kill)
        with pytest.raises(Killed):
            fit(*callbacks(), **method)
    assert len(path.read_text().splitlines()) == 5 + (kind == "csv")
    with path.open("a") as file:
        file.write("6,0.12" if kind == "csv" else '{"epoch": 6, "lo')
    if rebuilt:
        xpnet.resume(run, X, Y, progress=False)
    else:
        fit(*callbacks(), resume=run, **method)
    assert contents(path) == contents(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_ended_training_repairs_its_file(tmp_path, kind):
    path, run = tmp_path / f"log.{kind}", tmp_path / "run.st"
    fit(KINDS[kind](path), TrainingCheckpoint(run, epochs=1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    xpnet.resume(run, X, Y, progress=False)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", KINDS)
def test_logger_is_used_again(tmp_path, kind):
    logger = KINDS[kind](tmp_path / f"log.{kind}")
    assert not logger.is_written
    fit(logger)
    fit(logger, epochs=2)
    assert logger.is_written
    assert len(contents(tmp_path / f"log.{kind}")) == 2 + (kind == "csv")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\x00\xff", b'{"a": 1}\n', b"ep"])
def test_file_that_is_no_log_is_kept(tmp_path, kind, content):
    path, run = tmp_path / "data", tmp_path / "run.st"
    path.write_bytes(content)
    with pytest.raises(
        ArgumentError, match=f"path must be new, or a file of {KINDS[kind].__name__}"
    ):
        fit(KINDS[kind](path))
    path.unlink()
    fit(KINDS[kind](path), TrainingCheckpoint(run, epochs=1))
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match="overwrite a file that xpnet has not written"):
        xpnet.resume(run, X, Y, epochs=8, progress=False)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", KINDS)
def test_paths_are_checked_before_the_first_step(tmp_path, kind):
    with pytest.raises(ArgumentError, match=r"path must be .*; got 3"):
        KINDS[kind](3)
    with pytest.raises(FileNotFoundError):
        fit(KINDS[kind](tmp_path / "no" / "log"))
    with pytest.raises(ArgumentError, match=r"path must be a (regular )?file"):
        fit(KINDS[kind](tmp_path))
    logger = KINDS[kind](tmp_path / "log")
    for other in (
        KINDS[kind](os.fsencode(tmp_path / "log")),
        xpnet.Checkpoint(logger.path, "loss"),
    ):
        with pytest.raises(
            ArgumentError, match="callbacks must have different paths; got two with"
        ):
            fit(logger, other)
    assert list(tmp_path.iterdir()) == []
