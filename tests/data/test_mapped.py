"""Reading of memory-mapped files with a small resident set."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnet import MLP, SGD, CrossEntropy
from xpnet.data.mapped import RowReader, release_pages

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
    "with an offset": lambda path: mapped(path, offset=24, shape=(99, 6))[:, :],
    "from row 10": lambda path: mapped(path)[10:],
    "every second row": lambda path: mapped(path)[::2],
    "reversed rows": lambda path: mapped(path)[::-1],
    "first columns": lambda path: mapped(path)[:, :4],
    "every second column": lambda path: mapped(path)[:, ::2],
    "private mapping": lambda path: mapped(path, "c"),
    "writable mapping": lambda path: mapped(path, "r+"),
}


@pytest.mark.parametrize("view", VIEWS)
def test_rows_equal_those_of_the_mapping(view, file):
    X = VIEWS[view](file)
    order = ORDER % len(X)
    np.testing.assert_array_equal(RowReader(X).take(order), np.asarray(X)[order])


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_writes_through_the_mapping_are_read(mode, file):
    X = mapped(file, mode)
    X[7] = -1.0
    np.testing.assert_array_equal(RowReader(X).take(ORDER)[0], -np.ones(6))


def test_replaced_file_is_read_through_the_mapping(file):
    X = mapped(file)
    expected = np.array(X)
    other = file.with_name("other.dat")
    np.zeros(600, np.float32).tofile(other)
    os.replace(other, file)
    np.testing.assert_array_equal(RowReader(X).take(ORDER), expected[ORDER])


def test_deleted_reader_closes_its_file(file):
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("only Linux lists the open files of a process")
    X = mapped(file)  # the mapping keeps the file open as well
    reader = RowReader(X)
    reader.take(ORDER)

    def is_open():
        return [os.readlink(p) for p in folder.iterdir() if p.exists()].count(str(file))

    before = is_open()
    del reader
    gc.collect()
    assert is_open() == before - 1


def resident(path: Path) -> int:
    """Return the resident size of the mapping of a file, in kilobytes."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc/self/smaps")
@pytest.mark.parametrize("shuffle", [True, False])
def test_training_on_a_file_keeps_little_resident(shuffle, tmp_path):
    path = tmp_path / "large.dat"
    rng = np.random.default_rng(0)
    rng.standard_normal((10_000, 500), dtype=np.float32).tofile(path)  # 20 MB
    X, y = np.memmap(path, np.float32, "r", shape=(10_000, 500)), rng.integers(0, 3, 10_000)
    np.asarray(X).sum()
    assert resident(path) > 15_000
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
    assert resident(path) < 5_000
    model.predict(X)
    assert resident(path) < 5_000
    release_pages(X)
    assert resident(path) == 0
