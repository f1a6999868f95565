"""Atomic writes: whole or not at all, by threads and processes at once, and after kills."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from xpnet.atomic import (
    TEMPORARY,
    atomic_file,
    create_atomically,
    require_writable,
    write_atomically,
)
from xpnet.errors import ArgumentError

POSIX = pytest.mark.skipif(os.name == "nt", reason="locks and permissions are those of POSIX")


def stop_in(writing, error):
    """Raise an error after writing a part."""
    with writing as temporary:
        temporary.write_bytes(b"2")
        raise error


@pytest.mark.parametrize("name", ["m", "a" * 255, "é" * 127, "a b.c", b"bytes", "m" + "." * 200])
def test_every_name_is_written(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    write_atomically(path, b"1")
    write_atomically(path, b"2")
    with open(path, "rb") as file:
        assert file.read() == b"2"
    assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(name)]


def test_relative_path_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("m", b"1")
    assert (tmp_path / "m").read_bytes() == b"1"


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o755, 0o400])
def test_permissions_of_a_file_are_kept(tmp_path, mode):
    path = tmp_path / "m"
    path.touch()
    path.chmod(mode)
    with atomic_file(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # private while it is written
        temporary.write_bytes(b"1")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"1"


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_file_has_the_permissions_of_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "m", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == mode


@POSIX
@pytest.mark.parametrize("exists", [True, False])
def test_symbolic_link_is_kept(tmp_path, exists):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "m", tmp_path / "link"
    if exists:
        target.write_bytes(b"1")
    link.symlink_to(os.path.join("real", "m"))
    write_atomically(link, b"2")
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == b"2"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


@POSIX
def test_circular_link_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic link"):
        write_atomically(tmp_path / "a", b"1")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"path must be a file; got .*, which is a folder"):
        write_atomically(tmp_path, b"1")


@POSIX
def test_device_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="which is a device"):
        write_atomically(tmp_path / "pipe", b"1")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--out must be in an existing folder; .*none"):
        write_atomically(tmp_path / "none" / "m", b"1", "--out")


@pytest.mark.parametrize("exists", [True, False])
def test_writable_path_is_left_as_it_is(tmp_path, exists):
    if exists:
        (tmp_path / "m").write_bytes(b"old")
    require_writable(tmp_path / "m")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {"m": b"old"} if exists else {}
    )


def test_path_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match=r"checkpoint must be a file; got .* a folder"):
        require_writable(tmp_path, "checkpoint")
    with pytest.raises(FileNotFoundError, match="path must be in an existing folder"):
        require_writable(tmp_path / "none" / "m")

    def denied(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError, match="path must be in a folder that can be written: Perm"):
        require_writable(tmp_path / "m")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_keeps_the_previous_file(tmp_path, error):
    path = tmp_path / "m"
    write_atomically(path, b"1")
    with pytest.raises(error):
        stop_in(atomic_file(path), error)
    assert path.read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize("links", [True, False])
def test_new_file_is_created_once(tmp_path, monkeypatch, links):
    def link(*arguments):
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", link)
    create_atomically(tmp_path / "m", b"1")
    with pytest.raises(FileExistsError):
        create_atomically(tmp_path / "m", b"2")
    assert (tmp_path / "m").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["m"]


@POSIX
def test_file_and_its_folder_are_synchronized(tmp_path, monkeypatch):
    synced, real = [], os.fsync

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "m", b"1")
    assert synced == [(tmp_path / "m").stat().st_ino, tmp_path.stat().st_ino]


@POSIX
def test_folder_that_cannot_be_synchronized_is_ignored(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "m", b"1")
    assert (tmp_path / "m").read_bytes() == b"1"


# --- writers at once, and kills -------------------------------------------------------------------

KILLED = """
import os, signal, sys
from xpnet.atomic import atomic_file

with atomic_file(sys.argv[1]) as temporary:
    temporary.write_bytes(b"torn")
    if sys.argv[2] == "wait":
        print("writing", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def temporaries(folder):
    return [name for name in os.listdir(folder) if TEMPORARY.fullmatch(name)]


def start(path, then):
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@POSIX
@pytest.mark.parametrize("next_call", ["write", "check"])
def test_leftover_of_a_kill_is_swept(tmp_path, next_call):
    with start(tmp_path / "m", "kill") as process:
        assert process.wait() == -signal.SIGKILL
    assert len(temporaries(tmp_path)) == 1
    assert not (tmp_path / "m").exists()
    if next_call == "write":
        write_atomically(tmp_path / "other", b"1")
    else:
        require_writable(tmp_path / "other")
    assert os.listdir(tmp_path) == (["other"] if next_call == "write" else [])


@POSIX
def test_temporary_of_a_running_process_is_kept(tmp_path):
    with start(tmp_path / "m", "wait") as process:
        assert process.stdout.readline() == b"writing\n"
        write_atomically(tmp_path / "other", b"1")
        assert len(temporaries(tmp_path)) == 1
        process.communicate()
    assert process.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["m", "other"]


def test_other_hidden_files_are_kept(tmp_path):
    names = [".m.1.tmp", ".xpnet-1.tmp", f".xpnet-{'0' * 32}.tmp.bak", "m.tmp"]
    for name in names:
        (tmp_path / name).touch()
    write_atomically(tmp_path / "m", b"1")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "m"])


def test_threads_write_one_path_at_once(tmp_path):
    path, contents, errors = tmp_path / "m", [bytes([i]) * 100_000 for i in range(6)], []
    write_atomically(path, contents[0])
    done = threading.Event()

    def write(content):
        try:
            for _ in range(20):
                write_atomically(path, content)
        except OSError as error:
            errors.append(error)

    def read():
        while not done.is_set():
            if path.read_bytes() not in contents:
                errors.append("torn")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["m"]
