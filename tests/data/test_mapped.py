"""Mapped files: read by rows, and without holding what was read."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnet import MLP, SGD, CrossEntropy
from xpnet.data.mapped import RowReader, forget_pages

ORDER = np.array([7, 0, 99, 7, 50])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "X.dat"
    np.arange(100 * 6, dtype=np.float32).tofile(path)
    return path


def mapped(path, mode="r", offset=0, shape=(100, 6)):
    return np.memmap(path, np.float32, mode, offset, shape)


VIEWS = {
    "all": mapped,
    "behind a header": lambda path: mapped(path, offset=24, shape=(99, 6))[:, :],
    "rows from the tenth": lambda path: mapped(path)[10:],
    "every second row": lambda path: mapped(path)[::2],
    "rows backwards": lambda path: mapped(path)[::-1],
    "the first columns": lambda path: mapped(path)[:, :4],
    "every second column": lambda path: mapped(path)[:, ::2],
    "a private mapping": lambda path: mapped(path, "c"),
    "a writable one": lambda path: mapped(path, "r+"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_rows_are_those_of_the_mapping(view, file):
    X = VIEWS[view](file)
    order = ORDER % len(X)
    np.testing.assert_array_equal(RowReader(X).take(order), np.asarray(X)[order])


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_through_the_mapping_is_read(mode, file):
    X = mapped(file, mode)
    X[7] = -1.0
    np.testing.assert_array_equal(RowReader(X).take(ORDER)[0], -np.ones(6))


def test_a_file_that_was_replaced_is_not_read(file):
    X = mapped(file)
    expected = np.array(X)
    other = file.with_name("other.dat")
    np.zeros(600, np.float32).tofile(other)
    os.replace(other, file)
    np.testing.assert_array_equal(RowReader(X).take(ORDER), expected[ORDER])


def test_the_file_is_closed_with_the_reader(file):
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("only Linux lists the open files of a process")
    X = mapped(file)  # which keeps the file open too
    reader = RowReader(X)
    reader.take(ORDER)

    def is_open():
        return [os.readlink(p) for p in folder.iterdir() if p.exists()].count(str(file))

    before = is_open()
    del reader
    gc.collect()
    assert is_open() == before - 1


def held(path: Path) -> int:
    """Kilobytes of the file that the process is said to hold in memory."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is held")
@pytest.mark.parametrize("shuffle", [True, False])
def test_training_on_a_file_holds_little_of_it(shuffle, tmp_path):
    path = tmp_path / "large.dat"
    rng = np.random.default_rng(0)
    rng.standard_normal((10_000, 500), dtype=np.float32).tofile(path)  # 20 MB
    X, y = np.memmap(path, np.float32, "r", shape=(10_000, 500)), rng.integers(0, 3, 10_000)
    np.asarray(X).sum()
    assert held(path) > 15_000
    model = MLP(500, [8], 3)
    model.fit(
        X,
        y,
        loss=CrossEntropy(),
        optimizer=SGD(),
        epochs=1,
        batch_size=500,
        shuffle=shuffle,
        progress=False,
    )
    assert held(path) < 5_000
    model.predict(X)
    assert held(path) < 5_000
    forget_pages(X)
    assert held(path) == 0
