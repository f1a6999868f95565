"""Run folders are claimed by one training each, and leftovers of killed ones are removed."""

from __future__ import annotations

import os
import threading
from datetime import datetime
from pathlib import Path

import pytest

from xpnet.errors import ArgumentError

pytest.importorskip("typer", reason="the extra 'cli' is not installed")

from xpnet.cli import claim
from xpnet.cli.claim import CONFIG, HISTORY, locked, new_folder

LOCKS = pytest.mark.skipif(os.name == "nt", reason="Windows has no locks of folders")
TEMPORARY = f".xpnet-{'0' * 32}.tmp"


class SameSecond(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, 3, 4, 5)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claim, "datetime", SameSecond)
    return tmp_path


def claimed(out=None):
    """Claim a folder, end the training at once, and return its path."""
    with new_folder(out, "t", b"{}") as folder:
        return folder


def files(folder="."):
    return sorted(str(path) for path in Path(folder).rglob("*"))


def test_runs_of_one_second_get_numbers():
    names = [claimed().name for _ in range(3)]
    assert names == ["t-20260102-030405", "t-20260102-030405-2", "t-20260102-030405-3"]
    assert (Path("runs") / names[2] / CONFIG).read_bytes() == b"{}"


def test_threads_claim_different_folders():
    found, barrier = [], threading.Barrier(8)

    def run():
        barrier.wait()
        found.append(claimed())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert all((folder / CONFIG).exists() for folder in found)


def test_threads_claim_one_folder_once():
    won, refused, barrier = [], [], threading.Barrier(8)

    def run():
        barrier.wait()
        try:
            won.append(claimed(Path("a/run")))
        except ArgumentError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 7)
    assert all(text.startswith("--out must be a new or empty folder; got") for text in refused)
    assert os.listdir("a/run") == [CONFIG]


GIVEN = {
    "new": ("run", ()),
    "new parents": ("a/b/run", ()),
    "empty": ("empty", ()),
    "a link": ("link", ()),
    "with what a kill left": ("left", ()),
}


@pytest.mark.parametrize("name", GIVEN)
def test_given_folder_is_claimed(here, name):
    out = Path(GIVEN[name][0])
    (here / "empty").mkdir(mode=0o700)
    (here / "left").mkdir()
    (here / "left" / TEMPORARY).touch()
    (here / "link").symlink_to(here / "target")
    assert claimed(out) == out
    assert os.listdir(out) == [CONFIG]
    assert (here / "empty").stat().st_mode & 0o777 == 0o700


REFUSED = {
    "a file": ("file", "--out must be a new or empty folder; got file, which is a file."),
    "not empty": (".", "--out must be a new or empty folder; got ., which is not empty."),
    "a run": ("run", "--out must be a new or empty folder; got run, which is not empty."),
    "in a file": ("file/a/b", "--out must be a folder that can be written; got file/a/b (Not a"),
}


@pytest.mark.parametrize(("out", "message"), REFUSED.values(), ids=REFUSED)
def test_taken_folder_is_refused(here, out, message):
    (here / "file").touch()
    claimed(Path("run"))
    before = files()
    with pytest.raises(ArgumentError) as error:
        claimed(Path(out))
    assert str(error.value).startswith(message)
    assert files() == before


@LOCKS
def test_folder_in_training_is_refused():
    with new_folder(Path("run"), "t", b"1"):
        with pytest.raises(ArgumentError, match="got run, to which a training is writing"):
            claimed(Path("run"))
        with (
            pytest.raises(ArgumentError, match="got run, which is still in training"),
            locked(Path("run")),
        ):
            pass
    with locked(Path("run")):
        assert Path("run", CONFIG).read_bytes() == b"1"


def test_file_systems_without_locks_claim_once(monkeypatch):
    monkeypatch.setattr(claim, "fcntl", None)
    claimed(Path("run"))
    with pytest.raises(ArgumentError, match="got run, which is not empty"):
        claimed(Path("run"))
    with locked(Path("run")), locked(Path("run")):
        pass


def fail(error, out, history):
    with new_folder(out, "t", b"{}") as folder:
        (folder / "checkpoint.safetensors").touch()
        if history:
            (folder / HISTORY).touch()
        raise error


ENDS = {
    "error at once": (ValueError, False, False),
    "error after an epoch": (ValueError, True, True),
    "Ctrl-C": (KeyboardInterrupt, False, True),
}


@pytest.mark.parametrize("out", [None, Path("a/b/run")])
@pytest.mark.parametrize(("error", "history", "kept"), ENDS.values(), ids=ENDS)
def test_error_removes_a_run_without_epochs(error, history, kept, out):
    with pytest.raises(error):
        fail(error, out, history)
    assert bool(files()) is kept


def test_error_keeps_a_folder_that_was_there(here):
    (here / "empty").mkdir()
    with pytest.raises(ValueError, match="x"):
        fail(ValueError("x"), Path("empty"), False)
    assert files() == ["empty"]


SWEPT = {
    "a temporary file in a run": ("runs/t-20250102-030405", [CONFIG, TEMPORARY], [CONFIG]),
    "a run that was not claimed": ("runs/t-20250102-030405", [TEMPORARY], None),
    "an empty run": ("runs/t-20250102-030405-2", [], None),
    "no other folder": ("runs/mine", [], []),
    "no folder of another kind": ("runs/mine", [TEMPORARY], [TEMPORARY]),
    "no file with another name": ("runs/mine", [CONFIG, ".m.tmp"], [".m.tmp", CONFIG]),
}


@LOCKS
@pytest.mark.parametrize(("folder", "names", "kept"), SWEPT.values(), ids=SWEPT)
def test_next_start_sweeps(here, folder, names, kept):
    Path(folder).mkdir(parents=True)
    for name in names:
        Path(folder, name).touch()
    claimed()
    assert (sorted(os.listdir(folder)) if Path(folder).exists() else None) == kept
