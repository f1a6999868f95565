"""Data sets: included, read from a folder, and downloaded from a local server."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xpnet.data import Dataset, datasets, load_digits, load_fashion_mnist, load_mnist
from xpnet.errors import ArgumentError, FileFormatError, MissingExtraError

FASHION = Path(__file__).parents[3] / "shared" / "data" / "fashion-mnist"
needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="the Fashion-MNIST files are missing"
)
N_TRAIN, N_TEST = 6, 4


def small_arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays: list[np.ndarray] = []
    for m in (N_TRAIN, N_TEST):
        arrays += [rng.integers(0, 256, (m, 28, 28), "uint8"), rng.integers(0, 10, m, "uint8")]
    return arrays


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(
    folder: Path, name: str = "{stem}.gz", arrays: list[np.ndarray] | None = None
) -> Path:
    for stem, array in zip(datasets.STEMS, arrays or small_arrays(), strict=True):
        file = name.format(stem=stem, dotted=stem.replace("-idx", ".idx"))
        content = idx_bytes(array)
        packed = gzip.compress(content, mtime=0) if file.endswith(".gz") else content
        (folder / file).write_bytes(packed)
    return folder


def assert_small(data: Dataset) -> None:
    images, labels, test_images, test_labels = small_arrays()
    np.testing.assert_array_equal(data.X_train, images.reshape(N_TRAIN, 784))
    np.testing.assert_array_equal(data.y_train, labels)
    np.testing.assert_array_equal(data.X_test, test_images.reshape(N_TEST, 784))
    np.testing.assert_array_equal(data.y_test, test_labels)
    assert data.X_train.dtype == np.uint8
    assert data.y_train.dtype == np.int64
    assert data.feature_shape == (28, 28)
    assert len(data.classes) == 10


def test_digits_have_the_published_counts():
    data = load_digits()
    assert (data.X_train.shape, data.X_test.shape) == ((1438, 64), (359, 64))
    assert data.X_train.dtype == np.uint8
    X, y = np.vstack([data.X_train, data.X_test]), np.hstack([data.y_train, data.y_test])
    # The class counts that the UCI repository publishes for the test part.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (X.min(), X.max(), int(X.sum())) == (0, 16, 561_718)
    assert np.ptp(np.bincount(data.y_test)) <= 2
    assert "10.24432/C50P49" in data.licence
    assert "C50P49" in (Path(datasets.__file__).with_name("digits.LICENSE")).read_text("utf-8")


def test_digits_equal_those_of_scikit_learn():
    original = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    X, y = original.load_digits(return_X_y=True)
    data = load_digits(rng=5)
    ours = np.column_stack([np.vstack([data.X_train, data.X_test]), [*data.y_train, *data.y_test]])
    theirs = np.column_stack([X, y]).astype(int)
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_digits_split_depends_on_the_seed():
    np.testing.assert_array_equal(load_digits().X_test, load_digits(rng=0).X_test)
    assert not np.array_equal(load_digits(rng=1).X_test, load_digits(rng=0).X_test)
    assert len(load_digits(test_fraction=0.5).y_test) == 898


def test_digits_file_is_small():
    assert Path(datasets.__file__).with_name("digits.npz").stat().st_size < 80_000


@needs_fashion
def test_fashion_mnist_is_read_from_a_folder():
    data = load_fashion_mnist(FASHION)
    assert (data.X_train.shape, data.X_test.shape) == ((60_000, 784), (10_000, 784))
    assert np.bincount(data.y_train).tolist() == [6000] * 10
    assert data.classes[data.y_train[0]] == "Ankle boot"
    assert data.X_train[0].sum() == 76_247


@needs_fashion
@pytest.mark.parametrize("index", range(4), ids=datasets.STEMS)
def test_hashes_are_those_of_the_original_files(index: int):
    # The local copies lack the name and the time in the gzip header of the original files.
    stem = datasets.STEMS[index]
    packed = (FASHION / f"{stem}.gz").read_bytes()
    time = 1504176606 if stem.startswith("train") else 1504176627
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\x00\x03" + stem.encode() + b"\0"
    digest = hashlib.sha256(header + packed[10:]).hexdigest()
    assert digest == datasets.FASHION_SHA256[index]


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist])
@pytest.mark.parametrize("name", ["{stem}.gz", "{stem}", "{dotted}.gz", "{dotted}"])
def test_idx_files_are_found_by_any_usual_name(tmp_path: Path, load, name: str):
    assert_small(load(write_idx(tmp_path, name)))


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (load_mnist, "mnist.npz"),
        (load_fashion_mnist, "fashion-mnist.npz"),
        (load_fashion_mnist, "fashion_mnist.npz"),
    ],
)
def test_npz_files_are_found(tmp_path: Path, load, file: str):
    np.savez(tmp_path / file, **dict(zip(datasets.NPZ_ARRAYS, small_arrays(), strict=True)))
    assert_small(load(str(tmp_path)))


def test_missing_files_are_named(tmp_path: Path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        ArgumentError, match=r"data_dir must contain .* without t10k-labels-idx1-ubyte"
    ):
        load_mnist(tmp_path)


def test_npz_without_the_arrays_is_refused(tmp_path: Path):
    np.savez(tmp_path / "mnist.npz", x_train=small_arrays()[0])
    with pytest.raises(FileFormatError, match="hold an array named 'y_train'; got x_train"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("index", "array", "message"),
    [
        (0, np.zeros((6, 8, 8), "uint8"), r"train-images.* uint8 images of 28×28 .*\(6, 8, 8\)"),
        (1, np.zeros(5, "uint8"), r"train-labels.* contain a label for each of 6 images; .*\(5,\)"),
        (3, np.full(4, 10, "uint8"), "t10k-labels.* contain labels from 0 to 9; got 10 to 10"),
    ],
)
def test_inconsistent_files_are_refused(
    tmp_path: Path, index: int, array: np.ndarray, message: str
):
    arrays = small_arrays()
    arrays[index] = array
    with pytest.raises(FileFormatError, match=message):
        load_mnist(write_idx(tmp_path, arrays=arrays))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a local server serves instead of the MNIST mirror."""
    pooch = pytest.importorskip("pooch", reason="pooch is not installed: no download to test")
    folder = tmp_path / "served"
    folder.mkdir()
    write_idx(folder)
    hashes = [hashlib.sha256((folder / f"{s}.gz").read_bytes()).hexdigest() for s in datasets.STEMS]
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(datasets, "MNIST_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(datasets, "MNIST_SHA256", tuple(hashes))
        monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield folder
        server.shutdown()
        thread.join()


def test_download_is_cached(mirror: Path, tmp_path: Path):
    assert_small(load_mnist())
    cached = sorted(path.name for path in (tmp_path / "cache" / "xpnet" / "mnist").iterdir())
    assert cached == sorted(f"{stem}.gz" for stem in datasets.STEMS)
    for path in mirror.iterdir():
        path.unlink()
    assert_small(load_mnist())


def test_download_with_a_wrong_hash_is_refused(mirror: Path, tmp_path: Path):
    write_idx(mirror, arrays=[array[::-1] for array in small_arrays()])
    with pytest.raises(FileFormatError, match=r"mnist from http.* must have the expected SHA-256"):
        load_mnist()
    assert not list((tmp_path / "cache" / "xpnet" / "mnist").iterdir())


def test_failed_download_suggests_data_dir(mirror: Path):
    (mirror / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(ConnectionError, match=r"could not be downloaded .*404.* Give data_dir"):
        load_mnist()


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist])
def test_missing_pooch_names_the_extra(monkeypatch: pytest.MonkeyPatch, load):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xpnet\[data\]'.* data_dir"):
        load()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.eye(3), np.zeros(2), np.eye(3), np.zeros(3)), "y_train must have one row for each"),
        ((np.eye(3), np.zeros(3), np.eye(3), np.zeros(2)), "y_test must have one row for each"),
        (
            (np.eye(3), np.zeros(3), np.eye(2), np.zeros(2)),
            r"X_test must have rows of shape \(3,\)",
        ),
    ],
)
def test_inconsistent_datasets_are_refused(arrays: tuple, message: str):
    with pytest.raises(ArgumentError, match=message):
        Dataset(*arrays, name="bad")
